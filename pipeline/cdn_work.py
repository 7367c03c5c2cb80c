"""CDN work on its own: warm a release, let stale objects go, and go on with what the ledger holds.

Takes a place and an order, gives a ``Worked``. ``cdn_status`` looks; this acts.

next: ``pipeline.cdn_status``
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

import msgspec

from pipeline.errors import (
    AnotherPublisher,
    CallRefused,
    ConflictError,
    InvalidDocument,
    LeftInLedger,
    ModelportError,
    UnknownName,
    UsageError,
    VerifyFailed,
)
from pipeline.events import Listener, Warned
from pipeline.place import Heard, Place
from pipeline.plan.calls import key_of
from pipeline.plan.ledger import Job, KeyState
from pipeline.plan.records import Promised
from pipeline.ports import Cdn, Op
from pipeline.promote import keep_promise
from pipeline.release import Release
from pipeline.spelling import spell_count, spell_subject
from pipeline.steps.edge_proof import EdgeObject, edge_objects
from pipeline.steps.lease import held_lease
from pipeline.steps.ledger import Log
from pipeline.steps.prefetch import Dispatch, Driven, Share, drive_job, driven_of, finish_job, refresh_keys, warm_release
from pipeline.steps.prove import check_there
from pipeline.trust.facts import instant_text

OWNER = "cdn"
# The job of single objects that somebody prefetches by hand.
HAND = "prefetch"
NAMED = 3
# Exit codes, the gravest first: what is wrong, whom to trust, what somebody has to decide; last what another run may find mended.
_GRAVITY = (3, 4, 8, 2, 6, 5, 7)
# A refresh belongs to the run that wants it, until that one must be dead.
REFRESH_IS_OURS = timedelta(hours=1)


class ShareWorked(msgspec.Struct, frozen=True, kw_only=True):
    """One CDN's share of a job, in URLs. ``until`` is when its quota lets the rest go on, "" where nothing waits for that.

    ``one_location``: there is no prefetch, so objects were read through the edge, which warms one location. ``calls`` and
    ``urls`` are what this run sent; ``why`` says what is left and why.
    """

    provider: str
    url: str
    done: int
    running: int
    left: int
    failed: dict[str, str]
    until: str
    why: str
    one_location: bool
    calls: int
    urls: int


class JobWorked(msgspec.Struct, frozen=True, kw_only=True):
    """One job of the ledger. ``over``: nothing is left that another run could do. ``channel`` waited for it; ``moved`` if it moved now."""

    job: str
    op: str
    release: str
    complete: bool
    over: bool
    cdns: list[ShareWorked]
    channel: str
    moved: bool
    note: str


class Worked(msgspec.Struct, frozen=True, kw_only=True):
    """What a run did at the CDNs. ``left`` counts URLs that another run has to see to."""

    store: str
    complete: bool
    left: int
    jobs: list[JobWorked]
    warnings: list[str]


def keys_of(place: Place, cdns: Sequence[Cdn], *, release: Release | None, paths: Sequence[str]) -> tuple[str, ...]:
    """The keys that a command names: those of a release, the manifest and the first parts first, and paths or URLs.

    Raises:
        UnknownName: there is no such release.
        UsageError: a URL is not below the base_url of any of ``cdns``.
    """
    keys = [one.key for one in release_objects(place, release)] if release is not None else []
    return tuple(dict.fromkeys([*keys, *(_key(path, cdns) for path in paths)]))


def prefetch_paths(place: Place, keys: Sequence[str], *, release: Release | None, listen: Listener) -> Worked:
    """Warm a release, or single objects, as far as today's quota goes.

    Raises:
        VerifyFailed: the origin lacks some; nothing was sent.
        AnotherPublisher, CdnUnavailable, CallUnanswered, AccessDenied, StoreUnavailable, DiskError
    """
    name, heard = str(release or HAND), Heard(listen)
    check_there(place.store, keys)
    with held_lease(place.store, OWNER, heard.listen) as lease:
        dispatch = place.dispatch(lease.key, heard.listen)
        driven = warm_release(place.delivery.fronts, name, keys, dispatch, release=str(release or ""), more=True)
        job = dispatch.ledger.open(name).job
    return _worked(place, [_job(job, driven)], heard)


def refresh_paths(place: Place, keys: Sequence[str], *, prefix: bool, listen: Listener) -> Worked:
    """Let every CDN forget what it has under ``keys``, and wait until it has.

    Raises:
        As ``prefetch_paths``.
    """
    heard = Heard(listen)
    with held_lease(place.store, OWNER, heard.listen) as lease:
        dispatch = place.dispatch(lease.key, heard.listen)
        driven = refresh_keys([front.cdn for front in place.delivery.fronts], keys, dispatch, prefix=prefix)
        job = dispatch.ledger.open(driven.job).job
    return _worked(place, [_job(job, driven)], heard)


def resume_work(
    place: Place, listen: Listener, *, allow_unsafe: bool = False, failed: list[ModelportError] | None = None
) -> Worked:
    """Go on with every job that the ledger holds; move the channels that waited for them.

    A job that another live run drives is left to it. What fails at one job does not stop the others, and is added to
    ``failed``, where it is given.

    Raises:
        EdgeProofFailed, ChannelMoved, CdnUnavailable, AccessDenied, InvalidDocument: when all jobs were seen to, as
            ``failures_error`` makes one of them, where ``failed`` is not given.
    """
    heard = Heard(listen)
    jobs: list[JobWorked] = []
    errors: list[ModelportError] = []
    with held_lease(place.store, OWNER, heard.listen) as lease:
        dispatch = place.dispatch(lease.key, heard.listen)
        removed = dispatch.ledger.remove_finished(now=place.store.now())
        if removed:
            heard.listen(Warned("ledger-cleared", f"removed {spell_count(len(removed), 'job')} that ended over 30 days ago"))
        damaged: list[InvalidDocument] = []
        for job in dispatch.ledger.jobs(finished=False, damaged=damaged):
            if _is_anothers(job, place):
                jobs.append(_job(job, driven_of(job), note=f"{job.by} began it within the last hour and may be at it still"))
                continue
            try:
                jobs.append(_resume(place, dispatch, job.name, allow_unsafe=allow_unsafe))
            except AnotherPublisher as error:
                heard.listen(Warned("job-held", str(error)))
                jobs.append(_job(job, driven_of(job), note=str(error)))
            except ModelportError as error:
                now = _as_it_stands(dispatch, job)
                jobs.append(_job(now, driven_of(now), note=str(error)))
                errors.append(error)
    for record in damaged:
        heard.listen(Warned("ledger-damaged", str(record)))
    errors += damaged
    if failed is not None:
        failed += errors
    elif errors:
        raise failures_error(errors)
    return _worked(place, jobs, heard)


def failures_error(errors: Sequence[ModelportError]) -> ModelportError:
    """The one error that tells all of these, at least one: of the kind of the gravest, with its hint."""
    gravest = min(errors, key=lambda error: _GRAVITY.index(error.exit_code) if error.exit_code in _GRAVITY else -1)
    lines = list(dict.fromkeys(str(error) for error in errors))
    if len(lines) == 1:
        return gravest
    return type(gravest)(f"{len(lines)} things failed: {'; '.join(lines)}", hint=gravest.hint)


def left_error(worked: Worked) -> ModelportError | None:
    """The error that says what is not done, None where everything is."""
    if worked.complete:
        return None
    shares = [share for job in worked.jobs for share in job.cdns if share.why]
    days = sorted({share.until for share in shares if share.until})
    notes = [job.note for job in worked.jobs if job.note]
    waiting = [job.channel for job in worked.jobs if job.channel and not job.moved]
    if not worked.left and not notes:
        return LeftInLedger(f"all is warm, and {', '.join(waiting)} waits for its move", hint="Run: invoke cdn.resume")
    lines = list(dict.fromkeys([f"{share.url}: {share.why}" for share in shares] + notes))
    named = "; ".join(lines[:NAMED]) + (f" (and {len(lines) - NAMED} more)" if len(lines) > NAMED else "")
    if not worked.left and all(job.over for job in worked.jobs):
        return LeftInLedger(named, hint="Run `invoke cdn.refresh`, and look at the CDN's cache rules.")
    if all(job.over for job in worked.jobs):
        return CallRefused(
            f"the CDN did not do {spell_count(worked.left, 'URL')}: {named}",
            hint="Check what it was asked for, and the CDN's settings.",
        )
    return LeftInLedger(
        f"{spell_subject(worked.left, 'URL', 'are')} left in the ledger{f' until {days[-1]}' if days else ''}: {named}",
        hint=f"Run it again{' then' if days else ''}, on any machine: invoke cdn.resume",
    )


def release_objects(place: Place, release: Release) -> tuple[EdgeObject, ...]:
    """The objects of a signed release, the manifest first.

    Raises:
        UnknownName, TrustError, IntegrityError, UnavailableError
    """
    view = place.view()
    target = view.release(release)
    return edge_objects(target.key, target.sha256, target.size, view.manifest(release))


def _as_it_stands(dispatch: Dispatch, job: Job) -> Job:
    try:
        return dispatch.ledger.open(job.name).job
    except ModelportError:
        # What failed may be the store: what was told of the job so far must not be lost over it.
        return job


def _resume(place: Place, dispatch: Dispatch, name: str, *, allow_unsafe: bool) -> JobWorked:
    log = dispatch.ledger.open(name)
    void = _voided(place, dispatch, log)
    if void is not None:
        return void
    driven = drive_job(place.delivery.fronts, log, dispatch)
    job, move = log.job, log.job.move
    if not driven.complete or move is None:
        return _job(job, driven)
    try:
        moved = keep_promise(move, place, dispatch.listen, allow_unsafe=allow_unsafe)
    except UnknownName:
        return _job(job, driven, note=f"{move.release} is not signed: its publish has not ended; run it again")
    except ConflictError:
        # The promise is void, and asking for it again is a new decision.
        finish_job(log, dispatch)
        raise
    finish_job(log, dispatch)
    return _job(job, driven, moved=move, note="; ".join(f"{one.cdn}: {one.why}" for one in moved.left))


def _voided(place: Place, dispatch: Dispatch, log: Log) -> JobWorked | None:
    """See that the origin has what is still to be sent, for a CDN would remember for long that it was not there.

    Gives the job, closed, if its release was retired; None if all is there.

    Raises:
        VerifyFailed: some objects are not there; nothing was sent.
    """
    job = log.job
    if job.op is not Op.PREFETCH:
        return None
    open_keys = {key for lane in job.lanes.values() for key in lane.keys_in(KeyState.PLANNED, KeyState.FAILED, KeyState.REFUSED)}
    try:
        check_there(place.store, [key for key in job.keys if key in open_keys])
    except VerifyFailed:
        if not job.release or not _is_retired(place, Release.parse(job.release)):
            raise
        log.claim(dispatch.holder, dispatch.by, dispatch.tempo.now())
        finish_job(log, dispatch)
        dispatch.listen(Warned("job-void", f"{job.release} was retired: what was left of its job is not sent any more"))
        return _job(log.job, Driven(job.name, ()))
    return None


def _is_retired(place: Place, release: Release) -> bool:
    try:
        return place.view().release(release, retired=True).facts.retired is not None
    except UnknownName:
        return False


def _is_anothers(job: Job, place: Place) -> bool:
    # Whoever refreshes in the middle of a commit holds no lease for it that could tell whether it lives.
    # Both ways: what a clock that was far ahead ordered would otherwise wait until that time has come.
    young = job.ordered_at is not None and abs(place.delivery.tempo.now() - job.ordered_at) < REFRESH_IS_OURS
    return job.op is not Op.PREFETCH and not job.holder and young


def _key(path: str, cdns: Sequence[Cdn]) -> str:
    if "://" not in path:
        return path.lstrip("/")
    try:
        found = next((key for cdn in cdns if (key := key_of(cdn.base_url, path)) is not None), None)
    except ValueError as error:
        raise UsageError(str(error), hint="Give a path of the tree, as in metadata/timestamp.json, or a URL of it.") from None
    if found is None:
        bases = ", ".join(cdn.base_url for cdn in cdns)
        raise UsageError(f"{path} is not below any CDN's base_url ({bases})", hint="Give a path of the tree, or a URL of it.")
    return found


def _worked(place: Place, jobs: list[JobWorked], heard: Heard) -> Worked:
    left = sum(share.left + share.running + len(share.failed) for job in jobs for share in job.cdns)
    complete = all(job.complete and not job.note and (job.moved or not job.channel) for job in jobs)
    return Worked(store=place.store.url, complete=complete, left=left, jobs=jobs, warnings=list(heard.warnings))


def why_left(share: Share) -> str:
    """Say why a CDN's share is not done; "" if it is."""
    found = []
    if share.waits_until is not None:
        found.append(f"the quota of the day is used up for {spell_count(len(share.left), 'URL')}")
    elif share.left:
        found.append(f"{spell_subject(len(share.left), 'URL', 'were')} not sent")
    if share.running:
        found.append(f"{spell_subject(len(share.running), 'URL', 'are')} under way")
    if share.failed:
        key, reason = next(iter(share.failed.items()))
        found.append(f"{spell_count(len(share.failed), 'URL')} failed, such as {key}: {reason}")
    return "; ".join(found)


def _job(job: Job, driven: Driven, *, moved: Promised | None = None, note: str = "") -> JobWorked:
    promise = moved or job.move
    return JobWorked(
        job=job.name,
        op=job.op,
        release=job.release,
        complete=driven.complete,
        over=job.finished,
        cdns=[_share(share) for share in driven.shares],
        channel=f"{promise.model}@{promise.channel}" if promise else "",
        moved=moved is not None,
        note=note,
    )


def _share(share: Share) -> ShareWorked:
    return ShareWorked(
        provider=share.provider,
        url=share.base_url,
        done=share.done,
        running=len(share.running),
        left=len(share.left),
        failed=dict(share.failed),
        until=instant_text(share.waits_until) if share.waits_until else "",
        why=why_left(share),
        one_location=share.by_reads,
        calls=share.calls,
        urls=share.urls,
    )
