"""From the origin to users: a release is warmed and proved at every edge before anything names it.

Takes ``Placed`` and a ``Delivery``, gives ``Warmed`` and then ``Served``, the only thing a commit takes. Without a CDN both
are had for nothing. What the quota of a day does not allow is left in the ledger and said.

next: ``steps.commit``
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial

from pipeline.errors import AnotherPublisher, LeftInLedger
from pipeline.plan.ledger import Job
from pipeline.plan.records import Promised
from pipeline.ports import Cdn
from pipeline.release import Channel
from pipeline.steps.driving import Tempo
from pipeline.steps.edge_proof import EdgeObject, EdgeProof, Front, Waiting, cold_at, edge_objects, prove_edge
from pipeline.steps.ledger import make
from pipeline.steps.placed import Placed, proof_is_old, prove_again
from pipeline.steps.prefetch import Dispatch, Driven, finish_job, promise_move, refresh_keys, warm_release
from pipeline.steps.sampling import SAMPLE_PERCENT

# What a CDN fetched within this time is not asked for again, though the edge that answers us may lack it: many CDNs
# prefetch into their middle tier only.
RECENT = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Delivery:
    """The CDNs before a store, and how time passes there; without ``fronts`` there is none, and nothing is asked.

    ``check()`` raises ``AccessDenied`` where a credential of a CDN is not set; nobody is called.
    """

    fronts: tuple[Front, ...] = ()
    tempo: Tempo = field(default_factory=Tempo)
    waiting: Waiting = field(default_factory=Waiting)
    check: Callable[[], None] = field(default=lambda: None, repr=False)


@dataclass(frozen=True, slots=True)
class Promise:
    """A channel move that waits for the edge: where the channel pointed ("" for nowhere), and at which of its moves."""

    channel: Channel
    expected: str
    sequence: int


@dataclass(frozen=True, slots=True)
class LeftAt:
    """What one CDN was not brought to fetch: how many keys, why, and from when on it may be, where that is known.

    ``refused``: the CDN will not do these until something is mended, so that nothing waits.
    """

    cdn: str
    keys: int
    why: str
    until: datetime | None = None
    refused: bool = False


@dataclass(frozen=True, slots=True)
class Warmed:
    """A placed release of which every CDN fetched what it lacked, but for what is ``left``."""

    placed: Placed
    left: tuple[LeftAt, ...]


@dataclass(frozen=True, slots=True)
class Served:
    """A release that every edge serves rightly; ``left`` are objects that may still be cold there."""

    placed: Placed
    proofs: tuple[EdgeProof, ...]
    left: tuple[LeftAt, ...]


def warm_edges(placed: Placed, delivery: Delivery, dispatch: Dispatch, promise: Promise | None = None) -> Warmed:
    """Let every CDN fetch the manifest and the new parts, and those of the old ones that its edge does not have.

    What was replaced at the origin is forgotten at the edges first. Where something is left, ``promise`` stands with it
    in the ledger, in the job that is called as the release.

    Raises:
        CdnUnavailable, CallRefused, CallUnanswered, AccessDenied, StoreUnavailable, UnavailableError, AnotherPublisher
    """
    fronts, name = delivery.fronts, str(placed.release)
    if not fronts:
        return Warmed(placed, ())
    if placed.replaced:
        _forget([front.cdn for front in fronts], placed.replaced, dispatch)
    job = dispatch.ledger.open(name).job
    recent = warmed_lately(job, fronts, delivery.tempo.now()) - set(placed.replaced)
    objects = _objects(placed)
    old = [one for one in objects if one.key in placed.before and one.key not in recent]
    cold = {key for front in fronts for key in cold_at(front.edge, old, dispatch.listen, waiting=delivery.waiting)}
    # The edges were asked for long: another publisher of this release may have ended meanwhile, and spent the quota on it.
    log = dispatch.ledger.open(name)
    recent |= warmed_lately(log.job, fronts, delivery.tempo.now()) - set(placed.replaced)
    keys = [one.key for one in objects if one.key not in recent and (one.key not in placed.before or one.key in cold)]
    if not keys and log.job.finished:
        return Warmed(placed, ())
    left = left_at(warm_release(fronts, name, keys, dispatch, release=name, more=True, log=log))
    if left and promise is not None:
        move = make(
            Promised,
            delivery.tempo.now(),
            model=str(placed.release.model),
            channel=str(promise.channel),
            release=name,
            expected=promise.expected,
            sequence=promise.sequence,
            by=dispatch.by,
        )
        promise_move(dispatch.ledger.open(name), move)
    return Warmed(placed, left)


def prove_edges(warmed: Warmed, delivery: Delivery, dispatch: Dispatch, *, sample_percent: float = SAMPLE_PERCENT) -> Served:
    """See that every edge serves every object of the release, and that the origin still has them.

    ``sample_percent`` of the objects are read back and hashed, what was replaced at the origin in any case.

    Raises:
        EdgeProofFailed: nothing was committed, readers see what they saw before.
        AccessDenied, StoreUnavailable, UnavailableError
        VerifyFailed, PoisonedObject: as ``prove.prove_parts``.
    """
    placed, listen, waiting = warmed.placed, dispatch.listen, delivery.waiting
    objects = _objects(placed) if delivery.fronts else ()
    replaced = [one for one in objects if one.key in placed.replaced]
    proofs = []
    for front in delivery.fronts:
        mend = partial(_forget, [front.cdn], dispatch=dispatch)
        if replaced:
            prove_edge(front.edge, replaced, listen, sample_percent=100, mend=mend, waiting=waiting)
        proofs.append(prove_edge(front.edge, objects, listen, sample_percent=sample_percent, mend=mend, waiting=waiting))
    if proof_is_old(placed):
        placed = prove_again(placed, listen)
    return Served(placed, tuple(proofs), warmed.left)


def settle(served: Served, delivery: Delivery, dispatch: Dispatch, channel: Channel | None) -> None:
    """Close the release's job if all is warm, unless a move waits in it that is not that of ``channel``, which was made now.

    Raises:
        StoreUnavailable, DiskError, InvalidDocument
    """
    if not delivery.fronts or served.left:
        return
    log = dispatch.ledger.open(str(served.placed.release))
    kept = log.job.move is None or log.job.move.channel == channel
    if log.job.known and not log.job.finished and log.job.complete and kept:
        # Whoever holds it just now closes it as well.
        with suppress(AnotherPublisher):
            log.claim(dispatch.holder, dispatch.by, delivery.tempo.now())
            finish_job(log, dispatch)


def warmed_lately(job: Job, fronts: Sequence[Front], now: datetime) -> set[str]:
    """The keys that every CDN fetched within the last day, as the ledger has it."""
    if not fronts:
        return set()
    lanes = [job.lanes.get(front.cdn.base_url) for front in fronts]
    return set.intersection(*(lane.done_since(now - RECENT) if lane is not None else set() for lane in lanes))


def left_at(driven: Driven) -> tuple[LeftAt, ...]:
    """What a job has not reached, CDN by CDN."""
    return tuple(_left(driven))


def _left(driven: Driven) -> Iterator[LeftAt]:
    for share in driven.shares:
        where = f"{share.provider} {share.base_url}"
        if share.left:
            why = "the quota of the day is used up" if share.waits_until else "not sent yet"
            yield LeftAt(where, len(share.left), why, share.waits_until)
        if share.running:
            yield LeftAt(where, len(share.running), "not fetched yet")
        refused = {key: share.failed[key] for key in share.refused}
        failed = {key: why for key, why in share.failed.items() if key not in refused}
        if failed:
            key, reason = next(iter(failed.items()))
            yield LeftAt(where, len(failed), f"{key} failed: {reason}")
        if refused:
            key, reason = next(iter(refused.items()))
            yield LeftAt(where, len(refused), f"it refused {key}: {reason}", refused=True)


def refresh_now(cdn: Cdn, keys: Sequence[str], dispatch: Dispatch) -> None:
    """Let one CDN forget what it has under ``keys``, and wait until it has.

    Raises:
        LeftInLedger: it has not; the ledger knows.
        CdnUnavailable, CallUnanswered, AccessDenied, StoreUnavailable, DiskError
    """
    left = left_at(refresh_keys([cdn], keys, dispatch))
    if left:
        raise LeftInLedger(
            f"{left[0].cdn} did not forget {left[0].keys} of {len(keys)} keys: {left[0].why}", hint="Run: invoke cdn.resume"
        )


def _forget(cdns: Sequence[Cdn], keys: Sequence[str], dispatch: Dispatch) -> None:
    # Whether it did is seen at the edge.
    refresh_keys(cdns, keys, dispatch)


def _objects(placed: Placed) -> tuple[EdgeObject, ...]:
    return edge_objects(placed.key, placed.sha256, placed.size, placed.manifest)
