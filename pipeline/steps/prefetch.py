"""CDN work, driven: a release's objects to the edges, or stale objects away from them.

Takes the CDNs, the keys in the order of their importance, and a ``Dispatch``; gives a ``Driven`` that says what is done at
each CDN, what waits for another day, and what will not be done. All CDNs are sent to first, then asked about together.

next: ``steps.edge_proof``
"""

from __future__ import annotations

import secrets
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from pipeline.errors import ModelportError
from pipeline.events import CdnAsked, Listener, StepFinished, StepStarted, Warned, ignore
from pipeline.plan.ledger import Job, KeyState, Lane
from pipeline.plan.records import CdnName, Finished, Ordered, Promised
from pipeline.ports import Cdn, Op
from pipeline.spelling import spell_subject
from pipeline.steps.driving import Driver, Tempo
from pipeline.steps.edge_proof import Front
from pipeline.steps.ledger import Ledger, Log, make
from pipeline.steps.reading_warm import WarmingReader
from pipeline.trust.publisher import no_step

UNDER_WAY = (KeyState.PLANNED, KeyState.SENDING, KeyState.ACCEPTED)
GROWTH = 1.5


@dataclass(frozen=True, slots=True)
class Dispatch:
    """Who drives, and how. ``holder`` is the key of the lease that this run holds, ``by`` says who it is.

    ``step(name)`` is called just before each of ``driving.STEPS``.
    """

    ledger: Ledger
    holder: str
    by: str
    tempo: Tempo = field(default_factory=Tempo)
    listen: Listener = ignore
    step: Callable[[str], None] = no_step


@dataclass(frozen=True, slots=True)
class Share:
    """One CDN's share. ``left`` keys wait for quota or a later run, ``running`` ones were accepted and have not ended.

    ``failed`` holds reasons, those of the ``refused`` keys too, which the CDN will not do as things are. ``by_reads``: the CDN has no prefetch, so one location was warmed by reading. ``calls`` and
    ``urls`` count what this run sent.
    """

    provider: str
    base_url: str
    done: int
    running: tuple[str, ...]
    left: tuple[str, ...]
    failed: Mapping[str, str]
    refused: tuple[str, ...]
    waits_until: datetime | None
    by_reads: bool = False
    calls: int = 0
    urls: int = 0


@dataclass(frozen=True, slots=True)
class Driven:
    """What a job has reached."""

    job: str
    shares: tuple[Share, ...]

    @property
    def complete(self) -> bool:
        """Whether every key is done at every CDN."""
        return not self.left and not any(share.failed for share in self.shares)

    @property
    def left(self) -> int:
        """How many URLs another run has to see to."""
        return sum(len(share.left) + len(share.running) for share in self.shares)

    @property
    def waits_until(self) -> datetime | None:
        """When a quota lets the work go on, the latest of all CDNs."""
        return max((share.waits_until for share in self.shares if share.waits_until is not None), default=None)


def warm_release(
    fronts: Sequence[Front],
    job: str,
    keys: Sequence[str],
    dispatch: Dispatch,
    *,
    release: str = "",
    more: bool = False,
    log: Log | None = None,
) -> Driven:
    """Bring ``keys`` to every edge, as far as today's quota goes; the rest stands in the ledger's job ``job``.

    A job of that name that is not finished is continued: what was accepted is not sent again. ``more``: besides what that
    job wants already. ``log``: the job as it was when ``keys`` were chosen; whoever wrote to it since goes first.

    Raises:
        AnotherPublisher: another live run drives this job.
        CdnUnavailable, CallUnanswered, AccessDenied, UsageError: a CDN cannot be used; the others have been served, and
            the ledger says how far it went.
        StoreUnavailable, DiskError, InvalidDocument
    """
    log = log or dispatch.ledger.open(job)
    _order(log, Op.PREFETCH, keys, [front.cdn for front in fronts], dispatch, release=release, more=more)
    return drive_job(fronts, log, dispatch)


def refresh_keys(
    cdns: Sequence[Cdn], keys: Sequence[str], dispatch: Dispatch, *, prefix: bool = False, wait: bool = True
) -> Driven:
    """Let every CDN that can forget what it has under ``keys`` (``prefix``: everything below them), and wait until it has.

    Raises:
        As ``warm_release``.
    """
    op = Op.REFRESH_PREFIX if prefix else Op.REFRESH
    able = [cdn for cdn in cdns if op in cdn.limits]
    for cdn in cdns:
        if cdn not in able:
            dispatch.listen(Warned("no-refresh", f"{cdn.name} {cdn.base_url} has no {op}; what it has stays until it expires"))
    # Each refresh is a job of its own, so that nobody waits for anybody.
    name = f"{op}-{dispatch.tempo.now():%Y%m%dT%H%M%SZ}-{secrets.token_hex(4)}"
    log = dispatch.ledger.open(name)
    if not able:
        return Driven(name, ())
    # What lies below a prefix ends with a slash, everywhere.
    wanted = [f"{key.rstrip('/')}/" if key else "" for key in keys] if prefix else keys
    _order(log, op, wanted, able, dispatch, release="", more=False)
    return _drive(log, able, {}, dispatch, wait=wait)


def drive_job(fronts: Sequence[Front], log: Log, dispatch: Dispatch, *, wait: bool = True) -> Driven:
    """Go on with a job that stands in the ledger.

    Raises:
        As ``warm_release``.
    """
    dispatch.step("cdn.order")
    log.claim(dispatch.holder, dispatch.by, dispatch.tempo.now())
    return _drive(log, [front.cdn for front in fronts], {front.cdn.base_url: front for front in fronts}, dispatch, wait=wait)


def promise_move(log: Log, move: Promised) -> None:
    """Write down the channel's move that is to follow when all is warm.

    Raises:
        AnotherPublisher, StoreUnavailable, DiskError
    """
    log.append(move)


def finish_job(log: Log, dispatch: Dispatch) -> None:
    """Write down that nothing is left of a job.

    Raises:
        AnotherPublisher, StoreUnavailable, DiskError
    """
    dispatch.step("cdn.finish")
    log.append(make(Finished, dispatch.tempo.now(), why="done"))


def driven_of(job: Job, drivers: Mapping[str, Driver | WarmingReader] | None = None) -> Driven:
    """Say what a job has reached."""
    drivers = drivers or {}
    return Driven(job.name, tuple(_share(lane, drivers.get(base_url)) for base_url, lane in job.lanes.items()))


def _share(lane: Lane, driver: Driver | WarmingReader | None) -> Share:
    return Share(
        provider=lane.cdn.provider,
        base_url=lane.cdn.base_url,
        done=len(lane.keys_in(KeyState.DONE)),
        running=lane.keys_in(KeyState.ACCEPTED),
        left=lane.keys_in(KeyState.PLANNED, KeyState.SENDING),
        failed=dict(lane.reasons),
        refused=lane.keys_in(KeyState.REFUSED),
        waits_until=lane.waits_until if lane.keys_in(KeyState.PLANNED) else None,
        by_reads=isinstance(driver, WarmingReader),
        calls=driver.calls if driver is not None else 0,
        urls=driver.sent_urls if driver is not None else 0,
    )


def _order(log: Log, op: Op, keys: Sequence[str], cdns: Sequence[Cdn], dispatch: Dispatch, *, release: str, more: bool) -> None:
    dispatch.step("cdn.order")
    names = tuple(CdnName(provider=cdn.name, account=cdn.account, base_url=cdn.base_url) for cdn in cdns)
    at = dispatch.tempo.now()
    wanted = tuple(dict.fromkeys(keys))
    log.order(
        make(Ordered, at, op=op, keys=wanted, cdns=names, holder=dispatch.holder, by=dispatch.by, release=release, more=more)
    )


def _drive(log: Log, cdns: Sequence[Cdn], fronts: Mapping[str, Front], dispatch: Dispatch, *, wait: bool) -> Driven:
    job, tempo, listen = log.job, dispatch.tempo, dispatch.listen
    began_s = tempo.elapsed_s()
    listen(StepStarted("cdn", sum(len(lane.states) for lane in job.lanes.values())))
    drivers = _drivers(log, cdns, fronts, dispatch)
    for driver in drivers.values():
        driver.send_all()
    if wait:
        _wait(list(drivers.values()), dispatch)
    if job.move is None and all(not lane.keys_in(*UNDER_WAY, KeyState.FAILED) for lane in job.lanes.values()):
        finish_job(log, dispatch)
    done = driven_of(job, drivers)
    listen(StepFinished("cdn", sum(share.done for share in done.shares), seconds=tempo.elapsed_s() - began_s))
    errors: list[ModelportError] = [driver.error for driver in drivers.values() if driver.error is not None]
    for error in errors[1:]:
        listen(Warned("cdn-failed", str(error)))
    if errors:
        raise errors[0]
    return done


def _drivers(log: Log, cdns: Sequence[Cdn], fronts: Mapping[str, Front], dispatch: Dispatch) -> dict[str, Driver | WarmingReader]:
    job, tempo, listen = log.job, dispatch.tempo, dispatch.listen
    drivers: dict[str, Driver | WarmingReader] = {}
    for cdn in cdns:
        if cdn.base_url not in job.lanes:
            continue
        if job.op in cdn.limits:
            drivers[cdn.base_url] = Driver(cdn, log, dispatch.ledger, tempo, listen=listen, step=dispatch.step)
        elif job.op is Op.PREFETCH and cdn.base_url in fronts:
            drivers[cdn.base_url] = WarmingReader(fronts[cdn.base_url], log, tempo, listen=listen, step=dispatch.step)
    for base_url, lane in job.lanes.items():
        if base_url not in drivers:
            listen(
                Warned(
                    "cdn-not-set",
                    f"the ledger has work for {lane.cdn.provider} {base_url}, which the settings here do not name: it stays left",
                )
            )
    return drivers


def _wait(drivers: Sequence[Driver | WarmingReader], dispatch: Dispatch) -> None:
    tempo = dispatch.tempo
    began_s, look_s = tempo.elapsed_s(), tempo.first_look_s
    last: dict[str, CdnAsked] = {}
    while waiting := [driver for driver in drivers if isinstance(driver, Driver) and driver.waits]:
        left_s = began_s + tempo.deadline_s - tempo.elapsed_s()
        if left_s <= 0:
            tasks = sum(len(driver.lane.tasks) for driver in waiting)
            dispatch.listen(
                Warned(
                    "tasks-not-ended",
                    f"{spell_subject(tasks, 'task', 'have')} not ended after {tempo.deadline_s:.0f} s; what is left is cdn.resume's",
                )
            )
            return
        tempo.sleep(min(look_s, left_s))
        look_s = min(tempo.longest_look_s, look_s * GROWTH)
        for driver in waiting:
            driver.look()
            told = _told(driver.lane)
            if told != last.get(told.cdn):
                last[told.cdn] = told
                dispatch.listen(told)


def _told(lane: Lane) -> CdnAsked:
    states = Counter(lane.states.values())
    return CdnAsked(
        cdn=f"{lane.cdn.provider} {lane.cdn.base_url}",
        done=states[KeyState.DONE],
        running=states[KeyState.ACCEPTED],
        left=states[KeyState.PLANNED] + states[KeyState.SENDING],
        failed=states[KeyState.FAILED] + states[KeyState.REFUSED],
    )
