"""Folders reached component by component: no link is followed that somebody may have planted.

Takes paths, gives descriptors; every error of the system becomes one that says what to do.

next: ``steps.landing``
"""

from __future__ import annotations

import ctypes
import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from pipeline.errors import DiskError, ModelportError, UsageError

FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
# Homes of others, and what lies above one's own, may often be passed through and not be listed.
PASSED = FOLDER | getattr(os, "O_PATH", 0)
# A FIFO that was planted must not make the opening wait.
FILE = os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK

# syncfs(2); only Linux has it.
_SYNCFS = getattr(ctypes.CDLL(None, use_errno=True), "syncfs", None)


def enter(folder_fd: int, name: str, *, make: bool, flags: int = FOLDER) -> int:
    """Open the folder ``name`` in a folder, making it if it is missing and ``make``; the other stays open."""
    try:
        return os.open(name, flags, dir_fd=folder_fd)
    except FileNotFoundError:
        if not make:
            raise
    # Another process may make it first: that is what is wanted.
    with suppress(FileExistsError):
        os.mkdir(name, dir_fd=folder_fd)
    return os.open(name, flags, dir_fd=folder_fd)


def open_folder(path: Path, *, make: bool = False) -> int:
    """Open a folder by its absolute path; no component may be a link.

    Raises:
        UsageError: a component is a link or no folder.
        DiskError: it cannot be made or opened.
        FileNotFoundError: it is not there and not to be made.
    """
    whole = Path(os.path.abspath(path))  # noqa: PTH100 (resolve() would follow the links that are to be refused)
    fd = os.open(whole.anchor, FOLDER)
    for number, name in enumerate(whole.parts[1:], 2):
        try:
            inner = enter(fd, name, make=make, flags=FOLDER if number == len(whole.parts) else PASSED)
        except FileNotFoundError:
            raise
        except OSError as error:
            raise _refusal(Path(*whole.parts[:number]), error) from error
        finally:
            os.close(fd)
        fd = inner
    return fd


@contextmanager
def opened_folder(path: Path, *, make: bool = False) -> Iterator[int]:
    """``open_folder`` for the length of the block."""
    fd = open_folder(path, make=make)
    try:
        yield fd
    finally:
        os.close(fd)


def open_parent(folder_fd: int, path: str, *, make: bool) -> tuple[int, str]:
    """Open the folder that holds the file ``path`` of a release; gives it and the file's own name."""
    *folders, name = path.split("/")
    fd = os.dup(folder_fd)
    for folder in folders:
        try:
            inner = enter(fd, folder, make=make)
        finally:
            os.close(fd)
        fd = inner
    return fd, name


def open_file(folder_fd: int, path: str, flags: int = os.O_RDONLY) -> int:
    """Open a regular file below a folder.

    Raises:
        OSError: it is missing, a link (ELOOP), or something else than a file (EINVAL).
    """
    parent_fd, name = open_parent(folder_fd, path, make=False)
    try:
        fd = os.open(name, flags | FILE, dir_fd=parent_fd)
    finally:
        os.close(parent_fd)
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise OSError(errno.EINVAL, "not a regular file", path)
    return fd


def walk_files(folder_fd: int, prefix: str = "") -> Iterator[tuple[str, bool]]:
    """Yield (path, is a regular file) of all that is below a folder and no folder itself; links are not followed."""
    with os.scandir(folder_fd) as entries:
        names = sorted(
            (entry.name, entry.is_dir(follow_symlinks=False), entry.is_file(follow_symlinks=False)) for entry in entries
        )
    for name, is_folder, is_file in names:
        if is_folder:
            fd = os.open(name, FOLDER, dir_fd=folder_fd)
            try:
                yield from walk_files(fd, f"{prefix}{name}/")
            finally:
                os.close(fd)
        else:
            yield prefix + name, is_file


def sync_folders(folder_fd: int) -> None:
    """Make the names in all folders below this one durable; its own are the caller's."""
    with os.scandir(folder_fd) as entries:
        names = [entry.name for entry in entries if entry.is_dir(follow_symlinks=False)]
    for name in names:
        fd = os.open(name, FOLDER, dir_fd=folder_fd)
        try:
            sync_folders(fd)
            os.fsync(fd)
        finally:
            os.close(fd)


def sync_file_system(fd: int) -> None:
    """Make all durable that was written to the file system under ``fd``.

    Raises:
        OSError: it could not write something.
    """
    if _SYNCFS is None:
        # All file systems, and none tells of its errors.
        os.sync()
    elif _SYNCFS(fd) != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))


def disk_error(error: OSError, where: Path | str, *, needed: int = 0) -> ModelportError:
    """What an error of the system at ``where`` means for a person; ``needed`` are the bytes that were to be written."""
    if error.errno in {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}:
        bytes_needed = f"; {needed} bytes are needed" if needed else ""
        return DiskError(f"{where}: {error.strerror}{bytes_needed}", hint="Free space there, then run it again: it goes on.")
    if error.errno == errno.EROFS:
        return DiskError(f"{where}: {error.strerror}", hint="Mount the file system writable, or choose another folder with --to.")
    return DiskError(f"{where}: {error.strerror or error}", hint="Check who owns the folder, the disk and the system's log.")


def _refusal(path: Path, error: OSError) -> ModelportError:
    if error.errno in {errno.ELOOP, errno.ENOTDIR}:
        if path.is_symlink():
            return UsageError(
                f"{path} is a link; links on the way to a destination are not followed",
                hint=f"If it is yours, name the folder it leads to: {path.resolve()}",
            )
        return UsageError(f"{path} is not a folder", hint="Choose another folder with --to.")
    return disk_error(error, path)
