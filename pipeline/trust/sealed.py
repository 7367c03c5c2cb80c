"""Signed metadata as exact bytes with their meaning: opened strictly, verified, or newly signed.

Takes bytes that may come from anybody and gives a ``Sealed`` role, or takes a role and signers. The
order of looks is one, for every document and in the installer too (docs/format.md §8): size and digest,
then strict JSON and the envelope, then signatures over the signed part as it stands, and only then its
form, its version and its expiry. What nobody vouched for is not read as metadata.

next: ``roles``
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Generic, TypeVar

import msgspec
from securesystemslib.formats import encode_canonical
from securesystemslib.signer import Key, Signature, Signer
from tuf.api.exceptions import LengthOrHashMismatchError, UnsignedMetadataError
from tuf.api.metadata import Metadata, MetaFile, Root, Snapshot, Targets, Timestamp
from tuf.api.serialization import DeserializationError

from pipeline.digest import Sha256, sha256_of
from pipeline.errors import BadSignature, DigestMismatch, InvalidDocument, KeyUnusable
from pipeline.manifest import INTEGER_LIMIT
from pipeline.wire import check_json

R = TypeVar("R", Root, Timestamp, Snapshot, Targets)

# Those of the reference client (tuf.ngclient.UpdaterConfig), so that what we sign it can read.
ROOT_BYTES = 512_000
TIMESTAMP_BYTES = 16_384
# These two have a signed length; it is believed up to here.
SNAPSHOT_BYTES = 16 << 20
TARGETS_BYTES = 16 << 20

_HINT = "The tree was not written by modelport, or it was altered: try another source."
# Of objects and lists in one another: the same on every Python, whose own limit moves with its release and its stack.
LEVELS = 64
# Lower case and nothing between: a signature has one spelling.
_HEX = re.compile(r"(?:[0-9a-f]{2})*")


class _Signature(msgspec.Struct):
    keyid: str
    sig: str


class _Envelope(msgspec.Struct):
    signed: dict[str, Any]
    signatures: list[_Signature]


@dataclass(frozen=True)
class Envelope:
    """A document for which nobody vouched yet: its exact ``data``, what is said to be signed in it, and by which key ids."""

    data: bytes
    signed_bytes: bytes
    signatures: dict[str, Signature]


@dataclass(frozen=True)
class Sealed(Generic[R]):
    """One version of one role: its exact ``data``, what they say, and the canonical spelling of what is signed of it."""

    data: bytes
    metadata: Metadata[R]
    signed_bytes: bytes

    @property
    def signed(self) -> R:
        """The signed part. Never change it: make a copy."""
        return self.metadata.signed

    @property
    def version(self) -> int:
        """The role's version."""
        return self.metadata.signed.version

    @cached_property
    def sha256(self) -> Sha256:
        """Digest of the exact bytes; of a root it is the fingerprint."""
        return sha256_of(self.data)

    @cached_property
    def signed_sha256(self) -> Sha256:
        """Digest of the signed part alone, by which equivocation is judged."""
        return sha256_of(self.signed_bytes)

    @property
    def signatures(self) -> dict[str, Signature]:
        """The signatures by key id, also those that were added since it was opened."""
        return self.metadata.signatures

    @property
    def meta(self) -> MetaFile:
        """How a snapshot or timestamp names this version: number, length, sha256."""
        return MetaFile(self.version, len(self.data), {"sha256": self.sha256})


def open_envelope(data: bytes, *, what: str, cap: int) -> Envelope:
    """Read of a document only what its signatures are judged by.

    Raises:
        InvalidDocument: longer than ``cap`` bytes, not strict JSON, of more than 64 levels, or no signed document.
    """
    value = check_json(data, what=what, cap=cap)
    level = [value]
    for _ in range(LEVELS):
        level = [child for one in level for child in _within(one) if isinstance(child, dict | list)]
    if level:
        raise InvalidDocument(f"{what} is nested too deeply: more than {LEVELS} levels", hint=_HINT)
    try:
        found = msgspec.convert(value, _Envelope)
    except msgspec.ValidationError as error:
        raise InvalidDocument(f"{what} is no signed document: {error}", hint=_HINT) from error
    signatures = {one.keyid: Signature(one.keyid, one.sig) for one in found.signatures}
    if len(signatures) != len(found.signatures):
        raise InvalidDocument(f"{what} carries two signatures under one key id", hint=_HINT)
    return Envelope(data, str(encode_canonical(found.signed)).encode(), signatures)


def read_role(envelope: Envelope, kind: type[R], *, what: str) -> Sealed[R]:
    """Read what an envelope holds as a role of ``kind``.

    Raises:
        InvalidDocument: it is none.
    """
    try:
        metadata: Metadata[Any] = Metadata.from_bytes(envelope.data)
    except DeserializationError as error:
        cause = error.__cause__ or error
        raise InvalidDocument(f"{what} is not TUF metadata: {type(cause).__name__}: {cause}", hint=_HINT) from error
    signed = metadata.signed
    if not isinstance(signed, kind):
        raise InvalidDocument(f"{what} is of type {signed.type!r}, expected {kind.type!r}", hint=_HINT)
    if type(signed.version) is not int or not 1 <= signed.version <= INTEGER_LIMIT:
        raise InvalidDocument(f"{what} has version {signed.version!r}, expected 1 to 2^53-1", hint=_HINT)
    return Sealed(envelope.data, metadata, envelope.signed_bytes)


def open_sealed(data: bytes, kind: type[R], *, what: str, cap: int) -> Sealed[R]:
    """Read metadata without judging its signatures.

    Raises:
        InvalidDocument: longer than ``cap`` bytes, not strict JSON, or not a role of this kind.
    """
    return read_role(open_envelope(data, what=what, cap=cap), kind, what=what)


def open_signed(data: bytes, kind: type[R], delegator: Root | Targets, role: str, *, what: str, cap: int) -> Sealed[R]:
    """Read metadata that enough of the keys which ``delegator`` names for ``role`` have signed.

    Raises:
        BadSignature: they have not; then nobody knows what it would have been.
        InvalidDocument: as ``open_sealed``.
    """
    envelope = open_envelope(data, what=what, cap=cap)
    check_signed(delegator, role, envelope, what=what)
    return read_role(envelope, kind, what=what)


def check_meta(data: bytes, meta: MetaFile, *, what: str) -> None:
    """Compare bytes with the length and digest that signed metadata gives for them.

    Raises:
        DigestMismatch
    """
    try:
        meta.verify_length_and_hashes(data)
    except LengthOrHashMismatchError as error:
        raise DigestMismatch(f"{what}: {error}", hint=_HINT) from error


def is_signed(delegator: Root | Targets, role: str, document: Envelope | Sealed[Any]) -> bool:
    """Tell whether ``document`` carries enough valid signatures of the keys ``delegator`` names for ``role``."""
    count, threshold = _count(delegator, role, document)
    return count >= threshold


def check_signed(delegator: Root | Targets, role: str, document: Envelope | Sealed[Any], *, what: str) -> None:
    """Refuse ``document`` unless enough of the keys that ``delegator`` names for ``role`` signed it.

    Raises:
        BadSignature: with how many signed and how many must.
    """
    count, threshold = _count(delegator, role, document)
    if count < threshold:
        raise BadSignature(
            f"{what} is signed by {count} of the {threshold} keys it needs that {delegator.type} version "
            f"{delegator.version} names for {role}",
            hint="The tree was signed by somebody else, or a key was rotated: compare its root with `invoke trust.show`.",
        )


def seal(signed: R, signers: Iterable[Signer]) -> Sealed[R]:
    """Sign a role with every signer given.

    Raises:
        KeyUnusable: a signer refused.
    """
    metadata = Metadata(signed)
    for signer in signers:
        add_signature(metadata, signer)
    return Sealed(metadata.to_bytes(), metadata, metadata.signed_bytes)


def add_signature(metadata: Metadata[Any], signer: Signer) -> None:
    """Add one signature to ``metadata``.

    Raises:
        KeyUnusable: the signer refused.
    """
    try:
        metadata.sign(signer, append=True)
    except UnsignedMetadataError as error:
        cause = (str(error.__cause__ or error).strip() or type(error.__cause__).__name__).splitlines()[0]
        raise KeyUnusable(
            f"key {signer.public_key.keyid[:16]} cannot sign: {cause[:200]}",
            hint="Check the key's service or device, and that it may sign.",
        ) from error


def check_older_root(older: Sealed[Root], newer: Sealed[Root], *, what: str) -> None:
    """Refuse ``older`` as what came just before ``newer``, which is trusted, unless a key that is known by that signed it.

    Whoever forges one can list true keys beside their own; a signature of a true key they do not have.

    Raises:
        BadSignature
    """
    check_signed(older.signed, "root", newer, what=f"root {newer.version}")
    check_signed(older.signed, "root", older, what=what)
    known = {_public(key) for keyid, key in newer.signed.keys.items() if keyid in newer.signed.roles["root"].keyids}
    if not _signers(older.signed, "root", older)[0] & (known | _signers(older.signed, "root", newer)[0]):
        raise BadSignature(
            f"no key that vouches for root {newer.version} signed {what}", hint="Take the older root from its publisher."
        )


def _within(value: Any) -> Iterable[Any]:
    return value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()


def _count(delegator: Root | Targets, role: str, document: Envelope | Sealed[Any]) -> tuple[int, int]:
    signers, threshold = _signers(delegator, role, document)
    return len(signers), threshold


def _signers(delegator: Root | Targets, role: str, document: Envelope | Sealed[Any]) -> tuple[set[tuple[str, str]], int]:
    # A malformed signature is one that does not verify; others of the document still may.
    spelled = {keyid: one for keyid, one in document.signatures.items() if _HEX.fullmatch(one.signature)}
    try:
        result = delegator.get_verification_result(role, document.signed_bytes, spelled)
    except ValueError:
        # A role that nobody delegated cannot be signed by anybody.
        return set(), 1
    # A key id is not a digest of its key (python-tuf keeps it opaque): one key under two ids counts once.
    return {_public(key) for key in result.signed.values()}, result.threshold


def _public(key: Key) -> tuple[str, str]:
    return key.keytype, str(key.keyval.get("public"))
