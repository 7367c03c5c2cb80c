"""Signed metadata: opened strictly, and its signatures counted (The Update Framework, specification 1.0).

Takes bytes that may come from anybody, gives a ``Sealed`` document, of which nothing is known but who may have
signed which bytes; when enough of the right keys did, it is read as a ``Role``. The order of looks is modelport's
own: size and digest, strict JSON and the envelope, signatures, form, version (docs/format.md §8).

next: ``sitestate``
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from bundles.installer.canonical import canonical_bytes
from bundles.installer.ed25519 import is_signed_by
from bundles.installer.faults import IntegrityError, TrustError
from bundles.installer.strictjson import HINT, Fields, is_hex64, read_json

ROOT_BYTES = 512_000
TIMESTAMP_BYTES = 16_384
ROLE_BYTES = 16 << 20
TOP_ROLES = frozenset(["root", "targets", "snapshot", "timestamp"])
SIGNED_AT = "x-modelport-signed-at"
_HEX = re.compile(r"(?:[0-9a-f]{2})*")
# Of one width and with the largest unit first, so that times compare as texts do.
_INSTANT = re.compile(r"[0-9]{4}-(?:0[1-9]|1[0-2])-(?:0[1-9]|[12][0-9]|3[01])T(?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]Z")

# (a key as TUF writes it, signature, message) → whether it is one.
VerifySignature = Callable[[dict[str, Any], bytes, bytes], bool]


@dataclass(frozen=True)
class Sealed:
    """A document for which nobody vouched yet: its exact bytes, what is said to be signed in it, and by which key ids."""

    data: bytes
    what: str
    signed: Fields
    signatures: dict[str, bytes]
    signed_bytes: bytes

    @property
    def sha256(self) -> str:
        """Digest of the exact bytes; of a root it is the fingerprint."""
        return hashlib.sha256(self.data).hexdigest()

    @property
    def signed_sha256(self) -> str:
        """Digest of the signed part alone, by which two contents of one version are told apart."""
        return hashlib.sha256(self.signed_bytes).hexdigest()


@dataclass(frozen=True)
class Role(Sealed):
    """One version of one role, and when it expires."""

    version: int
    expires: str

    @property
    def signed_at(self) -> str:
        """When it was signed, as it says itself; of snapshots and timestamps."""
        return instant(self.signed.text(SIGNED_AT), self.what)


@dataclass(frozen=True)
class Signers:
    """Whose signatures a role needs: the keys, by their ids, and how many of them."""

    keys: dict[str, dict[str, Any]]
    threshold: int


def open_sealed(data: bytes, what: str, cap: int) -> Sealed:
    """Read of a document only what its signatures are judged by.

    Raises:
        IntegrityError: larger than ``cap`` bytes, not strict JSON, or no signed document.
    """
    fields = Fields(read_json(data, what, cap), what)
    signed = fields.object("signed")
    signatures: dict[str, bytes] = {}
    for one in fields.objects("signatures"):
        keyid, text = one.text("keyid"), one.text("sig")
        if keyid in signatures:
            raise IntegrityError(f"{what} carries two signatures under one key id", HINT)
        # An empty or malformed signature is one that does not verify; others of the document still may.
        signatures[keyid] = bytes.fromhex(text) if _HEX.fullmatch(text) else b""
    # All of it is spelled once, so that all of it is within the levels.
    canonical_bytes(fields.value, what)
    return Sealed(data, what, signed, signatures, canonical_bytes(signed.value, what))


def read_role(sealed: Sealed, kind: str) -> Role:
    """Read a document as a role.

    Raises:
        IntegrityError: it is none of this kind.
    """
    signed = sealed.signed
    if signed.text("_type") != kind or not signed.text("spec_version").startswith("1."):
        raise IntegrityError(f"{sealed.what} is of type {signed.value.get('_type')!r}, expected {kind!r} of TUF 1", HINT)
    return Role(**vars(sealed), version=signed.number("version", 1), expires=instant(signed.text("expires"), sealed.what))


def top_signers(root: Role, role: str) -> Signers:
    """Whom a root names for ``role``."""
    roles = root.signed.object("roles")
    if set(roles.value) != TOP_ROLES:
        raise IntegrityError(f"{root.what} does not name exactly the four top roles", HINT)
    return _signers(root.signed.object("keys"), roles.object(role))


def model_signers(targets: Role, model: str) -> Signers | None:
    """Whom the targets role names for ``model``; None where it delegates no such model, or not its own paths alone."""
    if "delegations" not in targets.signed.value:
        return None
    delegations = targets.signed.object("delegations")
    found = [one for one in delegations.objects("roles") if one.text("name") == model]
    if len(found) != 1 or found[0].texts("paths", []) != [f"{model}/*/*"]:
        return None
    return _signers(delegations.object("keys"), found[0])


def _signers(keys: Fields, role: Fields) -> Signers:
    keyids = role.texts("keyids")
    if len(set(keyids)) != len(keyids):
        raise IntegrityError(f"{role.what} names a key twice", HINT)
    known = {keyid: keys.object(keyid).value for keyid in keyids if keyid in keys.value}
    return Signers(known, role.number("threshold", 1))


def is_signed(sealed: Sealed, signers: Signers | None, verify: VerifySignature) -> bool:
    """Tell whether enough of ``signers`` signed ``sealed``."""
    return signers is not None and _count(sealed, signers, verify) >= signers.threshold


def check_signed(sealed: Sealed, signers: Signers | None, by: str, verify: VerifySignature) -> None:
    """Refuse ``sealed`` unless enough of ``signers``, whom ``by`` names, signed it.

    Raises:
        TrustError: with how many signed and how many must.
    """
    count = 0 if signers is None else _count(sealed, signers, verify)
    needed = 1 if signers is None else signers.threshold
    if count >= needed:
        return
    others = sorted({str(key.get("keytype")) for key in signers.keys.values()} - {"ed25519"}) if signers else []
    hint = "It was signed by somebody else, or altered: ask the publisher, and take another copy of the medium."
    if others:
        hint = f"Keys of type {', '.join(others)} are judged by modelport itself: invoke bundle.install"
    raise TrustError(f"{sealed.what} is signed by {count} of the {needed} keys it needs that {by} names", hint)


def _count(sealed: Sealed, signers: Signers, verify: VerifySignature) -> int:
    counted = set()
    for keyid, key in signers.keys.items():
        signature = sealed.signatures.get(keyid)
        if signature and verify(key, signature, sealed.signed_bytes):
            # One key under two ids counts once: an id is no digest of its key.
            counted.add((str(key.get("keytype")), str(Fields(key, keyid).object("keyval").value.get("public"))))
    return len(counted)


def verify_ed25519(key: dict[str, Any], signature: bytes, message: bytes) -> bool:
    """Judge a signature; the key's own type and scheme decide how, never the signature."""
    value = key.get("keyval")
    public = value.get("public") if isinstance(value, dict) else None
    if key.get("keytype") != "ed25519" or key.get("scheme") != "ed25519" or not is_hex64(public):
        return False
    return is_signed_by(bytes.fromhex(str(public)), signature, message)


def check_meta(data: bytes, meta: Fields) -> None:
    """Compare bytes with the length and sha256 that signed metadata gives for them.

    Raises:
        IntegrityError
    """
    hashes = meta.object("hashes")
    length = meta.number("length", default=len(data))
    found = hashlib.sha256(data).hexdigest()
    if set(hashes.value) != {"sha256"} or hashes.digest("sha256") != found or length != len(data):
        raise IntegrityError(
            f"{meta.what}: found {len(data)} bytes with sha256 {found}, expected {length} with {hashes.value.get('sha256')}", HINT
        )


def instant(text: str, what: str) -> str:
    """Give a time back as the format spells it, ``2026-11-22T10:00:00Z``."""
    if _INSTANT.fullmatch(text) is None:
        raise IntegrityError(f"{what}: {text[:40]!r} is not a time", HINT)
    return text
