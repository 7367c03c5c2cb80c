"""The doors to everything outside: object stores, CDNs, and sources of part bytes.

A port lets out only errors of ``pipeline.errors``, whatever the library beneath raised. Retry, dry
run and fault injection are wrappers that are themselves stores. The contract suite in
tests/contracts/ checks the sentences of these docstrings against every implementation.

next: ``plan``
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Literal, NamedTuple, Protocol

from pipeline.bodies import Body, Draft
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
        body: Body,
        *,
        sha256: Sha256,
        if_absent: bool = False,
        if_etag: str | None = None,
    ) -> ObjectInfo:
        """Write ``body``, which may be a draft of this store, under ``key``; ``sha256`` is its digest, never computed again.

        The store verifies the digest where it can. Where it cannot honour ``if_absent`` or
        ``if_etag``, the condition is sent all the same: a probe finds that out, not this call.

        Raises:
            ObjectExists: ``if_absent`` and an object is there.
            ConditionFailed: ``if_etag`` and the object there has another ETag, or there is none.
            AccessDenied, WrongStore, StoreUnavailable, DiskError
        """
        ...

    def draft(self) -> Draft | None:
        """Begin an object whose key is not known yet; None where a store takes whole bodies only.

        Raises:
            AccessDenied, WrongStore, DiskError
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


# What a range is handed to: a block is valid during the call only, for its memory is used again. What is given back, if
# anything, is memory where the taker would have the next block; a source may use it or not.
Take = Callable[[memoryview], memoryview | None]


class Fresh(NamedTuple):
    """An object as it is now; ``etag`` is "" where the source gives none."""

    data: bytes
    etag: str


class NotModified(NamedTuple):
    """The object still has the ``etag`` that was asked about."""

    etag: str


class TreeSource(Protocol):
    """Whatever the tree's objects can be read from: an object store, a reader, a bundle, a site."""

    @property
    def url(self) -> str:
        """Where this is, for people: no credentials in it."""
        ...

    def get(self, key: str, *, start: int = 0, size: int | None = None) -> Iterator[bytes]:
        """Yield the bytes of an object, as ``ObjectStore.get`` does.

        Raises:
            ObjectMissing, SourceLied, AccessDenied, UnavailableError, StoreUnavailable, DiskError
        """
        ...


class TreeReader(TreeSource, Protocol):
    """A read-only place that serves the tree: a web server, a directory, an object store.

    * What it gives is not verified: sizes and digests are the caller's to check.
    * Methods may be called from several threads at once.
    """

    @property
    def requests(self) -> int:
        """How many requests were made so far, redirects and repeated ones too."""
        ...

    def read_range(self, key: str, start: int, size: int, take: Take, *, total: int | None = None) -> None:
        """Hand exactly ``size`` bytes from ``start`` of an object to ``take``, in order, in blocks.

        ``total`` is the object's size, where the caller knows it: an object of another size is refused before
        its first byte. An error of ``take`` goes through.

        Raises:
            ObjectMissing: there is no such object.
            SourceLied: another range, size, encoding or document came.
            StoreUnavailable: it broke off after ``delivered`` bytes, which ``take`` has had.
            AccessDenied, UnavailableError, DiskError
        """
        ...

    def revalidate(self, key: str, etag: str, *, cap: int) -> Fresh | NotModified:
        """Read a small object unless it still has ``etag``; "" asks for it in any case.

        Raises:
            InvalidDocument: it has more than ``cap`` bytes.
            ObjectMissing, SourceLied, AccessDenied, UnavailableError, StoreUnavailable, DiskError
        """
        ...

    def close(self) -> None:
        """Let go of everything at once: reads under way end with an error."""
        ...


class Op(StrEnum):
    """What a CDN can be asked to do with URLs."""

    PREFETCH = "prefetch"
    REFRESH = "refresh"
    REFRESH_PREFIX = "refresh_prefix"


class TaskState(StrEnum):
    """Where a task of a CDN stands. ``ACCEPTED`` is the last word of a CDN that cannot be polled; ``UNKNOWN`` is aged out or lost."""

    ACCEPTED = "accepted"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class CallLimits:
    """How much one call of an operation may hold, and how often it may be made.

    ``body_bytes`` and ``hosts`` are None where the vendor names no limit; ``history`` is how long a task
    can be asked for, None where it cannot. ``per_day`` is how many URLs a day takes, None where nobody counts;
    the vendor's day begins ``day_ahead`` before that of UTC.
    """

    urls: int
    url_chars: int = 1024
    body_bytes: int | None = None
    hosts: int | None = None
    per_second: float = 10.0
    history: timedelta | None = None
    per_day: int | None = None
    day_ahead: timedelta = timedelta(0)


@dataclass(frozen=True, slots=True)
class CdnTask:
    """A task that a CDN accepted. ``id`` is "" where the vendor gives none; ``request_id`` is for its support."""

    id: str
    op: Op
    urls: tuple[str, ...]
    request_id: str = ""


@dataclass(frozen=True, slots=True)
class TaskStatus:
    """How far a task is; ``failed`` holds the URLs that did not succeed, each with the vendor's reason."""

    state: TaskState
    percent: int | None = None
    failed: Mapping[str, str] = field(default_factory=dict)
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Quota:
    """What may still be asked for today. ``batch`` is the vendor's own limit of URLs a call, where its API tells one."""

    limit: int
    remaining: int
    batch: int | None = None
    resets_at: datetime | None = None


class Cdn(Protocol):
    """The control plane of a CDN account, and the base URL under which its edge serves the tree.

    * One ``submit`` is one request: the driver gives it a legal chunk and retries what may be retried.
    * An operation that is missing from ``limits`` is one the vendor does not have.
    * A URL of a ``submit`` that none of the tasks it gives names was not taken.
    * Methods may be called from several threads at once.
    * To ask (``poll``, ``quota``, ``find``) raises ``CdnUnavailable``, ``CallRefused``, ``AccessDenied``, ``ClockSkew``,
      ``RedirectRefused`` or ``UnavailableError``.
    """

    @property
    def name(self) -> str:
        """The provider, as in the settings."""
        ...

    @property
    def account(self) -> str:
        """Which account or zone there, for the ledger: never a secret."""
        ...

    @property
    def base_url(self) -> str:
        """The edge's URL of the tree, without a slash at its end."""
        ...

    @property
    def limits(self) -> Mapping[Op, CallLimits]:
        """The operations it has."""
        ...

    @property
    def can_poll(self) -> bool:
        """Whether a task can be asked for; without, ``ACCEPTED`` is all that is ever known."""
        ...

    def submit(self, op: Op, urls: Sequence[str], *, key: str) -> Sequence[CdnTask]:
        """Ask for ``op`` on ``urls``; ``key`` is the same for the same request, on every machine.

        Raises:
            CdnUnavailable: it may be sent again.
            CallUnanswered: it may have been carried out.
            QuotaUsedUp, CallRefused
            AccessDenied, ClockSkew, RedirectRefused, UnavailableError: nothing was done, and no repetition will help.
        """
        ...

    def poll(self, tasks: Sequence[CdnTask]) -> Mapping[str, TaskStatus]:
        """Tell the state of each task by its id, in as many requests as the vendor needs."""
        ...

    def quota(self) -> Mapping[Op, Quota] | None:
        """Tell what is left today, None where the vendor has no such call."""
        ...

    def find(self, op: Op, urls: Sequence[str], *, since: datetime) -> Sequence[CdnTask] | None:
        """Look for tasks of ``op`` on ``urls`` made at or after ``since``; None where the vendor cannot be asked."""
        ...


# Whether an edge had an object: its own copy, or one it fetched just now; not every edge tells.
Cached = Literal["hit", "miss", "unknown"]


class EdgeAnswer(NamedTuple):
    """What an edge says to a request for one byte; ``ranged``: it came alone, not the whole object."""

    ranged: bool
    cache_control: str
    cached: Cached


class Edge(Protocol):
    """A CDN's edge as users see it; a redirect is refused. Methods may be called from several threads at once."""

    @property
    def url(self) -> str:
        """Where the tree is, without a slash at its end."""
        ...

    @property
    def requests(self) -> int:
        """How many requests were made so far."""
        ...

    def look(self, key: str, *, at: int, size: int | None) -> EdgeAnswer:
        """Ask for the one byte at ``at`` of an object that must have ``size`` bytes; None where that is not known.

        Raises:
            ObjectMissing: HTTP 404 or 410, perhaps remembered from before the object was there.
            SourceLied: another size, a range that was not asked for, an encoding, a web page.
            RedirectRefused, AccessDenied, StoreUnavailable, UnavailableError
        """
        ...

    def get(self, key: str) -> Iterator[bytes]:
        """Yield all bytes of an object, in blocks; raises as ``look``."""
        ...

    def close(self) -> None:
        """Let go of every connection."""
        ...


def read_object(source: TreeSource, key: str, *, cap: int) -> bytes:
    """Read a whole small object, and not one byte more than ``cap`` allows.

    Raises:
        InvalidDocument: it has more than ``cap`` bytes.
        As ``get`` of the source.
    """
    parts: list[bytes] = []
    total = 0
    for block in source.get(key):
        total += len(block)
        if total > cap:
            raise InvalidDocument(
                f"{source.url}: {key} has more than {cap} bytes", hint="It was altered there: try another source."
            )
        parts.append(block)
    return b"".join(parts)
