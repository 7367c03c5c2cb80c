"""What a walk that delivers tells: what was published, what each edge showed, and what is left for another run.

Takes proofs and leftovers of the steps, gives results and their fields, and the one error that says that work is left.

next: ``pipeline.publish``
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec

from pipeline.digest import Sha256
from pipeline.errors import LeftInLedger
from pipeline.manifest import Manifest
from pipeline.spelling import spell_subject
from pipeline.steps.edge_proof import EdgeProof
from pipeline.steps.index import Counts
from pipeline.steps.prove import Proved
from pipeline.steps.serve import LeftAt
from pipeline.steps.show_edge import Stale
from pipeline.trust.facts import instant_text


class EdgeResult(msgspec.Struct, frozen=True, kw_only=True):
    """What one edge showed of a release; sizes in bytes.

    ``hits``, ``misses`` and ``unknown`` (it does not tell) add up to ``objects``; ``read`` of them were hashed.
    """

    url: str
    objects: int
    hits: int
    misses: int
    unknown: int
    read: int
    bytes_read: int
    requests: int
    seconds: float


class LeftResult(msgspec.Struct, frozen=True, kw_only=True):
    """What is left to do at one CDN: ``urls`` to fetch, why, and from when on; 0 where its edge is what is wrong.

    ``refused``: the CDN will not fetch these until something is mended.
    """

    cdn: str
    urls: int
    why: str
    until: str
    refused: bool = False


class Counted(msgspec.Struct, frozen=True, kw_only=True):
    """Parts or chunks of the release: ``reused`` are those its bases gave."""

    total: int
    new: int
    reused: int


class ManifestName(msgspec.Struct, frozen=True, kw_only=True):
    """Where the manifest lies in the tree, and its digest."""

    path: str
    sha256: Sha256


class CopyResult(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a copy of the tree in another store. ``announced``: the snapshot that its readers see, 0 where nobody knows.

    ``why`` it is behind, "" where it is ``complete``; sizes in bytes.
    """

    store: str
    complete: bool
    announced: int
    objects_copied: int
    bytes_copied: int
    metadata_written: int
    why: str


class Published(msgspec.Struct, kw_only=True):
    """The result of a publish; sizes in bytes. ``bytes_uploaded`` counts all bodies sent to the store.

    ``copies`` are the other stores that were named. ``complete``: nothing is ``left`` to do at a CDN; ``channel_waits`` is the channel that moves when that is done.
    """

    release: str
    manifest: ManifestName
    root_fingerprint: str
    store: str
    bases: list[str]
    already_published: bool
    files: int
    bytes: int
    bytes_stored: int
    bytes_uploaded: int
    parts: Counted
    chunks: Counted
    channel: str
    warnings: list[str]
    seconds: float
    left_out: list[str]
    snapshot: int
    complete: bool
    channel_waits: str
    edges: list[EdgeResult]
    left: list[LeftResult]
    copies: list[CopyResult] = []


def edge_results(proofs: Iterable[EdgeProof]) -> list[EdgeResult]:
    """The proofs as fields of a result."""
    return [
        EdgeResult(
            url=proof.edge,
            objects=proof.objects,
            hits=proof.hits,
            misses=proof.misses,
            unknown=proof.unknown,
            read=proof.read,
            bytes_read=proof.bytes_read,
            requests=proof.requests,
            seconds=proof.seconds,
        )
        for proof in proofs
    ]


def left_results(left: Iterable[LeftAt], stale: Iterable[Stale] = ()) -> list[LeftResult]:
    """What is left, as fields of a result."""
    found = [
        LeftResult(
            cdn=one.cdn,
            urls=one.keys,
            why=one.why,
            until=instant_text(one.until) if one.until else "",
            refused=one.refused,
        )
        for one in left
    ]
    old = "it may show what was there before"
    return [*found, *(LeftResult(cdn=one.edge, urls=0, why=f"{old}: {one.found}", until="") for one in stale)]


def left_error(done: str, left: Sequence[LeftResult], *, channel: str = "") -> LeftInLedger | None:
    """The error that says so, None where nothing is left. ``done`` begins it; ``channel`` is one that was not moved."""
    if not left:
        return None
    urls, refused = (sum(one.urls for one in left if one.refused is which) for which in (False, True))
    days = sorted({one.until for one in left if one.until})
    parts = [done]
    if channel:
        parts.append(f"{channel} stays where it is")
    if urls:
        parts.append(f"{spell_subject(urls, 'URL', 'wait')} in the ledger" + (f" until {days[-1]}" if days else ""))
    if refused:
        parts.append(f"{spell_subject(refused, 'URL', 'were')} refused")
    named = [f"{one.cdn}: {one.why}" for one in left if not (one.urls and one.until)]
    if refused:
        again = "invoke cdn.resume" if channel or urls else "it again"
        hint = f"Mend what the CDN says of its account or of these URLs, then run {again}."
    elif urls:
        hint = f"Run `invoke cdn.resume`{' then' if days else ''}, on any machine."
    else:
        hint = "Run `invoke cdn.refresh`, and look at the CDN's cache rules."
    return LeftInLedger("; ".join([*parts, *named]), hint=hint)


def counts_of(manifest: Manifest, proved: Proved | None) -> tuple[Counted, Counted]:
    """Parts and chunks; of a release that was there already, nothing is new."""
    if proved is not None:
        indexed = proved.uploaded.indexed
        return _counted(indexed.parts), _counted(indexed.chunks)
    chunks = len({(chunk.part, chunk.offset) for file in manifest.files for chunk in file.chunks})
    return _counted(Counts(len(manifest.parts), len(manifest.parts))), _counted(Counts(chunks, chunks))


def _counted(counts: Counts) -> Counted:
    return Counted(total=counts.total, new=counts.new, reused=counts.reused)
