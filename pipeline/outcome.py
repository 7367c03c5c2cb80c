"""What a walk that delivers tells: what each edge showed, and what is left for another run.

Takes proofs and leftovers of the steps, gives the fields of results and the one error that says that work is left.

next: ``pipeline.publish``
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec

from pipeline.errors import LeftInLedger
from pipeline.steps.edge_proof import EdgeProof
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
    """What is left to do at one CDN: ``urls`` to fetch, why, and from when on; 0 where its edge shows an old timestamp."""

    cdn: str
    urls: int
    why: str
    until: str


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
        LeftResult(cdn=one.cdn, urls=one.keys, why=one.why, until=instant_text(one.until) if one.until else "") for one in left
    ]
    return [*found, *(LeftResult(cdn=one.edge, urls=0, why=one.found, until="") for one in stale)]


def left_error(done: str, left: Sequence[LeftResult], *, channel: str = "") -> LeftInLedger | None:
    """The error that says so, None where nothing is left. ``done`` begins it; ``channel`` is one that was not moved."""
    if not left:
        return None
    urls = sum(one.urls for one in left)
    days = sorted({one.until for one in left if one.until})
    parts = [done]
    if channel:
        parts.append(f"{channel} stays where it is")
    if urls:
        parts.append(f"{urls} URLs wait in the ledger" + (f" until {days[-1]}" if days else ""))
    parts += [f"{one.cdn} may show what was there before: {one.why}" for one in left if not one.urls]
    named = [f"{one.cdn}: {one.why}" for one in left if one.urls and not one.until]
    hint = (
        "Run `invoke cdn.resume` then, on any machine."
        if urls
        else "Run `invoke cdn.refresh`, and look at the CDN's cache rules."
    )
    return LeftInLedger("; ".join([*parts, *named]), hint=hint)
