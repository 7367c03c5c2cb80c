"""Strict JSON: what Python's own reader lets pass is refused here.

Takes bytes that may come from anybody, gives plain values or ``IntegrityError``. Refused are: more bytes than
the cap, anything but UTF-8 without a byte-order mark, a key that stands twice in one object, NaN, Infinity and
every number that is not an integer within ±(2^53-1), half characters, and endless nesting (docs/format.md §3).

next: ``canonical``
"""

from __future__ import annotations

import json
import re
from typing import Any

from bundles.installer.faults import IntegrityError

INTEGER_LIMIT = 2**53 - 1
HINT = "It was not written by modelport, or it was altered: take another copy of the medium."
_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")
_HEX64 = re.compile(r"[0-9a-f]{64}")


def read_json(data: bytes, what: str, cap: int, hint: str = HINT) -> Any:
    """Decode ``data``; ``what`` names it for people, ``cap`` is in bytes, ``hint`` says what to do.

    Raises:
        IntegrityError: it breaks one of the rules above.
    """
    if len(data) > cap:
        raise IntegrityError(f"{what} has {len(data)} bytes, at most {cap} are allowed", hint)
    try:
        value = json.loads(
            data.decode("utf-8", errors="strict"),
            object_pairs_hook=_no_duplicates,
            parse_constant=_no_number,
            parse_float=_no_number,
            parse_int=_bounded,
        )
        if _SURROGATE.search(data):
            json.dumps(value, ensure_ascii=False).encode("utf-8")
    except RecursionError:
        raise IntegrityError(f"{what} is nested too deeply", hint) from None
    except ValueError as error:
        raise IntegrityError(f"{what} is not strict JSON: {error}", hint) from error
    return value


def write_json(value: Any) -> bytes:
    """The one spelling that modelport writes: sorted keys, no spaces, characters as they are, a newline at the end."""
    return json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":")).encode(errors="backslashreplace") + b"\n"


class Fields:
    """One object of a document, read field by field; a missing field or one of another type is refused by name."""

    def __init__(self, value: Any, what: str) -> None:
        if not isinstance(value, dict):
            raise IntegrityError(f"{what} is not an object", HINT)
        self.value: dict[str, Any] = value
        self.what = what

    def text(self, name: str, default: str | None = None) -> str:
        """A text."""
        found = self.value.get(name, default)
        return found if isinstance(found, str) else self._wrong(name, "a text", found)

    def number(self, name: str, least: int = 0, most: int = INTEGER_LIMIT, default: int | None = None) -> int:
        """A whole number from ``least`` to ``most``."""
        found = self.value.get(name, default)
        # ``True`` is an int to Python, not to JSON.
        right = type(found) is int and least <= found <= most
        return int(found) if right and found is not None else int(self._wrong(name, f"a number from {least} to {most}", found))

    def flag(self, name: str, *, default: bool | None = False) -> bool:
        """True or false."""
        found = self.value.get(name, default)
        return found if isinstance(found, bool) else self._wrong(name, "true or false", found)

    def digest(self, name: str) -> str:
        """64 lower-case hex digits."""
        found = self.value.get(name)
        return str(found) if is_hex64(found) else str(self._wrong(name, "64 lower-case hex digits", found))

    def items(self, name: str, default: list[Any] | None = None) -> list[Any]:
        """A list."""
        found = self.value.get(name, default)
        return found if isinstance(found, list) else self._wrong(name, "a list", found)

    def texts(self, name: str, default: list[Any] | None = None) -> list[str]:
        """A list of texts."""
        found = self.items(name, default)
        return found if all(isinstance(item, str) for item in found) else self._wrong(name, "a list of texts", found)

    def object(self, name: str, default: dict[str, Any] | None = None) -> Fields:
        """An object."""
        return Fields(self.value.get(name, default), f"{self.what}: {name}")

    def objects(self, name: str, default: list[Any] | None = None) -> list[Fields]:
        """A list of objects."""
        return [Fields(item, f"{self.what}: {name}[{index}]") for index, item in enumerate(self.items(name, default))]

    def _wrong(self, name: str, expected: str, found: Any) -> Any:
        raise IntegrityError(f"{self.what}: {name} is {str(found)[:60]!r}, expected {expected}", HINT)


def is_hex64(value: object) -> bool:
    """Whether ``value`` is a text of 64 lower-case hex digits."""
    return isinstance(value, str) and _HEX64.fullmatch(value) is not None


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"the key {twice[:80]!r} stands twice")
    return found


def _no_number(text: str) -> Any:
    raise ValueError(f"{text[:40]} is not an integer")


def _bounded(text: str) -> int:
    if len(text) > 17 or abs(int(text)) > INTEGER_LIMIT:
        raise ValueError(f"{text[:40]} is beyond 2^53-1")
    return int(text)
