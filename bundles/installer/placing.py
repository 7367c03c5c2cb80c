"""From a part to files: verified before it is decoded, and again after.

Takes a reader of one part and its ``Job``, gives the plain bytes to ``write``. With BLAKE3 every chunk is proven
alone: its stored bytes before, its plain bytes after. Without it the whole part is read once, into memory or onto
the site's own disk, and proven by its sha256; only what was proven is decoded, never a second reading of the
medium; and the caller proves each file by its sha256 afterwards.

next: ``copying``
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager

from bundles.installer.faults import IntegrityError, disk_fault
from bundles.installer.frames import Piece, join_pieces, pieces_of
from bundles.installer.manifest import Chunk
from bundles.installer.strictjson import HINT
from bundles.installer.tools import Tools, decode_raw
from bundles.installer.wanted import Job, Target

BLOCK = 1 << 20
# A part that is longer is held on the site's disk while it is decoded.
MEMORY_BYTES = 64 << 20
BATCH_BYTES = 32 << 20

# (at, size) → those bytes of the part.
Read = Callable[[int, int], "bytes | memoryview"]
Write = Callable[[Target, "bytes | bytearray | memoryview"], None]


def place_part(read: Read, job: Job, tools: Tools, write: Write, scratch: str) -> None:
    """Take everything out of a part that ``job`` wants; ``scratch`` is a folder on the site's disk.

    Raises:
        IntegrityError: a digest differs, or a chunk breaks its encoding. DiskError.
    """
    if tools.blake3 is not None:
        for chunk, targets in job.in_order():
            stored = memoryview(read(chunk.offset, chunk.stored))
            _check_blake3(tools, stored, chunk.stored_blake3 or chunk.blake3, f"part {job.part.blake3} at {chunk.offset}")
            if chunk.encoding == "raw":
                _give(write, targets, stored)
                continue
            plain = (tools.decode or decode_raw)(stored, chunk.encoding, chunk.plain)
            _check_blake3(tools, memoryview(plain), chunk.blake3, f"a chunk of part {job.part.blake3}")
            _give(write, targets, plain)
        return
    with _held(read, job, scratch) as proven:
        for batch in _batches(job.in_order()):
            _place_batch(proven, batch, tools, write)


def check_part(blocks: Iterator[bytes | memoryview], job: Job, take: Callable[[bytes | memoryview], object]) -> None:
    """Give every block of a part to ``take``, and refuse at the end if it was not the part.

    Raises:
        IntegrityError
    """
    digest, size = hashlib.sha256(), 0
    for block in blocks:
        digest.update(block)
        size += len(block)
        take(block)
    if size != job.part.size or digest.hexdigest() != job.part.sha256:
        raise IntegrityError(
            f"part {job.part.blake3} has {size} bytes with sha256 {digest.hexdigest()}, "
            f"expected {job.part.size} with {job.part.sha256}",
            HINT,
        )


def blocks_of(read: Read, size: int) -> Iterator[bytes | memoryview]:
    """The bytes of a part from its beginning to its end."""
    for at in range(0, size, BLOCK):
        yield read(at, min(BLOCK, size - at))


@contextmanager
def _held(read: Read, job: Job, scratch: str) -> Iterator[Read]:
    """Read the part once, prove it, and give a reader of what was proven."""
    size = job.part.size
    if size <= MEMORY_BYTES:
        memory = bytearray()
        check_part(blocks_of(read, size), job, memory.extend)
        view = memoryview(memory)
        yield lambda at, length: view[at : at + length]
        return
    with ExitStack() as stack:
        try:
            file = stack.enter_context(tempfile.TemporaryFile(dir=scratch))
            check_part(blocks_of(read, size), job, file.write)
            file.flush()
        except OSError as error:
            raise disk_fault(error, f"{scratch}; {size} bytes are needed") from error
        yield lambda at, length: os.pread(file.fileno(), length, at)


def _place_batch(proven: Read, batch: Sequence[tuple[Chunk, list[Target]]], tools: Tools, write: Write) -> None:
    divided: list[list[Piece]] = []
    for chunk, _ in batch:
        divided.append(pieces_of(memoryview(proven(chunk.offset, chunk.stored)), chunk.encoding, chunk.plain))
    frames = [(piece.stored, piece.plain) for pieces in divided for piece in pieces if piece.framed]
    decoded = tools.decoder.decode(frames) if tools.decoder and frames else iter(())
    for (chunk, targets), pieces in zip(batch, divided):
        ready = [_next(decoded) if piece.framed else piece.stored for piece in pieces]
        _give(write, targets, join_pieces(ready, chunk.encoding, chunk.plain))
    if next(decoded, None) is not None:
        raise IntegrityError("a decoder gave more than its frames hold", HINT)


def _next(decoded: Iterator[bytes]) -> bytes:
    found = next(decoded, None)
    if found is None:
        raise IntegrityError("a decoder gave less than its frames hold", HINT)
    return found


def _batches(chunks: Sequence[tuple[Chunk, list[Target]]]) -> Iterator[list[tuple[Chunk, list[Target]]]]:
    """Chunks in runs of bounded size, so that one process of the zstd program serves many."""
    batch: list[tuple[Chunk, list[Target]]] = []
    size = 0
    for item in chunks:
        batch.append(item)
        size += item[0].stored
        if size >= BATCH_BYTES:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def _check_blake3(tools: Tools, data: memoryview, wanted: str, what: str) -> None:
    found = tools.blake3(data) if tools.blake3 else ""
    if found != wanted:
        raise IntegrityError(f"{what} has blake3 {found}, expected {wanted}", HINT)


def _give(write: Write, targets: Sequence[Target], plain: bytes | bytearray | memoryview) -> None:
    for target in targets:
        write(target, plain)
