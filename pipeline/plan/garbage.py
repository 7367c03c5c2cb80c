"""When an object that nothing needs may go: pure, from the records of earlier collections and the store's own times.

Takes the keys in a store, those that are live, and what earlier runs recorded; gives what may be deleted now, in an
order that never leaves a reference to a deleted object, and what has to wait (docs/format.md §11).

next: ``workers``
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from pipeline.layout import METADATA, PARTS, TARGETS, TIMESTAMP, role_version
from pipeline.ports import ObjectInfo

GRACE = timedelta(days=7)
METADATA_GRACE = timedelta(days=30)
COLLECTED = (METADATA, TARGETS, PARTS)


@dataclass(frozen=True, slots=True)
class Mark:
    """One collection's record: when the store wrote it, and all that was unreachable then."""

    at: datetime
    unreachable: frozenset[str]


@dataclass(frozen=True, slots=True)
class Garbage:
    """An object that nothing needs; ``since`` is the oldest record in a row that says so, None if there is none yet.

    ``due_at`` is None until it was recorded once.
    """

    key: str
    size: int
    since: datetime | None
    due_at: datetime | None

    def is_due(self, now: datetime) -> bool:
        """Tell whether it may go at ``now``."""
        return self.due_at is not None and self.due_at <= now


def is_collected(key: str) -> bool:
    """Tell whether a collection may ever touch ``key``: no root, not the timestamp, nothing of ``control/`` and ``web/``."""
    role = role_version(key)
    return key.startswith(COLLECTED) and key != TIMESTAMP and not (role is not None and role[0] == "root")


def find_garbage(found: Iterable[ObjectInfo], live: Collection[str], marks: Sequence[Mark]) -> tuple[Garbage, ...]:
    """Name what is in the store and not live, referrers before what they refer to. ``marks`` are the oldest first."""
    garbage = []
    for info in found:
        if not is_collected(info.key) or info.key in live:
            continue
        since = _unreachable_since(info.key, marks)
        due_at = None
        if since is not None:
            due_at = max(since, info.modified_at) + (METADATA_GRACE if info.key.startswith(METADATA) else GRACE)
        garbage.append(Garbage(info.key, info.size, since, due_at))
    return tuple(sorted(garbage, key=lambda one: (_rank(one.key), one.key)))


def _unreachable_since(key: str, marks: Sequence[Mark]) -> datetime | None:
    since = None
    for mark in reversed(marks):
        # A run that found it reachable lies between: the time begins anew after it.
        if key not in mark.unreachable:
            break
        since = mark.at
    return since


def _rank(key: str) -> int:
    """Snapshots name roles, the targets role names models' roles, those name targets, manifests name parts."""
    role = role_version(key)
    if role is not None:
        return {"snapshot": 0, "targets": 1}.get(role[0], 2)
    return 3 if key.startswith(TARGETS) else 4
