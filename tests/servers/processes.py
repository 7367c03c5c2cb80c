"""Programs that tests start: a free port, a log, a readiness check, and an end that only hits what was started."""

from __future__ import annotations

import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import urllib3

READY_S = 60.0


def program(name: str, *others: str) -> str:
    """The path of a program, by any of its names, that the dev extra installed beside this interpreter or that is on PATH."""
    for known in (name, *others):
        beside = Path(sys.executable).parent / known
        found = str(beside) if beside.exists() else shutil.which(known)
        if found:
            return found
    raise AssertionError(f"{name} is not installed: the README's second line installs what the tests need")


def says_ready(url: str) -> bool:
    """Whether an nginx or Varnish of ours takes requests: its configuration answers this path itself."""
    try:
        return urllib3.request("GET", f"{url}/__ready", retries=False, timeout=2.0).status == 204
    except urllib3.exceptions.HTTPError:
        return False


def free_port(*, also: Sequence[int] = ()) -> int:
    """A port on which nobody listens; nor on those at the given distances."""
    while True:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port: int = probe.getsockname()[1]
        if all(port + distance < 65536 and _is_free(port + distance) for distance in also):
            return port


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


@contextmanager
def scratch(prefix: str = "modelport-test-", *, within: str | None = None) -> Iterator[Path]:
    """A folder for as long as the block goes on, for those who have no tmp_path of pytest."""
    folder = Path(tempfile.mkdtemp(prefix=prefix, dir=within))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def running(
    arguments: Sequence[str], *, folder: Path, ready: Callable[[], bool], environment: Mapping[str, str]
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a program until the block ends; SIGKILL, for its folder is thrown away anyway."""
    log = folder / "log"
    with (
        log.open("wb") as out,
        subprocess.Popen(arguments, cwd=folder, stdout=out, stderr=out, env=dict(environment)) as child,
    ):
        try:
            deadline = time.monotonic() + READY_S
            while not ready():
                assert child.poll() is None, f"{arguments[0]} ended: {log.read_text(errors='replace')[-2000:]}"
                assert time.monotonic() < deadline, f"{arguments[0]} is not ready: {log.read_text(errors='replace')[-2000:]}"
                time.sleep(0.05)
            yield child
        finally:
            child.kill()
            child.wait()
