"""zstd frames written by hand (RFC 8878), to say what no encoder would."""

from __future__ import annotations

import struct

MAGIC = b"\x28\xb5\x2f\xfd"
SKIPPABLE = b"\x50\x2a\x4d\x18"
RAW, RLE = 0, 1


def header(
    content_size: int | None, *, checksum: bool = True, window_log: int | None = None, dictionary: int | None = None
) -> bytes:
    """A frame header; without ``window_log`` it is a single segment, and its window the content."""
    single = window_log is None
    descriptor = (0 if content_size is None else 3) << 6 | single << 5 | checksum << 2 | (0 if dictionary is None else 1)
    out = MAGIC + bytes([descriptor])
    if window_log is not None:
        out += bytes([(window_log - 10) << 3])
    if dictionary is not None:
        out += bytes([dictionary])
    return out + (b"" if content_size is None else struct.pack("<Q", content_size))


def block(kind: int, size: int, body: bytes, *, last: bool = False) -> bytes:
    """One block; ``size`` is that of the body, or of what a run decodes to."""
    return (size << 3 | kind << 1 | last).to_bytes(3, "little") + body


def run(size: int) -> bytes:
    """Blocks that decode to ``size`` zeros, four bytes for each 128 KiB."""
    whole, rest = divmod(size, 128 << 10)
    return block(RLE, 128 << 10, b"\0") * whole + block(RLE, rest, b"\0", last=True)
