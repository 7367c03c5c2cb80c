"""The doors to everything outside: object stores, CDNs, and sources of part bytes.

A port lets out only errors of ``pipeline.errors``, whatever the library beneath raised. Retry, dry
run and fault injection are wrappers that are themselves stores. The contract suite in
tests/contracts/ checks the sentences of these docstrings against every implementation.

next: ``plan``
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from typing_extensions import Buffer

from pipeline.digest import Sha256
from pipeline.errors import InvalidDocument

BLOCK = 1 << 20


@dataclass(frozen=True, slots=True)
class ObjectInfo:
    """What a store says of an object.

    ``sha256`` is there only if the store itself computed or verified it over the whole object; a
    digest that an uploader merely claimed is never put here. ``etag`` is opaque.
    """

    key: str
    size: int
    modified_at: datetime
    etag: str
    sha256: Sha256 | None = None


@dataclass(frozen=True, slots=True)
class StoreProperties:
    """What differs between stores that keep the same contract.

    ``create_only`` and ``compare_and_swap``: True or False when the kind of store settles it, None
    when only a probe can tell. ``keeps_sha256``: ``head`` reports a digest the store verified.
    """

    create_only: bool | None
    compare_and_swap: bool | None
    keeps_sha256: bool


class ObjectStore(Protocol):
    """A flat map from keys to immutable-by-convention bytes.

    * After ``put`` returns, ``get``, ``head`` and ``list`` show exactly those bytes, on every client.
    * A failed ``put`` leaves the old object or none, never a torn one.
    * Content type and cache rule of an object come from ``layout.headers_for(key)``.
    * Keys are relative; the store adds its prefix and never lets it show.
    * Methods may be called from several threads at once.
    """

    @property
    def url(self) -> str:
        """Where this is, for people: no credentials in it."""
        ...

    @property
    def properties(self) -> StoreProperties:
        """What this store can do."""
        ...

    def put(
        self,
        key: str,
        body: Buffer,
        *,
        sha256: Sha256,
        if_absent: bool = False,
        if_etag: str | None = None,
    ) -> ObjectInfo:
        """Write ``body`` under ``key``; ``sha256`` is its digest, already known, never computed again.

        The store verifies the digest where it can. Where it cannot honour ``if_absent`` or
        ``if_etag``, the condition is sent all the same: a probe finds that out, not this call.

        Raises:
            ObjectExists: ``if_absent`` and an object is there.
            ConditionFailed: ``if_etag`` and the object there has another ETag, or there is none.
            AccessDenied, WrongStore, StoreUnavailable, DiskError
        """
        ...

    def get(self, key: str, *, start: int = 0, size: int | None = None) -> Iterator[bytes]:
        """Yield the bytes from ``start``, ``size`` of them or all the rest, in blocks of at most 1 MiB.

        The request is made by this call, not by the first ``next``. Fewer bytes than the object
        has in that range raise; a ``start`` at or past the end yields nothing.

        Raises:
            ObjectMissing, AccessDenied, WrongStore, StoreUnavailable, DiskError
        """
        ...

    def head(self, key: str) -> ObjectInfo:
        """Describe the object under ``key``.

        Raises:
            ObjectMissing, AccessDenied, WrongStore, StoreUnavailable, DiskError
        """
        ...

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        """Yield every object whose key starts with ``prefix``, in key order, all pages."""
        ...

    def delete(self, key: str) -> None:
        """Remove the object under ``key``; a missing one is no error."""
        ...

    def now(self) -> datetime:
        """The store's own clock, UTC: the Date of an answer, or the time of a file just written."""
        ...


class PartSource(Protocol):
    """Where bytes of a part come from: a store, an edge, a bundle, a site."""

    def part(self, blake3: str, *, start: int, size: int) -> Iterator[bytes]:
        """Yield ``size`` stored bytes of the part from ``start``. They are not verified yet."""
        ...


def read_object(store: ObjectStore, key: str, *, cap: int) -> bytes:
    """Read a whole small object.

    Raises:
        InvalidDocument: it has more than ``cap`` bytes; no more than that is read.
        ObjectMissing, AccessDenied, WrongStore, StoreUnavailable, DiskError
    """
    parts: list[bytes] = []
    total = 0
    for block in store.get(key):
        total += len(block)
        if total > cap:
            raise InvalidDocument(f"{key} has more than {cap} bytes", hint="Nothing of this tree is that large.")
        parts.append(block)
    return b"".join(parts)
