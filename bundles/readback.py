"""Reading a volume back as the medium gives it, not as memory remembers it.

Takes the path of a volume that is synced, gives its sha256 and what is wrong with it.

next: ``bundles.side_files``
"""

from __future__ import annotations

import errno
import hashlib
import mmap
import os
from bisect import bisect
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from queue import SimpleQueue

import blake3 as _blake3

from bundles.hashing import Chain, drop_cache, frame_fault
from bundles.index import INDEX, Bundle, Layout, Placed
from bundles.medium import medium_error, opened
from bundles.runs import Run, stretches
from bundles.tape import BLOCK_BYTES
from bundles.ustar import BLOCK, TRAILER, filled, header_for
from pipeline.digest import Sha256
from pipeline.layout import part_name
from pipeline.past_cache import ALIGN_BYTES, aligned_memory, opened_direct, read_past_cache
from pipeline.workers import in_order, threads

READERS = 2
AHEAD = 4


def read_back(
    path: Path, bundle: Bundle, number: int, done: Callable[[int], None], *, chain: Chain | None = None
) -> tuple[Sha256, str]:
    """Read a volume past the cache: its sha256, and what is wrong with it, or "".

    ``chain`` is of bytes as they were written, if they were seen to be the right ones: they are again when every
    member is, so they need not be hashed twice.

    Raises:
        DiskError
    """
    try:
        with opened(path) as (fd, _):
            drop_cache(fd)
            layout = bundle.layout(number)
            fault = frame_fault(fd, bundle, layout)
            return (Sha256(""), fault) if fault else _read_members(fd, bundle, layout, done, chain or Chain())
    except OSError as error:
        raise medium_error(error, path) from error


def _read_members(fd: int, bundle: Bundle, layout: Layout, done: Callable[[int], None], chain: Chain) -> tuple[Sha256, str]:
    """One pass, first what the chain has not seen: it is hashed beside all else, and has the whole pass for it."""
    index = bundle.index(layout.number)
    head = header_for(INDEX, len(index)) + index + bytes(filled(len(index)) - len(index))
    whole = chain.digest.copy()
    whole.update(head[chain.size :])
    with (
        opened_direct(fd) as direct,
        ThreadPoolExecutor(1, "sha256") as hasher,
        threads(READERS, "read-back") as pool,
    ):
        memory = _Memory(fd, direct)
        check = _Check()
        work = [one for members in _turned(layout, chain) for one in stretches(members, {}, BLOCK_BYTES)]
        before: tuple[Future[None], mmap.mmap] | None = None
        for stretch, (held, block) in zip(work, in_order(pool, memory.read, work, ahead=AHEAD), strict=True):
            at = stretch[0].at
            hashing = hasher.submit(whole.update, block[max(0, chain.size - at) :])
            for run in stretch:
                fault = check.hear(run, block[run.at - at :][: run.size])
                if fault:
                    return Sha256(""), f"{run.placed.member.key}: {fault}"
                if run.ends:
                    done(run.placed.member.size)
            if before is not None:
                before[0].result()
                memory.give(before[1])
            before = hashing, held
    whole.update(bytes(TRAILER))
    return Sha256(whole.hexdigest()), ""


def _turned(layout: Layout, chain: Chain) -> tuple[Sequence[Placed], Sequence[Placed]]:
    """The members from the one on in which ``chain`` ends, and those before it."""
    begun = bisect(layout.members, chain.size, key=lambda placed: placed.at - BLOCK)
    first = max(0, begun - 1)
    return layout.members[first:], layout.members[:first]


class _Memory:
    """Memory that goes round, and how stretches come into it."""

    def __init__(self, fd: int, direct: int | None) -> None:
        self._fd = fd
        self._direct = direct
        self._free: SimpleQueue[mmap.mmap] = SimpleQueue()
        # Those ahead, the one that is looked at, and the one that is still hashed.
        for _ in range(AHEAD + 3):
            self._free.put(aligned_memory(BLOCK_BYTES + 2 * ALIGN_BYTES))

    def read(self, stretch: Sequence[Run]) -> tuple[mmap.mmap, memoryview]:
        """The memory, and the stretch in it; shorter if the file ends within it."""
        held = self._free.get()
        view, at = memoryview(held), stretch[0].at
        wanted = stretch[-1].at + stretch[-1].size - at
        if self._direct is not None:
            try:
                return held, read_past_cache(self._direct, view, at, wanted)
            except OSError as error:
                # Some file systems open a file for this, and refuse to read it so.
                if error.errno != errno.EINVAL:
                    raise
        size = 0
        while size < wanted and (came := os.preadv(self._fd, [view[size:wanted]], at + size)):
            size += came
        return held, view[:size]

    def give(self, held: mmap.mmap) -> None:
        """Take memory back; nobody may look at it any more."""
        self._free.put(held)


class _Check:
    """Holds the runs of one member after the other against header, digest and zeros."""

    def __init__(self) -> None:
        self._digest: _blake3.blake3 | hashlib._Hash = hashlib.sha256()

    def hear(self, run: Run, block: memoryview) -> str:
        """What is wrong with a run, or ""."""
        if len(block) < run.size:
            return "it ends within it"
        member = run.placed.member
        if run.begins:
            self._digest = _blake3.blake3() if part_name(member.key) else hashlib.sha256()
        if run.data is not None:
            what = "its header is not the one that the plan gives it" if run.begins else "what fills its last block is not zero"
            return "" if bytes(block) == run.data else what
        self._digest.update(block)
        if not run.ends:
            return ""
        found, expected = self._digest.hexdigest(), part_name(member.key) or member.sha256
        return "" if found == expected else f"its bytes have {self._digest.name} {found}, expected {expected}"
