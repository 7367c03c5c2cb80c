"""Reading a volume back as the medium gives it, not as memory remembers it.

Takes the path of a volume that is synced, gives its sha256 and what is wrong with it.

next: ``bundles.side_files``
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from queue import SimpleQueue
from typing import NamedTuple

import blake3 as _blake3

from bundles.hashing import drop_cache, frame_fault
from bundles.index import INDEX, Bundle, Layout, Placed, gap_after
from bundles.medium import medium_error, opened
from bundles.ustar import BLOCK, TRAILER, filled, header_for
from pipeline.digest import Sha256
from pipeline.layout import part_name
from pipeline.workers import in_order, threads

PIECE_BYTES = 4 << 20
READERS = 2
AHEAD = 6


class _Piece(NamedTuple):
    """Bytes of a volume: a member's header, some of its own, or its filling."""

    placed: Placed
    at: int
    size: int


def read_back(path: Path, bundle: Bundle, number: int, done: Callable[[int], None]) -> tuple[Sha256, str]:
    """Read a volume past the cache: its sha256, and what is wrong with it, or "".

    Raises:
        DiskError
    """
    try:
        with opened(path) as (fd, _):
            drop_cache(fd)
            layout = bundle.layout(number)
            fault = frame_fault(fd, bundle, layout)
            return (Sha256(""), fault) if fault else _read_members(fd, bundle, layout, done)
    except OSError as error:
        raise medium_error(error, path) from error


def _read_members(fd: int, bundle: Bundle, layout: Layout, done: Callable[[int], None]) -> tuple[Sha256, str]:
    """One pass in order: the digest of the whole is a chain, so it is hashed beside all else."""
    index = bundle.index(layout.number)
    whole = hashlib.sha256(header_for(INDEX, len(index)) + index + bytes(filled(len(index)) - len(index)))
    memory: SimpleQueue[bytearray] = SimpleQueue()
    # Those ahead, the one that is looked at, and the one that is still hashed.
    for _ in range(AHEAD + 3):
        memory.put(bytearray(PIECE_BYTES))

    def read(piece: _Piece) -> bytearray:
        held = memory.get()
        view, at = memoryview(held)[: piece.size], piece.at
        while view:
            came = os.preadv(fd, [view], at)
            if not came:
                # Shorter than a moment ago: what is missing is not what it must be.
                view[:] = bytes(len(view))
                break
            view, at = view[came:], at + came
        return held

    with ThreadPoolExecutor(1, "sha256") as hasher, threads(READERS, "read-back") as pool:
        check = _Check()
        pieces = list(_pieces(layout))
        before: tuple[Future[None], bytearray] | None = None
        for piece, held in zip(pieces, in_order(pool, read, pieces, ahead=AHEAD), strict=True):
            block = memoryview(held)[: piece.size]
            hashing = hasher.submit(whole.update, block)
            fault = check.hear(piece, block)
            if before is not None:
                before[0].result()
                memory.put(before[1])
            before = hashing, held
            if fault:
                return Sha256(""), f"{piece.placed.member.key}: {fault}"
            if piece.at < piece.placed.at:
                done(piece.placed.member.size)
    whole.update(bytes(TRAILER))
    return Sha256(whole.hexdigest()), ""


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
