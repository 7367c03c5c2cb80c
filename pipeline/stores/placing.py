"""How a finished file gets its name: whole or not at all, once or by comparison.

Takes descriptors of two folders and a name in each; moves one file between them. The create-only move
never opens the final name: it is ``link(2)``, or ``renameat2(2)`` with RENAME_NOREPLACE on file systems
without hard links (vfat, exFAT, some network mounts).

next: ``stores.directory``
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager

from pipeline.errors import UnsafeStore

RENAME_NOREPLACE = 1
_NO_LINKS_HERE = frozenset({errno.EPERM, errno.ENOSYS, errno.EOPNOTSUPP, errno.EMLINK, errno.EXDEV})
_NO_SUCH_RENAME = frozenset({errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP})


def place_new(temp: str, temp_fd: int, name: str, folder_fd: int) -> None:
    """Give the file ``temp`` the name ``name``, which nothing may have.

    Raises:
        FileExistsError: something has the name.
        UnsafeStore: this file system has neither hard links nor a rename that does not replace.
        OSError
    """
    try:
        os.link(temp, name, src_dir_fd=temp_fd, dst_dir_fd=folder_fd, follow_symlinks=False)
    except OSError as error:
        if error.errno not in _NO_LINKS_HERE:
            raise
        _rename_new(temp, temp_fd, name, folder_fd)
    else:
        os.unlink(temp, dir_fd=temp_fd)


def _rename_new(temp: str, temp_fd: int, name: str, folder_fd: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    rename = getattr(libc, "renameat2", None)
    if rename is None:
        raise UnsafeStore(_REFUSED, hint=_HINT)
    if rename(temp_fd, os.fsencode(temp), folder_fd, os.fsencode(name), ctypes.c_uint(RENAME_NOREPLACE)) == 0:
        return
    code = ctypes.get_errno()
    if code in _NO_SUCH_RENAME:
        raise UnsafeStore(_REFUSED, hint=_HINT)
    raise OSError(code, os.strerror(code), name)


@contextmanager
def locked(name: str, folder_fd: int) -> Iterator[None]:
    """Hold an exclusive ``flock`` on the file ``name``; the system drops it when a process dies."""
    fd = os.open(name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o666, dir_fd=folder_fd)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)


def remove_abandoned(name: str, folder_fd: int) -> None:
    """Remove the temporary file ``name`` unless a live process holds the lock that its writer keeps on it."""
    try:
        fd = os.open(name, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=folder_fd)
    except OSError:
        return
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # The lock is kept while the name goes: a writer that comes in between sees a file without a name.
        os.unlink(name, dir_fd=folder_fd)
    except OSError:
        # In use, swept by another, or not ours to remove: a leftover harms nothing.
        return
    finally:
        os.close(fd)


_REFUSED = "this file system can neither link nor rename without replacing: two publishers could overwrite each other"
_HINT = "Put the store on a local file system such as ext4, xfs or btrfs."
