"""The path of a request as names, decoded once: nothing in it can mean another place.

Takes the bytes between host and query, gives names, or None for what no route has. A name is compared with what a
catalogue lists and never joined to a path of the disk, so that this is the second of two fences.

next: ``ranges``
"""

from __future__ import annotations

import re

TARGET_BYTES = 8192
# A percent sign that begins no pair of hex digits.
_BAD_ESCAPE = re.compile(rb"%(?![0-9A-Fa-f]{2})")
_ESCAPE = re.compile(rb"%([0-9A-Fa-f]{2})")
_FORBIDDEN = re.compile(r"[\x00-\x1f\x7f\\]")


def split_target(raw: bytes) -> tuple[str, ...] | None:
    """Names of a path such as ``/models/bert-v1.0.0/a%20b``; the last one is "" where the path ends with a slash.

    A name may hold a slash that was written as ``%2F``: Hugging Face clients spell revisions so. An empty name, ``.``
    and ``..`` are refused in every spelling, and so are control characters, backslashes and what is not UTF-8.
    """
    if not raw.startswith(b"/") or len(raw) > TARGET_BYTES or _BAD_ESCAPE.search(raw):
        return None
    names = []
    for item in raw[1:].split(b"/"):
        try:
            name = _ESCAPE.sub(lambda found: bytes([int(found[1], 16)]), item).decode("utf-8")
        except UnicodeDecodeError:
            return None
        if _FORBIDDEN.search(name) or any(inner in {".", ".."} for inner in name.split("/")):
            return None
        names.append(name)
    if "" in names[:-1]:
        return None
    return tuple(names)


def join_target(names: tuple[str, ...]) -> str:
    """The path of these names. Law: ``split_target(join_target(names).encode()) == names`` for names that are allowed."""
    return "/" + "/".join(quote(name) for name in names)


_PLAIN = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~+@")


def quote(name: str) -> str:
    """A name as it stands in a URL path (RFC 3986 §3.3): everything that might mean something is escaped."""
    return "".join(chr(byte) if byte in _PLAIN else f"%{byte:02X}" for byte in name.encode())
