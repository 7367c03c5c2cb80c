"""From what a vendor tells of single URLs to what a task is: the same rules for all vendors.

Takes rows of a vendor's answer as ``UrlState``, gives a ``TaskStatus``, or the tasks that a lost answer would have named. Pure.

next: the adapters, ``cdns.aliyun`` …
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pipeline.ports import CdnTask, Op, TaskState, TaskStatus
from pipeline.sources.answers import plain


@dataclass(frozen=True, slots=True)
class UrlState:
    """How far one URL is; ``reason`` says why it failed."""

    url: str
    state: TaskState
    percent: int | None = None
    reason: str = ""


def status_of(task: CdnTask, found: Iterable[UrlState]) -> TaskStatus:
    """Sum up what is told of a task: done only if all of it is, failed only when nothing runs any more, unknown if nothing is told."""
    every = list(found)
    wanted = set(task.urls)
    # A vendor may merge tasks, or spell a directory otherwise than it was asked.
    own = [one for one in every if one.url in wanted] or every
    if not own:
        return TaskStatus(TaskState.UNKNOWN, detail="the CDN does not know this task (any more)")
    failed = {one.url: plain(one.reason, 200) or "failed" for one in own if one.state is TaskState.FAILED}
    done = [100 if one.state in {TaskState.DONE, TaskState.FAILED} else one.percent or 0 for one in own]
    percent = sum(done) // len(done)
    if any(one.state is TaskState.RUNNING for one in own):
        return TaskStatus(TaskState.RUNNING, percent, failed)
    return TaskStatus(TaskState.FAILED if failed else TaskState.DONE, percent, failed)


def tasks_found(op: Op, urls: Sequence[str], told: Iterable[tuple[str, str]]) -> list[CdnTask]:
    """Make tasks of (task id, URL) pairs, newest first, each of ``urls`` in the newest task that holds it."""
    wanted = set(urls)
    owner: dict[str, str] = {}
    for task_id, url in told:
        if url in wanted and task_id:
            owner.setdefault(url, task_id)
    grouped: dict[str, list[str]] = {}
    for url in urls:
        if url in owner and url not in grouped.setdefault(owner[url], []):
            grouped[owner[url]].append(url)
    return [CdnTask(task_id, op, tuple(held)) for task_id, held in grouped.items()]


def percent_in(value: Any) -> int | None:
    """Read "97%", "97" or 97; None for anything else."""
    found = count_in(value.strip().removesuffix("%") if isinstance(value, str) else value)
    return None if found is None else min(found, 100)


def count_in(value: Any) -> int | None:
    """Read a count, as a number or as text; None for anything else."""
    if isinstance(value, bool) or not isinstance(value, str | int):
        return None
    text = str(value).strip()
    return int(text) if re.fullmatch(r"[0-9]{1,12}", text) else None


def field_of(row: Mapping[str, Any], name: str) -> str:
    """A row's field as text, "" where there is none."""
    found = row.get(name)
    return "" if found is None else str(found)
