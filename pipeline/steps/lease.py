"""Who is publishing just now, and with which inputs: leases under ``control/leases/``.

Takes a store, a release and the inputs, gives a ``Lease`` that renews itself until it is dropped.
A lease is live while the store's clock shows that it was written less than an hour ago; on the
machine that wrote it, only as long as its process lives. No time written in a record is believed.

next: ``steps.cut``
"""

from __future__ import annotations

import os
import secrets
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import msgspec

from pipeline.clocks import elapsed_s
from pipeline.digest import Sha256, sha256_of
from pipeline.errors import AnotherPublisher, InvalidDocument, ModelportError, ObjectMissing
from pipeline.events import Listener, Warned
from pipeline.layout import LEASES, lease_key
from pipeline.plan.inputs import Inputs
from pipeline.ports import ObjectStore, read_object
from pipeline.wire import decode_document, encode_document

STALE = timedelta(hours=1)
RENEW_S = 600.0
LEAVE_WAIT_S = 1.0
COLLECTOR = "gc"
# What a lease is taken for that is no release's.
TRUST = "trust"
COLLECTOR_WAIT_S = 3600.0
COLLECTOR_LOOK_S = 5.0
LEASE_BYTES = 1 << 20


class LeaseRecord(msgspec.Struct, frozen=True, kw_only=True):
    """What a lease says. ``inputs`` and ``source`` stand only in a publisher's."""

    format: str = "modelport-lease"
    release: str
    id: str
    host: str
    boot: str
    pid: int
    inputs: Inputs | None = None
    source: Sha256 | None = None


@dataclass(frozen=True, slots=True)
class FoundLease:
    """A lease as it stands in the store."""

    key: str
    record: LeaseRecord
    live: bool


def list_leases(store: ObjectStore, owner: str = "") -> list[FoundLease]:
    """Read the leases of ``owner`` (a release, or ``gc``; "" for all), oldest first.

    A record that cannot be read counts by its age alone, as a lease without inputs.
    """
    now = store.now()
    found = []
    for info in store.list(f"{LEASES}{owner}{'.' if owner else ''}"):
        name = info.key.removeprefix(LEASES).removesuffix(".json")
        release, _, lease_id = name.rpartition(".")
        if owner and release != owner:
            continue
        try:
            record = decode_document(read_object(store, info.key, cap=LEASE_BYTES), LeaseRecord, what=info.key, cap=LEASE_BYTES)
        except ObjectMissing:
            continue
        except InvalidDocument:
            record = LeaseRecord(release=release, id=lease_id, host="", boot="", pid=0)
        live = now - info.modified_at < STALE and not _dead(record)
        found.append((record.id, FoundLease(info.key, record, live)))
    # Ids begin with the time the lease was first taken; renewing moves only the object's own date.
    return [lease for _, lease in sorted(found, key=lambda pair: pair[0])]


class Lease:
    """A lease that is held: renewed by a thread of its own until ``drop`` or ``leave``."""

    def __init__(
        self, store: ObjectStore, record: LeaseRecord, listen: Listener, monotonic: Callable[[], float] = elapsed_s
    ) -> None:
        self.record = record
        self.key = lease_key(record.release, record.id)
        self._store = store
        self._listen = listen
        self._monotonic = monotonic
        self._renewed_s = monotonic()
        self._silent_s = 0.0
        self._writing = threading.Lock()
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._renew, name="lease", daemon=True)

    def take(self) -> None:
        """Write the lease and begin to renew it."""
        self.renew()
        self._thread.start()

    def lapsed(self) -> bool:
        """Whether the lease may have looked stale to others since it was taken, or renewed by ``renew``."""
        return self.silent_s() >= STALE.total_seconds()

    def age_s(self) -> float:
        """Seconds since the last write of the lease began."""
        return self._monotonic() - self._renewed_s

    def silent_s(self) -> float:
        """The longest time between two writes, up to now, since the lease was taken, or renewed by ``renew``.

        On a machine that slept, the thread that renews may be the first to wake: that must not hide what others saw.
        """
        return max(self._silent_s, self.age_s())

    def renew(self) -> None:
        """Write the lease now; whoever calls this looks again at all that others may have done while it was stale."""
        self._write()
        self._silent_s = 0.0

    def change(self, inputs: Inputs) -> None:
        """Take other inputs over, and say so in the store at once."""
        self.record = msgspec.structs.replace(self.record, inputs=inputs)
        self._write()

    def leave(self) -> None:
        """Stop renewing, and leave the lease for the next run to take its inputs from."""
        self._done.set()
        if self._thread.is_alive():
            # A renewal that hangs must not hold up the end: it may land later, for the lease stays anyway.
            self._thread.join(LEAVE_WAIT_S)

    def drop(self) -> None:
        """Stop renewing and remove the lease."""
        self.leave()
        # A renewal under way would put it back.
        if self._thread.is_alive():
            self._thread.join()
        self._store.delete(self.key)

    def _write(self) -> None:
        # One at a time, or a renewal under way could put the inputs back that ``change`` has just replaced.
        with self._writing:
            before = self._monotonic()
            data = encode_document(self.record)
            self._store.put(self.key, data, sha256=sha256_of(data))
            self._silent_s = max(self._silent_s, self._monotonic() - self._renewed_s)
            self._renewed_s = before

    def _renew(self) -> None:
        while not self._done.wait(RENEW_S):
            try:
                self._write()
            except ModelportError as error:
                # The next round tries again; a lease that lapses meanwhile is noticed before the commit.
                self._listen(Warned("lease-not-renewed", f"the lease could not be renewed: {error}"))


def new_record(
    owner: str, *, inputs: Inputs | None = None, source: Sha256 | None = None, now_s: float | None = None
) -> LeaseRecord:
    """A record for this process. Its id sorts by the time it was made."""
    stamp = int(time.time() if now_s is None else now_s)
    return LeaseRecord(
        release=owner,
        id=f"{stamp:012d}-{secrets.token_hex(8)}",
        host=socket.gethostname(),
        boot=_boot_id(),
        pid=os.getpid(),
        inputs=inputs,
        source=source,
    )


def wait_for_collector(store: ObjectStore, listen: Listener, *, sleep: Callable[[float], None] = time.sleep) -> None:
    """Wait while a live gc lease is there. Ours is written already, so gc will stop at it.

    Raises:
        AnotherPublisher: gc held on for an hour.
    """
    waited_s = 0.0
    while live := [lease for lease in list_leases(store, COLLECTOR) if lease.live]:
        if waited_s == 0:
            listen(Warned("gc-running", f"waiting for garbage collection on {live[0].record.host} to stop"))
        if waited_s >= COLLECTOR_WAIT_S:
            raise AnotherPublisher(
                f"garbage collection on {live[0].record.host} holds its lease for over {COLLECTOR_WAIT_S:.0f} s",
                hint=f"If it no longer runs, wait until {live[0].key} is an hour old.",
            )
        sleep(COLLECTOR_LOOK_S)
        waited_s += COLLECTOR_LOOK_S


@contextmanager
def held_lease(store: ObjectStore, owner: str, listen: Listener) -> Iterator[Lease]:
    """Hold a lease without inputs for the length of a commit, so that no collector runs beside it.

    A commit that is done takes the owner's stale leases with it.
    """
    lease = Lease(store, new_record(owner), listen)
    lease.take()
    try:
        wait_for_collector(store, listen)
        yield lease
        remove_stale(store, owner)
    finally:
        lease.drop()


def remove_stale(store: ObjectStore, owner: str) -> None:
    """Remove the leases of ``owner`` that nobody holds any more."""
    for lease in list_leases(store, owner):
        if not lease.live:
            store.delete(lease.key)


def inputs_to_take(leases: list[FoundLease], source: Sha256, own: str) -> Iterator[tuple[FoundLease, Inputs]]:
    """Leases of the same source whose inputs a later run takes over, oldest first; never ``own``."""
    for lease in leases:
        if lease.record.id != own and lease.record.inputs is not None and lease.record.source == source:
            yield lease, lease.record.inputs


def _dead(record: LeaseRecord) -> bool:
    if record.host != socket.gethostname() or record.boot != _boot_id() or record.pid <= 0:
        return False
    try:
        os.kill(record.pid, 0)
    except (ProcessLookupError, OverflowError):
        return True
    except PermissionError:
        return False
    return False


def _boot_id() -> str:
    # A process id means something only within one boot and one namespace: containers share the former.
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{boot} {Path('/proc/self/ns/pid').readlink()}"
    except OSError:
        return f"unknown {secrets.token_hex(8)}"
