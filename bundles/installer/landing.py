"""Where the files of one release grow: a folder in the state of the site, which gets its final name when all is right.

Takes the site and a manifest, gives a ``Landing``: files allocated at their full size, written at any place by any
thread, proven by sha256, made safe, and put in place by one rename. A release that stands already and was damaged
gets its bad files replaced one by one, each by a rename: a file that is in use is never missing.

next: ``wanted``
"""

from __future__ import annotations

import errno
import hashlib
import os
import stat
import threading
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from bundles.installer.faults import DiskError, UsageError
from bundles.installer.folders import Folder, told
from bundles.installer.layout import release_folder, staging
from bundles.installer.manifest import File, Manifest

BLOCK = 1 << 20
OPEN_FILES = 64
_NO_ROOM_AHEAD = frozenset({errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL})
_NO_MODES = frozenset({errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS})


class Landing:
    """The files of ``manifest`` with the numbers ``files``, on their way to ``destination``."""

    def __init__(self, site: Folder, manifest: Manifest, files: Sequence[int]) -> None:
        self.manifest = manifest
        self.files = tuple(files)
        self.folder = staging(manifest.sha256)
        self.destination = release_folder(manifest.release, manifest.kind)
        self.resumed = False
        # FAT and its like keep no executable bits.
        self.keeps_bits = True
        self._site = site
        self._open: OrderedDict[int, int] = OrderedDict()
        self._lock = threading.Lock()

    @property
    def size(self) -> int:
        """Bytes of the files to be written."""
        return sum(self.manifest.files[index].size for index in self.files)

    def allocated(self) -> int:
        """Bytes that an interrupted run allocated already."""
        total = 0
        for index in self.files:
            try:
                fd = self._site.open(f"{self.folder}/{self.manifest.files[index].path}", os.O_RDONLY)
            except OSError:
                continue
            total += min(os.fstat(fd).st_blocks * 512, self.manifest.files[index].size)
            os.close(fd)
        return total

    def allocate(self) -> bool:
        """Make room for the files, and remove what is none of them.

        Returns:
            Whether all of them were there already, from a run that was interrupted.

        Raises:
            DiskError
        """
        wanted = {self.manifest.files[index].path for index in self.files}
        self._site.make(self.folder)
        for path in list(self._site.files(self.folder)):
            if path not in wanted:
                self._site.remove(f"{self.folder}/{path}")
        # All of them are made, whatever was found of the first.
        there = [self._allocate(self.manifest.files[index]) for index in self.files]
        return all(there)

    def write(self, file: int, at: int, data: bytes | bytearray | memoryview) -> None:
        """Write bytes of a file at their place.

        Raises:
            DiskError
        """
        view = memoryview(data)
        try:
            with self._using(file) as fd:
                while view:
                    done = os.pwrite(fd, view, at)
                    view, at = view[done:], at + done
        except OSError as error:
            raise told(error, self._shown(file), len(view)) from error

    def bad_files(self) -> list[str]:
        """Paths of the files whose bytes are not what their sha256 says.

        Raises:
            DiskError
        """
        return [self.manifest.files[index].path for index in self.files if not self._is_right(index)]

    def settle(self) -> list[str]:
        """Give the files their modes and bring them to the disk.

        Returns:
            What people should be told of it.

        Raises:
            DiskError
        """
        for index in self.files:
            self.sync_file(index, mode=0o755 if self.manifest.files[index].executable else 0o644)
        self.close()
        self._site.sync(self.folder)
        if self.keeps_bits or not any(file.executable for file in self.manifest.files):
            return []
        return [f"{self._site.path} does not keep which files of {self.manifest.release} are executable"]

    def flush(self) -> None:
        """Bring what was written so far to the disk."""
        for index in self.files:
            self.sync_file(index)

    def take_place(self, *, replace: bool) -> None:
        """Give the folder its final name; or, to ``replace`` bad files, give each file its own.

        Raises:
            DiskError, UsageError
        """
        if not replace:
            self._site.rename(self.folder, self.destination)
            return
        for index in self.files:
            path = self.manifest.files[index].path
            self._site.rename(f"{self.folder}/{path}", f"{self.destination}/{path}")
        self._site.remove(self.folder)

    def discard(self) -> None:
        """Throw away what was written."""
        self.close()
        self._site.remove(self.folder)

    def close(self) -> None:
        """Let go of the files; what is in them stays for the next run."""
        with self._lock:
            for fd in self._open.values():
                os.close(fd)
            self._open.clear()

    def _allocate(self, file: File) -> bool:
        path = f"{self.folder}/{file.path}"
        try:
            fd = self._site.open(path, os.O_RDWR | os.O_CREAT, make=True)
            try:
                found = os.fstat(fd)
                if found.st_nlink != 1:
                    raise UsageError(f"{self._site.shown(path)} has a second name: it is none of ours", "Remove it.")
                was = found.st_size == file.size and file.size > 0
                if found.st_size > file.size:
                    os.ftruncate(fd, file.size)
                if found.st_size < file.size:
                    _reserve(fd, file.size)
            finally:
                os.close(fd)
        except OSError as error:
            raise told(error, self._site.shown(path), file.size) from error
        return was or not file.size

    def sync_file(self, index: int, mode: int | None = None) -> None:
        """Bring one file to the disk.

        Raises:
            DiskError
        """
        try:
            with self._using(index) as fd:
                if mode is not None and not _set_mode(fd, mode):
                    self.keeps_bits = False
                os.fsync(fd)
        except OSError as error:
            raise told(error, self._shown(index)) from error

    def _is_right(self, index: int) -> bool:
        try:
            with self._using(index) as fd:
                return sha256_of_file(fd) == self.manifest.files[index].sha256
        except OSError as error:
            raise told(error, self._shown(index)) from error

    def _shown(self, index: int) -> str:
        return self._site.shown(f"{self.folder}/{self.manifest.files[index].path}")

    @contextmanager
    def _using(self, file: int) -> Iterator[int]:
        """A descriptor of a file; the last ones used stay open."""
        with self._lock:
            fd = self._open.pop(file, -1)
        if fd < 0:
            fd = self._site.open(f"{self.folder}/{self.manifest.files[file].path}", os.O_RDWR)
        try:
            yield fd
        finally:
            self._give_back(file, fd)

    def _give_back(self, file: int, fd: int) -> None:
        extra = []
        with self._lock:
            if file in self._open:
                # Another thread opened it, too.
                extra.append(fd)
            else:
                self._open[file] = fd
            while len(self._open) > OPEN_FILES:
                extra.append(self._open.popitem(last=False)[1])
        for old in extra:
            os.close(old)


def bad_files_of(site: Folder, manifest: Manifest, folder: str, *, keeps_bits: bool) -> list[int]:
    """Numbers of the files of ``manifest`` that are missing or altered in an installed ``folder``.

    ``keeps_bits`` is False where the file system was seen not to keep whether a file is executable.

    Raises:
        DiskError
    """
    bad = []
    for index, file in enumerate(manifest.files):
        try:
            fd = site.open(f"{folder}/{file.path}", os.O_RDONLY)
        except OSError:
            bad.append(index)
            continue
        try:
            found = os.fstat(fd)
            right = found.st_size == file.size and (not keeps_bits or bool(found.st_mode & stat.S_IXUSR) == file.executable)
            if not right or sha256_of_file(fd) != file.sha256:
                bad.append(index)
        except OSError as error:
            raise DiskError(f"{site.shown(folder)}/{file.path} cannot be read: {error.strerror}", "Check the disk.") from error
        finally:
            os.close(fd)
    return bad


def sha256_of_file(fd: int) -> str:
    """Digest of all bytes of an open file."""
    digest, at = hashlib.sha256(), 0
    while True:
        block = os.pread(fd, BLOCK, at)
        if not block:
            return digest.hexdigest()
        digest.update(block)
        at += len(block)


def _set_mode(fd: int, mode: int) -> bool:
    """Set a file's mode; False where the file system keeps another one."""
    try:
        os.fchmod(fd, mode)
    except OSError as error:
        if error.errno not in _NO_MODES:
            raise
    return os.fstat(fd).st_mode & stat.S_IXUSR == mode & stat.S_IXUSR


def _reserve(fd: int, size: int) -> None:
    try:
        os.posix_fallocate(fd, 0, size)
    except (AttributeError, OSError) as error:
        # Where the file system cannot, glibc writes zeros and other C libraries say so.
        if getattr(error, "errno", errno.ENOSYS) not in _NO_ROOM_AHEAD:
            raise
        os.ftruncate(fd, size)
