"""Promote and roll back: a channel moves to a release that the edge has, and users see it when the command ends.

Takes a release or a channel and a place, gives ``Moved``. One signed commit, then a refresh of the one mutable object and a
look whether every edge serves it. A promotion waits until the edge has the release; a rollback is for when something is
broken: it moves first and warms after.

next: ``pipeline.withdraw``
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from functools import partial

import msgspec

from pipeline.errors import AnotherPublisher, ChannelMoved, EdgeProofFailed, UnavailableError, UsageError
from pipeline.events import Listener, Warned
from pipeline.outcome import EdgeResult, LeftResult, edge_results, left_results
from pipeline.place import Heard, Place
from pipeline.plan.records import Promised
from pipeline.plan.rollback import release_before
from pipeline.release import Channel, ModelName, Release, check_channel
from pipeline.steps.commit import channel_of, shown_by, tell_new_channel
from pipeline.steps.lease import held_lease
from pipeline.steps.placed import Placed, placed_before
from pipeline.steps.prefetch import Dispatch, warm_release
from pipeline.steps.probe import probe_store
from pipeline.steps.ready import ready_to_sign
from pipeline.steps.sampling import SAMPLE_PERCENT
from pipeline.steps.serve import Served, Warmed, left_at, prove_edges, settle, warmed_lately
from pipeline.trust.changes import MoveChannel
from pipeline.trust.commit import Committed, commit_changes
from pipeline.trust.facts import ChannelDocument
from pipeline.trust.view import View
from pipeline.webview import show_everywhere

# The steps of a move before and after those of its commit (``trust.commit.STEPS``).
STEPS = ("promote.ready", "promote.origin", "promote.edge", "promote.commit", "promote.show", "promote.warm", "promote.drop")


class Moved(msgspec.Struct, kw_only=True, rename={"origin": "from"}):
    """What became of a channel. ``origin`` is where it pointed, "" for nowhere; ``changed`` is False when it was so already.

    ``forced``: an edge lacked objects of the release, which the channel's history says too. ``complete``: nothing is
    ``left`` to do at a CDN.
    """

    model: str
    channel: str
    origin: str
    to: str
    changed: bool
    forced: bool
    snapshot: int
    root_fingerprint: str
    store: str
    complete: bool
    edges: list[EdgeResult]
    left: list[LeftResult]
    warnings: list[str]
    seconds: float


def promote_release(
    release: Release,
    channel: Channel,
    place: Place,
    listen: Listener,
    *,
    cold: bool = False,
    sample_percent: float = SAMPLE_PERCENT,
    allow_unsafe: bool = False,
) -> Moved:
    """Move ``channel`` to ``release`` once origin and edges are seen to serve it; ``cold``: though edges lack objects.

    Raises:
        EdgeProofFailed: an edge does not have the release, or serves it wrongly.
        AccessDenied: a credential of a CDN is not set; nothing moved.
        ChannelMoved: the channel was moved by somebody else meanwhile.
        UnknownName, ConflictError (yanked), TrustError, IntegrityError, UnavailableError
    """
    return _Moving(channel, place, listen, cold=cold, percent=sample_percent, allow_unsafe=allow_unsafe).run(release)


def rollback_channel(
    model: ModelName,
    channel: Channel,
    place: Place,
    listen: Listener,
    *,
    to: Release | None = None,
    sample_percent: float = SAMPLE_PERCENT,
    allow_unsafe: bool = False,
) -> Moved:
    """Move ``channel`` back: to ``to``, else to the release before in its history, yanked and retired ones passed over.

    The move does not wait for the edge to have every object; what it lacks is fetched afterwards. What an edge serves
    wrongly does not stop it either: it is told, and left to be seen to.

    Raises:
        UsageError: there is no release before, or ``to`` is of another model.
        As ``promote_release``.
    """
    if to is not None and to.model != model:
        raise UsageError(f"--to {to} is no release of {model}", hint=f"invoke show --model {model} lists its releases.")
    moving = _Moving(channel, place, listen, cold=True, percent=sample_percent, allow_unsafe=allow_unsafe, warms=True)
    return moving.run(to or _before(place.view(), model, channel))


def keep_promise(promised: Promised, place: Place, listen: Listener, *, allow_unsafe: bool = False) -> Moved:
    """Make the move that waited until its release was warm; its objects count as warm, whatever an edge had to fetch.

    Raises:
        ChannelMoved: the channel was moved since: the promise is void.
        As ``promote_release``.
    """
    channel = check_channel(promised.channel)
    moving = _Moving(channel, place, listen, percent=SAMPLE_PERCENT, allow_unsafe=allow_unsafe, promised=promised)
    return moving.run(Release.parse(promised.release))


class _Moving:
    """One move under way."""

    def __init__(
        self,
        channel: Channel,
        place: Place,
        listen: Listener,
        *,
        percent: float,
        allow_unsafe: bool,
        cold: bool = False,
        warms: bool = False,
        promised: Promised | None = None,
    ) -> None:
        self._channel = channel
        self._place = place
        self._heard = Heard(listen)
        self._listen = self._heard.listen
        self._cold = cold
        self._percent = percent
        self._warms = warms
        self._promised = promised
        self._probe = partial(probe_store, place.store, allow_unsafe=allow_unsafe)
        self._started_s = time.monotonic()

    def run(self, release: Release) -> Moved:
        """Move the channel, if it still points there at the end where it does at the beginning."""
        place, listen = self._place, self._listen
        place.view().release(release)
        if not self._warms:
            # Users would see the move late: without its credentials no CDN can be made to forget what it has.
            place.delivery.check()
        place.step("promote.ready")
        ready = ready_to_sign(place.publisher(listen), place.keys, release, probe=self._probe)
        view, target = ready.view, ready.view.release(release)
        found = shown_by(view, release, self._channel)
        tell_new_channel(view, release, self._channel, listen)
        if self._promised is not None:
            _check_promise(self._promised, channel_of(view, release, self._channel))
        self._probe()
        with held_lease(place.store, str(release), listen) as lease:
            place.step("promote.origin")
            placed = placed_before(place.store, target, view.manifest(release), listen)
            dispatch = place.dispatch(lease.key, listen)
            place.step("promote.edge")
            served, wrong = self._prove(placed, dispatch)
            lacking = self._lacking(release, served, dispatch)
            forced = bool(lacking or wrong)
            place.step("promote.commit")
            by = self._promised.by if self._promised is not None else place.by
            move = MoveChannel(self._channel, release, by, expected=found, forced=forced)
            committed = commit_changes(ready.publisher, [move])
            place.step("promote.show")
            stale = show_everywhere(place, release, committed.view, listen, lease.key)
            place.step("promote.warm")
            left = self._warm(release, lacking, dispatch) if lacking and self._warms else []
            if not committed.refused and not forced:
                settle(served, place.delivery, dispatch, self._channel)
            place.step("promote.drop")
        if committed.refused:
            raise committed.refused[0]
        results = [*left_results((), stale), *left, *wrong]
        return self._moved(release, found, committed, served=served, forced=forced, results=results)

    def _prove(self, placed: Placed, dispatch: Dispatch) -> tuple[Served, list[LeftResult]]:
        """Prove the release at every edge; what is wrong there stops a promotion, and is only told of a rollback.

        Raises:
            EdgeProofFailed, AccessDenied, StoreUnavailable, UnavailableError
        """
        delivery = self._place.delivery
        try:
            return prove_edges(Warmed(placed, ()), delivery, dispatch, sample_percent=self._percent), []
        except EdgeProofFailed as error:
            if not self._warms:
                raise
            self._listen(Warned("edge-wrong", str(error)))
            where = ", ".join(front.edge.url for front in delivery.fronts)
            return Served(placed, (), ()), [LeftResult(cdn=where, urls=0, why=str(error), until="")]

    def _lacking(self, release: Release, served: Served, dispatch: Dispatch) -> Sequence[str]:
        """The keys that an edge had to fetch just now and that no CDN was seen to fetch lately.

        Raises:
            EdgeProofFailed: there are some, and nobody said that this does not matter.
        """
        fronts = self._place.delivery.fronts
        if not fronts or self._promised is not None:
            return ()
        job = dispatch.ledger.open(str(release)).job
        recent = warmed_lately(job, fronts, self._place.delivery.tempo.now())
        waiting = [] if job.finished or job.complete else [key for key in job.keys if key not in recent]
        cold = {key: proof.edge for proof in served.proofs for key in proof.cold if key not in recent}
        lacking = list(dict.fromkeys([*cold, *waiting]))
        if lacking and not self._cold:
            where = next(iter(cold.values()), fronts[0].edge.url)
            objects = len(served.placed.manifest.parts) + 1
            raise EdgeProofFailed(
                f"{where} does not have {len(lacking)} of {objects} objects of {release}, such as {lacking[0]}: "
                f"{self._channel} stays where it is",
                hint=f"Warm it: invoke cdn.prefetch --model {release}, or move the channel all the same with --promote-cold.",
            )
        return lacking

    def _warm(self, release: Release, keys: Sequence[str], dispatch: Dispatch) -> list[LeftResult]:
        fronts = self._place.delivery.fronts
        try:
            driven = warm_release(fronts, str(release), keys, dispatch, release=str(release), more=True)
        except (UnavailableError, AnotherPublisher) as error:
            # The channel has moved by now, and no error may say otherwise.
            where = ", ".join(front.edge.url for front in fronts)
            return [LeftResult(cdn=where, urls=len(keys), why=str(error), until="")]
        return left_results(left_at(driven))

    def _moved(
        self,
        release: Release,
        found: Release | None,
        committed: Committed,
        *,
        served: Served,
        forced: bool,
        results: list[LeftResult],
    ) -> Moved:
        return Moved(
            model=release.model,
            channel=self._channel,
            origin=str(found or ""),
            to=str(release),
            changed=committed.changed,
            forced=committed.changed and forced,
            snapshot=committed.snapshot,
            root_fingerprint=committed.view.fingerprint,
            store=self._place.store.url,
            complete=not results,
            edges=edge_results(served.proofs),
            left=results,
            warnings=list(self._heard.warnings),
            seconds=round(time.monotonic() - self._started_s, 3),
        )


def _check_promise(promised: Promised, found: ChannelDocument | None) -> None:
    """See that nobody moved the channel since its move was promised, unless it points to the release already.

    Raises:
        ChannelMoved
    """
    if found is None:
        if not promised.sequence:
            return
        raise ChannelMoved(
            f"{promised.model}@{promised.channel} was removed after its move to {promised.release} was promised: it stays away",
            hint=f"To make it anew: invoke promote --model {promised.release} --channel {promised.channel}",
        )
    if found.release == promised.release or found.sequence == promised.sequence:
        return
    by = f" by {found.history[-1].by}" if found.history else ""
    raise ChannelMoved(
        f"{found.model}@{found.channel} was moved to {found.release}{by} after its move to {promised.release} was promised: "
        "it stays there",
        hint=f"To move it all the same: invoke promote --model {promised.release} --channel {found.channel}",
    )


def _before(view: View, model: ModelName, channel: Channel) -> Release:
    document = view.channel(model, channel)
    live = {str(target.release) for target in view.releases(model) if target.facts.yanked is None}
    found = release_before([(move.origin, move.to) for move in document.history], live.__contains__)
    if found is None:
        raise UsageError(
            f"{model}@{channel} points to {document.release}, and no release before it in its history can be used",
            hint=f"Name one: invoke rollback --model {model} --channel {channel} --to RELEASE",
        )
    return Release.parse(found)
