"""From one file's bytes to another's: what is there is copied, what is new is inserted (docs/web-format.md §4).

Takes the old and the new bytes, gives a gzip of copy and insert operations that some lines of JavaScript apply; and the same
way as ``dcz``, which browsers undo by themselves where a server offers it (RFC 9842). Pure.

next: ``sw.packs``
"""

from __future__ import annotations

import gzip
import hashlib
import zlib
from collections.abc import Iterator

import zstandard

from pipeline.errors import InvalidDocument

# RFC 9842 §4: a skippable frame of 32 bytes, the sha256 of the dictionary; then one frame of zstd.
_DCZ = bytes.fromhex("5e2a4d1820000000")
# Shorter matches cost more operations than they save.
_LEAST = 16
# A longer common run is looked for by doubling, compared in C.
_STEP = 64
# A patch is worth its request if it is clearly smaller than the file, compressed as a server would.
WORTH = 0.6


def make_patch(old: bytes, new: bytes) -> bytes:
    """Make the patch from ``old`` to ``new``; the same inputs give the same bytes."""
    operations = bytearray()
    for start, end, offset in _steps(old, new):
        if offset is None:
            operations += b"\0" + _number(end - start) + new[start:end]
        else:
            operations += b"\1" + _number(offset) + _number(end - start)
    return gzip.compress(bytes(operations), 9, mtime=0)


def apply_patch(old: bytes, patch: bytes, size: int) -> bytes:
    """Apply ``patch``; ``size`` is a cap on what comes out.

    Raises:
        InvalidDocument: it is no patch, reaches past the old bytes, or gives more than ``size``.
    """
    # An operation that inserts is as long as what it inserts; one that copies has at most 21 bytes.
    cap = 22 * size + 64
    unpacker = zlib.decompressobj(wbits=31)
    try:
        operations = unpacker.decompress(patch, cap)
    except zlib.error as error:
        raise _no_patch(str(error)) from None
    new = bytearray()
    at = 0
    while at < len(operations):
        kind = operations[at]
        first, at = _read_number(operations, at + 1)
        if kind == 0:
            new += operations[at : at + first]
            at += first
        elif kind == 1:
            length, at = _read_number(operations, at)
            if first + length > len(old):
                raise _no_patch("it copies from past the end")
            new += old[first : first + length]
        else:
            raise _no_patch(f"there is no operation {kind}")
        if len(new) > size or at > len(operations):
            raise _no_patch("it gives other bytes than it says")
    return bytes(new)


def make_dcz(old: bytes, new: bytes) -> bytes:
    """Compress ``new`` with ``old`` as its dictionary, as a server sends it under ``Content-Encoding: dcz``."""
    dictionary = zstandard.ZstdCompressionDict(old, dict_type=zstandard.DICT_TYPE_RAWCONTENT)
    parameters = zstandard.ZstdCompressionParameters.from_level(
        19, source_size=len(new), dict_size=len(old), window_log=max(20, (len(old) + len(new)).bit_length()), write_checksum=1
    )
    frame = zstandard.ZstdCompressor(dict_data=dictionary, compression_params=parameters).compress(new)
    return _DCZ + hashlib.sha256(old).digest() + frame


def is_worth(patch: bytes, new: bytes) -> bool:
    """Whether the patch saves enough beside the compressed file."""
    return len(patch) < WORTH * len(zlib.compress(new, 6))


def _steps(old: bytes, new: bytes) -> Iterator[tuple[int, int, int | None]]:
    """Divide ``new`` into (start, end, offset in ``old`` or None), in order."""
    places = {old[at : at + _LEAST]: at for at in range(len(old) - _LEAST, -1, -1)}
    done = at = 0
    expected = 0
    while at + _LEAST <= len(new):
        key = new[at : at + _LEAST]
        # Where the last copy went on is likelier than the first place with these bytes.
        found = expected if old[expected : expected + _LEAST] == key else places.get(key)
        if found is None:
            at += 1
            expected += 1
            continue
        length = _LEAST + _common(old, found + _LEAST, new, at + _LEAST)
        back = 0
        while at - back > done and found - back > 0 and old[found - back - 1] == new[at - back - 1]:
            back += 1
        start = at - back
        if start > done:
            yield done, start, None
        yield start, at + length, found - back
        done = at = at + length
        expected = found + length
    if done < len(new):
        yield done, len(new), None


def _common(old: bytes, i: int, new: bytes, j: int) -> int:
    """How many bytes are the same from ``old[i]`` and ``new[j]`` on."""
    length = 0
    step = _STEP
    while step:
        piece = old[i + length : i + length + step]
        if len(piece) == step and piece == new[j + length : j + length + step]:
            length += step
            step *= 2
        else:
            step //= 2
    return length


def _number(value: int) -> bytes:
    """Unsigned LEB128."""
    made = bytearray()
    while value > 0x7F:
        made.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*made, value])


def _read_number(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while at < len(data) and shift < 63:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
    raise _no_patch("a number does not end")


def _no_patch(why: str) -> InvalidDocument:
    return InvalidDocument(f"this is no patch: {why}", hint="Build the assets again: invoke web.build.")
