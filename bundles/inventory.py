"""What a site has: ``inventory.json``, which it exports and the builder of the next bundle takes.

Takes bytes that came back from a site, gives a checked ``Inventory``. Whoever gives the site's public key has its signature
checked; without one the inventory is what its carrier says it is, which costs at most a bundle that does not fit.

next: ``bundles.selecting``
"""

from __future__ import annotations

import msgspec

from bundles.installer.canonical import canonical_bytes
from pipeline.digest import Sha256, is_hex64
from pipeline.errors import BadSignature, InvalidDocument
from pipeline.release import NameRefused, Release
from pipeline.trust.verdict import is_signature
from pipeline.wire import check_json, decode_document

FORMAT = "modelport-inventory"
FORMAT_VERSION = 1
_HINT = "Export it at the site anew: python3 SITE/bin/install.pyz --site SITE --inventory FILE, or invoke bundle.inventory"


class Installed(msgspec.Struct, frozen=True, kw_only=True):
    """A release that the site has."""

    release: str
    manifest_sha256: Sha256


class Inventory(msgspec.Struct, frozen=True, kw_only=True):
    """The signed part of an inventory."""

    format: str
    format_version: int
    root_fingerprint: Sha256
    snapshot: int
    made_at: str
    releases: tuple[Installed, ...]


class Signature(msgspec.Struct, frozen=True, kw_only=True):
    """A signature over the canonical form of ``signed``; hex."""

    keyid: str
    sig: str


class Envelope(msgspec.Struct, frozen=True, kw_only=True):
    """``inventory.json``."""

    signed: Inventory
    signatures: tuple[Signature, ...]


def read_inventory(data: bytes, *, what: str, site_key: str = "") -> tuple[Inventory, bool]:
    """Read an inventory; gives it and whether ``site_key``, the site's Ed25519 key in hex, signed it.

    Raises:
        BadSignature: a key was given, and it did not sign this.
        InvalidDocument: it breaks docs/format.md §10.
    """
    envelope = decode_inventory(data, what=what)
    if not site_key:
        return envelope.signed, False
    # As it was written: fields that this version does not know are signed, too.
    message = canonical_bytes(check_json(data, what=what)["signed"])
    key = {"keytype": "ed25519", "scheme": "ed25519", "keyval": {"public": site_key}}
    for signature in envelope.signatures:
        try:
            raw = bytes.fromhex(signature.sig)
        except ValueError:
            continue
        if is_signature(key, raw, message):
            return envelope.signed, True
    raise BadSignature(
        f"{what} is not signed by the key {site_key}", hint="Ask the site for its key by another way, and export it anew there."
    )


def decode_inventory(data: bytes, *, what: str) -> Envelope:
    """Read an inventory; its signatures are not judged.

    Raises:
        InvalidDocument: it breaks docs/format.md §10.
    """
    found = decode_document(data, Envelope, what=what, hint=_HINT)
    signed = found.signed
    if signed.format != FORMAT or signed.format_version != FORMAT_VERSION:
        raise InvalidDocument(
            f"{what} has format {signed.format!r} version {signed.format_version}, expected {FORMAT!r} {FORMAT_VERSION}",
            hint=_HINT,
        )
    for one in signed.releases:
        try:
            Release.parse(one.release)
        except NameRefused as error:
            raise InvalidDocument(f"{what}: {error}", hint=_HINT) from error
        if not is_hex64(one.manifest_sha256):
            raise InvalidDocument(f"{what}: the manifest of {one.release} has a malformed digest", hint=_HINT)
    if not is_hex64(signed.root_fingerprint):
        raise InvalidDocument(f"{what}: its root fingerprint is malformed", hint=_HINT)
    return found
