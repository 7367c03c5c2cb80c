"""Collect garbage in a store: record what nothing needs, and delete what was recorded long enough ago.

Takes a store and what is live there, gives ``Swept``. Docs/format.md §11: a lease first, then a look for others', again
before every batch; ages by the store's own clock; a record of each run under ``control/audit/``.

next: ``pipeline.mirroring``
"""

from __future__ import annotations

import secrets
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime

import msgspec

from pipeline.digest import sha256_of
from pipeline.errors import InvalidDocument, ObjectMissing
from pipeline.events import Listener, Warned
from pipeline.layout import AUDIT, audit_key
from pipeline.plan.garbage import COLLECTED, Garbage, Mark, find_garbage
from pipeline.ports import ObjectStore, read_object
from pipeline.steps.lease import COLLECTOR, Lease, elapsed_s, list_leases, new_record
from pipeline.wire import decode_document, encode_document

RECORD_BYTES = 64 << 20
BATCH = 500
# Deleting on with an older lease than this could meet a publisher who no longer sees us.
RENEWED_WITHIN_S = 600.0


class AuditRecord(msgspec.Struct, frozen=True, kw_only=True):
    """What one collection found and did. Its age is the store's word, never one of its fields."""

    format: str = "modelport-audit"
    format_version: int = 1
    by: str
    unreachable: tuple[str, ...]
    deleted: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Swept:
    """``garbage`` is all that nothing needs; ``deleted`` what is gone now; ``stopped_by`` whose lease ended the deleting."""

    garbage: tuple[Garbage, ...]
    deleted: tuple[Garbage, ...]
    stopped_by: str = ""

    @property
    def due_at(self) -> datetime | None:
        """When the first of what is left may go, where that is known."""
        gone = {one.key for one in self.deleted}
        return min((one.due_at for one in self.garbage if one.key not in gone and one.due_at is not None), default=None)


def plan_sweep(store: ObjectStore, live: Collection[str]) -> Swept:
    """Name what nothing needs; nothing is written."""
    return Swept(_look(store, live), ())


def sweep_store(store: ObjectStore, live: Collection[str], listen: Listener, *, by: str) -> Swept:
    """Record what nothing needs and delete what earlier records and its own age allow.

    Raises:
        AccessDenied, StoreUnavailable, DiskError
    """
    lease = Lease(store, new_record(COLLECTOR), listen)
    lease.take()
    try:
        garbage = _look(store, live)
        _record(store, AuditRecord(by=by, unreachable=tuple(one.key for one in garbage), deleted=()))
        now = store.now()
        due = [one for one in garbage if one.is_due(now)]
        deleted: list[Garbage] = []
        renewed_s = elapsed_s()
        stopped_by = ""
        while len(deleted) < len(due):
            stopped_by = _other(store, lease.record.id)
            if stopped_by:
                listen(Warned("gc-stopped", f"nothing more is deleted: {stopped_by} is at work there"))
                break
            if elapsed_s() - renewed_s > RENEWED_WITHIN_S / 2:
                lease.renew()
                renewed_s = elapsed_s()
            batch = due[len(deleted) : len(deleted) + BATCH]
            for one in batch:
                store.delete(one.key)
            deleted.extend(batch)
        if deleted:
            gone = {one.key for one in deleted}
            left = tuple(one.key for one in garbage if one.key not in gone)
            _record(store, AuditRecord(by=by, unreachable=left, deleted=tuple(one.key for one in deleted)))
        return Swept(garbage, tuple(deleted), stopped_by)
    finally:
        lease.drop()


def _look(store: ObjectStore, live: Collection[str]) -> tuple[Garbage, ...]:
    found = [info for prefix in COLLECTED for info in store.list(prefix)]
    return find_garbage(found, live, _marks(store))


def _marks(store: ObjectStore) -> Sequence[Mark]:
    """The records of earlier runs, the oldest first, by the store's own times."""
    marks = []
    for info in store.list(AUDIT):
        try:
            data = read_object(store, info.key, cap=RECORD_BYTES)
            record = decode_document(data, AuditRecord, what=info.key, cap=RECORD_BYTES)
        except ObjectMissing:
            continue
        except InvalidDocument:
            # Nothing can be concluded from it, so every time begins anew there.
            marks.append(Mark(info.modified_at, frozenset()))
            continue
        marks.append(Mark(info.modified_at, frozenset(record.unreachable)))
    return sorted(marks, key=lambda mark: mark.at)


def _record(store: ObjectStore, record: AuditRecord) -> None:
    data = encode_document(record)
    key = audit_key(f"{int(store.now().timestamp()):012d}-{secrets.token_hex(8)}")
    store.put(key, data, sha256=sha256_of(data), if_absent=True)


def _other(store: ObjectStore, own: str) -> str:
    """Who else holds a live lease: "release on host"."""
    others = [lease.record for lease in list_leases(store) if lease.live and lease.record.id != own]
    return f"{others[0].release} on {others[0].host or 'an unknown host'}" if others else ""
