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
from pipeline.errors import AnotherPublisher, ObjectExists, ObjectMissing
from pipeline.layout import LEDGER, ledger_key, ledger_record
from pipeline.plan import ledger
from pipeline.plan.ledger import RECORD_BYTES, Accepted, Claimed, Finished, Job, Ordered, Record, Sending, decode_record
from pipeline.ports import ObjectInfo, ObjectStore, Op, read_object
from pipeline.steps.lease import list_leases
from pipeline.wire import encode_document

R = TypeVar("R", bound=ledger._Record)  # noqa: SLF001 (the fields that all records share)
# Longer than any vendor can be asked about a task, and than anybody asks who warmed what.
KEPT = timedelta(days=30)
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
    return kind(format=ledger.FORMAT, version=ledger.VERSION, at=at.replace(microsecond=0), **fields)


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

    def jobs(self) -> list[Job]:
        """Read every job whose beginning is there, the oldest first.

        Raises:
            As ``open``.
        """
        found = [ledger.fold(name, list(self._records(infos))) for name, infos in self._by_job().items()]
        return sorted((job for job in found if job.ordered_at is not None), key=lambda job: (job.ordered_at, job.name))

    def used(self, provider: str, account: str, op: Op, since: datetime) -> int:
        """Count the URLs that went to an account since a time, by the records' own times; those on their way count too.

        Raises:
            As ``open``.
        """
        total = 0
        for name, infos in self._by_job().items():
            # A record is never older than its object.
            if all(info.modified_at < since for info in infos):
                continue
            records = list(self._records(infos))
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
        """The ids of all tasks that a CDN is known to have accepted.

        Raises:
            As ``open``.
        """
        return {
            task.id
            for infos in self._by_job().values()
            for _, record in self._records(infos)
            if isinstance(record, Accepted) and record.cdn == base_url
            for task in record.tasks
        }

    def remove_finished(self, *, now: datetime) -> list[str]:
        """Remove jobs that were finished over 30 days ago by the store's clock; give their names.

        The first record goes first and the last one last: what is interrupted leaves a job without a beginning, which
        counts for nothing and is removed by the next run.
        """
        gone = []
        for name, infos in self._by_job().items():
            if now - max(info.modified_at for info in infos) < KEPT:
                continue
            first, last = infos[0], infos[-1]
            ended = next((record for _, record in self._records([last])), None)
            begun = next((record for _, record in self._records([first])), None)
            if isinstance(ended, Finished) or not isinstance(begun, Ordered):
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
