"""The one form of tar that a volume has: plain files with fixed headers (POSIX.1-1988 ustar).

Takes a key and a size, gives the 512 bytes of its header. There is no parser: a reader makes the header that the index
promises and compares, so nothing that tar can say beside it (links, devices, sparse files, PAX) exists here.

next: ``bundles.index``
"""

from __future__ import annotations

BLOCK = 512
TRAILER = 2 * BLOCK
NAME_BYTES = 100
PREFIX_BYTES = 155
# Eleven octal digits.
MEMBER_BYTES = 8**11 - 1


def header_for(key: str, size: int) -> bytes:
    """Make the header of a member of ``size`` bytes (docs/format.md §10).

    Raises:
        ValueError: no ustar header can hold this key or size; no key of the tree is such a one.
    """
    name = key.encode("ascii")
    prefix = b""
    if len(name) > NAME_BYTES:
        prefix, _, name = name.rpartition(b"/")
    if not name or len(name) > NAME_BYTES or len(prefix) > PREFIX_BYTES or not 0 <= size <= MEMBER_BYTES:
        raise ValueError(f"no ustar header holds {key!r} with {size} bytes")
    before = name.ljust(100, b"\0") + b"0000644\0" + b"0000000\0" * 2 + b"%011o\0" % size + b"0" * 11 + b"\0"
    after = b"0" + bytes(100) + b"ustar\x0000" + bytes(80) + prefix.ljust(155, b"\0") + bytes(12)
    checksum = sum(before) + sum(after) + 8 * ord(" ")
    return before + b"%06o\0 " % checksum + after


def stated_size(header: bytes, key: str) -> int | None:
    """The size that ``header`` states, if it is the header of ``key`` to the last byte; else None."""
    digits = header[124:135]
    if len(header) != BLOCK or not digits.isdigit() or b"8" in digits or b"9" in digits:
        return None
    size = int(digits, 8)
    return size if header_for(key, size) == header else None


def filled(size: int) -> int:
    """``size`` rounded up to whole blocks."""
    return -(-size // BLOCK) * BLOCK


def member_bytes(size: int) -> int:
    """Bytes that a member takes in a volume: header, bytes, filling."""
    return BLOCK + filled(size)
