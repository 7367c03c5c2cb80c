"""How numbers are spelled for people: so many things, so many bytes.

Takes a number, gives text.

next: ``release``
"""

from __future__ import annotations

_VOWELS = "aeiou"
# Verbs of many, and of one.
_OF_ONE = {"are": "is", "were": "was", "have": "has", "wait": "waits"}


def spell_count(count: int, thing: str) -> str:
    """Spell a number of things: 1 file, 2 files, 0 entries for "entry"."""
    many = f"{thing.removesuffix('y')}ies" if thing.endswith("y") and thing[-2] not in _VOWELS else f"{thing}s"
    return f"{count} {thing if count == 1 else many}"


def spell_subject(count: int, thing: str, verb: str) -> str:
    """Spell a number of things up to their verb, given as that of many: 1 file is, 2 files are."""
    return f"{spell_count(count, thing)} {_OF_ONE[verb] if count == 1 else verb}"


def spell_size(size: int) -> str:
    """Spell bytes for people: 1023 B, 1.5 KiB, 64.0 MiB."""
    if abs(size) < 1024:
        return f"{size} B"
    amount = float(size)
    for unit in ("KiB", "MiB", "GiB"):
        amount /= 1024
        # As it is shown: 1023.96 KiB would read 1024.0 KiB.
        if abs(round(amount, 1)) < 1024:
            return f"{amount:.1f} {unit}"
    return f"{amount / 1024:.1f} TiB"
