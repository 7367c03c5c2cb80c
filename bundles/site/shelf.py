"""What a caching mirror keeps on its disk: parts and files by their digest, the least recently used going first.

Takes a folder and a limit in bytes, gives descriptors. A file gets its name when all of it was verified; a part is
hashed again when it is first asked for after a start, for nobody waited until the disk had it. Several processes may
share the folder: whoever reads holds a shared lock (flock) on the file, so that nobody's room is made from it, and
whoever writes holds one on a temporary name, so that only what a killed process left is swept away::

    <place>/parts/<2 hex>/<blake3>
    <place>/files/<2 hex>/<sha256>
    <place>/new/<random>

The access time says when something was used last; it is set by us, whatever the file system's own rule is.

next: ``hauling``
"""

from __future__ import annotations

import errno
import fcntl
import mmap
import os
import secrets
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Literal

import blake3

from pipeline.errors import DiskError, ModelportError
from pipeline.events import Listener, Warned

Kind = Literal["parts", "files"]

READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC
BLOCK = 4 << 20
# A use within this time of the last one that was noted changes no order that matters.
NOTED_S = 30.0
# What an overfull shelf is emptied to: making room looks at every file.
ROOM = 0.95
NEW = "new"


class Shelf:
    """The folder ``place`` of at most ``limit`` bytes."""

    def __init__(self, place: Path, limit: int, listen: Listener) -> None:
        """Make the folder, sweep what killed processes left, and count what is there.

        Raises:
            DiskError
        """
        self.place = place
        self.limit = limit
        self._listen = listen
        self._lock = threading.Lock()
        self._proven: dict[str, tuple[int, int, int]] = {}
        self._noted: dict[str, float] = {}
        self._full_told = False
        try:
            (place / NEW).mkdir(mode=0o700, parents=True, exist_ok=True)
            self._sweep()
            self.bytes = sum(size for _, size, _ in self._entries())
        except OSError as error:
            raise disk_fault(place, error) from error
        self.make_room()

    def open(self, kind: Kind, name: str) -> int | None:
        """A descriptor of what is kept under this digest, proven and locked against eviction; None where it is not there.

        Raises:
            DiskError: it is there and cannot be opened: too many open files, another owner.
        """
        path = self._path(kind, name)
        try:
            descriptor = os.open(path, READ)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise disk_fault(path, error) from error
        fcntl.flock(descriptor, fcntl.LOCK_SH)
        found = os.fstat(descriptor)
        mark = (found.st_ino, found.st_size, found.st_mtime_ns)
        if kind == "parts" and self._proven.get(name) != mark:
            if blake3_of_file(descriptor) != name:
                os.close(descriptor)
                self.drop(kind, name)
                return None
            self._proven[name] = mark
        self._note_use(descriptor, name, found)
        return descriptor

    def drop(self, kind: Kind, name: str) -> None:
        """Remove what is not what its name says."""
        path = self._path(kind, name)
        path.unlink(missing_ok=True)
        self._listen(Warned("rotten", f"{path} was not what its name says: it is fetched again"))

    def has(self, kind: Kind, name: str) -> bool:
        """Whether something stands under this digest."""
        return self._path(kind, name).is_file()

    def begin(self) -> tuple[int, Path]:
        """A new file and its temporary name.

        Raises:
            OSError
        """
        path = self.place / NEW / secrets.token_hex(16)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        fcntl.flock(descriptor, fcntl.LOCK_SH)
        return descriptor, path

    def keep(self, descriptor: int, temporary: Path, kind: Kind, name: str) -> None:
        """Give a verified file its name, then make room. A file reaches the disk first; a part is proven when it is next opened.

        Raises:
            OSError
        """
        path = self._path(kind, name)
        if kind == "files":
            os.fsync(descriptor)
        os.utime(descriptor)
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        temporary.replace(path)
        found = os.fstat(descriptor)
        self._proven[name] = (found.st_ino, found.st_size, found.st_mtime_ns)
        self._noted[name] = time.monotonic()
        with self._lock:
            self.bytes += found.st_size
        self.make_room()

    def make_room(self) -> None:
        """Evict what was used longest ago, but nothing that somebody reads, until the limit is kept."""
        if self.bytes <= self.limit:
            return
        with self._lock:
            entries = sorted((used, path, size) for path, size, used in self._entries())
            left = sum(size for _, _, size in entries)
            for _, path, size in entries if left > self.limit else ():
                if left <= self.limit * ROOM:
                    break
                left -= size if self._evict(path) else 0
            self.bytes = left
            kept = {path.name for _, path, _ in entries}
            self._proven = {name: mark for name, mark in self._proven.items() if name in kept}
            self._noted = {name: at for name, at in self._noted.items() if name in kept}

    def tell_full(self, error: OSError) -> None:
        """Say once that the disk takes no more, until it does again."""
        if not self._full_told:
            self._full_told = True
            self._listen(Warned("cache-full", f"{self.place}: {error.strerror}: served without being kept"))

    @property
    def is_full(self) -> bool:
        """Whether the disk took no more when it was last asked."""
        return self._full_told

    def tell_room(self) -> None:
        """Note that the disk takes bytes again."""
        self._full_told = False

    def _evict(self, path: Path) -> bool:
        try:
            descriptor = os.open(path, READ)
        except OSError:
            return True
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            path.unlink()
        except OSError:
            # Somebody reads it.
            return False
        finally:
            os.close(descriptor)
        self._proven.pop(path.name, None)
        return True

    def _note_use(self, descriptor: int, name: str, found: os.stat_result) -> None:
        now = time.monotonic()
        if now - self._noted.get(name, -NOTED_S) >= NOTED_S:
            self._noted[name] = now
            with suppress(OSError):
                os.utime(descriptor, ns=(time.time_ns(), found.st_mtime_ns))

    def _entries(self) -> Iterator[tuple[Path, int, float]]:
        """(path, size, last use) of all that is kept."""
        for kind in ("parts", "files"):
            for path in (self.place / kind).glob("??/*"):
                with suppress(OSError):
                    found = path.stat(follow_symlinks=False)
                    yield path, found.st_size, found.st_atime_ns

    def _sweep(self) -> None:
        for path in (self.place / NEW).iterdir():
            self._evict(path)

    def _path(self, kind: Kind, name: str) -> Path:
        return self.place / kind / name[:2] / name


def memory_file() -> int:
    """A file in memory, for what the disk does not take."""
    return os.memfd_create("modelport-mirror", os.MFD_CLOEXEC)


def is_disk_full(error: OSError) -> bool:
    """Whether the disk takes no more, for whatever reason of its own."""
    return error.errno in {errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS, errno.EFBIG}


def disk_fault(place: Path, error: OSError) -> ModelportError:
    """An error of the disk in our words."""
    return DiskError(f"{place}: {error.strerror}", hint="Check free space, and who owns the folder.")


def blake3_of_file(descriptor: int) -> str:
    """Hash a whole file."""
    size = os.fstat(descriptor).st_size
    if not size:
        return blake3.blake3(b"").hexdigest()
    hasher = blake3.blake3()
    with mmap.mmap(descriptor, size, prot=mmap.PROT_READ) as memory, memoryview(memory) as view:
        for at in range(0, size, BLOCK):
            with view[at : at + BLOCK] as block:
                hasher.update(block)
    return hasher.hexdigest()
