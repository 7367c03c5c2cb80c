"""A CDN whose limits the settings changed: vendors raise them for some accounts, and change them without a word.

Takes a ``Cdn`` and what was set, gives a ``Cdn``. What the vendor's quota API tells wins at run time all the same.

next: ``cdns.memory``
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime

from pipeline.ports import CallLimits, Cdn, CdnTask, Op, Quota, TaskStatus


class ConfiguredCdn:
    """A ``Cdn`` that is another one with other limits."""

    def __init__(
        self, cdn: Cdn, *, prefetch_per_day: int | None = None, urls_per_call: int | None = None, per_second: float | None = None
    ) -> None:
        self._cdn = cdn
        self._limits: dict[Op, CallLimits] = {}
        for op, limits in cdn.limits.items():
            self._limits[op] = replace(
                limits,
                urls=urls_per_call or limits.urls,
                per_second=per_second or limits.per_second,
                per_day=(prefetch_per_day if op is Op.PREFETCH else None) or limits.per_day,
            )

    @property
    def name(self) -> str:
        return self._cdn.name

    @property
    def account(self) -> str:
        return self._cdn.account

    @property
    def base_url(self) -> str:
        return self._cdn.base_url

    @property
    def limits(self) -> Mapping[Op, CallLimits]:
        return self._limits

    @property
    def can_poll(self) -> bool:
        return self._cdn.can_poll

    def submit(self, op: Op, urls: Sequence[str], *, key: str) -> Sequence[CdnTask]:
        return self._cdn.submit(op, urls, key=key)

    def poll(self, tasks: Sequence[CdnTask]) -> Mapping[str, TaskStatus]:
        return self._cdn.poll(tasks)

    def quota(self) -> Mapping[Op, Quota] | None:
        return self._cdn.quota()

    def find(self, op: Op, urls: Sequence[str], *, since: datetime) -> Sequence[CdnTask] | None:
        return self._cdn.find(op, urls, since=since)
