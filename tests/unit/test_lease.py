"""Leases: live by the store's clock and by nothing that a record says."""

import os
import socket
import threading
import time
from pathlib import Path

import msgspec
import pytest

from pipeline.digest import sha256_of
from pipeline.errors import AnotherPublisher, StoreUnavailable
from pipeline.events import Warned, ignore
from pipeline.manifest import Dependency
from pipeline.plan.inputs import Inputs, source_identity
from pipeline.ports import read_object
from pipeline.steps import lease as lease_module
from pipeline.steps.lease import (
    COLLECTOR,
    COLLECTOR_LOOK_S,
    COLLECTOR_WAIT_S,
    Lease,
    LeaseRecord,
    held_lease,
    inputs_to_take,
    list_leases,
    new_record,
    remove_stale,
    wait_for_collector,
)
from pipeline.stores.faulty import Fault, FaultyStore
from pipeline.stores.memory import MemoryStore
from pipeline.wire import decode_document, encode_document
from tests.makers.releases import inputs
from tests.makers.stores import Clock, plant

pytestmark = pytest.mark.timeout(30)
OWNER = "bert-v2.1.0"
SOURCE = sha256_of(b"this folder")


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def store(clock):
    return MemoryStore(now=clock)


def elsewhere(owner=OWNER, **fields):
    """A record of another machine."""
    return msgspec.structs.replace(new_record(owner), host="far-away", boot="another", **fields)


def left(store, record):
    """Write ``record`` as a run would that was killed right after."""
    return plant(store, f"control/leases/{record.release}.{record.id}.json", encode_document(record))


def dead_pid():
    pid = os.posix_spawn("/bin/true", ["true"], {})
    os.waitpid(pid, 0)
    return pid


def test_lease_that_is_held_is_live_and_says_what_it_was_given(store):
    lease = Lease(store, new_record(OWNER, inputs=inputs(), source=SOURCE), ignore)
    lease.take()
    try:
        (found,) = list_leases(store)
        assert found.live
        assert found.key == lease.key == f"control/leases/{OWNER}.{lease.record.id}.json"
        assert found.record == lease.record
        assert (found.record.pid, found.record.host) == (os.getpid(), socket.gethostname())
    finally:
        lease.drop()
    assert list_leases(store) == []


def test_format_page_names_every_field_of_a_lease_and_the_bytes_of_a_source():
    page = (Path(__file__).parents[2] / "docs" / "format.md").read_text(encoding="utf-8")
    rows = page.partition("**The lease**")[2].partition("**Quota used up.**")[0]
    assert all(f"`{field}`" in rows for field in LeaseRecord.__struct_fields__)
    assert all(field in rows for field in Inputs.__struct_fields__)
    needs = (Dependency(model="tok", version="^1.2.0"),)
    written = b'["model",[{"model":"tok","version":"^1.2.0"}],[["a.bin",3,false],["run.sh",1,true]]]'
    assert source_identity("model", needs, [("a.bin", 3, False), ("run.sh", 1, True)]) == sha256_of(written)


def test_commit_takes_the_stale_leases_of_its_owner_with_it(store):
    left(store, msgspec.structs.replace(new_record(OWNER), pid=dead_pid(), id="1-a"))
    left(store, elsewhere(id="2-b"))
    with held_lease(store, OWNER, ignore):
        assert len(list_leases(store, OWNER)) == 3
    assert [lease.record.id for lease in list_leases(store)] == ["2-b"]


@pytest.mark.parametrize("age_s, live", [(0, True), (3599, True), (3600, False), (10**6, False), (-7200, True)])
def test_age_is_measured_by_the_stores_clock_alone(store, clock, age_s, live):
    left(store, elsewhere(id=f"{int(time.time()) - 10**8:012d}-aa"))
    clock.pass_s(age_s)
    assert [lease.live for lease in list_leases(store)] == [live]


def test_lease_of_a_dead_process_of_this_machine_is_stale_at_once(store):
    record = new_record(OWNER)
    left(store, msgspec.structs.replace(record, pid=dead_pid(), id="1-a"))
    left(store, msgspec.structs.replace(record, id="2-b"))
    assert [lease.live for lease in list_leases(store)] == [False, True]


def test_dead_process_counts_only_within_one_boot_and_machine(store):
    record = msgspec.structs.replace(new_record(OWNER), pid=dead_pid())
    left(store, msgspec.structs.replace(record, host="far-away", id="1-a"))
    left(store, msgspec.structs.replace(record, boot="another", id="2-b"))
    left(store, msgspec.structs.replace(record, pid=0, id="3-c"))
    left(store, msgspec.structs.replace(record, pid=-1, id="4-d"))
    assert [lease.live for lease in list_leases(store)] == [True] * 4


def test_process_id_beyond_what_the_system_counts_is_dead(store):
    left(store, msgspec.structs.replace(new_record(OWNER), pid=2**53 - 1))
    assert [lease.live for lease in list_leases(store)] == [False]


@pytest.mark.parametrize("data", [b"", b"{", b"\xff", b"[]", b'{"release":1}', b"x" * ((1 << 20) + 1)])
def test_record_that_cannot_be_read_counts_by_its_age(store, clock, data):
    plant(store, f"control/leases/{OWNER}.000-x.json", data)
    (found,) = list_leases(store, OWNER)
    assert (found.live, found.record.release, found.record.id, found.record.inputs) == (True, OWNER, "000-x", None)
    clock.pass_s(3600)
    assert not list_leases(store, OWNER)[0].live
    remove_stale(store, OWNER)
    assert list_leases(store) == []


def test_only_the_owners_leases_are_listed(store):
    for owner in (OWNER, "bert-v2.1.0-rc.1", "bert-v2.1.01-x-v1.0.0", COLLECTOR, "gc-v1.0.0"):
        left(store, elsewhere(owner))
    assert [lease.record.release for lease in list_leases(store, OWNER)] == [OWNER]
    assert [lease.record.release for lease in list_leases(store, COLLECTOR)] == [COLLECTOR]
    assert len(list_leases(store)) == 5


def test_lease_that_vanishes_while_they_are_listed_is_passed_over(store):
    for number in range(3):
        left(store, elsewhere(id=f"{number}-x"))
    flickering = FaultyStore(store, [Fault("get", "not there yet", nth=2)])
    assert [lease.record.id for lease in list_leases(flickering)] == ["0-x", "2-x"]


def test_oldest_comes_first_though_it_was_renewed_last(store, clock):
    old = new_record(OWNER, now_s=1000)
    left(store, new_record(OWNER, now_s=2000))
    clock.pass_s(10)
    left(store, old)
    assert list_leases(store)[0].record == old


def test_inputs_are_taken_from_the_oldest_lease_of_the_same_source(store):
    records = [
        elsewhere(id="1-a", inputs=inputs(part_size=1), source=sha256_of(b"another folder")),
        elsewhere(id="2-b", source=SOURCE),
        elsewhere(id="3-c", inputs=inputs(part_size=3), source=SOURCE),
        elsewhere(id="4-own", inputs=inputs(part_size=4), source=SOURCE),
        elsewhere(id="5-e", inputs=inputs(part_size=5), source=SOURCE),
    ]
    for record in reversed(records):
        left(store, record)
    taken = list(inputs_to_take(list_leases(store, OWNER), SOURCE, "4-own"))
    assert [found.part_size for _, found in taken] == [3, 5]
    assert [lease.record.id for lease, _ in taken] == ["3-c", "5-e"]


def test_stale_leases_are_removed_and_live_ones_stay(store, clock):
    left(store, elsewhere(id="1-old"))
    left(store, elsewhere(COLLECTOR, id="1-old"))
    clock.pass_s(3600)
    left(store, elsewhere(id="2-new"))
    left(store, msgspec.structs.replace(new_record(OWNER), pid=dead_pid(), id="3-dead"))
    remove_stale(store, OWNER)
    assert [(lease.record.release, lease.record.id) for lease in list_leases(store)] == [(COLLECTOR, "1-old"), (OWNER, "2-new")]


def test_lease_renews_itself_until_it_is_dropped(store, clock, monkeypatch):
    monkeypatch.setattr(lease_module, "RENEW_S", 0.001)
    renewed = threading.Event()
    watched = FaultyStore(store, [Fault("put", "hold", nth=3, meanwhile=renewed.set)])
    lease = Lease(watched, new_record(OWNER), ignore)
    lease.take()
    assert renewed.wait(10)
    lease.drop()
    writes = len(watched.calls)
    assert list(store.list("")) == []
    assert "lease" not in {thread.name for thread in threading.enumerate()}
    assert len(watched.calls) == writes


def test_lease_that_is_left_stays_for_the_next_run(store):
    lease = Lease(store, new_record(OWNER, inputs=inputs(), source=SOURCE), ignore)
    lease.take()
    lease.leave()
    assert "lease" not in {thread.name for thread in threading.enumerate()}
    assert [found.record.id for found in list_leases(store)] == [lease.record.id]
    lease.leave()
    lease.drop()
    assert list_leases(store) == []


def test_renewal_that_fails_is_said_and_tried_again(store, monkeypatch):
    monkeypatch.setattr(lease_module, "RENEW_S", 0.001)
    again, told = threading.Event(), []
    troubled = FaultyStore(store, [Fault("put", "refuse", nth=2), Fault("put", "hold", nth=4, meanwhile=again.set)])
    lease = Lease(troubled, new_record(OWNER), told.append)
    lease.take()
    assert again.wait(10)
    lease.drop()
    assert [event.code for event in told if isinstance(event, Warned)] == ["lease-not-renewed"]


def test_lease_that_cannot_be_written_is_not_taken(store):
    lease = Lease(FaultyStore(store, [Fault("put", "refuse")]), new_record(OWNER), ignore)
    with pytest.raises(StoreUnavailable):
        lease.take()
    lease.drop()
    assert "lease" not in {thread.name for thread in threading.enumerate()}


def test_lapse_is_counted_from_before_the_last_write(store):
    now = [0.0]
    slow = FaultyStore(store, [Fault("put", "hold", nth=2, meanwhile=lambda: now.__setitem__(0, now[0] + 100))])
    lease = Lease(slow, new_record(OWNER), ignore, monotonic=lambda: now[0])
    lease.take()
    now[0] = 3599.0
    assert not lease.lapsed()
    now[0] = 3600.0
    assert lease.lapsed()
    # This write takes 100 s, and counts from its beginning.
    lease.renew()
    assert not lease.lapsed()
    now[0] = 7199.0
    assert not lease.lapsed()
    now[0] = 7200.0
    assert lease.lapsed()
    lease.drop()


def test_renewal_in_the_background_does_not_hide_that_others_saw_it_stale(store, monkeypatch):
    """The thread that renews was the first to wake on a machine that slept."""
    monkeypatch.setattr(lease_module, "RENEW_S", 0.001)
    now = [0.0]
    written = threading.Event()
    slow = FaultyStore(store, [Fault("put", "hold", nth=3, meanwhile=written.set)])
    lease = Lease(slow, new_record(OWNER), ignore, monotonic=lambda: now[0])
    lease.take()
    now[0] = 3600.0
    assert written.wait(10)
    assert lease.lapsed()
    monkeypatch.setattr(lease_module, "RENEW_S", 600.0)
    lease.renew()
    assert not lease.lapsed()
    lease.drop()


def test_failed_renewal_does_not_count(store):
    now = [0.0]
    lease = Lease(FaultyStore(store, [Fault("put", "refuse", nth=2)]), new_record(OWNER), ignore, monotonic=lambda: now[0])
    lease.take()
    now[0] = 3000.0
    with pytest.raises(StoreUnavailable):
        lease.renew()
    now[0] = 3600.0
    assert lease.lapsed()
    lease.drop()


def test_time_asleep_counts():
    awake_s = time.monotonic()
    assert lease_module.elapsed_s() >= awake_s


def test_changed_inputs_are_said_at_once_and_no_renewal_puts_the_old_ones_back(store, monkeypatch):
    monkeypatch.setattr(lease_module, "RENEW_S", 0.001)
    renewing, changed, ended = threading.Event(), threading.Event(), threading.Event()

    def meanwhile():
        # The renewal stands between its record and its write; only a lock keeps ``change`` behind it.
        renewing.set()
        changed.wait(0.2)

    slow = FaultyStore(
        store, [Fault("put", "hold", nth=2, meanwhile=meanwhile), Fault("put", "hold", nth=4, meanwhile=ended.set)]
    )
    lease = Lease(slow, new_record(OWNER, inputs=inputs(part_size=1), source=SOURCE), ignore)
    lease.take()
    assert renewing.wait(10)
    lease.change(inputs(part_size=2))
    written = decode_document(read_object(store, lease.key, cap=1 << 20), LeaseRecord, what="lease")
    changed.set()
    assert written.inputs.part_size == 2
    assert ended.wait(10)
    lease.leave()
    assert list_leases(store)[0].record.inputs.part_size == 2


def test_publisher_waits_while_a_collector_is_live(store, clock):
    key = left(store, elsewhere(COLLECTOR)).key
    waits, told = [], []

    def sleep(seconds):
        waits.append(seconds)
        clock.pass_s(seconds)
        if len(waits) == 4:
            store.delete(key)

    wait_for_collector(store, told.append, sleep=sleep)
    assert waits == [COLLECTOR_LOOK_S] * 4
    assert [(event.code, "far-away" in event.message) for event in told] == [("gc-running", True)]


def test_publisher_waits_for_no_stale_collector_and_no_other_publisher(store, clock):
    left(store, elsewhere(COLLECTOR))
    clock.pass_s(3600)
    left(store, elsewhere("gc-v1.0.0"))
    left(store, elsewhere())
    left(store, msgspec.structs.replace(new_record(COLLECTOR), pid=dead_pid()))
    wait_for_collector(store, ignore, sleep=lambda _: pytest.fail("there is nothing to wait for"))


def test_publisher_gives_up_on_a_collector_that_never_ends(store):
    key = left(store, elsewhere(COLLECTOR)).key
    waits = []
    with pytest.raises(AnotherPublisher) as error:
        wait_for_collector(store, ignore, sleep=waits.append)
    assert sum(waits) == COLLECTOR_WAIT_S
    assert key in error.value.hint
    assert error.value.exit_code == 8


def test_ids_sort_by_time_and_never_meet():
    records = [new_record(OWNER, now_s=now_s) for now_s in (999, 1_000, 1_700_000_000, 10**11)]
    assert [record.id for record in records] == sorted(record.id for record in records)
    assert len({new_record(OWNER, now_s=1).id for _ in range(100)}) == 100
