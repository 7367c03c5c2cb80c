"""Temporary folders in memory where there is room: what is synced at every step would wait for a disk, a busy one for seconds.

Whoever sets TMPDIR decides for himself. What a run leaves that failed, or was killed, goes when the next one begins.
"""

import os
import shutil
import tempfile
from pathlib import Path

import pytest

MEMORY = Path("/dev/shm")
# A whole run on two processes needs a quarter of it.
ROOM = 8 << 30
PREFIX = "modelport-tests-"
FOLDER = pytest.StashKey[Path | None]()


def has_room(folder: Path) -> bool:
    """Whether a whole run fits there, and programs may be run from there."""
    if not folder.is_dir():
        return False
    found = os.statvfs(folder)
    return found.f_bavail * found.f_frsize >= ROOM and not found.f_flag & os.ST_NOEXEC


def is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    if hasattr(config, "workerinput") or "TMPDIR" in os.environ:
        return
    for left in MEMORY.glob(f"{PREFIX}*"):
        if not is_running(int(left.name.removeprefix(PREFIX))):
            shutil.rmtree(left, ignore_errors=True)
    if has_room(MEMORY):
        folder = MEMORY / f"{PREFIX}{os.getpid()}"
        folder.mkdir()
        os.environ["TMPDIR"] = str(folder)
        # Whoever asked before would have had the answer kept.
        tempfile.tempdir = None
        config.stash[FOLDER] = folder


def pytest_sessionfinish(session: pytest.Session) -> None:
    if session.exitstatus != pytest.ExitCode.OK:
        session.config.stash[FOLDER] = None


def pytest_unconfigure(config: pytest.Config) -> None:
    if folder := config.stash.get(FOLDER, None):
        shutil.rmtree(folder, ignore_errors=True)
