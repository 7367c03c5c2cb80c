"""Which stores should hold the same tree as this one and do not: records of the ledger, one job a store.

Takes the first store, gives and writes ``Behind`` and ``Level``. A store is written down as behind before anything is copied
to it, so that a run that is killed leaves its name; what comes last counts. Earlier records of a store go when it is level.

next: ``pipeline.spreading``
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from pipeline.digest import sha256_of
from pipeline.errors import ObjectExists, ObjectMissing
from pipeline.layout import LEDGER, ledger_key, ledger_record
from pipeline.plan.records import RECORD_BYTES, Behind, Level, decode_record
from pipeline.ports import ObjectStore, read_object
from pipeline.steps.ledger import make
from pipeline.wire import encode_document

PREFIX = "copy."
_NAME_DIGITS = 32
WHY_CHARS = 2000
# Listed and gone before it is read, time and again: some stores list late what was deleted.
LOOK_AGAIN = 5


@dataclass(frozen=True, slots=True)
class Target:
    """Another store. ``endpoint`` and ``region`` are written down, so that it can be repaired by its address alone."""

    store: ObjectStore
    endpoint: str = ""
    region: str = ""

    @property
    def place(self) -> tuple[str, str]:
        """What tells it from others: buckets of one name may stand at two endpoints."""
        return self.store.url, self.endpoint


def job_of(target: Target) -> str:
    """The job of the ledger that is about a store."""
    return f"{PREFIX}{sha256_of(' '.join(target.place).encode())[:_NAME_DIGITS]}"


def list_behind(first: ObjectStore) -> list[Behind]:
    """The stores that fell behind ``first``, as its ledger has it.

    Raises:
        InvalidDocument: a record is damaged, or of a newer format.
        UnavailableError, DiskError
    """
    jobs = {named[0] for info in first.list(f"{LEDGER}{PREFIX}") if (named := ledger_record(info.key))}
    last = (_last(first, job)[1] for job in sorted(jobs))
    return [record for record in last if isinstance(record, Behind)]


def note_behind(
    first: ObjectStore, target: Target, names: tuple[str, ...], snapshot: int, why: str, *, by: str, at: datetime
) -> None:
    """Write down that a store does not hold ``snapshot``, or ``names`` of it; nothing, where it says so already.

    Raises:
        UnavailableError, DiskError
    """
    job = job_of(target)
    while True:
        number, there = _last(first, job)
        if isinstance(there, Behind):
            if (there.snapshot, there.why, there.names) == (snapshot, why[:WHY_CHARS], names):
                return
            # What was to be there before is still to be: all, if it was all once; and nothing older than that.
            names = tuple(sorted({*names, *there.names})) if names and there.names else ()
            snapshot = max(snapshot, there.snapshot)
        record = make(
            Behind,
            at,
            store=target.store.url,
            snapshot=snapshot,
            why=why[:WHY_CHARS],
            by=by,
            endpoint=target.endpoint,
            region=target.region,
            names=names,
        )
        if _append(first, job, number + 1, record):
            return


def note_level(first: ObjectStore, target: Target, snapshot: int, *, by: str, at: datetime) -> None:
    """Write down that a store announces ``snapshot``, unless it is said to lack a newer one.

    Raises:
        UnavailableError, DiskError
    """
    job = job_of(target)
    while True:
        number, there = _last(first, job)
        if not isinstance(there, Behind) or there.snapshot > snapshot:
            return
        number += 1
        if _append(first, job, number, make(Level, at, store=target.store.url, snapshot=snapshot, by=by)):
            break
    for info in list(first.list(f"{LEDGER}{job}/")):
        named = ledger_record(info.key)
        if named and named[1] < number:
            first.delete(info.key)


def _last(first: ObjectStore, job: str) -> tuple[int, object]:
    """Number and content of the last record; (-1, None) where there is none."""
    for _ in range(LOOK_AGAIN):
        keys = [info.key for info in first.list(f"{LEDGER}{job}/") if ledger_record(info.key)]
        for key in reversed(keys):
            try:
                data = read_object(first, key, cap=RECORD_BYTES)
            except ObjectMissing:
                # Somebody else tidies up just now: before the first is gone, what comes after the last is there.
                continue
            named = ledger_record(key)
            return named[1] if named else -1, decode_record(data, f"{first.url.rstrip('/')}/{key}")
        if not keys:
            break
    return -1, None


def _append(first: ObjectStore, job: str, number: int, record: Behind | Level) -> bool:
    """Write the record; False where somebody else has just written one of this number, which may change what is to be said."""
    data = encode_document(record)
    try:
        first.put(ledger_key(job, number), data, sha256=sha256_of(data), if_absent=True)
    except ObjectExists:
        return False
    return True
