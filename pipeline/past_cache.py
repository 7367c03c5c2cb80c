"""Large writes and reads between memory and disk without a copy in the system's page cache.

Takes a descriptor, bytes and a place in the file. What is written once and read by others does not belong in the cache:
the copy and the pages for it cost more than a hash of the same bytes (docs/adr/0116). Where the file system, or how memory
and place lie, does not allow it, the cache is used after all; ``fsync`` stays the caller's.

next: ``plan``
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import mmap
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

# Memory, place and size of such a write are multiples of this on any disk.
ALIGN_BYTES = 4 << 10
# At a time: enough to keep a disk busy, little enough to stop soon.
WRITE_BYTES = 8 << 20
HUGE_BYTES = 2 << 20
# From here on reading past the cache is worth it: it takes a descriptor of its own, and the system reads nothing ahead.
UNCACHED_BYTES = 1 << 20
# What most disks ask of the place of a read.
SECTOR_BYTES = 512
# At a time: of more at once Linux brings in only as much as the disk takes in one request, and few disks take less.
BRING_BYTES = 256 << 10
# One page of so many is never filled with what may be read: who needs memory next must not wait until some is freed.
SPARE_SHARE = 32
_BRINGS_IN = hasattr(os, "posix_fadvise") and "SC_AVPHYS_PAGES" in os.sysconf_names
# open(2), O_DIRECT; not every system has it.
_DIRECT = getattr(os, "O_DIRECT", 0)
# cachestat(2), Linux 6.5, which has this number on every processor.
_CACHESTAT = 451
_SYSCALL = getattr(ctypes.CDLL(None), "syscall", None) if sys.platform == "linux" else None


def aligned_memory(size: int, *, huge: bool = True) -> mmap.mmap:
    """Make memory of at least ``size`` bytes that a disk can read from, in huge pages where the system has them.

    Not ``huge`` is for much of it: a virtual machine gives free huge pages back to its host and waits for each of them again.
    """
    # Private, or else it would be a file in memory, which has no huge pages.
    memory = mmap.mmap(-1, max(1, -(-size // ALIGN_BYTES)) * ALIGN_BYTES, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    if huge and size >= HUGE_BYTES and hasattr(mmap, "MADV_HUGEPAGE"):
        try:
            memory.madvise(mmap.MADV_HUGEPAGE)
        except OSError:
            # A kernel without them: it was only a hint.
            return memory
    return memory


def write_past_cache(fd: int, view: memoryview, at: int) -> int:
    """Write ``view`` at ``at``, whole blocks of it past the cache; gives how many bytes went through the cache.

    No other thread may use ``fd`` meanwhile.

    Raises:
        OSError
    """
    head = min(-at % ALIGN_BYTES, len(view))
    _write_cached(fd, view[:head], at)
    done = head + _write_direct(fd, view[head : len(view) - (at + len(view)) % ALIGN_BYTES], at + head)
    _write_cached(fd, view[done:], at + done)
    return head + len(view) - done


def _write_cached(fd: int, view: memoryview, at: int) -> None:
    done = 0
    while done < len(view):
        done += os.pwrite(fd, view[done:], at + done)


def _write_direct(fd: int, view: memoryview, at: int) -> int:
    """Give how many bytes were written before the system refused."""
    done = 0
    with _direct(fd) as possible:
        try:
            while possible and done < len(view) and done % ALIGN_BYTES == 0:
                done += os.pwrite(fd, view[done : done + WRITE_BYTES], at + done)
        except OSError as error:
            if error.errno != errno.EINVAL:
                raise
    return done


def read_past_cache(fd: int, memory: memoryview, at: int, size: int) -> memoryview:
    """Read up to ``size`` bytes from ``at`` by a descriptor of ``opened_direct``; fewer only at the end of the file.

    ``memory`` is a view of ``aligned_memory``, two ALIGN_BYTES longer than ``size``; what is given is a part of it.

    Raises:
        OSError
    """
    before = at % ALIGN_BYTES
    wanted = -(-(before + size) // ALIGN_BYTES) * ALIGN_BYTES
    came = 0
    while came < before + size:
        more = os.preadv(fd, [memory[came:wanted]], at - before + came)
        came += more
        if not more or came % ALIGN_BYTES:
            break
    return memory[before : max(before, min(came, before + size))]


@contextmanager
def opened_direct(fd: int) -> Iterator[int | None]:
    """Another descriptor of the file ``fd``, for reading past the cache; None where that cannot be."""
    try:
        direct = os.open(f"/proc/self/fd/{fd}", os.O_RDONLY | os.O_CLOEXEC | _DIRECT) if _DIRECT else None
    except OSError:
        direct = None
    try:
        yield direct
    finally:
        if direct is not None:
            os.close(direct)


@contextmanager
def opened_uncached(fd: int, at: int, size: int) -> Iterator[int | None]:
    """As ``opened_direct``, but None also where the bytes are in the cache, which is faster then, or too few to be worth it."""
    if size < UNCACHED_BYTES or _cached_bytes(fd, at, size) * 2 > size:
        yield None
        return
    with opened_direct(fd) as direct:
        yield direct


def read_aligned(direct: int, room: memoryview, at: int) -> int:
    """Read whole sectors from ``at`` into ``room`` past the cache; gives how many bytes came, 0 where that cannot be.

    Raises:
        OSError: the disk fails.
    """
    size = len(room) - len(room) % SECTOR_BYTES
    if at % SECTOR_BYTES or size < UNCACHED_BYTES:
        return 0
    try:
        return os.preadv(direct, [room[:size]], at)
    except OSError as error:
        # The memory does not lie as this disk wants it, or the file system refuses after all.
        if error.errno != errno.EINVAL:
            raise
        return 0


def bring_in(fd: int, size: int) -> None:
    """Have the system read the first ``size`` bytes of a synced file into memory that lies idle, while others go on.

    No page of anybody is thrown out for it, and nobody waits for it: what does not come is read from the disk, as ever.
    """
    if size < UNCACHED_BYTES or not _BRINGS_IN or _idle_bytes() < size:
        return
    try:
        for at in range(0, size, BRING_BYTES):
            os.posix_fadvise(fd, at, min(BRING_BYTES, size - at), os.POSIX_FADV_WILLNEED)
    except OSError:
        # A file system that does not do it: it was only a hint.
        return


def _idle_bytes() -> int:
    """Memory that neither a process nor a file has, but for the share that stays free for who comes next."""
    return (os.sysconf("SC_AVPHYS_PAGES") - os.sysconf("SC_PHYS_PAGES") // SPARE_SHARE) * mmap.PAGESIZE


def _cached_bytes(fd: int, at: int, size: int) -> int:
    """How much of a stretch of a file is in the page cache; all of it, where the system does not say."""
    answer = (ctypes.c_uint64 * 5)()
    if _SYSCALL is None or _SYSCALL(_CACHESTAT, fd, (ctypes.c_uint64 * 2)(at, size), answer, 0):
        return size
    return int(answer[0]) * mmap.PAGESIZE


@contextmanager
def _direct(fd: int) -> Iterator[bool]:
    """Pass the cache by for the length of the block; False where that cannot be."""
    flags = fcntl.fcntl(fd, fcntl.F_GETFL)
    try:
        fcntl.fcntl(fd, fcntl.F_SETFL, flags | _DIRECT)
    except OSError:
        yield False
        return
    try:
        yield bool(_DIRECT)
    finally:
        fcntl.fcntl(fd, fcntl.F_SETFL, flags)
