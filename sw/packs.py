"""Small files of a first install, end to end: twenty requests instead of two hundred.

Takes files in order with their sizes, gives which of them share a pack. Pure.

next: ``sw.options``
"""

from __future__ import annotations

from collections.abc import Iterable

# Larger files gain nothing: their transfer outlasts the request.
SMALL_BYTES = 256 << 10
PACK_BYTES = 1 << 20


def plan_packs(files: Iterable[tuple[int, int]]) -> list[tuple[int, ...]]:
    """Divide (number, size in bytes) of files into packs; a file that would lie alone in one is left out."""
    packs: list[tuple[int, ...]] = []
    numbers: list[int] = []
    size = 0
    for number, bytes_ in files:
        if not 0 < bytes_ <= SMALL_BYTES:
            continue
        if numbers and size + bytes_ > PACK_BYTES:
            packs.append(tuple(numbers))
            numbers, size = [], 0
        numbers.append(number)
        size += bytes_
    packs.append(tuple(numbers))
    return [pack for pack in packs if len(pack) > 1]
