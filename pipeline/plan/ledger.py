"""What stands in a ledger, and what follows from it: the records of one job, folded into where each URL is. Pure.

Takes records in the order of their numbers, gives a ``Job``: for each CDN which keys are planned, on their way, accepted, done
or failed. The machine that writes a record and the one that reads it next day fold it with the same code (docs/format.md §5).

next: ``plan.follow``
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

import msgspec

from pipeline.errors import InvalidDocument
from pipeline.ports import Op
from pipeline.wire import check_json

FORMAT = "modelport-ledger"
VERSION = 1
RECORD_BYTES = 64 << 20
DAMAGED = "Remove this record with your store's tools: at worst some URLs are sent to the CDN again."


class _Record(msgspec.Struct, frozen=True, kw_only=True, tag_field="what", omit_defaults=True):
    format: str
    version: int
    at: datetime


class CdnName(msgspec.Struct, frozen=True, kw_only=True):
    """One CDN, as the settings name it; ``base_url`` tells it from the others."""

    provider: str
    account: str
    base_url: str


class Ordered(_Record, frozen=True, kw_only=True, tag="ordered"):
    """Somebody wants ``op`` on ``keys`` at ``cdns``. ``more``: besides what was wanted before, instead of in its stead."""

    op: Op
    keys: tuple[str, ...]
    cdns: tuple[CdnName, ...]
    holder: str
    by: str
    release: str = ""
    more: bool = False


class Claimed(_Record, frozen=True, kw_only=True, tag="claimed"):
    """Whoever holds the lease ``holder`` goes on with it."""

    holder: str
    by: str


class Sending(_Record, frozen=True, kw_only=True, tag="sending"):
    """A call is about to go out; without a record after it, nobody knows what became of it."""

    cdn: str
    chunk: str
    keys: tuple[str, ...]


class Unsent(_Record, frozen=True, kw_only=True, tag="unsent"):
    """The call surely changed nothing: its keys are planned as before."""

    cdn: str
    chunk: str
    why: str


class Refused(_Record, frozen=True, kw_only=True, tag="refused"):
    """The CDN will not do ``keys``, each with its reason. Those of ``chunk`` that are not among them are planned as before."""

    cdn: str
    chunk: str
    keys: dict[str, str]


class TaskRecord(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A task that the CDN accepted."""

    id: str
    keys: tuple[str, ...]
    request_id: str = ""


class Accepted(_Record, frozen=True, kw_only=True, tag="accepted"):
    """The call was taken. ``final``: this CDN tells no more, so that accepted is done."""

    cdn: str
    chunk: str
    tasks: tuple[TaskRecord, ...]
    final: bool = False


class Polled(_Record, frozen=True, kw_only=True, tag="polled"):
    """What tasks became: ``ended`` ones are done but for ``failed`` keys; the CDN no longer knows ``lost`` ones."""

    cdn: str
    ended: tuple[str, ...] = ()
    failed: dict[str, str] = {}
    lost: tuple[str, ...] = ()


class Read(_Record, frozen=True, kw_only=True, tag="read"):
    """Keys that were warmed by reading them through the edge, and those that could not be read."""

    cdn: str
    keys: tuple[str, ...]
    failed: dict[str, str] = {}


class Again(_Record, frozen=True, kw_only=True, tag="again"):
    """Failed keys are planned once more."""

    cdn: str
    keys: tuple[str, ...]


class Waits(_Record, frozen=True, kw_only=True, tag="waits"):
    """The quota is used up: what is planned waits until ``until``."""

    cdn: str
    until: datetime


class Promised(_Record, frozen=True, kw_only=True, tag="promised"):
    """When all is warm, ``channel`` shall move to ``release`` if it still points to ``expected`` ("" for nowhere).

    ``sequence`` is the channel's when this was promised (0 for one that is not there): another one says that somebody
    decided since, whatever the clocks of the machines say.
    """

    model: str
    channel: str
    release: str
    expected: str
    sequence: int
    by: str


class Finished(_Record, frozen=True, kw_only=True, tag="finished"):
    """Nothing is left to do; a later order begins anew."""

    why: str


class Behind(_Record, frozen=True, kw_only=True, tag="behind"):
    """``store`` lacks ``snapshot`` of the first one, whole or of ``names``; see ``steps.copies``."""

    store: str
    snapshot: int
    why: str
    by: str
    endpoint: str = ""
    region: str = ""
    names: tuple[str, ...] = ()


class Level(_Record, frozen=True, kw_only=True, tag="level"):
    """The store ``store`` announces ``snapshot``, or a newer one."""

    store: str
    snapshot: int
    by: str


Record = (
    Behind
    | Level
    | Ordered
    | Claimed
    | Sending
    | Unsent
    | Refused
    | Accepted
    | Polled
    | Read
    | Again
    | Waits
    | Promised
    | Finished
)


def decode_record(data: bytes, what: str) -> Record:
    """Decode a record; ``what`` names it.

    Raises:
        InvalidDocument: damaged, or written by a newer modelport.
    """
    try:
        value = check_json(data, what=what, cap=RECORD_BYTES)
    except InvalidDocument as error:
        raise InvalidDocument(str(error), hint=DAMAGED) from error
    if isinstance(value, dict) and value.get("format") == FORMAT and value.get("version") != VERSION:
        raise InvalidDocument(
            f"{what} has version {value.get('version')}, expected {VERSION}", hint="It needs a newer modelport: update it."
        )
    try:
        found: Record = msgspec.convert(value, Record)
    except msgspec.ValidationError as error:
        raise InvalidDocument(f"{what} is no ledger record: {error}", hint=DAMAGED) from error
    if found.format != FORMAT:
        raise InvalidDocument(f"{what} is no ledger record: format {found.format[:40]!r}, expected {FORMAT!r}", hint=DAMAGED)
    return found


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
