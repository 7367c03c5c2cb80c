"""What stands in the ledger and at the CDNs, and what a prefetch would ask for. Nothing is changed here.

Takes a store and its CDNs, gives a ``CdnStatus`` or, without calling anybody, a ``CallsPlanned``.

next: ``pipeline.stores``
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta

import msgspec

from pipeline.clocks import utc_now
from pipeline.errors import InvalidDocument, ModelportError
from pipeline.plan.calls import chunk_urls, day_of, last_day, next_day_at, url_of
from pipeline.plan.ledger import Job, KeyState, Lane
from pipeline.ports import Cdn, CdnTask, ObjectStore, Op, Quota, TaskStatus
from pipeline.steps.ledger import Ledger
from pipeline.trust.facts import instant_text

Now = Callable[[], datetime]


class TaskShown(msgspec.Struct, frozen=True, kw_only=True):
    """A task that has not ended in the ledger. ``percent`` is None where the CDN does not tell."""

    id: str
    request_id: str
    urls: int
    since: str
    state: str
    percent: int | None


class LaneShown(msgspec.Struct, frozen=True, kw_only=True):
    """One job at one CDN, in URLs by their state; ``failed`` holds each URL's reason, ``waits_until`` is "" where no quota is waited for."""

    provider: str
    url: str
    states: dict[str, int]
    percent: int
    tasks: list[TaskShown]
    failed: dict[str, str]
    waits_until: str


class JobShown(msgspec.Struct, frozen=True, kw_only=True):
    """One job of the ledger. ``channel`` waits for it."""

    job: str
    op: str
    release: str
    by: str
    ordered_at: str
    finished: bool
    channel: str
    cdns: list[LaneShown]


class QuotaShown(msgspec.Struct, frozen=True, kw_only=True):
    """What may still be asked for today; ``told_by`` is ``api`` or ``settings``. None where nobody counts."""

    provider: str
    url: str
    op: str
    limit: int | None
    remaining: int | None
    resets_at: str
    told_by: str


class CdnStatus(msgspec.Struct, frozen=True, kw_only=True):
    """The ledger's jobs, the newest first, and the quotas.

    ``damaged`` are records that cannot be read; ``warnings`` say which CDN did not answer.
    """

    store: str
    jobs: list[JobShown]
    quotas: list[QuotaShown]
    damaged: list[str]
    warnings: list[str]


class PlannedAt(msgspec.Struct, frozen=True, kw_only=True):
    """What one CDN would be asked for: ``today`` fits into what is left of its quota, the rest would be through on ``last_day``."""

    provider: str
    url: str
    op: str
    urls: int
    calls: int
    today: int
    remaining: int | None
    last_day: str
    by_reads: bool


class CallsPlanned(msgspec.Struct, frozen=True, kw_only=True):
    """What a run would do; nobody was asked for it, so quotas are those of the settings."""

    store: str
    cdns: list[PlannedAt]


def read_status(
    store: ObjectStore, cdns: Sequence[Cdn], *, all_jobs: bool = False, ask: bool = True, now: Now = utc_now
) -> CdnStatus:
    """Read the ledger, and ask every CDN about open tasks and its quota, unless ``ask`` is False.

    Raises:
        StoreUnavailable, DiskError
    """
    ledger, warnings, damaged = Ledger(store), list[str](), list[InvalidDocument]()
    asked = {cdn.base_url: cdn for cdn in cdns if ask}
    jobs = [_shown(job, asked, warnings) for job in reversed(ledger.jobs(finished=all_jobs, damaged=damaged))]
    quotas = [shown for cdn in cdns for shown in _quotas(cdn, ledger, now(), warnings, ask=ask)]
    return CdnStatus(store=store.url, jobs=jobs, quotas=quotas, damaged=[str(error) for error in damaged], warnings=warnings)


def plan_calls(store: ObjectStore, cdns: Sequence[Cdn], keys: Sequence[str], op: Op, *, now: Now = utc_now) -> CallsPlanned:
    """Say which calls a run would make for ``keys``, without asking anybody.

    Raises:
        StoreUnavailable, DiskError
    """
    ledger, asked_at = Ledger(store), now()
    found = []
    for cdn in cdns:
        urls = list(dict.fromkeys(url_of(cdn.base_url, key) for key in keys))
        limits = cdn.limits.get(op)
        if limits is None:
            found.append(_planned(cdn, op, urls, calls=0, remaining=None, last="", by_reads=op is Op.PREFETCH))
            continue
        remaining = None
        if limits.per_day is not None:
            used = ledger.used(cdn.name, cdn.account, op, next_day_at(asked_at, limits) - timedelta(days=1))
            remaining = max(0, limits.per_day - used)
        today = len(urls) if remaining is None else min(remaining, len(urls))
        first = day_of(asked_at, limits)
        last = first if today == len(urls) else last_day(len(urls) - today, limits.per_day, first + timedelta(days=1))
        step = limits.per_day or len(urls) or 1
        days = [urls[:today], *(urls[at : at + step] for at in range(today, len(urls), step))]
        calls = sum(len(chunk_urls(of_day, limits)) for of_day in days)
        found.append(_planned(cdn, op, urls, calls=calls, remaining=remaining, last=f"{last}", by_reads=False))
    return CallsPlanned(store=store.url, cdns=found)


def _planned(cdn: Cdn, op: Op, urls: Sequence[str], *, calls: int, remaining: int | None, last: str, by_reads: bool) -> PlannedAt:
    return PlannedAt(
        provider=cdn.name,
        url=cdn.base_url,
        op=op,
        urls=len(urls),
        calls=calls,
        today=len(urls) if remaining is None else min(remaining, len(urls)),
        remaining=remaining,
        last_day=last,
        by_reads=by_reads,
    )


def _shown(job: Job, cdns: Mapping[str, Cdn], warnings: list[str]) -> JobShown:
    return JobShown(
        job=job.name,
        op=job.op,
        release=job.release,
        by=job.by,
        ordered_at=instant_text(job.ordered_at) if job.ordered_at else "",
        finished=job.finished,
        channel=f"{job.move.model}@{job.move.channel}" if job.move else "",
        cdns=[_lane(job, lane, cdns.get(base_url), warnings) for base_url, lane in job.lanes.items()],
    )


def _lane(job: Job, lane: Lane, cdn: Cdn | None, warnings: list[str]) -> LaneShown:
    states: Mapping[str, TaskStatus] = {}
    if cdn is not None and cdn.can_poll and lane.tasks:
        tasks = [
            CdnTask(task.id, job.op, tuple(url_of(cdn.base_url, key) for key in task.keys), task.request_id)
            for task in lane.tasks
        ]
        try:
            states = cdn.poll(tasks)
        except ModelportError as error:
            warnings.append(f"{cdn.name} {cdn.base_url}: its tasks are not known: {error}")
    shown = [
        TaskShown(
            id=task.id,
            request_id=task.request_id,
            urls=len(task.keys),
            since=instant_text(task.at),
            state=states[task.id].state if task.id in states else "not asked",
            percent=states[task.id].percent if task.id in states else None,
        )
        for task in lane.tasks
    ]
    done = len(lane.keys_in(KeyState.DONE)) + sum(task.urls * (task.percent or 0) / 100 for task in shown)
    failed = {url_of(lane.cdn.base_url, key): why for key, why in lane.reasons.items()}
    for status in states.values():
        failed |= dict(status.failed)
    return LaneShown(
        provider=lane.cdn.provider,
        url=lane.cdn.base_url,
        states={state: count for state in KeyState if (count := len(lane.keys_in(state)))},
        percent=int(100 * done / len(lane.states)) if lane.states else 100,
        tasks=shown,
        failed=failed,
        waits_until=instant_text(lane.waits_until) if lane.waits_until else "",
    )


def _quotas(cdn: Cdn, ledger: Ledger, now: datetime, warnings: list[str], *, ask: bool) -> list[QuotaShown]:
    told: Mapping[Op, Quota] = {}
    if ask:
        try:
            told = cdn.quota() or {}
        except ModelportError as error:
            warnings.append(f"{cdn.name} {cdn.base_url}: its quota is not known: {error}")
    found = []
    for op, limits in cdn.limits.items():
        quota = told.get(op)
        limit, remaining, resets_at = limits.per_day, None, next_day_at(now, limits)
        if quota is not None:
            limit, remaining, resets_at = quota.limit, quota.remaining, quota.resets_at or resets_at
        elif limit is not None:
            remaining = max(0, limit - ledger.used(cdn.name, cdn.account, op, resets_at - timedelta(days=1)))
        found.append(
            QuotaShown(
                provider=cdn.name,
                url=cdn.base_url,
                op=op,
                limit=limit,
                remaining=remaining,
                resets_at=instant_text(resets_at) if limit is not None else "",
                told_by="api" if quota is not None else "settings" if limit is not None else "nobody",
            )
        )
    return found
