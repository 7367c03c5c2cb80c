"""The records that collections leave under ``control/audit/``: what nothing needed, what went, and by whom.

Takes a store, gives marks for ``plan.garbage``; takes what a run found and did, writes a record. The age of a record is
the store's word, never one of its fields (docs/format.md §11).

next: ``steps.sweep``
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable

import msgspec

from pipeline.digest import sha256_of
from pipeline.errors import InvalidDocument, ObjectMissing
from pipeline.layout import AUDIT, audit_key
from pipeline.plan.garbage import Mark, in_time
from pipeline.ports import ObjectInfo, ObjectStore, read_object
from pipeline.wire import decode_document, encode_document

RECORD_BYTES = 64 << 20
# What a record holds besides its three lists.
FIELDS_BYTES = 1 << 10


class AuditRecord(msgspec.Struct, frozen=True, kw_only=True):
    """What one collection found, set out to delete, and deleted; ``stopped_by`` says why it did not go on."""

    format: str = "modelport-audit"
    format_version: int = 1
    by: str
    unreachable: tuple[str, ...]
    due: tuple[str, ...] = ()
    deleted: tuple[str, ...] = ()
    stopped_by: str = ""


def read_marks(store: ObjectStore, found: Iterable[ObjectInfo]) -> list[Mark]:
    """The records of earlier runs, the oldest first, as far as they speak of what was ``found``.

    Raises:
        AccessDenied, StoreUnavailable, DiskError
    """
    # One text for each key, however many records name it.
    known = {info.key: info.key for info in found}
    marks = []
    for info in store.list(AUDIT):
        try:
            data = read_object(store, info.key, cap=RECORD_BYTES)
            record = decode_document(data, AuditRecord, what=info.key, cap=RECORD_BYTES)
        except ObjectMissing:
            continue
        except InvalidDocument:
            # Nothing can be concluded from it, so every time begins anew there.
            marks.append(Mark(info.modified_at, frozenset(), info.key))
            continue
        unreachable = frozenset(known[key] for key in record.unreachable if key in known)
        marks.append(Mark(info.modified_at, unreachable, info.key, deletes=bool(record.deleted)))
    return in_time(marks)


def fitting(keys: Iterable[str]) -> tuple[str, ...]:
    """The first of ``keys``, as many as a record has room for in each of its lists; the others' time begins with a later one."""
    room = (RECORD_BYTES - FIELDS_BYTES) // 3
    found = []
    for key in keys:
        room -= len(msgspec.json.encode(key)) + 1
        if room < 0:
            break
        found.append(key)
    return tuple(found)


def write_record(store: ObjectStore, record: AuditRecord) -> str:
    """Write a record under a name of its own, and give its key.

    Raises:
        AccessDenied, StoreUnavailable, DiskError
    """
    data = encode_document(record)
    key = audit_key(f"{int(store.now().timestamp()):012d}-{secrets.token_hex(8)}")
    # Not create-only: nobody else draws this name, and a repetition after a lost answer must not refuse our own record.
    store.put(key, data, sha256=sha256_of(data))
    return key
