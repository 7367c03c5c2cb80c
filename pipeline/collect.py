"""Collect: what no release, pin, channel, lease or web view needs goes from the store, after a time of grace.

Takes a place and the periods of grace, gives ``Collected``: what goes, when, and what keeps the rest. No key is needed.
The machine's own clock does not count: all times are the store's (docs/format.md §11).

next: ``pipeline.stores``
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta

import msgspec

from pipeline.errors import InvalidDocument, UsageError
from pipeline.events import Listener, StepFinished, StepStarted, Warned
from pipeline.layout import WEB
from pipeline.place import Heard, Place
from pipeline.plan.garbage import COLLECTED, GRACE, METADATA_GRACE, Garbage, Rules, highest_numbers
from pipeline.ports import ObjectInfo
from pipeline.release import ModelName
from pipeline.steps.lease import FoundLease, list_leases
from pipeline.steps.needed import Needed, find_needed
from pipeline.steps.sweep import Sweep, Swept, look_over, sweep_away
from pipeline.trust.facts import instant_text
from pipeline.trust.reading import read_view
from pipeline.trust.survey import survey_store
from pipeline.trust.view import View

# A reader that began before a release was retired may still be fetching it.
LEAST_GRACE = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class CollectOrder:
    """How long garbage waits; only with ``apply`` is anything written or deleted."""

    grace: timedelta = GRACE
    metadata_grace: timedelta = METADATA_GRACE
    apply: bool = False

    def __post_init__(self) -> None:
        for flag, given in (("grace", self.grace), ("metadata-grace", self.metadata_grace)):
            if given < LEAST_GRACE:
                raise UsageError(
                    f"--{flag} is under a day: readers that are fetching just now would lose what they fetch",
                    hint=f"Give at least a day, as in --{flag} 1d.",
                )


class CollectedObject(msgspec.Struct, kw_only=True):
    """An object that nothing needs. Times are "" until a run with --apply recorded it; ``held_by`` names a manifest it waits for."""

    key: str
    size: int
    recorded_at: str
    due_at: str
    due: bool
    held_by: str
    deleted: bool


class KeptRelease(msgspec.Struct, kw_only=True):
    """A release that stays, and why; ``alone`` are the bytes that would go with it."""

    release: str
    why: list[str]
    objects: int
    bytes: int
    alone: int


class Collected(msgspec.Struct, kw_only=True):
    """What a collection found and did; sizes in bytes. ``stopped_by`` is whose lease ended the deleting, "" if none did."""

    store: str
    root_fingerprint: str
    snapshot: int
    applied: bool
    grace_s: int
    metadata_grace_s: int
    kept: list[KeptRelease]
    garbage: list[CollectedObject]
    bytes: int
    due: int
    due_bytes: int
    deleted: int
    deleted_bytes: int
    next_due_at: str
    stopped_by: str
    warnings: list[str]
    seconds: float


def collect_garbage(order: CollectOrder, place: Place, listen: Listener) -> Collected:
    """Find what nothing needs; with ``order.apply`` record it, and delete what was recorded long enough ago.

    Raises:
        ObjectMissing: a release lacks its manifest: nothing is deleted.
        NotPinned, TrustError, IntegrityError, AccessDenied, UnavailableError, DiskError
    """
    heard = Heard(listen)
    started = time.monotonic()
    heard.listen(StepStarted("gc"))
    needs = _Needs(place, heard.listen)
    # A place that trusts no tree there writes nothing there.
    needs.look()
    rules = Rules(order.grace, order.metadata_grace, (*COLLECTED, *(f"{WEB}{model}/" for model in needs.models)))
    sweep = Sweep(place.store, needs.keys, place.by, rules, place.step)
    if order.apply:
        swept = sweep_away(sweep, heard.listen)
    else:
        swept = look_over(sweep)
        _tell(swept, needs.leases, heard.listen)
    heard.listen(StepFinished("gc", len(swept.deleted), _size(swept.deleted), time.monotonic() - started))
    due = {one.key for one in swept.due}
    gone = {one.key for one in swept.deleted}
    return Collected(
        store=place.store.url,
        root_fingerprint=needs.views[0].fingerprint,
        snapshot=needs.views[0].snapshot.version,
        applied=order.apply,
        grace_s=int(order.grace.total_seconds()),
        metadata_grace_s=int(order.metadata_grace.total_seconds()),
        kept=[
            KeptRelease(release=one.release, why=list(one.why), objects=one.objects, bytes=one.size, alone=one.alone)
            for one in needs.needed.keepers
        ],
        garbage=[_object(one, due=one.key in due, deleted=one.key in gone) for one in swept.garbage],
        bytes=_size(swept.garbage),
        due=len(due),
        due_bytes=_size(swept.due),
        deleted=len(gone),
        deleted_bytes=_size(swept.deleted),
        next_due_at=instant_text(swept.due_at) if swept.due_at else "",
        stopped_by=swept.stopped_by,
        warnings=heard.warnings,
        seconds=round(time.monotonic() - started, 3),
    )


class _Needs:
    """What the tree, the leases and the web view need, as it was when it was asked last."""

    def __init__(self, place: Place, listen: Listener) -> None:
        self._place = place
        self._listen = listen
        self.views: Sequence[View] = ()
        self.leases: Sequence[FoundLease] = ()
        self.needed = Needed(frozenset(), ())

    @property
    def models(self) -> Sequence[ModelName]:
        """Every model of the tree."""
        return sorted({model for view in self.views for model in view.models()})

    def look(self) -> None:
        """Read what readers see, and what the next commit would build on where somebody left that unannounced."""
        place = self._place
        found = survey_store(replace(place.publisher(self._listen), now=place.store.now))
        if found.view is None:
            raise InvalidDocument(
                f"{place.store.url} has a root and no snapshot", hint="Finish what was begun: invoke trust.init"
            )
        announced = () if found.is_announced else (read_view(place.store, place.state, now=place.store.now),)
        self.views = (found.view, *announced)

    def keys(self, found: Sequence[ObjectInfo]) -> frozenset[str]:
        """Every key that stays of what was ``found``."""
        self.look()
        store = self._place.store
        self.leases = list_leases(store)
        self.needed = find_needed(self.views, store, self.leases, store.now())
        for view in self.views:
            for message in view.warnings:
                self._listen(Warned("trust", message))
        return self.needed.keys | highest_numbers(found)


def _tell(swept: Swept, leases: Sequence[FoundLease], listen: Listener) -> None:
    live = next((lease.record for lease in leases if lease.live), None)
    if live is not None and swept.garbage:
        listen(
            Warned(
                "gc-would-stop", f"{live.release} is at work on {live.host or 'an unknown host'}: nothing would be deleted now"
            )
        )


def _size(objects: Iterable[Garbage]) -> int:
    return sum(one.size for one in objects)


def _object(one: Garbage, *, due: bool, deleted: bool) -> CollectedObject:
    return CollectedObject(
        key=one.key,
        size=one.size,
        recorded_at=instant_text(one.since) if one.since else "",
        due_at=instant_text(one.due_at) if one.due_at else "",
        due=due,
        held_by=one.held_by,
        deleted=deleted,
    )
