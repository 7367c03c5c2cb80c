"""The site's folder: every file below it is reached without following a single link.

Takes the path of the site, gives a ``Folder`` whose methods take paths relative to it. Each component is opened
by its name in the folder before it, with O_NOFOLLOW: a link that somebody planted (``models -> /etc``) is
refused and never written through. What is written whole gets its name by a rename, after it is on the disk.

next: ``tufrules``
"""

from __future__ import annotations

import errno
import fcntl
import os
import resource
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from bundles.installer.faults import DiskError, UsageError, disk_fault

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_NO_LINKS = frozenset({errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL})
_LINKED = frozenset({errno.ELOOP, errno.ENOTDIR})
POINTER_BYTES = 4096


class Folder:
    """A folder and everything below it."""

    def __init__(self, path: str, *, make: bool) -> None:
        # The site itself may be reached through links: that is the choice of whoever named it.
        self.path = os.path.realpath(path)
        with self._told(""):
            if make:
                os.makedirs(self.path, exist_ok=True)
            self.fd = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)

    def close(self) -> None:
        """Let go of it."""
        os.close(self.fd)

    def shown(self, path: str) -> str:
        """The full path, for people."""
        return os.path.join(self.path, path) if path else self.path

    @contextmanager
    def lock(self, path: str, *, reading: bool = False) -> Iterator[None]:
        """Keep every other installation out of this folder; while ``reading`` only those that write.

        Raises:
            UsageError: one is running. DiskError.
        """
        with self._told(path):
            fd = self.open(path, os.O_RDONLY if reading else os.O_RDWR | os.O_CREAT, make=not reading)
        try:
            try:
                fcntl.flock(fd, (fcntl.LOCK_SH if reading else fcntl.LOCK_EX) | fcntl.LOCK_NB)
            except BlockingIOError:
                raise UsageError(f"another installation is running in {self.path}", "Wait for its end.") from None
            yield
        finally:
            os.close(fd)

    def open(self, path: str, flags: int, *, make: bool = False, mode: int = 0o644) -> int:
        """A descriptor of a file; OSError where it cannot be."""
        with self._parent(path, make=make) as (parent, name):
            fd = os.open(name, flags | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, mode, dir_fd=parent)
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            os.close(fd)
            raise OSError(errno.ELOOP, "not a regular file", path)
        return fd

    def open_read(self, path: str) -> int:
        """A descriptor of a file for reading.

        Raises:
            DiskError, UsageError
        """
        with self._told(path):
            return self.open(path, os.O_RDONLY)

    def read(self, path: str, cap: int) -> bytes | None:
        """All bytes of a file of at most ``cap``; None where there is none."""
        with self._told(path):
            try:
                fd = self.open(path, os.O_RDONLY)
            except FileNotFoundError:
                return None
            with os.fdopen(fd, "rb") as file:
                data = file.read(cap + 1)
        if len(data) > cap:
            raise UsageError(f"{self.shown(path)} has more than {cap} bytes", "It is none of ours: move it away.")
        return data

    def write(self, path: str, data: bytes, mode: int = 0o644) -> None:
        """Write a file whole: it has all its bytes on the disk before it has its name."""
        with self._told(path, len(data)), self._parent(path, make=True) as (parent, name):
            temporary = f".{name[:200]}.next"
            with suppress(FileNotFoundError):
                os.unlink(temporary, dir_fd=parent)
            fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode, dir_fd=parent)
            try:
                _write_all(fd, data)
                os.fsync(fd)
            finally:
                os.close(fd)
            os.replace(temporary, name, src_dir_fd=parent, dst_dir_fd=parent)
            os.fsync(parent)

    def point(self, path: str, target: str) -> None:
        """Let ``path`` lead to ``target``, by one rename: a link, or a pointer file where there are no links."""
        with self._told(path), self._parent(path, make=True) as (parent, name):
            temporary = f".{name[:200]}.next"
            with suppress(FileNotFoundError):
                os.unlink(temporary, dir_fd=parent)
            try:
                os.symlink(target, temporary, dir_fd=parent)
            except OSError as error:
                if error.errno not in _NO_LINKS:
                    raise
            else:
                os.replace(temporary, name, src_dir_fd=parent, dst_dir_fd=parent)
                os.fsync(parent)
                return
        self.write(path, target.encode() + b"\n")

    def pointed(self, path: str) -> str | None:
        """Where a link or pointer file of ours leads; None where there is neither."""
        with self._told(path):
            try:
                with self._parent(path) as (parent, name):
                    if stat.S_ISLNK(os.lstat(name, dir_fd=parent).st_mode):
                        return os.readlink(name, dir_fd=parent)
                    if stat.S_ISDIR(os.lstat(name, dir_fd=parent).st_mode):
                        return None
            except FileNotFoundError:
                return None
        return (self.read(path, POINTER_BYTES) or b"").decode("utf-8", "replace").rstrip("\n") or None

    def kind(self, path: str) -> str:
        """What stands there: "" for nothing, else folder, file, link or other."""
        with self._told(path):
            try:
                with self._parent(path) as (parent, name):
                    mode = os.lstat(name, dir_fd=parent).st_mode
            except FileNotFoundError:
                return ""
        return "link" if stat.S_ISLNK(mode) else "folder" if stat.S_ISDIR(mode) else "file" if stat.S_ISREG(mode) else "other"

    def names(self, path: str) -> list[str]:
        """Names in a folder, sorted; none where there is no folder."""
        with self._told(path):
            try:
                with self._opened(path) as fd:
                    return sorted(os.listdir(fd))
            except FileNotFoundError:
                return []

    def files(self, path: str) -> Iterator[str]:
        """Paths, below ``path``, of everything that is no folder."""
        for name in self.names(path):
            inner = f"{path}/{name}"
            if self.kind(inner) == "folder":
                yield from (f"{name}/{below}" for below in self.files(inner))
            else:
                yield name

    def make(self, path: str) -> None:
        """Make a folder and those above it."""
        with self._told(path), self._opened(path, make=True):
            pass

    def rename(self, old: str, new: str) -> None:
        """Give a file or folder another name; both folders are on the disk afterwards."""
        with self._told(new), self._parent(old) as (here, name), self._parent(new, make=True) as (there, final):
            os.rename(name, final, src_dir_fd=here, dst_dir_fd=there)
            os.fsync(there)
            os.fsync(here)

    def remove(self, path: str) -> None:
        """Remove a file, link or folder with all that is in it; nothing outside is touched through a link."""
        with self._told(path), suppress(FileNotFoundError), self._parent(path) as (parent, name):
            if not stat.S_ISDIR(os.lstat(name, dir_fd=parent).st_mode):
                os.unlink(name, dir_fd=parent)
                return
            for _, folders, files, fd in os.fwalk(name, topdown=False, follow_symlinks=False, dir_fd=parent):
                for inner in files:
                    os.unlink(inner, dir_fd=fd)
                for inner in folders:
                    if stat.S_ISLNK(os.lstat(inner, dir_fd=fd).st_mode):
                        os.unlink(inner, dir_fd=fd)
                    else:
                        os.rmdir(inner, dir_fd=fd)
            os.rmdir(name, dir_fd=parent)

    def sync(self, path: str) -> None:
        """Bring the names in a folder, and in those below it, to the disk."""
        with self._told(path), self._opened(path) as top:
            for _, _, _, fd in os.fwalk(".", follow_symlinks=False, dir_fd=top):
                os.fsync(fd)

    def check_room(self, size: int) -> None:
        """Refuse to begin what cannot be finished: ``size`` bytes must be free.

        Raises:
            DiskError
        """
        with self._told(""):
            found = os.fstatvfs(self.fd)
        free = found.f_bavail * found.f_frsize
        # What tells of no blocks at all, as some file systems over a network do, tells nothing of its room.
        if found.f_blocks and free < size:
            raise DiskError(
                f"{self.path}: {size} bytes are needed, {free} are free", "Make room, or keep fewer generations: --keep 1"
            )

    @contextmanager
    def _opened(self, path: str, *, make: bool = False) -> Iterator[int]:
        fd = os.dup(self.fd)
        try:
            for name in filter(None, path.split("/")):
                if make:
                    with suppress(FileExistsError):
                        os.mkdir(name, 0o755, dir_fd=fd)
                inner = os.open(name, _FOLDER, dir_fd=fd)
                os.close(fd)
                fd = inner
            yield fd
        finally:
            os.close(fd)

    @contextmanager
    def _parent(self, path: str, *, make: bool = False) -> Iterator[tuple[int, str]]:
        above, _, name = path.rpartition("/")
        with self._opened(above, make=make) as fd:
            yield fd, name

    @contextmanager
    def _told(self, path: str, size: int = 0) -> Iterator[None]:
        """Turn the system's errors into ours, naming the path."""
        try:
            yield
        except OSError as error:
            raise told(error, self.shown(path), size) from error


def allow_open_files(wanted: int) -> None:
    """Ask for as many open files; many systems allow 1,024 unless a program asks for more."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    if soft != resource.RLIM_INFINITY and soft < most:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))


def told(error: OSError, path: str, size: int = 0) -> DiskError | UsageError:
    """Our error for one of the system's about ``path``; ``size`` is the bytes that were to be written."""
    if error.errno in _LINKED:
        return UsageError(
            f"{path}: a link, or no folder, stands in the way: nothing is written through links",
            "See who put it there; remove it, or choose another --site.",
        )
    needed = f"; {size} bytes are needed" if size else ""
    return disk_fault(error, f"{path}{needed}")


def _write_all(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]
