"""Is every byte of a volume what its index promises? Header, bytes and filling of each member.

Takes an open file and a place in it, gives "" or what is wrong. A part is held against the BLAKE3 that names it, a
document against the sha256 in the plan; both together with the fixed headers cover the whole file.

next: ``bundles.runs``
"""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import blake3 as _blake3

from bundles.index import INDEX, Bundle, Layout, Placed, gap_after
from bundles.mapping import WINDOW_BYTES, mapped
from bundles.ustar import BLOCK, TRAILER, filled, header_for
from pipeline.layout import part_name
from pipeline.workers import in_order, threads

READ_BYTES = 512 << 10
# From here on a stretch is looked at where it lies in the cache: for less, mapping it costs more than a copy.
MAPPED_BYTES = 256 << 10
# Two cores of a peer's machine hash faster than most media read; more readers only make a disk seek.
THREADS = 2
_MEMORY = threading.local()


@dataclass(frozen=True, slots=True)
class Chain:
    """The sha256 of the first ``size`` bytes of a volume, to be gone on with."""

    digest: hashlib._Hash = field(default_factory=hashlib.sha256)
    size: int = 0


# (file descriptor, volume) of what is to be proven
Opened = tuple[int, Layout]


def frame_fault(fd: int, bundle: Bundle, layout: Layout) -> str:
    """Hold index and trailer against what the plan makes of them.

    Raises:
        OSError: the medium cannot be read.
    """
    index = bundle.index(layout.number)
    expected = header_for(INDEX, len(index)) + index
    expected += bytes(filled(len(expected)) - len(expected))
    if _pread(fd, len(expected), 0) != expected:
        return "its index is damaged"
    end = layout.size - TRAILER
    if os.fstat(fd).st_size != layout.size or _pread(fd, TRAILER, end) != bytes(TRAILER):
        return f"it does not end as it must after {layout.size} bytes"
    return ""


def member_fault(fd: int, placed: Placed) -> str:
    """Hold one member against its header and its digest.

    Raises:
        OSError: the medium cannot be read.
    """
    member, at = placed
    header = _pread(fd, BLOCK, at - BLOCK)
    if header != header_for(member.key, member.size):
        return "its header is not the one that the plan gives it"
    name = part_name(member.key)
    digest = _blake3.blake3() if name else hashlib.sha256()
    _hash(fd, at, member.size, digest)
    found, expected = digest.hexdigest(), name or member.sha256
    if found != expected:
        return f"its bytes have {'blake3' if name else 'sha256'} {found}, expected {expected}"
    gap, size = gap_after(placed)
    filling = _pread(fd, size, gap)
    return "" if filling == bytes(size) else "what fills its last block is not zero"


def member_faults(
    volumes: Sequence[Opened], look: Callable[[int, Placed], str], done: Callable[[int], None]
) -> Iterator[tuple[int, Placed, str]]:
    """Yield (place among ``volumes``, member, fault) of each member that is not right, in order; ``done`` hears bytes read."""
    work = [(place, fd, placed) for place, (fd, layout) in enumerate(volumes) for placed in layout.members]
    with threads(THREADS, "prove") as pool:
        faults = in_order(pool, lambda one: look(one[1], one[2]), work, ahead=2 * THREADS)
        for (place, _, placed), fault in zip(work, faults, strict=True):
            done(placed.member.size)
            if fault:
                yield place, placed, fault


def drop_cache(fd: int) -> None:
    """Let what is read next come from the medium, not from memory; everything must be synced before."""
    os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)


def _hash(fd: int, at: int, size: int, digest: _blake3.blake3 | hashlib._Hash) -> None:
    """Take a stretch of the file in, as far as the file goes."""
    end = at + size
    while end - at >= MAPPED_BYTES:
        wanted = min(WINDOW_BYTES, end - at)
        with mapped(fd, at, wanted) as view:
            if view is None:
                break
            digest.update(view)
        at += wanted
    for block in _blocks(fd, at, end - at):
        digest.update(block)


def _blocks(fd: int, at: int, size: int) -> Iterator[memoryview]:
    """Read in order into this thread's own memory; ends early where the file does."""
    memory: memoryview | None = getattr(_MEMORY, "block", None)
    if memory is None:
        memory = _MEMORY.block = memoryview(bytearray(READ_BYTES))
    while size > 0:
        came = os.preadv(fd, [memory[: min(READ_BYTES, size)]], at)
        if not came:
            return
        yield memory[:came]
        at, size = at + came, size - came


def _pread(fd: int, size: int, at: int) -> bytes:
    return b"".join(bytes(block) for block in _blocks(fd, at, size))
