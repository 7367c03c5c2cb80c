"""A file that is written before it has its name, in a folder that nobody reads.

Takes the descriptor of that folder, gives a ``FileDraft``, which its store makes durable and then names. While its writer
lives it is locked; ``sweep`` removes what a dead one left.

next: ``stores.ahead``
"""

from __future__ import annotations

import fcntl
import os
import secrets
import time
import weakref
from contextlib import suppress
from typing import Self

from pipeline.bodies import Draft
from pipeline.past_cache import write_past_cache
from pipeline.stores.placing import remove_abandoned

LOCK = "lock"
# Above this, allocating first lets the disk say "full" before anything is written, and writes faster.
ALLOCATE_BYTES = 1 << 20


class FileDraft(Draft):
    """A file without its final name; a ``Draft`` of a directory store.

    No two threads may use one at the same time.
    """

    def __init__(self, folder_fd: int) -> None:
        self.folder_fd = os.dup(folder_fd)
        self.size = 0
        self._writes_s: list[float] = []
        self._sync_s = 0.0
        self._failed: OSError | None = None
        try:
            self.name, self.fd = _begin(folder_fd)
        except OSError:
            os.close(self.folder_fd)
            raise
        # Nobody closes it where a program goes on after an interrupt, and while it is open no sweeper takes it either.
        self._let_go = weakref.finalize(self, _let_go, self.fd, self.name, self.folder_fd)
        # Else a child that was forked meanwhile would take it from its parent.
        self._let_go.atexit = False

    @property
    def busy_s(self) -> float:
        """How long its disk took, by the median write: some of them waited for the interpreter's lock besides."""
        writes = sorted(self._writes_s)
        return sum(writes[len(writes) // 2 :][:1]) * len(writes) + self._sync_s

    def write(self, view: memoryview, at: int) -> None:
        """Write; an error is kept for ``settle``."""
        self.size = max(self.size, at + view.nbytes)
        if self._failed is None:
            begun_s = time.monotonic()
            try:
                write_past_cache(self.fd, view, at)
            except OSError as error:
                self._failed = error
            self._writes_s.append(time.monotonic() - begun_s)

    def fill(self, view: memoryview) -> None:
        """Write all there is.

        Raises:
            OSError
        """
        if view.nbytes >= ALLOCATE_BYTES:
            os.posix_fallocate(self.fd, 0, view.nbytes)
        self.write(view, 0)

    def settle(self) -> None:
        """Make durable what was written.

        Raises:
            OSError: of this, or of an earlier write.
        """
        if self._failed is not None:
            raise self._failed
        begun_s = time.monotonic()
        os.fsync(self.fd)
        self._sync_s = time.monotonic() - begun_s

    def close(self) -> None:
        """Let go of it; without a name it is gone. Once is enough."""
        self._let_go()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def sweep(folder_fd: int) -> None:
    """Remove every draft that nobody writes any more."""
    for name in os.listdir(folder_fd):
        if name != LOCK:
            remove_abandoned(name, folder_fd)


def _begin(folder_fd: int) -> tuple[str, int]:
    while True:
        name = secrets.token_hex(12)
        fd = os.open(name, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666, dir_fd=folder_fd)
        _hold(fd)
        # Another process may have swept it away between its making and its lock.
        if os.fstat(fd).st_nlink:
            return name, fd
        os.close(fd)


def _let_go(fd: int, name: str, folder_fd: int) -> None:
    # What counts is synced. It may have its final name by now; what a disk does not give up is swept, like that of the dead.
    with suppress(OSError):
        os.close(fd)
    with suppress(OSError):
        os.unlink(name, dir_fd=folder_fd)
    os.close(folder_fd)


def _hold(fd: int) -> None:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
    except OSError:
        # A file system without flock: then no sweeper can take the lock either, and nothing is swept.
        return
