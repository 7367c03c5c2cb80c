"""Documents: strict decoding and canonical encoding of everything that is JSON.

Takes bytes that may come from anybody, gives checked nouns or ``InvalidDocument``; takes nouns,
gives the one byte string they have. Nouns do not know JSON.

next: ``ports``
"""

from __future__ import annotations

import json
import re
from collections import Counter
from typing import Any, NoReturn, TypeVar

import msgspec

from pipeline.errors import InvalidDocument
from pipeline.manifest import ENCODINGS, FORMAT, FORMAT_VERSION, INTEGER_LIMIT, MANIFEST_BYTES, NEWER, Manifest

T = TypeVar("T")

DOCUMENT_BYTES = 16 << 20
_HINT = "The source was not written by modelport, or it was altered: try another source."


def encode_document(value: Any) -> bytes:
    """Encode as UTF-8 JSON with sorted keys, no spaces and one newline at the end."""
    return msgspec.json.encode(value, order="sorted") + b"\n"


def decode_document(data: bytes, kind: type[T], *, what: str, cap: int = DOCUMENT_BYTES, hint: str = _HINT) -> T:
    """Decode ``data`` into ``kind``; unknown fields are ignored, everything else is strict.

    Raises:
        InvalidDocument: larger than ``cap`` bytes, not UTF-8, not JSON, duplicate keys, a number
            that is not an integer within ±(2^53−1), or not the shape of ``kind``. ``what`` names the document,
            ``hint`` is what to do about one that has no other source.
    """
    return _shaped(check_json(data, what=what, cap=cap, hint=hint), kind, what, hint)


def encode_manifest(manifest: Manifest) -> bytes:
    """The manifest's bytes: the same on every machine for equal manifests."""
    return encode_document(manifest)


def decode_manifest(data: bytes, *, what: str = "the manifest") -> Manifest:
    """Decode and check a manifest. Law: ``decode_manifest(encode_manifest(m)) == m``.

    Raises:
        InvalidDocument: it breaks docs/format.md §3, or only a newer modelport can read it.
    """
    value = check_json(data, what=what, cap=MANIFEST_BYTES)
    if isinstance(value, dict) and not {"format", "format_version"} <= value.keys():
        # The noun has defaults for them; a document must say itself what it is.
        raise InvalidDocument(f"{what} does not say its format and format_version", hint=_HINT)
    try:
        manifest = _shaped(value, Manifest, what)
    except InvalidDocument:
        # What is new need not have the shape we know, and a person must learn which of the two it is.
        newer = _newer_than_us(value)
        if newer is None:
            raise
        raise InvalidDocument(f"{what} has {newer}", hint=NEWER) from None
    manifest.check()
    return manifest


def check_json(data: bytes, *, what: str, cap: int = DOCUMENT_BYTES, hint: str = _HINT) -> Any:
    """Refuse what decoders quietly accept: duplicate keys, NaN, floats, huge integers, lone surrogates, a BOM, UTF-16.

    Returns:
        The plain Python value, for callers that want it.
    """
    if len(data) > cap:
        raise InvalidDocument(f"{what} has {len(data)} bytes, at most {cap} are allowed", hint=hint)
    try:
        text = data.decode("utf-8", errors="strict")
        value = json.loads(
            text,
            object_pairs_hook=_no_duplicates,
            parse_constant=_no_number,
            parse_float=_no_number,
            parse_int=_bounded_integer,
        )
        if _SURROGATE.search(data):
            json.dumps(value, ensure_ascii=False).encode("utf-8")
        return value
    except RecursionError:
        raise InvalidDocument(f"{what} is nested too deeply", hint=hint) from None
    except ValueError as error:
        raise InvalidDocument(f"{what} is not strict JSON: {error}", hint=hint) from error


# Escapes that make half a character; pairs of them are fine, so what they made is looked at.
_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")


def _shaped(value: Any, kind: type[T], what: str, hint: str = _HINT) -> T:
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        raise InvalidDocument(f"{what} is not what it must be: {error}", hint=hint) from error


class _AnyChunk(msgspec.Struct, array_like=True):
    part: int
    offset: int
    stored: int
    plain: int
    blake3: str
    encoding: str


class _AnyFile(msgspec.Struct):
    path: str
    chunks: list[_AnyChunk]


class _AnyManifest(msgspec.Struct):
    """As much of the manifest's shape as it takes to see what is too new in it."""

    format: str
    format_version: int
    files: list[_AnyFile] = []


def _newer_than_us(value: Any) -> str | None:
    """Say what in a manifest is of a later format, or None."""
    if isinstance(value, dict) and value.get("format_version") != FORMAT_VERSION:
        # Nothing else of a later format may be taken for known.
        value = {**value, "files": []}
    try:
        found = msgspec.convert(value, _AnyManifest)
    except msgspec.ValidationError:
        return None
    if found.format == FORMAT and found.format_version > FORMAT_VERSION:
        return f"format_version {found.format_version}, expected {FORMAT_VERSION}"
    for file in found.files:
        for chunk in file.chunks:
            if chunk.encoding not in ENCODINGS:
                return f"the unknown encoding {chunk.encoding[:40]!r} in {file.path!r}, expected {', '.join(ENCODINGS)}"
    return None


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        twice = next(name for name, times in Counter(name for name, _ in pairs).items() if times > 1)
        raise ValueError(f"the key {twice[:80]!r} stands twice")
    return found


def _no_number(text: str) -> NoReturn:
    raise ValueError(f"{text[:40]} is not an integer")


def _bounded_integer(text: str) -> int:
    if len(text) > 17 or abs(int(text)) > INTEGER_LIMIT:
        raise ValueError(f"{text[:40]} is beyond 2^53-1")
    return int(text)
