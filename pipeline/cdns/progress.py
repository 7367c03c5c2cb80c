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


def seen_as(url: str) -> str:
    """What two spellings of a URL have in common: a vendor may leave out the scheme, or the slash of a directory."""
    return url.partition("://")[2].rstrip("/") or url.rstrip("/")


def status_of(task: CdnTask, found: Iterable[UrlState]) -> TaskStatus:
    """Sum up what is told of a task: done only if all of it is, failed only when nothing runs any more, unknown if nothing is told.

    URLs that are not told of are no reason to wait for ever: whether the edge has them is proved there.
    """
    every = list(found)
    asked = {seen_as(url): url for url in task.urls}
    # A vendor may merge tasks, or tell of the whole alone.
    own = [one for one in every if seen_as(one.url) in asked] or every
    if not own:
        return TaskStatus(TaskState.UNKNOWN, detail="the CDN does not know this task (any more)")
    failed = {
        asked.get(seen_as(one.url), one.url): plain(one.reason, 200) or "failed" for one in own if one.state is TaskState.FAILED
    }
    done = [100 if one.state in {TaskState.DONE, TaskState.FAILED} else one.percent or 0 for one in own]
    percent = sum(done) // len(done)
    if any(one.state is TaskState.RUNNING for one in own):
        return TaskStatus(TaskState.RUNNING, percent, failed)
    return TaskStatus(TaskState.FAILED if failed else TaskState.DONE, percent, failed)


def find_tasks(op: Op, urls: Sequence[str], rows: Iterable[tuple[str, str]]) -> list[CdnTask]:
    """Find the tasks that hold ``urls`` in what a vendor lists, newest first: a task's id and a URL a row.

    The newest task that holds a URL is its own; rows are taken until every URL has one.
    """
    wanted = list(dict.fromkeys(urls))
    missing = {seen_as(url) for url in wanted}
    owner: dict[str, str] = {}
    for task_id, url in rows:
        seen = seen_as(url)
        if task_id and seen in missing:
            missing.discard(seen)
            owner[seen] = task_id
        if not missing:
            break
    held: dict[str, list[str]] = {}
    for url in wanted:
        if seen_as(url) in owner:
            held.setdefault(owner[seen_as(url)], []).append(url)
    return [CdnTask(task_id, op, tuple(found)) for task_id, found in held.items()]


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
