"""Signed metadata as exact bytes with their meaning: opened strictly, verified, or newly signed.

Takes bytes that may come from anybody and gives a ``Sealed`` role, or takes a role and signers. The
order of checks is TUF's (theupdateframework.github.io/specification §5): size before digest before
signature before version before expiry; each caller does its own steps in that order.

next: ``roles``
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Generic, TypeVar

from securesystemslib.signer import Key, Signer
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


@dataclass(frozen=True)
class Sealed(Generic[R]):
    """One version of one role: its exact ``data``, and what they say."""

    data: bytes
    metadata: Metadata[R]

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
        return sha256_of(self.metadata.signed_bytes)

    @property
    def meta(self) -> MetaFile:
        """How a snapshot or timestamp names this version: number, length, sha256."""
        return MetaFile(self.version, len(self.data), {"sha256": self.sha256})


def open_sealed(data: bytes, kind: type[R], *, what: str, cap: int) -> Sealed[R]:
    """Read metadata without judging its signatures.

    Raises:
        InvalidDocument: longer than ``cap`` bytes, not strict JSON, or not a role of this kind.
    """
    check_json(data, what=what, cap=cap)
    try:
        metadata: Metadata[Any] = Metadata.from_bytes(data)
    except DeserializationError as error:
        cause = error.__cause__ or error
        raise InvalidDocument(f"{what} is not TUF metadata: {type(cause).__name__}: {cause}", hint=_HINT) from error
    signed = metadata.signed
    if not isinstance(signed, kind):
        raise InvalidDocument(f"{what} is of type {signed.type!r}, expected {kind.type!r}", hint=_HINT)
    if type(signed.version) is not int or not 1 <= signed.version <= INTEGER_LIMIT:
        raise InvalidDocument(f"{what} has version {signed.version!r}, expected 1 to 2^53-1", hint=_HINT)
    return Sealed(data, metadata)


def check_meta(data: bytes, meta: MetaFile, *, what: str) -> None:
    """Compare bytes with the length and digest that signed metadata gives for them.

    Raises:
        DigestMismatch
    """
    try:
        meta.verify_length_and_hashes(data)
    except LengthOrHashMismatchError as error:
        raise DigestMismatch(f"{what}: {error}", hint=_HINT) from error


def is_signed(delegator: Root | Targets, role: str, sealed: Sealed[Any]) -> bool:
    """Tell whether ``sealed`` carries enough valid signatures of the keys ``delegator`` names for ``role``."""
    count, threshold = _count(delegator, role, sealed)
    return count >= threshold


def check_signed(delegator: Root | Targets, role: str, sealed: Sealed[Any], *, what: str) -> None:
    """Refuse ``sealed`` unless enough of the keys that ``delegator`` names for ``role`` signed it.

    Raises:
        BadSignature: with how many signed and how many must.
    """
    count, threshold = _count(delegator, role, sealed)
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
    return Sealed(metadata.to_bytes(), metadata)


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


def _count(delegator: Root | Targets, role: str, sealed: Sealed[Any]) -> tuple[int, int]:
    signers, threshold = _signers(delegator, role, sealed)
    return len(signers), threshold


def _signers(delegator: Root | Targets, role: str, sealed: Sealed[Any]) -> tuple[set[tuple[str, str]], int]:
    try:
        result = delegator.get_verification_result(role, sealed.metadata.signed_bytes, sealed.metadata.signatures)
    except ValueError:
        # A role that nobody delegated cannot be signed by anybody.
        return set(), 1
    # A key id is not a digest of its key (python-tuf keeps it opaque): one key under two ids counts once.
    return {_public(key) for key in result.signed.values()}, result.threshold


def _public(key: Key) -> tuple[str, str]:
    return key.keytype, str(key.keyval.get("public"))
