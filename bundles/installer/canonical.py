"""Canonical JSON: the bytes over which TUF metadata is signed.

Takes plain values, gives the one spelling that OLPC's canonical JSON has for them, as the signer wrote it: keys
sorted, no spaces, in a text only the quotation mark and the backslash escaped
(wiki.laptop.org/go/Canonical_JSON; the TUF specification §4.2.1 leaves the choice to us).

next: ``ed25519``
"""

from __future__ import annotations

from typing import Any

from bundles.installer.faults import IntegrityError


def canonical_bytes(value: Any) -> bytes:
    """Spell ``value``.

    Raises:
        IntegrityError: it holds what canonical JSON cannot say.
    """
    out: list[str] = []
    _spell(value, out)
    return "".join(out).encode("utf-8")


def _spell(value: Any, out: list[str]) -> None:
    if isinstance(value, str):
        out.append('"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"')
    elif value is True:
        out.append("true")
    elif value is False:
        out.append("false")
    elif value is None:
        out.append("null")
    elif isinstance(value, int):
        out.append(str(value))
    elif isinstance(value, list):
        out.append("[")
        for index, item in enumerate(value):
            out.append("," if index else "")
            _spell(item, out)
        out.append("]")
    elif isinstance(value, dict):
        out.append("{")
        for index, name in enumerate(sorted(value)):
            out.append("," if index else "")
            _spell(name, out)
            out.append(":")
            _spell(value[name], out)
        out.append("}")
    else:
        raise IntegrityError(f"{type(value).__name__} has no canonical spelling")
