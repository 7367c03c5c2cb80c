"""The tools an installation works with: Python's own, or faster ones that modelport lends.

Takes nothing, gives ``Tools``. Both sets give the same answers (one table of tests, two columns); they differ in
what they hash: without BLAKE3, which Python lacks, a part is proven whole by its sha256 before anything of it is
decoded, and each file by its sha256 afterwards; with it every chunk is, before and after.

next: ``landing``
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass

from bundles.installer.frames import join_pieces, pieces_of
from bundles.installer.tufrules import VerifySignature, verify_ed25519
from bundles.installer.zstds import Decoder

# (stored bytes, encoding, size of the plain bytes) → the plain bytes, or IntegrityError.
DecodeChunk = Callable[[memoryview, str, int], "bytes | bytearray | memoryview"]


@dataclass(frozen=True)
class Tools:
    """``blake3`` gives the hex digest of a buffer; ``decode`` is needed for compressed releases only."""

    verify: VerifySignature = verify_ed25519
    blake3: Callable[[memoryview], str] | None = None
    decode: DecodeChunk | None = None
    decoder: Decoder | None = None
    # Each may hold a part of 64 MiB while it is decoded.
    threads: int = min(2, os.cpu_count() or 1)


def decode_raw(stored: memoryview, encoding: str, plain: int) -> bytes | bytearray | memoryview:
    """Decode a chunk that needs no decoder, with what there always is."""
    return join_pieces([piece.stored for piece in pieces_of(stored, encoding, plain)], encoding, plain)
