"""Trees that are no web server: a folder on disk, and whatever is an object store.

Takes a path or an ``ObjectStore``, gives a ``TreeReader``. A folder is read with our own memory and follows no link inside,
for media and mounted shares are written by others.

next: ``sources.mirrors``
"""

from __future__ import annotations

import errno
import os
import stat
import threading
from collections.abc import Iterator
from pathlib import Path

from pipeline.bodies import begun
from pipeline.errors import AccessDenied, DiskError, InvalidDocument, ModelportError, ObjectMissing, SourceLied, StoreUnavailable
from pipeline.layout import check_tree_key
from pipeline.past_cache import opened_uncached, read_aligned
from pipeline.ports import BLOCK, Fresh, NotModified, ObjectStore, Take, read_object

READ_BYTES = 256 << 10
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
# NONBLOCK: a fifo that somebody planted must not hold us up before it is seen to be one.
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


class StoreReader:
    """A ``TreeReader`` of an object store; a range is one ``get``."""

    def __init__(self, store: ObjectStore) -> None:
        self._store = store
        self._lock = threading.Lock()
        self._requests = 0
        self._closed = False

    @property
    def url(self) -> str:
        """The store's URL."""
        return self._store.url

    @property
    def requests(self) -> int:
        """Calls of the store."""
        return self._requests

    def get(self, key: str, *, start: int = 0, size: int | None = None) -> Iterator[bytes]:
        """Yield the bytes of an object; see ``ports.TreeReader.get``."""
        self._count()
        return self._store.get(key, start=start, size=size)

    def read_range(self, key: str, start: int, size: int, take: Take, *, total: int | None = None) -> None:
        """Hand exactly these bytes to ``take``; see ``ports.TreeReader.read_range``."""
        told = f"{self.url}: bytes {start}-{start + size - 1} of {key}"
        came = 0
        try:
            self._count()
            # One byte more where the object should end: a longer one is another one.
            more = 1 if total is not None and start + size == total else 0
            for block in self._store.get(key, start=start, size=size + more):
                if came + len(block) > size:
                    raise SourceLied(f"{told}: the object has more than {total} bytes", hint="Use another source.")
                self._check_open(told)
                take(memoryview(block))
                came += len(block)
        except StoreUnavailable as error:
            error.delivered = came
            raise
        if came < size:
            # Adapters raise when an answer breaks off: this is the object's own end.
            raise SourceLied(
                f"{told}: the object ends after {start + came} bytes", hint="Use another source: this one is damaged."
            )

    def revalidate(self, key: str, etag: str, *, cap: int) -> Fresh | NotModified:
        """Read a small object unless it still has ``etag``; see ``ports.TreeReader.revalidate``."""
        self._count()
        # Before the bytes: an object that changes in between is then read again the next time, never taken for newer.
        found = self._store.head(key).etag
        if etag and found == etag:
            return NotModified(etag)
        self._count()
        return Fresh(read_object(self._store, key, cap=cap), found)

    def close(self) -> None:
        """Let reads under way end at their next block."""
        self._closed = True

    def _check_open(self, told: str) -> None:
        if self._closed:
            raise StoreUnavailable(f"{told}: the source was closed")

    def _count(self) -> None:
        with self._lock:
            self._requests += 1


class FolderReader:
    """A ``TreeReader`` of a tree in a folder."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._root = Path(path).absolute()
        self._memory = threading.local()
        self._lock = threading.Lock()
        self._requests = 0
        self._closed = False

    @property
    def url(self) -> str:
        """The folder as a file URL."""
        return self._root.as_uri()

    @property
    def requests(self) -> int:
        """Files opened."""
        return self._requests

    def get(self, key: str, *, start: int = 0, size: int | None = None) -> Iterator[bytes]:
        """Yield the bytes of a file; see ``ports.TreeReader.get``."""
        fd, end = self._open(key)
        return begun(self._read(key, fd, start, end if size is None else min(end, start + size)))

    def _read(self, key: str, fd: int, at: int, end: int) -> Iterator[bytes]:
        try:
            while at < end:
                block = os.pread(fd, min(BLOCK, end - at), at)
                if not block:
                    raise StoreUnavailable(f"{self.url}: {key} ended at byte {at}, expected {end}", hint="It is being written.")
                at += len(block)
                yield block
        except OSError as error:
            raise self._fault(error, key) from error
        finally:
            os.close(fd)

    def read_range(self, key: str, start: int, size: int, take: Take, *, total: int | None = None) -> None:
        """Hand exactly these bytes to ``take``; see ``ports.TreeReader.read_range``."""
        told = f"{self.url}: bytes {start}-{start + size - 1} of {key}"
        fd, found = self._open(key)
        try:
            if found < start + size or (total is not None and found != total):
                raise SourceLied(
                    f"{told}: the file has {found} bytes, expected {start + size if total is None else total}",
                    hint="Use another source: this one is damaged.",
                )
            self._hand_over(key, fd, start, size, take)
        finally:
            os.close(fd)

    def _hand_over(self, key: str, fd: int, start: int, size: int, take: Take) -> None:
        told = f"{self.url}: bytes {start}-{start + size - 1} of {key}"
        came, room = 0, None
        with opened_uncached(fd, start, size) as direct:
            while came < size:
                if self._closed:
                    raise StoreUnavailable(f"{told}: the source was closed", delivered=came)
                # The taker's own memory, if it has any, spares a copy.
                block = (room or self._block())[: size - came]
                try:
                    read = read_aligned(direct, block, start + came) if direct is not None else 0
                    read = read or os.preadv(fd, [block], start + came)
                except OSError as error:
                    raise self._fault(error, key) from error
                if not read:
                    raise StoreUnavailable(f"{told}: {came} bytes came", hint="The file is being written.", delivered=came)
                room = take(block[:read])
                came += read

    def revalidate(self, key: str, etag: str, *, cap: int) -> Fresh | NotModified:
        """Read a small file unless it still has ``etag``; see ``ports.TreeReader.revalidate``."""
        fd, size = self._open(key)
        try:
            now = os.fstat(fd)
            found = f'"{now.st_ino:x}-{now.st_size:x}-{now.st_mtime_ns:x}"'
            if etag and etag == found:
                return NotModified(etag)
            if size > cap:
                raise InvalidDocument(f"{self.url}: {key} has more than {cap} bytes", hint="Try another source.")
            data = os.pread(fd, cap + 1, 0)
        except OSError as error:
            raise self._fault(error, key) from error
        finally:
            os.close(fd)
        return Fresh(data, found)

    def close(self) -> None:
        """Let reads under way end at their next block."""
        self._closed = True

    def _block(self) -> memoryview:
        memory: memoryview | None = getattr(self._memory, "block", None)
        if memory is None:
            memory = self._memory.block = memoryview(bytearray(READ_BYTES))
        return memory

    def _open(self, key: str) -> tuple[int, int]:
        *folders, name = check_tree_key(key).split("/")
        with self._lock:
            self._requests += 1
        try:
            # The folder itself may be a link: that is the owner's choice, unlike links inside.
            at = os.open(self._root, _FOLDER)
            for folder in folders:
                outer = at
                try:
                    at = os.open(folder, _FOLDER | os.O_NOFOLLOW, dir_fd=outer)
                finally:
                    os.close(outer)
            try:
                fd = os.open(name, _FILE, dir_fd=at)
            finally:
                os.close(at)
        except OSError as error:
            raise self._fault(error, key) from error
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode):
            os.close(fd)
            raise ObjectMissing(f"{self.url}: {key} is not a file")
        return fd, status.st_size

    def _fault(self, error: OSError, key: str) -> ModelportError:
        told = f"{self.url}: {key}"
        match error.errno:
            case errno.ENOENT | errno.ENOTDIR:
                return ObjectMissing(f"{told}: there is no such file")
            case errno.ELOOP:
                return ObjectMissing(f"{told} leads through a link, which is not followed", hint="Copy the tree with its files.")
            case errno.EACCES | errno.EPERM:
                return AccessDenied(f"{told}: {error.strerror}", hint=f"Check who may read {self._root}.")
        return DiskError(f"{told}: {error.strerror or error}", hint="Check the disk or medium, then run it again.")
