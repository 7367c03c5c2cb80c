"""Damaged copies of one volume: each member from a copy in which it is whole, each chunk where no copy has the whole member.

Takes the file to put right and other copies of it, all at the places that the plan gives; writes into the first only what
was proven, so that it never gets worse.

next: ``bundles.repairing``
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from bundles.hashing import frame_fault, member_fault
from bundles.index import INDEX, Bundle, Layout, Placed, gap_after
from bundles.reader import BundleReader
from bundles.ustar import BLOCK, TRAILER, filled, header_for
from pipeline.digest import blake3_of
from pipeline.errors import ModelportError
from pipeline.layout import object_kind, part_key
from pipeline.wire import decode_manifest

COPY_BYTES = 1 << 20


class Stretch(NamedTuple):
    """Bytes of a part that have a digest of their own: a chunk as it is stored."""

    offset: int
    size: int
    blake3: str


def stretches(reader: BundleReader, bundle: Bundle) -> dict[str, list[Stretch]]:
    """The chunks of each part, as the manifests in a bundle say; a manifest that is damaged everywhere is passed by."""
    found: dict[str, dict[int, Stretch]] = {}
    for document in bundle.plan.documents:
        if object_kind(document.key) != "manifest":
            continue
        try:
            manifest = decode_manifest(b"".join(reader.get(document.key)))
        except ModelportError:
            continue
        for file in manifest.files:
            for chunk in file.chunks:
                key = part_key(manifest.parts[chunk.part].blake3)
                stretch = Stretch(chunk.offset, chunk.stored, chunk.stored_blake3 or chunk.blake3)
                found.setdefault(key, {})[chunk.offset] = stretch
    return {key: [by_offset[at] for at in sorted(by_offset)] for key, by_offset in found.items()}


def mend_volume(
    fd: int, bundle: Bundle, layout: Layout, others: Sequence[int], known: Mapping[str, list[Stretch]]
) -> list[Placed]:
    """Make the volume in ``fd`` as whole as ``others`` allow; gives the members that stay damaged.

    Raises:
        OSError: it cannot be written.
    """
    if os.fstat(fd).st_size > layout.size:
        os.ftruncate(fd, layout.size)
    if not _is_framed(fd, bundle, layout):
        index = bundle.index(layout.number)
        _write(fd, 0, header_for(INDEX, len(index)) + index + bytes(filled(len(index)) - len(index)))
        _write(fd, layout.size - TRAILER, bytes(TRAILER))
    damaged = [placed for placed in layout.members if not _is_whole(fd, placed)]
    return [placed for placed in damaged if not _mend(fd, placed, others, known.get(placed.member.key, []))]


def _is_whole(fd: int, placed: Placed) -> bool:
    try:
        return not member_fault(fd, placed)
    except OSError:
        return False


def _is_framed(fd: int, bundle: Bundle, layout: Layout) -> bool:
    try:
        return not frame_fault(fd, bundle, layout)
    except OSError:
        return False


def _mend(fd: int, placed: Placed, others: Sequence[int], chunks: Sequence[Stretch]) -> bool:
    member, at = placed
    # What is around the bytes follows from the plan alone.
    _write(fd, at - BLOCK, header_for(member.key, member.size))
    gap, size = gap_after(placed)
    _write(fd, gap, bytes(size))
    if _is_whole(fd, placed):
        return True
    for other in others:
        if _is_whole(other, placed):
            for block_at, block in _blocks(other, at, member.size):
                _write(fd, block_at, block)
            return _is_whole(fd, placed)
    for stretch in chunks:
        if not _holds(fd, at, stretch):
            data = next((data for other in others if (data := _holds(other, at, stretch))), b"")
            if data:
                _write(fd, at + stretch.offset, data)
    return _is_whole(fd, placed)


def _holds(fd: int, at: int, stretch: Stretch) -> bytes:
    """The bytes of a chunk, if they are right here; else none."""
    try:
        data = os.pread(fd, stretch.size, at + stretch.offset)
    except OSError:
        return b""
    return data if blake3_of(data) == stretch.blake3 else b""


def _blocks(fd: int, at: int, size: int) -> Iterator[tuple[int, bytes]]:
    for start in range(at, at + size, COPY_BYTES):
        yield start, os.pread(fd, min(COPY_BYTES, at + size - start), start)


def _write(fd: int, at: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        done = os.pwrite(fd, view, at)
        view, at = view[done:], at + done
