"""Keys as every store takes them: relative, and plain enough that no store reads them differently.

Takes a key, gives it back or refuses it. ``layout`` only makes keys that pass; this is the last
line before a file system or a URL.

next: ``stores.memory``
"""

from __future__ import annotations

from pipeline.layout import KEY_BYTES
from pipeline.release import NameRefused


def check_key(key: str, *, prefix: str = "") -> str:
    """Return ``key`` if every store can hold it.

    Raises:
        NameRefused: it is empty, absolute, too long with ``prefix``, or has an empty, ``.`` or ``..`` component.
    """
    try:
        size = len((prefix + key).encode("utf-8"))
    except UnicodeEncodeError:
        raise NameRefused(f"key {key!r} is refused: it is not valid UTF-8", hint=_HINT) from None
    if size > KEY_BYTES:
        raise NameRefused(f"key {key[:60]!r}… is refused: {size} bytes with the prefix, at most {KEY_BYTES}", hint=_HINT)
    if "\x00" in key or any(part in {"", ".", ".."} for part in key.split("/")):
        raise NameRefused(f"key {key!r} is refused: expected a relative path without empty, '.' or '..' components", hint=_HINT)
    return key


def store_prefix(text: str) -> str:
    """Normalise the prefix of a store: no slash at its start, one at its end, "" for none.

    Raises:
        NameRefused: it could not be the start of a key.
    """
    bare = text.strip("/")
    return f"{check_key(bare)}/" if bare else ""


_HINT = "Keys come from the tree's layout; a shorter store prefix may help."
