"""What a stored chunk is made of: plain runs and zstd frames, measured before any decoder sees a byte.

Takes a chunk's stored bytes, whose digest was verified, and its encoding; gives its pieces, and puts the decoded
pieces together again (docs/format.md §4). A frame must be exactly one zstd frame (RFC 8878) that states the size
we expect, has a checksum, asks for no dictionary and for a window of at most 8 MiB: so no decoder can be made to
allocate what we do not expect, whatever it is.

next: ``wheel_pins``
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

from bundles.installer.faults import IntegrityError
from bundles.installer.strictjson import HINT

WINDOW_BYTES = 8 << 20
PLANES = {"planes2": 2, "planes4": 4, "turned4": 4}
_MAGIC = b"\x28\xb5\x2f\xfd"
_RAW_PLANE = 1 << 31


class Piece(NamedTuple):
    """A run of stored bytes that becomes ``plain`` bytes: as they are, or through a zstd decoder."""

    stored: memoryview
    plain: int
    framed: bool


def pieces_of(stored: memoryview, encoding: str, plain: int) -> list[Piece]:
    """Divide a chunk's stored bytes.

    Raises:
        IntegrityError: they break the encoding.
    """
    if encoding == "raw":
        if len(stored) != plain:
            raise _broken(f"{len(stored)} raw bytes, expected {plain}")
        return [Piece(stored, plain, False)]
    if encoding == "zstd":
        check_frame(stored, plain)
        return [Piece(stored, plain, True)]
    return _plane_pieces(stored, PLANES[encoding], plain)


def join_pieces(pieces: list[bytes | memoryview], encoding: str, plain: int) -> bytes | bytearray | memoryview:
    """The plain bytes of a chunk from its decoded pieces."""
    width = PLANES.get(encoding)
    if width is None:
        return pieces[0]
    out = bytearray(plain)
    words = plain - plain % width
    if encoding == "turned4":
        pieces = [*pieces[:2], *_turned_back(pieces[2], pieces[3]), pieces[4]]
    for index in range(width):
        # Every width-th byte, from this one on: Python's own loop over bytes, at about a GB/s.
        out[index:words:width] = pieces[index]
    out[words:] = pieces[width]
    return out


def _turned_back(low: bytes | memoryview, high: bytes | memoryview) -> list[bytes]:
    """The upper two bytes of every word, their 16 bits rotated right by 3 (docs/format.md §4)."""
    # Python has no loop over two runs of bytes but its integers'.
    one, other, size = int.from_bytes(low, "little"), int.from_bytes(high, "little"), len(low)
    down, up = _masks(size)
    turned = (one >> 3 & down | other << 5 & up, other >> 3 & down | one << 5 & up)
    return [whole.to_bytes(size, "little") for whole in turned]


@lru_cache(4)
def _masks(size: int) -> tuple[int, int]:
    """What a byte keeps of its own five upper bits, and what it takes of its neighbour's three lower ones."""
    return int.from_bytes(b"\x1f" * size, "little"), int.from_bytes(b"\xe0" * size, "little")


def check_frame(frame: memoryview, plain: int) -> None:
    """Refuse what is not exactly one zstd frame of ``plain`` bytes that any decoder can afford.

    Raises:
        IntegrityError
    """
    if frame[:4] != _MAGIC or len(frame) < 6:
        raise _broken("it does not start with a zstd frame")
    flags = frame[4]
    single, checksum, dictionary = flags >> 5 & 1, flags >> 2 & 1, flags & 3
    if not checksum or dictionary or flags >> 3 & 1:
        raise _broken("its zstd frame has no checksum, asks for a dictionary, or is of a later format")
    at = 5
    window = 0
    if not single:
        exponent, mantissa = frame[at] >> 3, frame[at] & 7
        window = (1 << 10 + exponent) + (1 << 10 + exponent) // 8 * mantissa
        at += 1
    width = (1 if single else 0, 2, 4, 8)[flags >> 6]
    if not width or len(frame) < at + width:
        raise _broken("its zstd frame does not tell its size")
    size = int.from_bytes(frame[at : at + width], "little") + (256 if width == 2 else 0)
    at += width
    if size != plain:
        raise _broken(f"its zstd frame claims {size} bytes, expected {plain}")
    if max(window, size if single else 0) > WINDOW_BYTES:
        raise _broken(f"its zstd window is over {WINDOW_BYTES} bytes")
    end = _frame_end(frame, at)
    if end != len(frame):
        raise _broken(f"its zstd frame ends after {end} bytes, found {len(frame)}")


def _frame_end(frame: memoryview, at: int) -> int:
    """Where the frame ends, from its block headers alone (RFC 8878 §3.1.1.2)."""
    while at + 3 <= len(frame):
        head = int.from_bytes(frame[at : at + 3], "little")
        kind = head >> 1 & 3
        if kind == 3:
            break
        at += 3 + (1 if kind == 1 else head >> 3)
        if head & 1:
            return at + 4
    raise _broken("its zstd frame is cut off")


def _plane_pieces(stored: memoryview, width: int, plain: int) -> list[Piece]:
    head = 4 * width
    if len(stored) < head:
        raise _broken(f"{len(stored)} bytes are too few for {width} planes")
    count, rest = plain // width, plain % width
    lengths = [int.from_bytes(stored[at : at + 4], "little") for at in range(0, head, 4)]
    total = head + sum(length & ~_RAW_PLANE for length in lengths) + rest
    if total != len(stored):
        raise _broken(f"its planes account for {total} bytes, found {len(stored)}")
    at = head
    pieces = []
    for length in lengths:
        size = length & ~_RAW_PLANE
        piece = Piece(stored[at : at + size], count, not length & _RAW_PLANE)
        if piece.framed:
            check_frame(piece.stored, count)
        elif size != count:
            raise _broken(f"a raw plane has {size} bytes, expected {count}")
        pieces.append(piece)
        at += size
    return [*pieces, Piece(stored[at:], rest, False)]


def _broken(rule: str) -> IntegrityError:
    return IntegrityError(f"a stored chunk breaks its encoding: {rule}", HINT)
