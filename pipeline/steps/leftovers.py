"""Landing folders that nobody will go on with.

Takes a destination, removes what earlier fetches of other releases left beside it.

next: ``steps.bring``
"""

from __future__ import annotations

import fcntl
import os
import shutil
from contextlib import suppress
from pathlib import Path

from pipeline.steps.folders import opened_folder


def remove_leftovers(destination: Path) -> None:
    """Remove landing folders of other manifests beside ``destination`` that no process holds."""
    with suppress(OSError), opened_folder(destination.parent) as parent_fd:
        with os.scandir(parent_fd) as entries:
            names = [entry.name for entry in entries if entry.name.startswith(f".{destination.name}.partial-")]
        for name in names:
            # One that somebody else put there keeps the others no longer.
            with suppress(OSError):
                _remove_unless_held(parent_fd, name)


def _remove_unless_held(parent_fd: int, name: str) -> None:
    fd = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent_fd)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        shutil.rmtree(name, dir_fd=parent_fd)
    except BlockingIOError:
        # It is being filled just now.
        return
    finally:
        os.close(fd)
