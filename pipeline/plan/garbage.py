"""When an object that nothing needs may go: pure, from the records of earlier collections and the store's own times.

Takes the keys in a store, those that are live, and what earlier runs recorded; gives what may be deleted now, in an
order that never leaves a reference to a deleted object, and what has to wait (docs/format.md §11).

next: ``plan.rollback``
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from pipeline.layout import METADATA, PARTS, TARGETS, is_hashed_web_file, is_target, part_name, role_version
from pipeline.ports import ObjectInfo

GRACE = timedelta(days=7)
METADATA_GRACE = timedelta(days=30)
COLLECTED = (METADATA, TARGETS, PARTS)
# As long as somebody may ask who deleted what.
HISTORY = timedelta(days=365)


@dataclass(frozen=True, slots=True)
class Rules:
    """How long garbage waits, role files longer than the rest, and below which prefixes it is looked for."""

    grace: timedelta = GRACE
    metadata_grace: timedelta = METADATA_GRACE
    prefixes: tuple[str, ...] = COLLECTED

    def grace_of(self, key: str) -> timedelta:
        """How long the object under ``key`` waits."""
        return self.metadata_grace if key.startswith(METADATA) else self.grace


DEFAULT = Rules()


@dataclass(frozen=True, slots=True)
class Mark:
    """One collection's record: when the store wrote it, and all that was unreachable then; ``deletes`` if it says what went."""

    at: datetime
    unreachable: frozenset[str]
    key: str = ""
    deletes: bool = False


@dataclass(frozen=True, slots=True)
class Garbage:
    """An object that nothing needs; ``since`` is the oldest record in a row that says so, None if there is none yet.

    ``due_at`` is None until it was recorded once. ``held_by`` is a manifest or role that stays yet and names it.
    """

    key: str
    size: int
    since: datetime | None
    due_at: datetime | None
    held_by: str = ""

    def is_due(self, now: datetime) -> bool:
        """Tell whether it may go at ``now``."""
        return not self.held_by and self.due_at is not None and self.due_at <= now


def in_time(marks: Iterable[Mark]) -> list[Mark]:
    """Sort records, the oldest first. Of those that one second wrote only what all of them name counts: nobody knows their order."""
    ordered = sorted(marks, key=lambda mark: (mark.at, mark.key))
    agreed: dict[datetime, frozenset[str]] = {}
    for mark in ordered:
        agreed[mark.at] = agreed.get(mark.at, mark.unreachable) & mark.unreachable
    return [replace(mark, unreachable=agreed[mark.at]) for mark in ordered]


def is_collected(key: str) -> bool:
    """Tell whether a collection may ever touch ``key``.

    A part, a manifest, a channel's document, a role's file but a root's, or a hashed file of the web view: nothing of
    ``control/``, and nothing that somebody else put there under a name of their own.
    """
    role = role_version(key)
    if role is not None:
        return role[0] != "root"
    return part_name(key) is not None or is_target(key) or is_hashed_web_file(key)


def find_garbage(
    found: Iterable[ObjectInfo], live: Collection[str], marks: Sequence[Mark], rules: Rules = DEFAULT
) -> tuple[Garbage, ...]:
    """Name what is in the store and not live, referrers before what they refer to. ``marks`` are the oldest first."""
    garbage = []
    for info in found:
        if not is_collected(info.key) or info.key in live:
            continue
        first = _first_in_row(info.key, marks)
        since = marks[first].at if first is not None else None
        due_at = None
        if since is not None:
            due_at = max(since, info.modified_at) + rules.grace_of(info.key)
        garbage.append(Garbage(info.key, info.size, since, due_at))
    return tuple(sorted(garbage, key=lambda one: (_rank(one.key), one.key)))


def recorded(garbage: Iterable[Garbage], at: datetime, rules: Rules) -> tuple[Garbage, ...]:
    """The same, now that a record of ``at`` names all of it."""
    return tuple(one if one.since is not None else replace(one, since=at, due_at=at + rules.grace_of(one.key)) for one in garbage)


def witnesses(garbage: Iterable[Garbage], now: datetime, rules: Rules) -> Iterator[Garbage]:
    """Roles of models that were not recorded for a grace yet: what they name was still needed until short of that."""
    for one in garbage:
        role = role_version(one.key)
        if role is None or role[0] in {"root", "targets", "snapshot"}:
            continue
        if one.due_at is None or one.due_at - rules.metadata_grace + rules.grace > now:
            yield one


def hold_named(garbage: Iterable[Garbage], named: Mapping[str, str], now: datetime) -> tuple[Garbage, ...]:
    """Let what is due, but stands in ``named`` (key → what stays and names it), wait for that."""
    return tuple(replace(one, held_by=named[one.key]) if one.key in named and one.is_due(now) else one for one in garbage)


def batches(due: Sequence[Garbage], size: int) -> Iterator[list[Garbage]]:
    """Cut ``due``, which is in order, into pieces of at most ``size`` whose objects do not refer to each other."""
    batch: list[Garbage] = []
    for one in due:
        if batch and (len(batch) >= size or _rank(batch[0].key) != _rank(one.key)):
            yield batch
            batch = []
        batch.append(one)
    if batch:
        yield batch


def highest_numbers(found: Iterable[ObjectInfo]) -> frozenset[str]:
    """The file with the highest number of each role: it says that the number is taken, whether it is valid or not.

    If it went, the next commit would take the number again, and an edge that saw the first file would keep showing it.
    """
    highest: dict[str, tuple[int, str]] = {}
    for info in found:
        role = role_version(info.key)
        if role is not None:
            highest[role[0]] = max(highest.get(role[0], (0, "")), (role[1], info.key))
    return frozenset(key for _, key in highest.values())


def superseded(marks: Sequence[Mark], unreachable: Collection[str], now: datetime) -> tuple[str, ...]:
    """The records that settle no time any more, now that a new one names ``unreachable``. ``marks`` are the oldest first.

    For each object two of them count: the first of the row that names it, and the one before, which ends that row. What
    lies between or before could go in any order without an object becoming due earlier or later. Records of what was
    deleted stay for a year.
    """
    needed: set[int] = set()
    for key in unreachable:
        first = _first_in_row(key, marks)
        before = (len(marks) if first is None else first) - 1
        needed.update(at for at in (first, before) if at is not None and at >= 0)
    return tuple(mark.key for at, mark in enumerate(marks) if at not in needed and not (mark.deletes and now - mark.at < HISTORY))


def _first_in_row(key: str, marks: Sequence[Mark]) -> int | None:
    first = None
    for at in range(len(marks) - 1, -1, -1):
        # A run that found it reachable lies between: the time begins anew after it.
        if key not in marks[at].unreachable:
            break
        first = at
    return first


def _rank(key: str) -> int:
    """Snapshots name roles, the targets role names models' roles, those name targets, manifests name parts."""
    role = role_version(key)
    if role is not None:
        return {"snapshot": 0, "targets": 1}.get(role[0], 2)
    return 3 if key.startswith(TARGETS) else 4
