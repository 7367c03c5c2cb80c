"""Canonical JSON: the bytes over which TUF metadata is signed.

Takes plain values, gives the one spelling that OLPC's canonical JSON has for them, as the signer wrote it: keys
sorted, no spaces, in a text only the quotation mark and the backslash escaped
(wiki.laptop.org/go/Canonical_JSON; the TUF specification §4.2.1 leaves the choice to us).

next: ``ed25519``
"""

from __future__ import annotations

import json
from typing import Any

from bundles.installer.faults import IntegrityError
from bundles.installer.strictjson import HINT

# Of objects and lists in one another: the same on every Python, whose own limit moves with its release and its stack.
LEVELS = 64


def canonical_bytes(value: Any, what: str = "it") -> bytes:
    """Spell ``value``, which ``what`` names for people.

    Raises:
        IntegrityError: it holds what canonical JSON cannot say, or more than 64 levels.
    """
    out: list[str] = []
    _spell(value, out, what, 0)
    return "".join(out).encode("utf-8")


def _spell(value: Any, out: list[str], what: str, level: int) -> None:
    if isinstance(value, str):
        out.append('"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"')
    elif value is None or isinstance(value, int):
        # Also true and false, which are numbers to Python and are spelled as in JSON.
        out.append(json.dumps(value))
    elif level == LEVELS:
        raise IntegrityError(f"{what} is nested too deeply: more than {LEVELS} levels", HINT)
    elif isinstance(value, list):
        out.append("[")
        for index, item in enumerate(value):
            out.append("," if index else "")
            _spell(item, out, what, level + 1)
        out.append("]")
    elif isinstance(value, dict):
        out.append("{")
        for index, name in enumerate(sorted(value)):
            out.append("," if index else "")
            _spell(name, out, what, level)
            out.append(":")
            _spell(value[name], out, what, level + 1)
        out.append("}")
    else:
        raise IntegrityError(f"{what} holds a {type(value).__name__}, which has no canonical spelling")
