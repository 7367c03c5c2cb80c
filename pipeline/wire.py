"""Documents: strict decoding and canonical encoding of everything that is JSON.

Takes bytes that may come from anybody, gives checked nouns or ``InvalidDocument``; takes nouns,
gives the one byte string they have. Nouns do not know JSON.

next: ``ports``
"""

from __future__ import annotations

import json
from typing import Any, NoReturn, TypeVar

import msgspec

from pipeline.errors import InvalidDocument
from pipeline.manifest import INTEGER_LIMIT, MANIFEST_BYTES, Manifest

T = TypeVar("T")

# RFC 8259 puts no limit on nesting; no document of ours is deeper than ten.
NESTING = 64
DOCUMENT_BYTES = 16 << 20


def encode_document(value: Any) -> bytes:
    """Encode as UTF-8 JSON with sorted keys, no spaces and one newline at the end."""
    return msgspec.json.encode(value, order="sorted") + b"\n"


def decode_document(data: bytes, kind: type[T], *, what: str, cap: int = DOCUMENT_BYTES) -> T:
    """Decode ``data`` into ``kind``; unknown fields are ignored, everything else is strict.

    Raises:
        InvalidDocument: larger than ``cap`` bytes, not UTF-8, not JSON, duplicate keys, a number
            that is not an integer within ±(2^53−1), or not the shape of ``kind``. ``what`` names the document.
    """
    check_json(data, what=what, cap=cap)
    try:
        return msgspec.json.decode(data, type=kind)
    except msgspec.MsgspecError as error:
        raise InvalidDocument(f"{what} is not what it must be: {error}", hint=_HINT) from error
    except RecursionError:
        raise InvalidDocument(f"{what} is nested too deeply", hint=_HINT) from None


def encode_manifest(manifest: Manifest) -> bytes:
    """The manifest's bytes: the same on every machine for equal manifests."""
    return encode_document(manifest)


def decode_manifest(data: bytes, *, what: str = "the manifest") -> Manifest:
    """Decode and check a manifest. Law: ``decode_manifest(encode_manifest(m)) == m``.

    Raises:
        InvalidDocument: it breaks docs/format.md §3.
    """
    manifest = decode_document(data, Manifest, what=what, cap=MANIFEST_BYTES)
    manifest.check()
    return manifest


def check_json(data: bytes, *, what: str, cap: int = DOCUMENT_BYTES) -> Any:
    """Refuse what decoders quietly accept: duplicate keys, NaN, floats, huge integers, a BOM, UTF-16.

    Returns:
        The plain Python value, for callers that want it.
    """
    if len(data) > cap:
        raise InvalidDocument(f"{what} has {len(data)} bytes, at most {cap} are allowed", hint=_HINT)
    try:
        text = data.decode("utf-8", errors="strict")
        return json.loads(
            text,
            object_pairs_hook=_no_duplicates,
            parse_constant=_no_number,
            parse_float=_no_number,
            parse_int=_bounded_integer,
        )
    except RecursionError:
        raise InvalidDocument(f"{what} is nested too deeply", hint=_HINT) from None
    except ValueError as error:
        raise InvalidDocument(f"{what} is not strict JSON: {error}", hint=_HINT) from error


_HINT = "The source was not written by modelport, or it was altered: try another source."


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"the key {twice[:80]!r} stands twice")
    return found


def _no_number(text: str) -> NoReturn:
    raise ValueError(f"{text[:40]} is not an integer")


def _bounded_integer(text: str) -> int:
    if len(text) > 17 or abs(int(text)) > INTEGER_LIMIT:
        raise ValueError(f"{text[:40]} is beyond 2^53-1")
    return int(text)
