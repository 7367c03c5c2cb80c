"""A CDN as the settings want it: opened when it is first asked for something, with limits that may differ from its adapter's.

Takes how to open an adapter and what was set, gives a ``Cdn``. A command that asks no CDN needs none of its credentials.
Vendors raise limits for some accounts, and change them without a word, so settings override an adapter's; what
the vendor's quota API tells wins at run time all the same.

next: ``cdns.memory``
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from functools import cached_property

from pipeline.ports import CallLimits, Cdn, CdnTask, Op, Quota, TaskStatus


class ConfiguredCdn:
    """A ``Cdn`` that is another one, later, with other limits."""

    def __init__(
        self,
        name: str,
        base_url: str,
        open_cdn: Callable[[], Cdn],
        *,
        prefetch_per_day: int | None = None,
        urls_per_call: int | None = None,
        per_second: float | None = None,
    ) -> None:
        self.name = name
        self.base_url = base_url
        self._open = open_cdn
        self._prefetch_per_day = prefetch_per_day
        self._urls_per_call = urls_per_call
        self._per_second = per_second

    @cached_property
    def inner(self) -> Cdn:
        """The adapter itself.

        Raises:
            SettingsError, AccessDenied: it lacks a setting or a credential.
        """
        return self._open()

    @cached_property
    def limits(self) -> Mapping[Op, CallLimits]:
        return {
            op: replace(
                limits,
                urls=self._urls_per_call or limits.urls,
                per_second=self._per_second or limits.per_second,
                per_day=(self._prefetch_per_day if op is Op.PREFETCH else None) or limits.per_day,
            )
            for op, limits in self.inner.limits.items()
        }

    @property
    def account(self) -> str:
        return self.inner.account

    @property
    def can_poll(self) -> bool:
        return self.inner.can_poll

    def submit(self, op: Op, urls: Sequence[str], *, key: str) -> Sequence[CdnTask]:
        return self.inner.submit(op, urls, key=key)

    def poll(self, tasks: Sequence[CdnTask]) -> Mapping[str, TaskStatus]:
        return self.inner.poll(tasks)

    def quota(self) -> Mapping[Op, Quota] | None:
        return self.inner.quota()

    def find(self, op: Op, urls: Sequence[str], *, since: datetime) -> Sequence[CdnTask] | None:
        return self.inner.find(op, urls, since=since)
