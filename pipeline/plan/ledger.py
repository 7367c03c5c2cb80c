"""What stands in a ledger, and what follows from it: the records of one job, folded into where each URL is. Pure.

Takes records in the order of their numbers, gives a ``Job``: for each CDN which keys are planned, on their way, accepted, done
or failed. The machine that writes a record and the one that reads it next day fold it with the same code (docs/format.md §5).

next: ``plan.garbage``
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from pipeline.plan.records import (
    Accepted,
    Again,
    Behind,
    CdnName,
    Claimed,
    Finished,
    Level,
    Ordered,
    Polled,
    Promised,
    Read,
    Record,
    Refused,
    Sending,
    Unsent,
    Waits,
)
from pipeline.ports import Op


class KeyState(StrEnum):
    """Where one key is at one CDN."""

    PLANNED = "planned"
    SENDING = "sending"
    ACCEPTED = "accepted"
    DONE = "done"
    FAILED = "failed"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class Sent:
    """A call of which nobody knows yet what became of it."""

    chunk: str
    keys: tuple[str, ...]
    at: datetime


@dataclass(frozen=True, slots=True)
class OpenTask:
    """A task that was accepted and has not ended."""

    id: str
    keys: tuple[str, ...]
    request_id: str
    at: datetime


@dataclass(slots=True)
class Lane:
    """One CDN's share of a job. ``reasons`` are those of failed and refused keys.

    ``rounds``: how often failed keys were planned again. It belongs to a chunk's name, or a CDN that knows names would
    answer a new request with the failure of the old one.
    """

    cdn: CdnName
    states: dict[str, KeyState]
    reasons: dict[str, str] = field(default_factory=dict)
    sending: dict[str, Sent] = field(default_factory=dict)
    tasks: list[OpenTask] = field(default_factory=list)
    done_at: dict[str, datetime] = field(default_factory=dict)
    waits_until: datetime | None = None
    calls: int = 0
    rounds: int = 0

    def keys_in(self, *states: KeyState) -> tuple[str, ...]:
        """The keys in these states, in the order in which they are wanted."""
        return tuple(key for key, state in self.states.items() if state in states)

    def done_since(self, at: datetime) -> set[str]:
        """The keys that were done at ``at`` or later."""
        return {key for key in self.keys_in(KeyState.DONE) if self.done_at[key] >= at}

    def _done(self, keys: Iterable[str], at: datetime) -> None:
        wanted = [key for key in keys if key in self.states]
        self._set(wanted, KeyState.DONE)
        self.done_at.update(dict.fromkeys(wanted, at))

    def _set(self, keys: Iterable[str], state: KeyState, reasons: Mapping[str, str] | None = None) -> None:
        for key in keys:
            # A key that is no longer wanted may still be part of an older call.
            if key in self.states:
                self.states[key] = state
                self.reasons.pop(key, None)
                if reasons is not None:
                    self.reasons[key] = reasons[key]

    def _back(self, chunk: str) -> None:
        sent = self.sending.pop(chunk, None)
        if sent is not None:
            self._set((key for key in sent.keys if self.states.get(key) is KeyState.SENDING), KeyState.PLANNED)

    def apply(self, record: Record) -> None:
        """Take in what happened at this CDN."""
        match record:
            case Sending():
                self.sending[record.chunk] = Sent(record.chunk, record.keys, record.at)
                self._set(record.keys, KeyState.SENDING)
                self.waits_until = None
                self.calls += 1
            case Unsent():
                self._back(record.chunk)
            case Refused():
                self._back(record.chunk)
                self._set(record.keys, KeyState.REFUSED, record.keys)
            case Accepted():
                self._back(record.chunk)
                for task in record.tasks:
                    if record.final:
                        self._done(task.keys, record.at)
                    else:
                        self._set(task.keys, KeyState.ACCEPTED)
                        self.tasks.append(OpenTask(task.id, task.keys, task.request_id, record.at))
            case Waits():
                self.waits_until = record.until
            case _:
                self._after(record)

    def _after(self, record: Record) -> None:
        match record:
            case Polled():
                self._polled(record)
            case Read():
                self._done(record.keys, record.at)
                self._set(record.failed, KeyState.FAILED, record.failed)
            case Again():
                self._set(record.keys, KeyState.PLANNED)
                self.rounds += 1
            case _:
                pass

    def _polled(self, record: Polled) -> None:
        over = {*record.ended, *record.lost}
        for task in self.tasks:
            if task.id in record.ended:
                good = [key for key in task.keys if self.states.get(key) is KeyState.ACCEPTED and key not in record.failed]
                self._done(good, record.at)
            elif task.id in record.lost:
                gone = dict.fromkeys(task.keys, "the CDN no longer knows its task")
                self._set((key for key in task.keys if self.states.get(key) is KeyState.ACCEPTED), KeyState.FAILED, gone)
        self._set(record.failed, KeyState.FAILED, record.failed)
        self.tasks = [task for task in self.tasks if task.id not in over]


@dataclass(slots=True)
class Job:
    """One job of the ledger, as its records so far tell. ``occasion`` names its present order, on every machine alike."""

    name: str
    op: Op = Op.PREFETCH
    release: str = ""
    by: str = ""
    holder: str = ""
    ordered_at: datetime | None = None
    occasion: str = ""
    keys: tuple[str, ...] = ()
    lanes: dict[str, Lane] = field(default_factory=dict)
    move: Promised | None = None
    finished: bool = True

    @property
    def known(self) -> bool:
        """Whether its beginning is there: what lacks it is the rest of a job that was being removed."""
        return self.ordered_at is not None

    @property
    def complete(self) -> bool:
        """Whether every key is done at every CDN."""
        return all(state is KeyState.DONE for lane in self.lanes.values() for state in lane.states.values())

    def apply(self, number: int, record: Record) -> None:
        """Take in one record."""
        match record:
            case Ordered():
                self._ordered(number, record)
            case Claimed():
                self.holder, self.by = record.holder, record.by
            case Promised():
                self.move = record
            case Behind() | Level():
                pass
            case Finished():
                self.finished, self.move = True, None
            case _:
                lane = self.lanes.get(record.cdn)
                if lane is not None:
                    lane.apply(record)

    def _ordered(self, number: int, record: Ordered) -> None:
        if self.finished or record.op is not self.op:
            self.keys, self.lanes, self.move, self.occasion = (), {}, None, f"{self.name}/{number}/{record.at:%Y%m%dT%H%M%SZ}"
        self.op, self.release, self.by, self.holder = record.op, record.release, record.by, record.holder
        self.ordered_at, self.finished = record.at, False
        self.keys = tuple(dict.fromkeys([*self.keys, *record.keys] if record.more else record.keys))
        lanes = {}
        for cdn in record.cdns:
            lane = self.lanes.get(cdn.base_url) or Lane(cdn, {})
            over = (KeyState.FAILED, KeyState.REFUSED)
            kept = {key: state for key, state in lane.states.items() if state not in over}
            lane.rounds += len(kept) < len(lane.states)
            lane.cdn, lane.reasons = cdn, {}
            lane.states = {key: kept.get(key, KeyState.PLANNED) for key in self.keys}
            lanes[cdn.base_url] = lane
        self.lanes = lanes


def fold(name: str, records: Sequence[tuple[int, Record]]) -> Job:
    """Read a job out of its records, in the order of their numbers."""
    job = Job(name)
    for number, record in records:
        if job.known or isinstance(record, Ordered):
            job.apply(number, record)
    return job
