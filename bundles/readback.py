"""Reading a volume back as the medium gives it, not as memory remembers it.

Takes the path of a volume that is synced, gives its sha256 and what is wrong with it.

next: ``bundles.side_files``
"""

from __future__ import annotations

import errno
import hashlib
import mmap
import os
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from queue import SimpleQueue
from typing import NamedTuple

import blake3 as _blake3

from bundles.hashing import Chain, drop_cache, frame_fault
from bundles.index import INDEX, Bundle, Layout, Placed, gap_after
from bundles.medium import medium_error, opened
from bundles.ustar import BLOCK, TRAILER, filled, header_for
from pipeline.digest import Sha256
from pipeline.layout import part_name
from pipeline.past_cache import ALIGN_BYTES, aligned_memory, opened_direct, read_past_cache
from pipeline.workers import in_order, threads

PIECE_BYTES = 4 << 20
READERS = 2
AHEAD = 6
# From here on a piece is read without the cache; smaller ones stand close together, and the system reads ahead.
DIRECT_BYTES = 1 << 20


class _Piece(NamedTuple):
    """Bytes of a volume: a member's header, some of its own, or its filling."""

    placed: Placed
    at: int
    size: int


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
    """One pass in order: the digest of the whole is a chain, so it is hashed beside all else."""
    index = bundle.index(layout.number)
    begin = header_for(INDEX, len(index)) + index + bytes(filled(len(index)) - len(index))
    whole = chain.digest.copy()
    whole.update(begin[chain.size :])
    with (
        opened_direct(fd) as direct,
        ThreadPoolExecutor(1, "sha256") as hasher,
        threads(READERS, "read-back") as pool,
    ):
        memory = _Memory(fd, direct)
        check = _Check()
        pieces = list(_pieces(layout))
        before: tuple[Future[None], mmap.mmap] | None = None
        for piece, (held, block) in zip(pieces, in_order(pool, memory.read, pieces, ahead=AHEAD), strict=True):
            if len(block) < piece.size:
                return Sha256(""), f"{piece.placed.member.key}: it ends within it"
            hashing = hasher.submit(whole.update, block[max(0, chain.size - piece.at) :])
            fault = check.hear(piece, block)
            if before is not None:
                before[0].result()
                memory.give(before[1])
            before = hashing, held
            if fault:
                return Sha256(""), f"{piece.placed.member.key}: {fault}"
            if piece.at < piece.placed.at:
                done(piece.placed.member.size)
    whole.update(bytes(TRAILER))
    return Sha256(whole.hexdigest()), ""


class _Memory:
    """Memory that goes round, and how pieces come into it."""

    def __init__(self, fd: int, direct: int | None) -> None:
        self._fd = fd
        self._direct = direct
        self._free: SimpleQueue[mmap.mmap] = SimpleQueue()
        # Those ahead, the one that is looked at, and the one that is still hashed.
        for _ in range(AHEAD + 3):
            self._free.put(aligned_memory(PIECE_BYTES + 2 * ALIGN_BYTES))

    def read(self, piece: _Piece) -> tuple[mmap.mmap, memoryview]:
        """The memory, and the piece in it; shorter if the file ends within it."""
        held = self._free.get()
        view = memoryview(held)
        if self._direct is not None and piece.size >= DIRECT_BYTES:
            try:
                return held, read_past_cache(self._direct, view, piece.at, piece.size)
            except OSError as error:
                # Some file systems open a file for this, and refuse to read it so.
                if error.errno != errno.EINVAL:
                    raise
        size = 0
        while size < piece.size and (came := os.preadv(self._fd, [view[size : piece.size]], piece.at + size)):
            size += came
        return held, view[:size]

    def give(self, held: mmap.mmap) -> None:
        """Take memory back; nobody may look at it any more."""
        self._free.put(held)


def _pieces(layout: Layout) -> Iterator[_Piece]:
    for placed in layout.members:
        member, at = placed
        yield _Piece(placed, at - BLOCK, BLOCK)
        for start in range(0, member.size, PIECE_BYTES):
            yield _Piece(placed, at + start, min(PIECE_BYTES, member.size - start))
        gap, size = gap_after(placed)
        if size:
            yield _Piece(placed, gap, size)


class _Check:
    """Holds the pieces of one member after the other against header, digest and zeros."""

    def __init__(self) -> None:
        self._digest: _blake3.blake3 | hashlib._Hash = hashlib.sha256()

    def hear(self, piece: _Piece, block: memoryview) -> str:
        """What is wrong with a piece, or ""."""
        (member, at), name = piece.placed, part_name(piece.placed.member.key)
        end = at + member.size
        if piece.at < at:
            self._digest = _blake3.blake3() if name else hashlib.sha256()
            return "" if block == header_for(member.key, member.size) else "its header is not the one that the plan gives it"
        if piece.at >= end:
            return "" if not any(block) else "what fills its last block is not zero"
        self._digest.update(block)
        if piece.at + piece.size < end:
            return ""
        found, expected = self._digest.hexdigest(), name or member.sha256
        return "" if found == expected else f"its bytes have {'blake3' if name else 'sha256'} {found}, expected {expected}"
