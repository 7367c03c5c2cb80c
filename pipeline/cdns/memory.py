"""A CDN in memory: for tests, dry runs and people who try things out.

Takes calls, keeps what was asked. It counts URLs against a quota of the day, finishes a task when it was polled often
enough, and, unless told otherwise, does a request whose key it knows only once, as the best real one does.

next: ``cdns.webhook``
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta
from typing import Any

from pipeline.cdns.calling import Calling
from pipeline.clocks import utc_now
from pipeline.errors import CallRefused, QuotaUsedUp
from pipeline.plan.calls import day_of, next_day_at
from pipeline.ports import CallLimits, CdnTask, Op, Quota, TaskState, TaskStatus
from pipeline.providers import Credentials

PREFETCH = CallLimits(urls=100, per_second=50.0, per_day=1000, history=timedelta(days=3))
LIMITS = {Op.PREFETCH: PREFETCH, Op.REFRESH: replace(PREFETCH, urls=1000, per_day=10_000), Op.REFRESH_PREFIX: PREFETCH}


@dataclass(slots=True)
class KeptTask:
    """A task as this CDN remembers it; it is done when it was polled ``polls`` times."""

    task: CdnTask
    key: str
    made_at: datetime
    polls: int
    failed: dict[str, str] = field(default_factory=dict)


class MemoryCdn:
    """A ``Cdn`` that forgets everything when it is dropped. ``act(op, urls)`` is what it does to its edge.

    ``failing`` are URLs whose tasks fail, with the reason; ``refused`` those that no call may hold, named if ``names_refused``.
    """

    name = "memory"

    def __init__(
        self,
        base_url: str,
        *,
        account: str = "memory",
        limits: Mapping[Op, CallLimits] = LIMITS,
        can_poll: bool = True,
        polls: int = 1,
        tells_quota: bool = True,
        knows_keys: bool = True,
        names_refused: bool = True,
        now: Callable[[], datetime] = utc_now,
        act: Callable[[Op, Sequence[str]], None] | None = None,
    ) -> None:
        self.base_url = base_url
        self.account = account
        self.limits = limits
        self.can_poll = can_poll
        self.polls = polls
        self.tells_quota = tells_quota
        self.knows_keys = knows_keys
        self.names_refused = names_refused
        self.failing: dict[str, str] = {}
        self.refused: set[str] = set()
        self.kept: dict[str, KeptTask] = {}
        self._now = now
        self._act = act
        self._used: dict[tuple[date, Op], int] = {}
        self._lock = threading.Lock()

    def submit(self, op: Op, urls: Sequence[str], *, key: str) -> Sequence[CdnTask]:
        with self._lock:
            known = [kept.task for kept in self.kept.values() if kept.key == key]
            if known and self.knows_keys:
                return known
            malformed = sorted(self.refused.intersection(urls))
            named = malformed if self.names_refused else ()
            if malformed or len(urls) > self.limits[op].urls:
                raise CallRefused(f"{self.base_url}: {op} refused", hint="Check the URLs.", code="refused", urls=named)
            left = self._left(op)
            if left.remaining < len(urls):
                raise QuotaUsedUp(
                    f"{self.base_url}: {left.remaining} of {left.limit} URLs are left today, {len(urls)} were asked for",
                    hint="The rest waits for another day.",
                    resets_at=left.resets_at,
                )
            today = day_of(self._now(), self.limits[op])
            self._used[today, op] = self._used.get((today, op), 0) + len(urls)
            task = CdnTask(f"m{len(self.kept) + 1}", op, tuple(urls), f"r{len(self.kept) + 1}")
            failed = {url: self.failing[url] for url in urls if url in self.failing}
            self.kept[task.id] = KeptTask(task, key, self._now(), self.polls, failed)
        if self._act is not None:
            self._act(op, [url for url in urls if url not in failed])
        return [task]

    def poll(self, tasks: Sequence[CdnTask]) -> Mapping[str, TaskStatus]:
        with self._lock:
            return {task.id: self._state(self.kept.get(task.id)) for task in tasks}

    def quota(self) -> Mapping[Op, Quota] | None:
        with self._lock:
            return {op: self._left(op) for op in self.limits} if self.tells_quota else None

    def find(self, op: Op, urls: Sequence[str], *, since: datetime) -> Sequence[CdnTask] | None:
        with self._lock:
            wanted = set(urls)
            fits = [kept for kept in self.kept.values() if kept.task.op is op and kept.made_at >= since]
            return [kept.task for kept in fits if wanted.intersection(kept.task.urls)]

    def _state(self, kept: KeptTask | None) -> TaskStatus:
        if kept is None:
            return TaskStatus(TaskState.UNKNOWN)
        kept.polls -= 1
        if kept.polls > 0:
            return TaskStatus(TaskState.RUNNING, percent=50)
        state = TaskState.FAILED if kept.failed else TaskState.DONE
        return TaskStatus(state, percent=100, failed=dict(kept.failed))

    def _left(self, op: Op) -> Quota:
        limits, now = self.limits[op], self._now()
        limit = limits.per_day if limits.per_day is not None else 1 << 40
        used = self._used.get((day_of(now, limits), op), 0)
        return Quota(limit, max(0, limit - used), resets_at=next_day_at(now, limits))


def open_cdn(
    *, base_url: str, endpoint: str, credentials: Credentials, options: Mapping[str, Any], calling: Calling
) -> MemoryCdn:
    """Open a CDN that pretends; it has no endpoint and wants no credentials."""
    del endpoint, credentials
    return MemoryCdn(base_url, account=str(options.get("name", "memory")), now=calling.now)
