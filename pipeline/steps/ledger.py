"""The ledger: what is still to be done at a CDN, as create-only numbered records below ``control/ledger/``.

Takes a store, gives ``Log``s: one a job, read back whole, appended to record by record. Whoever appends must hold the job: a
number that somebody else took first says that another run claimed it, so that no two machines drive one job, not
even one that slept through the end of its lease (docs/format.md §5).

next: ``steps.driving``
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, TypeVar

from pipeline.digest import sha256_of
from pipeline.errors import AnotherPublisher, InvalidDocument, ObjectExists, ObjectMissing
from pipeline.layout import LEDGER, ledger_key, ledger_record
from pipeline.plan import ledger
from pipeline.plan.ledger import Job
from pipeline.plan.records import (
    FORMAT,
    RECORD_BYTES,
    VERSION,
    Accepted,
    Behind,
    Claimed,
    Finished,
    LedgerRecord,
    Level,
    Ordered,
    Record,
    Sending,
    decode_record,
)
from pipeline.ports import ObjectInfo, ObjectStore, Op, read_object
from pipeline.steps.lease import list_leases
from pipeline.wire import encode_document
from pipeline.workers import in_order, threads

R = TypeVar("R", bound=LedgerRecord)
# Longer than any vendor can be asked about a task, and than anybody asks who warmed what.
KEPT = timedelta(days=30)
READS_AT_ONCE = 8
_HINT = "If that run is dead, wait until its lease is an hour old, then: invoke cdn.resume"


class Log:
    """One job's records, and what they say. ``job`` is always what the store holds, unless another run wrote behind our back."""

    def __init__(self, store: ObjectStore, name: str, records: Sequence[tuple[int, Record]] = ()) -> None:
        self.job = ledger.fold(name, records)
        self._store = store
        self._next = records[-1][0] + 1 if records else 0

    def order(self, record: Ordered) -> None:
        """Write down what is wanted, and hold the job.

        Raises:
            AnotherPublisher: another live run holds it.
        """
        self._check_free(record.holder)
        self._put(record, record.holder)

    def claim(self, holder: str, by: str, at: datetime) -> None:
        """Hold the job from here on, in the name of the lease ``holder``.

        Raises:
            AnotherPublisher: another live run holds it.
        """
        if self.job.holder != holder:
            self._check_free(holder)
            self._put(make(Claimed, at, holder=holder, by=by), holder)

    def append(self, record: Record) -> None:
        """Write ``record`` down; it is durable when this returns.

        Raises:
            AnotherPublisher: another run claimed the job since.
        """
        self._put(record, self.job.holder)

    def _check_free(self, holder: str) -> None:
        job = self.job
        if job.finished or not job.holder or job.holder == holder:
            return
        if any(lease.live and lease.key == job.holder for lease in list_leases(self._store)):
            raise AnotherPublisher(f"{job.by} is at work on the ledger's job {job.name} just now", hint=_HINT)

    def _put(self, record: Record, holder: str) -> None:
        key = ledger_key(self.job.name, self._next)
        data = encode_document(record)
        try:
            self._store.put(key, data, sha256=sha256_of(data), if_absent=True)
        except ObjectExists:
            there = read_object(self._store, key, cap=RECORD_BYTES)
            if there != data:
                found = decode_record(there, key)
                by = found.by if isinstance(found, Claimed | Ordered) else "another run"
                raise AnotherPublisher(
                    f"{by} took over the ledger's job {self.job.name} while {holder or 'this run'} was at it", hint=_HINT
                ) from None
        self.job.apply(self._next, record)
        self._next += 1


def make(kind: type[R], at: datetime, **fields: Any) -> R:
    """Make a record of the present format."""
    # Whole seconds, as every time of the format.
    return kind(format=FORMAT, version=VERSION, at=at.replace(microsecond=0), **fields)


def _ends(record: Record | None) -> bool:
    return isinstance(record, Finished | Level)


@dataclass(frozen=True, slots=True)
class Ledger:
    """All jobs of one store."""

    store: ObjectStore

    def open(self, name: str) -> Log:
        """Read one job; one that nobody ordered yet is empty.

        Raises:
            InvalidDocument: a record is damaged, or of a newer format.
            UnavailableError, DiskError
        """
        return Log(self.store, name, list(self._records(self.store.list(f"{LEDGER}{name}/"))))

    def jobs(self, *, finished: bool = True, damaged: list[InvalidDocument] | None = None) -> list[Job]:
        """Read every job whose beginning is there, the oldest first; without the ``finished`` ones if so told.

        What is wrong with jobs that cannot be read is added to ``damaged``, where it is given.

        Raises:
            As ``open``.
        """
        folders, found = self._by_job(), list[Job]()
        with threads(READS_AT_ONCE, "ledger") as pool:
            # Most jobs are finished, and their last record says so.
            last = in_order(pool, self._last, folders.values(), ahead=4 * READS_AT_ONCE)
            wanted = [pair for pair, record in zip(folders.items(), last, strict=True) if finished or not _ends(record)]
            whole = in_order(pool, self._whole, (infos for _, infos in wanted), ahead=2 * READS_AT_ONCE)
            for (name, _), records in zip(wanted, whole, strict=True):
                if not isinstance(records, InvalidDocument):
                    found.append(ledger.fold(name, records))
                elif damaged is None:
                    raise records
                else:
                    damaged.append(records)
        return sorted((job for job in found if job.ordered_at is not None), key=lambda job: (job.ordered_at, job.name))

    def _last(self, infos: Sequence[ObjectInfo]) -> Record | None:
        records = self._whole(infos[-1:])
        return records[0][1] if not isinstance(records, InvalidDocument) and records else None

    def _whole(self, infos: Sequence[ObjectInfo]) -> list[tuple[int, Record]] | InvalidDocument:
        try:
            return list(self._records(infos))
        except InvalidDocument as error:
            return error

    def used(self, provider: str, account: str, op: Op, since: datetime) -> int:
        """Count the URLs that went to an account since a time, by the records' own times; those on their way count too.

        A job that cannot be read does not count.

        Raises:
            UnavailableError, DiskError
        """
        total = 0
        for name, infos in self._by_job().items():
            # A record is never older than its object.
            if all(info.modified_at < since for info in infos):
                continue
            records = self._whole(infos)
            if isinstance(records, InvalidDocument):
                continue
            ours = {
                cdn.base_url
                for _, record in records
                if isinstance(record, Ordered) and record.op is op
                for cdn in record.cdns
                if (cdn.provider, cdn.account) == (provider, account)
            }
            under_way = {lane.cdn.base_url: set(lane.sending) for lane in ledger.fold(name, records).lanes.values()}
            for _, record in records:
                if isinstance(record, Accepted | Sending) and record.cdn in ours and record.at >= since:
                    if isinstance(record, Accepted):
                        total += sum(len(task.keys) for task in record.tasks)
                    elif record.chunk in under_way.get(record.cdn, ()):
                        total += len(record.keys)
        return total

    def task_ids(self, base_url: str) -> set[str]:
        """The ids of all tasks that a CDN is known to have accepted, as far as jobs can be read.

        Raises:
            UnavailableError, DiskError
        """
        found = set[str]()
        for infos in self._by_job().values():
            records = self._whole(infos)
            for _, record in records if not isinstance(records, InvalidDocument) else []:
                if isinstance(record, Accepted) and record.cdn == base_url:
                    found.update(task.id for task in record.tasks)
        return found

    def remove_finished(self, *, now: datetime) -> list[str]:
        """Remove jobs that were finished over 30 days ago by the store's clock; give their names.

        The first record goes first and the last one last: what is interrupted leaves a job without a beginning, which
        counts for nothing and is removed by the next run.
        """
        gone = []
        for name, infos in self._by_job().items():
            if now - max(info.modified_at for info in infos) < KEPT:
                continue
            begun = self._whole(infos[:1])
            headless = not isinstance(begun, InvalidDocument) and not (
                begun and isinstance(begun[0][1], Ordered | Behind | Level)
            )
            if _ends(self._last(infos)) or headless:
                for info in infos:
                    self.store.delete(info.key)
                gone.append(name)
        return gone

    def _by_job(self) -> dict[str, list[ObjectInfo]]:
        found: dict[str, list[ObjectInfo]] = defaultdict(list)
        for info in self.store.list(LEDGER):
            named = ledger_record(info.key)
            if named is not None:
                found[named[0]].append(info)
        return found

    def _records(self, infos: Sequence[ObjectInfo] | Iterator[ObjectInfo]) -> Iterator[tuple[int, Record]]:
        for info in infos:
            named = ledger_record(info.key)
            if named is None:
                continue
            try:
                data = read_object(self.store, info.key, cap=RECORD_BYTES)
            except ObjectMissing:
                # Somebody removes a finished job just now.
                continue
            yield named[1], decode_record(data, f"{self.store.url.rstrip('/')}/{info.key}")
