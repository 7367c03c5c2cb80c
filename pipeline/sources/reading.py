"""One source file, read through one descriptor and seen to stay the same.

Takes a path and what was known of it, gives a reader whose ``check_unchanged`` refuses a file that changed
meanwhile: device, inode, size, mtime and ctime before and after, and the name still leading to it.

next: ``sources.stat_cache``
"""

from __future__ import annotations

import errno
import os
import stat
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from pipeline.errors import SourceChanged, SourceError


@dataclass(frozen=True, slots=True)
class FileStat:
    """What tells that a file is still the same: times in ns since 1970, ``size`` in bytes."""

    device: int
    inode: int
    size: int
    mtime_ns: int
    ctime_ns: int
    executable: bool

    @classmethod
    def of(cls, status: os.stat_result) -> FileStat:
        """Take what matters from a stat."""
        return cls(
            status.st_dev,
            status.st_ino,
            status.st_size,
            status.st_mtime_ns,
            status.st_ctime_ns,
            bool(status.st_mode & stat.S_IXUSR),
        )


class SourceReader:
    """An open source file. Not safe for use by two threads at once where positions matter: none is kept."""

    def __init__(self, path: str, place: Path, expected: FileStat, descriptor: int) -> None:
        self.path = path
        self._place = place
        self._expected = expected
        self._descriptor = descriptor

    def read_at(self, offset: int, size: int) -> bytes:
        """Read up to ``size`` bytes from ``offset``; fewer only at the end of the file.

        Raises:
            SourceError: the disk fails.
        """
        try:
            return os.pread(self._descriptor, size, offset)
        except OSError as error:
            raise _unreadable(self.path, error) from error

    def read_into(self, offset: int, target: memoryview) -> None:
        """Fill ``target`` from ``offset``.

        Raises:
            SourceChanged: the file ends before that.
            SourceError: the disk fails.
        """
        filled = 0
        while filled < len(target):
            try:
                count = os.preadv(self._descriptor, [target[filled:]], offset + filled)
            except OSError as error:
                raise _unreadable(self.path, error) from error
            if count == 0:
                raise changed(self.path, f"it ends at {offset + filled} bytes, expected {self._expected.size}")
            filled += count

    def check_unchanged(self) -> None:
        """Refuse the file if it is no longer what it was when the folder was scanned.

        Raises:
            SourceChanged
        """
        try:
            named = self._place.lstat()
        except OSError:
            raise changed(self.path, "it is gone") from None
        found = FileStat.of(os.fstat(self._descriptor))
        # The name first: removing or replacing a file also shows in the ctime of the one that is open.
        if (named.st_dev, named.st_ino) != (found.device, found.inode):
            raise changed(self.path, "another file has taken its name")
        if found != self._expected:
            raise changed(self.path, difference(self._expected, found))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        os.close(self._descriptor)


def open_source(path: str, place: Path, expected: FileStat) -> SourceReader:
    """Open ``place`` for reading; ``path`` names it in messages.

    A name that became a link or a FIFO since it was listed is neither followed nor waited for.

    Raises:
        SourceError: it cannot be opened.
        SourceChanged: it is not the file that was listed.
    """
    try:
        descriptor = os.open(place, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except FileNotFoundError:
        raise changed(path, "it is gone") from None
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise changed(path, "a link has taken its name") from None
        raise _unreadable(path, error) from error
    reader = SourceReader(path, place, expected, descriptor)
    try:
        reader.check_unchanged()
    except SourceChanged:
        os.close(descriptor)
        raise
    return reader


def difference(expected: FileStat, found: FileStat) -> str:
    """Say in words which field differs first."""
    if (expected.device, expected.inode) != (found.device, found.inode):
        return "another file has taken its name"
    if expected.size != found.size:
        return f"it has {found.size} bytes, expected {expected.size}"
    if expected.executable != found.executable:
        return "its mode changed"
    return "it was written to"


def changed(path: str, what: str) -> SourceChanged:
    """The error for a file that changed under the publish."""
    return SourceChanged(
        f"{path} changed while it was being published: {what}",
        hint="Nothing became visible. Publish again when nobody writes to the folder.",
    )


def _unreadable(path: str, error: OSError) -> SourceError:
    return SourceError(f"{path} cannot be read: {error.strerror}", hint="Check the file's permissions and the disk.")
