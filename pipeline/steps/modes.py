"""Executable bits: a file system that has none, such as FAT, shows all of its files alike, and that says nothing of them.

Takes an open file or folder, tells whether its mode means anything; and what modes this process gives to new ones.

next: ``steps.proofread``
"""

from __future__ import annotations

import errno
import os
import stat
from contextlib import suppress
from pathlib import Path

# As Linux names them; the others that have no modes are found out where a file is written.
_BARE = frozenset({"vfat", "msdos", "exfat"})
_REFUSED = frozenset({errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS})
MOUNTS = Path("/proc/self/mountinfo")
STATUS = Path("/proc/self/status")


def has_modes(fd: int) -> bool:
    """Whether the file system under ``fd`` can hold which files are executable; where nobody tells, it can."""
    device = os.fstat(fd).st_dev
    mounts = ""
    with suppress(OSError):
        mounts = MOUNTS.read_text("utf-8", "surrogateescape")
    return kind_of(f"{os.major(device)}:{os.minor(device)}", mounts) not in _BARE


def kind_of(device: str, mounts: str) -> str:
    """The type of the file system on ``device``, such as ``8:17``, by the text of proc_pid_mountinfo(5); "" where it is not there."""
    for line in mounts.splitlines():
        here, _, there = line.partition(" - ")
        if here.split(" ")[2:3] == [device]:
            return there.partition(" ")[0]
    return ""


def current_umask() -> int:
    """The umask of this process; asked of proc_pid_status(5), for to set it is the only other way to read it.

    A thread that makes a file in between gets another mode.
    """
    try:
        for line in STATUS.read_text("ascii", "replace").splitlines():
            if line.startswith("Umask:"):
                return int(line.partition(":")[2], 8)
    except OSError:
        # No /proc here.
        pass
    found = os.umask(0o077)
    os.umask(found)
    return found


def set_mode(fd: int, mode: int) -> bool:
    """Give a file its mode; False where the file system does not keep whether it is executable.

    Raises:
        OSError: the disk failed.
    """
    try:
        os.fchmod(fd, mode)
    except OSError as error:
        if error.errno not in _REFUSED:
            raise
    return os.fstat(fd).st_mode & stat.S_IXUSR == mode & stat.S_IXUSR
