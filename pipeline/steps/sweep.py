"""Collect garbage in a store: record what nothing needs, and delete what was recorded long enough ago.

Takes a store and what is live there, gives ``Swept``. Docs/format.md §11: a lease first, then a look for others', again
before every batch; ages by the store's own clock; a record of each run under ``control/audit/``.

next: ``pipeline.collect``
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from pipeline.errors import AccessDenied
from pipeline.events import Listener, Warned
from pipeline.layout import PARTS, TARGETS
from pipeline.plan.garbage import DEFAULT, Garbage, Rules, batches, find_garbage, hold_named, recorded, superseded, witnesses
from pipeline.ports import ObjectInfo, ObjectStore
from pipeline.steps.audit import AuditRecord, fitting, read_marks, write_record
from pipeline.steps.lease import COLLECTOR, Lease, list_leases, new_record, remove_stale
from pipeline.steps.references import MANIFEST, parts_of, targets_of
from pipeline.trust.publisher import no_step
from pipeline.workers import in_order, threads

# The steps of a collection: ``Sweep.step`` is called just before each; "gc.again" to "gc.delete" come for every batch.
STEPS = (
    "gc.lease",
    "gc.leases",
    "gc.look",
    "gc.mark",
    "gc.again",
    "gc.batch",
    "gc.delete",
    "gc.record",
    "gc.thin",
    "gc.drop",
)
BATCH = 500
DELETES_AT_ONCE = 8
# Deleting on with an older lease than this could meet a publisher who no longer sees us.
RENEWED_WITHIN_S = 600.0


@dataclass(frozen=True, slots=True)
class Sweep:
    """What a collection works on: ``find_live`` is asked, after the store was listed, for the keys that something needs."""

    store: ObjectStore
    find_live: Callable[[Sequence[ObjectInfo]], Collection[str]]
    by: str
    rules: Rules = DEFAULT
    step: Callable[[str], None] = no_step


@dataclass(frozen=True, slots=True)
class Swept:
    """``garbage`` is all that nothing needs; ``deleted`` what is gone now; ``stopped_by`` what ended the deleting.

    ``at`` is the time of the look by the store's clock.
    """

    garbage: tuple[Garbage, ...]
    deleted: tuple[Garbage, ...]
    stopped_by: str = ""
    at: datetime | None = None

    @property
    def due(self) -> tuple[Garbage, ...]:
        """What could go at the time of the look."""
        return tuple(one for one in self.garbage if self.at is not None and one.is_due(self.at))

    @property
    def due_at(self) -> datetime | None:
        """When the first of what is left may go, where that is known."""
        gone = {one.key for one in self.deleted}
        return min((one.due_at for one in self.garbage if one.key not in gone and one.due_at is not None), default=None)


def plan_sweep(store: ObjectStore, live: Collection[str]) -> Swept:
    """Name what nothing needs; nothing is written."""
    return look_over(Sweep(store, lambda _: live, by=""))


def sweep_store(store: ObjectStore, live: Collection[str], listen: Listener, *, by: str) -> Swept:
    """Record what nothing needs and delete what earlier records and its own age allow.

    Raises:
        AccessDenied, StoreUnavailable, DiskError
    """
    return sweep_away(Sweep(store, lambda _: live, by), listen)


def look_over(sweep: Sweep) -> Swept:
    """Name what nothing needs; nothing is written.

    Raises:
        AccessDenied, StoreUnavailable, DiskError, and what ``find_live`` raises
    """
    look = _Look(sweep)
    return Swept(look.garbage, (), at=look.now)


def sweep_away(sweep: Sweep, listen: Listener) -> Swept:
    """Record what nothing needs and delete what earlier records and its own age allow.

    Whatever ends it, a record says what was deleted; only a process that is killed leaves one that says what it had set
    out to delete.

    Raises:
        AccessDenied, StoreUnavailable, DiskError, and what ``find_live`` raises: before anything is deleted
    """
    return _Sweeping(sweep, listen).run()


class _Look:
    """What a store holds that nothing needs, as it was when it was listed."""

    def __init__(self, sweep: Sweep) -> None:
        store = sweep.store
        # Listed first: what is committed in between is live by the time that is asked.
        found = [info for prefix in sweep.rules.prefixes for info in store.list(prefix)]
        live = sweep.find_live(found)
        self.marks = read_marks(store, found)
        self.now = store.now()
        garbage = find_garbage(found, live, self.marks, sweep.rules)
        if any(one.key.startswith(TARGETS) and one.is_due(self.now) for one in garbage):
            # Records see a store at moments only. Roles tell what was needed in between.
            garbage = hold_named(garbage, _named(store, witnesses(garbage, self.now, sweep.rules), targets_of), self.now)
        if any(one.key.startswith(PARTS) and one.is_due(self.now) for one in garbage):
            staying = (one for one in garbage if one.key.endswith(MANIFEST) and not one.is_due(self.now))
            garbage = hold_named(garbage, _named(store, staying, parts_of), self.now)
        self.garbage = garbage


class _Sweeping:
    """One collection under way."""

    def __init__(self, sweep: Sweep, listen: Listener) -> None:
        self._sweep = sweep
        self._store = sweep.store
        self._listen = listen
        self._lease = Lease(sweep.store, new_record(COLLECTOR), listen)
        self._deleted: list[Garbage] = []
        self._stopped_by = ""

    def run(self) -> Swept:
        """Look, record, delete, record."""
        step = self._sweep.step
        step("gc.lease")
        self._lease.take()
        try:
            step("gc.leases")
            # Before the look: whoever began before us and ends after it could have taken up what looks like garbage.
            self._look_for_others()
            step("gc.look")
            look = _Look(self._sweep)
            due = [] if self._stopped_by else [one for one in look.garbage if one.is_due(look.now)]
            keys = tuple(one.key for one in look.garbage)
            step("gc.mark")
            self._record(keys, due)
            try:
                self._delete(due)
            finally:
                if self._deleted:
                    step("gc.record")
                    self._record(keys)
            if self._stopped_by:
                self._listen(Warned("gc-stopped", f"nothing more is deleted because of {self._stopped_by}"))
            if not self._stopped_by:
                step("gc.thin")
                for key in superseded(look.marks, keys, look.now):
                    self._store.delete(key)
                remove_stale(self._store, COLLECTOR)
            step("gc.drop")
            garbage = recorded(look.garbage, look.now, self._sweep.rules)
            return Swept(garbage, tuple(self._deleted), self._stopped_by, look.now)
        finally:
            self._lease.drop()

    def _look_for_others(self) -> None:
        self._stopped_by = _other(self._store, self._lease.record.id)

    def _delete(self, due: Sequence[Garbage]) -> None:
        for batch in batches(due, BATCH):
            self._sweep.step("gc.again")
            # Before the look: a publisher that comes after it must find this lease live.
            if self._lease.silent_s() > RENEWED_WITHIN_S / 2:
                self._lease.renew()
            self._look_for_others()
            if self._stopped_by:
                return
            self._sweep.step("gc.batch")
            with threads(DELETES_AT_ONCE, "gc") as pool:
                if not all(in_order(pool, self._delete_one, batch, ahead=2 * DELETES_AT_ONCE)):
                    self._stopped_by = f"its own lease, which was last renewed over {RENEWED_WITHIN_S / 60:.0f} minutes ago"
                    return

    def _delete_one(self, one: Garbage) -> bool:
        self._sweep.step("gc.delete")
        # Asked before each one: this machine may have slept since the batch began.
        if self._lease.silent_s() > RENEWED_WITHIN_S:
            return False
        try:
            self._store.delete(one.key)
        except AccessDenied as error:
            raise AccessDenied(
                f"{self._store.url}: {one.key} cannot be deleted: {error}",
                hint="Give these credentials the right to delete below metadata/, targets/, parts/, web/ and control/.",
            ) from error
        self._deleted.append(one)
        return True

    def _record(self, keys: Sequence[str], due: Sequence[Garbage] = ()) -> None:
        gone = {one.key for one in self._deleted}
        record = AuditRecord(
            by=self._sweep.by,
            unreachable=fitting(key for key in keys if key not in gone),
            due=tuple(one.key for one in due),
            deleted=tuple(one.key for one in self._deleted),
            stopped_by=self._stopped_by,
        )
        write_record(self._store, record)


def _named(
    store: ObjectStore, staying: Iterable[Garbage], names_of: Callable[[ObjectStore, str], Iterable[str]]
) -> dict[str, str]:
    return {key: one.key for one in staying for key in names_of(store, one.key)}


def _other(store: ObjectStore, own: str) -> str:
    """Who else is at work: "release on host". Of two collectors the one with the lower id goes on."""
    for lease in list_leases(store):
        record = lease.record
        if lease.live and record.id != own and not (record.release == COLLECTOR and record.id > own):
            return f"{record.release} on {record.host or 'an unknown host'}"
    return ""
