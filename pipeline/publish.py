"""Publish: a model folder becomes a signed release in an object store.

Takes an order (what, and how) and a place (where, with whose keys), gives a ``Published``. Immutable
first, pointer last: a run that stops anywhere leaves only unreferenced objects, and running it
again, anywhere, sends only what is missing.

next: ``pipeline.planning``
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from functools import partial

from pipeline.digest import Blake3, Sha256
from pipeline.errors import AnotherPublisher, EdgeProofFailed, IntegrityError, OtherContent, VerifyFailed
from pipeline.events import Listener
from pipeline.layout import manifest_target, target_key
from pipeline.manifest import Manifest
from pipeline.order import PublishOrder, identity_before_reading, inputs_of, inputs_that_made
from pipeline.outcome import ManifestName, Published, counts_of, edge_results, left_results
from pipeline.place import Heard, Place
from pipeline.plan.cost import ReleasePlan
from pipeline.plan.follow import Followed
from pipeline.plan.inputs import Inputs
from pipeline.release import Channel
from pipeline.sources.folder import Folder, scan_folder
from pipeline.sources.stat_cache import StatCache
from pipeline.steps.bases import load_bases, still_signed
from pipeline.steps.choose import choose_inputs
from pipeline.steps.commit import channel_move, channel_of, commit_release, shown_by, tell_new_channel, tell_new_model
from pipeline.steps.cut import cut_release
from pipeline.steps.identify import check_identity, hash_files, identity_of, standing_release
from pipeline.steps.lease import Lease, held_lease, list_leases, new_record, remove_stale, wait_for_collector
from pipeline.steps.placed import Placed, place_manifest, placed_before
from pipeline.steps.probe import probe_store
from pipeline.steps.prove import Proved, prove_origin, prove_parts
from pipeline.steps.ready import Ready, ready_to_sign
from pipeline.steps.serve import Promise, Served, prove_edges, settle, warm_edges
from pipeline.steps.show_edge import Stale
from pipeline.steps.upload import upload_release
from pipeline.trust.changes import Change, MoveChannel
from pipeline.trust.commit import Committed, commit_changes
from pipeline.trust.survey import survey_store
from pipeline.trust.view import ReleaseTarget, View
from pipeline.webview import show_everywhere

# The steps of a publish before and after those of its commit (``trust.commit.STEPS``).
STEPS = (
    "publish.scan",
    "publish.ready",
    "publish.probe",
    "publish.lease",
    "publish.leases",
    "publish.cut",
    "publish.part",
    "publish.prove",
    "publish.manifest",
    "publish.warm",
    "publish.edge",
    "publish.commit",
    "publish.committed",
    "publish.show",
    "publish.drop",
)


def publish_release(order: PublishOrder, place: Place, listen: Listener, *, plan: ReleasePlan | None = None) -> Published:
    """Publish ``order.source`` as ``order.release``.

    With ``plan``, do exactly what it says or stop before any metadata.

    Raises:
        UsageError, IntegrityError, TrustError, UnavailableError, DiskError, ConflictError: see
            ``pipeline.errors``; nothing is visible then that was not before, except after
            ``ChannelMoved``: the release is committed and only the channel stayed.
    """
    return _Publishing(order, place, listen, plan).run()


class _Lapsed(Exception):
    """The lease lapsed in the middle of a commit, as on a machine that slept."""


class _Publishing:
    """One publish under way."""

    def __init__(self, order: PublishOrder, place: Place, listen: Listener, plan: ReleasePlan | None) -> None:
        self._order = order
        self._place = place
        self._heard = Heard(listen)
        self._listen = self._heard.listen
        self._followed = Followed(plan) if plan else None
        self._started_s = time.monotonic()
        self._sent_before = place.bytes_sent()
        self._probe = partial(probe_store, place.store, allow_unsafe=order.allow_unsafe)

    def run(self) -> Published:
        """Adopt what is published already, else publish."""
        order, place = self._order, self._place
        place.step("publish.scan")
        folder = scan_folder(order.source, kind=order.kind)
        cache = StatCache(place.cache, folder.place)
        place.step("publish.ready")
        ready = ready_to_sign(place.publisher(self._listen), place.keys, order.release, probe=self._probe)
        tell_new_model(ready.view, order.release.model, self._listen)
        if order.channel is not None:
            tell_new_channel(ready.view, order.release, order.channel, self._listen)
        existing = standing_release(ready.view, order.release)
        if existing is None:
            try:
                return self._publish(folder, cache, ready)
            except OtherContent:
                # Another publisher committed this version meanwhile: perhaps it is the same release.
                view = survey_store(ready.publisher).view or ready.view
                existing = view.release(order.release)
                ready = replace(ready, view=view)
        return self._adopt(folder, cache, ready, existing)

    def _adopt(self, folder: Folder, cache: StatCache, ready: Ready, existing: ReleaseTarget) -> Published:
        order = self._order
        manifest = ready.view.manifest(order.release)
        read_at_ns = time.time_ns()
        known = {} if order.rehash else cache.known(folder)
        digests = hash_files(folder, known, self._listen)
        check_identity(identity_of(folder, order.kind, digests), manifest)
        if len(known) < len(digests):
            cache.remember(folder, digests, read_at_ns=read_at_ns)
        if self._followed:
            self._check_plan(folder, self._followed)
            self._followed.check_manifest(existing.sha256)
        committed: Committed | None = None
        served: Served | None = None
        stale: Sequence[Stale] = ()
        move = channel_move(ready.view, order.release, order.channel, self._place.by) if order.channel is not None else None
        moves = move is not None and move.expected != order.release
        shows = self._place.delivery.fronts or order.kind == "web"
        if order.repair or not _announced(ready.view) or moves or shows:
            self._probe()
            with held_lease(self._place.store, str(order.release), self._listen) as lease:
                replaced = self._repair(folder, ready, manifest, existing.sha256) if order.repair else ()
                placed = placed_before(self._place.store, existing, manifest, self._listen, replaced=replaced)
                served = self._deliver(placed, ready.view, lease)
                # A commit that was killed before its timestamp is completed by this, even if nothing moves.
                committed = commit_changes(ready.publisher, self._moves(served, move))
                stale = show_everywhere(self._place, order.release, committed.view, self._listen, lease.key)
                settle(served, self._place.delivery, self._place.dispatch(lease.key, self._listen), order.channel)
        else:
            prove_parts(self._place.store, manifest.parts, self._listen)
        remove_stale(self._place.store, str(order.release))
        result = self._result(folder, ready, manifest, existing.sha256, committed, served=served, stale=stale)
        return _unless_refused(committed, result)

    def _repair(self, folder: Folder, ready: Ready, manifest: Manifest, sha256: Sha256) -> tuple[str, ...]:
        """Send again what is missing or wrong of a release that stands; give the keys that held other bytes."""
        proved = self._stream(folder, ready.view, inputs_that_made(manifest))
        if proved.uploaded.indexed.sha256 != sha256:
            raise IntegrityError(
                f"{manifest.release} cannot be made again from this folder: its manifest is {sha256}, "
                f"this run makes {proved.uploaded.indexed.sha256}",
                hint=f"It was made by {manifest.encoder} with bases that may be gone; restore its parts from a mirror.",
            )
        return place_manifest(proved, repair=True).replaced

    def _publish(self, folder: Folder, cache: StatCache, ready: Ready) -> Published:
        order, place = self._order, self._place
        place.step("publish.probe")
        self._probe()
        own, wishes = inputs_of(order, folder, ready.view)
        if self._followed:
            own = self._check_plan(folder, self._followed)
        source = identity_before_reading(order, folder)
        lease = Lease(place.store, new_record(str(order.release), inputs=own, source=source), self._listen)
        place.step("publish.lease")
        lease.take()
        over = False
        try:
            place.step("publish.leases")
            wait_for_collector(place.store, self._listen)
            leases = list_leases(place.store, str(order.release))
            if self._followed is None:
                signed = partial(still_signed, ready.view)
                inputs = choose_inputs(own, wishes, leases, source=source, own_id=lease.record.id, still_signed=signed)
                if inputs != own:
                    lease.change(inputs)
                own = inputs
            read_at_ns = time.time_ns()
            while (made := self._make(folder, ready, lease, own)) is None:
                # Others took this lease for stale, so parts may have been collected: begin again at the look-ups.
                lease.renew()
                wait_for_collector(place.store, self._listen)
            proved, served, done = made
            indexed = proved.uploaded.indexed
            over = True
            place.step("publish.committed")
            cache.remember(folder, indexed.digests, read_at_ns=read_at_ns)
            remove_stale(place.store, str(order.release))
            place.step("publish.show")
            stale = show_everywhere(place, order.release, done.view, self._listen, lease.key)
            settle(served, place.delivery, place.dispatch(lease.key, self._listen), order.channel)
            place.step("publish.drop")
        except (AnotherPublisher, OtherContent):
            # Somebody else's release or run stands there: nobody will go on with these inputs.
            over = True
            raise
        finally:
            # What is left behind after a failure tells the next run which inputs to go on with.
            lease.drop() if over else lease.leave()
        result = self._result(folder, ready, indexed.manifest, indexed.sha256, done, proved=proved, served=served, stale=stale)
        return _unless_refused(done, result)

    def _make(self, folder: Folder, ready: Ready, lease: Lease, inputs: Inputs) -> tuple[Proved, Served, Committed] | None:
        """Upload, prove, serve and commit; None if the lease lapsed before anything named the release."""
        try:
            proved = self._stream(folder, ready.view, inputs)
            served = self._serve(proved, ready.view, lease)
        except (VerifyFailed, EdgeProofFailed):
            if lease.lapsed():
                # What is missing was collected in the meantime, as far as anybody can tell.
                return None
            raise
        done = self._commit(served, ready, lease)
        return None if done is None else (proved, served, done)

    def _commit(self, served: Served, ready: Ready, lease: Lease) -> Committed | None:
        """Commit what is served; None if the lease lapsed before anything named the release."""
        place = self._place

        def step(name: str) -> None:
            place.step(name)
            if name == "commit.snapshot" and lease.lapsed():
                raise _Lapsed

        place.step("publish.commit")
        if lease.lapsed():
            return None
        guarded = replace(ready, publisher=replace(ready.publisher, step=step))
        try:
            return commit_release(served, guarded, channel=self._channel(served), by=place.by, forced=self._forced(served))
        except _Lapsed:
            return None

    def _stream(self, folder: Folder, view: View, inputs: Inputs) -> Proved:
        order, place = self._order, self._place
        place.step("publish.cut")
        cut = cut_release(order.release, order.kind, folder, inputs, load_bases(view, inputs.bases), listen=self._listen)
        uploaded = upload_release(cut, place.store, repair=order.repair, listen=self._listen, check=self._check_part)
        place.step("publish.prove")
        return prove_origin(uploaded, self._listen)

    def _serve(self, proved: Proved, view: View, lease: Lease) -> Served:
        if self._followed:
            self._followed.check_manifest(proved.uploaded.indexed.sha256)
        self._place.step("publish.manifest")
        return self._deliver(place_manifest(proved, repair=self._order.repair), view, lease)

    def _deliver(self, placed: Placed, view: View, lease: Lease) -> Served:
        order, place = self._order, self._place
        promise = None
        if order.channel is not None and not order.promote_cold and not self._is_there(view):
            found = channel_of(view, order.release, order.channel)
            promise = Promise(order.channel, found.release if found else "", found.sequence if found else 0)
        place.step("publish.warm")
        dispatch = place.dispatch(lease.key, self._listen)
        warmed = warm_edges(placed, place.delivery, dispatch, promise)
        place.step("publish.edge")
        return prove_edges(warmed, place.delivery, dispatch, sample_percent=order.sample_percent)

    def _channel(self, served: Served) -> Channel | None:
        """The channel that this commit moves: none while an edge lacks objects, unless that was asked for."""
        return self._order.channel if self._order.promote_cold or not served.left else None

    def _is_there(self, view: View) -> bool:
        """Whether the channel pointed to this release before."""
        order = self._order
        return order.channel is not None and shown_by(view, order.release, order.channel) == order.release

    def _forced(self, served: Served) -> bool:
        return self._order.promote_cold and bool(served.left)

    def _moves(self, served: Served, move: MoveChannel | None) -> list[Change]:
        if move is None or self._channel(served) is None:
            return []
        return [replace(move, forced=self._forced(served))]

    def _check_part(self, name: Blake3, how: str) -> None:
        self._place.step("publish.part")
        if self._followed:
            self._followed.check_part(name, how)

    def _check_plan(self, folder: Folder, followed: Followed) -> Inputs:
        """The plan's inputs, after everything that can be compared before reading."""
        plan, order = followed.plan, self._order
        for what, found, planned in (
            ("the release", str(order.release), plan.release),
            ("the store", self._place.store.url, plan.store),
            ("the channel", order.channel or "", plan.channel),
            ("the folder (paths, sizes, modes)", identity_before_reading(order, folder), plan.source),
        ):
            followed.check(what, found, planned)
        return plan.inputs

    def _result(
        self,
        folder: Folder,
        ready: Ready,
        manifest: Manifest,
        sha256: Sha256,
        committed: Committed | None,
        *,
        proved: Proved | None = None,
        served: Served | None = None,
        stale: Sequence[Stale] = (),
    ) -> Published:
        parts, chunks = counts_of(manifest, proved)
        channel = self._order.channel or ""
        waits = served is not None and self._channel(served) is None and not self._is_there(ready.view)
        left = left_results(served.left if served else (), stale)
        return Published(
            release=str(self._order.release),
            manifest=ManifestName(path=target_key(manifest_target(self._order.release), sha256), sha256=sha256),
            root_fingerprint=ready.view.fingerprint,
            store=self._place.store.url,
            bases=[base.release for base in manifest.bases],
            already_published=proved is None,
            files=len(manifest.files),
            bytes=manifest.plain_bytes,
            bytes_stored=manifest.stored_bytes,
            bytes_uploaded=self._place.bytes_sent() - self._sent_before,
            parts=parts,
            chunks=chunks,
            channel="" if waits else channel,
            warnings=list(self._heard.warnings),
            seconds=round(time.monotonic() - self._started_s, 3),
            left_out=list(folder.left_out),
            snapshot=committed.snapshot if committed else ready.view.snapshot.version,
            complete=not left,
            channel_waits=channel if waits else "",
            edges=edge_results(served.proofs if served else ()),
            left=left,
        )


def _announced(view: View) -> bool:
    """Whether readers see what this publisher found; a run killed between snapshot and timestamp leaves more."""
    return view.timestamp is not None and view.timestamp.version >= view.snapshot.version


def _unless_refused(committed: Committed | None, result: Published) -> Published:
    """Raise what a commit that holds could not do besides, such as moving the channel."""
    if committed is not None and committed.refused:
        raise committed.refused[0]
    return result
