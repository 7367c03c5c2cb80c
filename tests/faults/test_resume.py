"""What a later run takes over from an unfinished one, when it may not, and whom it waits for."""

import os
import signal
import time
from datetime import timedelta
from functools import partial

import msgspec
import pytest

from pipeline.digest import sha256_of
from pipeline.errors import AnotherPublisher, ChannelMoved
from pipeline.events import StepStarted
from pipeline.layout import LEASES
from pipeline.ports import read_object
from pipeline.steps import lease as leases
from pipeline.steps.lease import STALE, Lease, LeaseRecord, new_record
from pipeline.stores.directory import DirectoryStore
from pipeline.stores.faulty import Fault, FaultyStore
from pipeline.wire import decode_document, encode_document
from tests.publish_world import STABLE, lay_out

RAW = {"profile": "raw"}


@pytest.fixture
def site(make_site):
    site = make_site("directory")
    site.begin()
    return site


def begin_and_die(children, machine, release, source, step="publish.prove", **flags):
    at = {"step": step, "signal": "SIGKILL"}
    child = children.start("publish", machine, release=release, source=source, flags=RAW | flags, at=at)
    assert child.wait() == -signal.SIGKILL


def move_elsewhere(site, key):
    """Let a lease be another machine's, where nobody here can see whether its process lives."""
    record = decode_document(read_object(site.store, key, cap=1 << 20), LeaseRecord, what=key)
    data = encode_document(msgspec.structs.replace(record, host="elsewhere"))
    site.store.put(key, data, sha256=sha256_of(data))


def age(site, key, by):
    """Let the store show an object as written longer ago."""
    path = DirectoryStore(site.shelf.where).path / key
    then = time.time() - by.total_seconds()
    os.utime(path, (then, then))


def inputs_of(site, key):
    return decode_document(read_object(site.store, key, cap=1 << 20), LeaseRecord, what=key).inputs


def test_run_whose_channel_moved_meanwhile_takes_the_bases_of_the_unfinished_one(site, children):
    machine = site.machine()
    one, two = (lay_out(site.folder / f"m{number}", other=number) for number in (0, 1))
    machine.publish("bert-v1.0.0", one, channel=STABLE, **RAW)
    wanted = lay_out(site.folder / "wanted", other=2)
    begin_and_die(children, machine, "bert-v2.0.0", wanted)
    assert [base.release for base in inputs_of(site, site.leases()[0]).bases] == ["bert-v1.0.0"]
    site.machine().publish("bert-v1.1.0", two, channel=STABLE, **RAW)
    done = machine.publish("bert-v2.0.0", wanted, **RAW)
    assert done.bases == ["bert-v1.0.0"]
    assert site.leases() == []
    # Without that lease it is the channel's release of now.
    assert machine.publish("bert-v2.1.0", lay_out(site.folder / "later", other=3), **RAW).bases == ["bert-v1.1.0"]


def test_unfinished_run_of_another_source_gives_nothing(site, children):
    machine = site.machine()
    machine.publish("bert-v1.0.0", lay_out(site.folder / "m"), channel=STABLE, **RAW)
    begin_and_die(children, machine, "bert-v2.0.0", lay_out(site.folder / "w", tensor_bytes=2048))
    machine.publish("bert-v1.1.0", lay_out(site.folder / "n", other=1), channel=STABLE, **RAW)
    done = machine.publish("bert-v2.0.0", lay_out(site.folder / "x", tensor_bytes=4096), **RAW)
    assert done.bases == ["bert-v1.1.0"]
    assert site.leases() == []


def test_unfinished_run_whose_base_is_no_longer_signed_gives_nothing(site, children):
    machine = site.machine()
    source = lay_out(site.folder / "m")
    machine.publish("bert-v1.0.0", source, **RAW)
    wanted = lay_out(site.folder / "w", other=1)
    begin_and_die(children, machine, "bert-v2.0.0", wanted)
    [key] = site.leases()
    record = decode_document(read_object(site.store, key, cap=1 << 20), LeaseRecord, what=key)
    base = msgspec.structs.replace(record.inputs.bases[0], manifest_sha256="0" * 64)
    data = encode_document(msgspec.structs.replace(record, inputs=msgspec.structs.replace(record.inputs, bases=(base,))))
    site.store.put(key, data, sha256=sha256_of(data))
    assert machine.publish("bert-v2.0.0", wanted, **RAW).bases == ["bert-v1.0.0"]


@pytest.mark.parametrize("flags", [{"profile": "default"}, {"profile": "raw", "part_size": 8 << 20}])
def test_other_flags_than_a_live_run_end_with_8_and_begin_anew_once_it_is_stale(site, children, flags):
    machine = site.machine()
    wanted = lay_out(site.folder / "w")
    begin_and_die(children, machine, "bert-v1.0.0", wanted)
    [key] = site.leases()
    move_elsewhere(site, key)
    with pytest.raises(AnotherPublisher, match="elsewhere") as raised:
        machine.publish("bert-v1.0.0", wanted, **flags)
    assert raised.value.exit_code == 8
    assert "\n" not in f"{raised.value} {raised.value.hint}"
    assert site.leases() == [key]
    assert site.releases() == []
    age(site, key, STALE + timedelta(seconds=5))
    done = machine.publish("bert-v1.0.0", wanted, **flags)
    assert not done.already_published
    assert site.leases() == []


def test_same_flags_as_a_live_run_go_on_beside_it(site, children):
    machine = site.machine()
    wanted = lay_out(site.folder / "w")
    begin_and_die(children, machine, "bert-v1.0.0", wanted)
    [key] = site.leases()
    move_elsewhere(site, key)
    there = set(site.parts())
    assert machine.publish("bert-v1.0.0", wanted, **RAW).bytes_uploaded < 60_000
    assert set(site.parts()) == there
    # That machine may still be at it; its lease goes when it is stale.
    assert site.leases() == [key]
    age(site, key, STALE + timedelta(seconds=5))
    assert machine.publish("bert-v1.0.0", wanted, **RAW).already_published
    assert site.leases() == []


def test_channel_that_moves_while_a_publish_runs_stays_where_it_is(site):
    machine, other = site.machine(), site.machine()
    machine.publish("bert-v1.0.0", lay_out(site.folder / "m"), channel=STABLE, **RAW)
    source = lay_out(site.folder / "n", other=1)

    def meanwhile(name):
        if name == "publish.prove":
            other.publish("bert-v1.5.0", lay_out(site.folder / "o", other=2), channel=STABLE, **RAW)

    with pytest.raises(ChannelMoved, match=r"bert-v1\.5\.0") as raised:
        machine.publish("bert-v2.0.0", source, channel=STABLE, place=machine.place(step=meanwhile), **RAW)
    assert raised.value.exit_code == 8
    assert site.releases() == ["bert-v1.0.0", "bert-v1.5.0", "bert-v2.0.0"]
    assert site.channel("bert").release == "bert-v1.5.0"
    assert site.leases() == []
    # Asked again, with eyes open, it moves.
    assert machine.publish("bert-v2.0.0", source, channel=STABLE, **RAW).already_published
    assert site.channel("bert").release == "bert-v2.0.0"


def test_publish_whose_lease_lapsed_looks_at_every_part_again(site, monkeypatch):
    machine = site.machine()
    source = lay_out(site.folder / "m")
    at = [0.0]
    monkeypatch.setattr("pipeline.publish.Lease", partial(Lease, monotonic=lambda: at[0]))
    proofs = []

    def meanwhile(name):
        if name != "publish.prove":
            return
        proofs.append(name)
        if len(proofs) == 1:
            # An hour in which the lease was not renewed, and a collector took it for dead.
            at[0] += STALE.total_seconds()

    def collect():
        # It looked at the leases before ours came back, and stops only after what it is deleting now.
        collector = Lease(site.store, new_record(leases.COLLECTOR), lambda _: None)
        collector.take()

        def end(_):
            for key in list(site.parts())[:1]:
                site.store.delete(key)
            collector.drop()

        monkeypatch.setattr("pipeline.publish.wait_for_collector", partial(leases.wait_for_collector, sleep=end))

    faulty = FaultyStore(site.store, [Fault("put", "hold", nth=2, key=LEASES, meanwhile=collect)])
    place = machine.place(store=faulty, step=meanwhile)
    done = machine.publish("bert-v1.0.0", source, place=place, **RAW)
    assert len(proofs) == 2
    assert len(site.parts()) == done.parts.total
    assert site.leases() == []


def test_proof_that_grew_old_is_made_again_before_the_commit(site, monkeypatch):
    machine = site.machine()
    source = lay_out(site.folder / "m")
    monkeypatch.setattr("pipeline.steps.placed.PROOF_S", -1.0)
    machine.publish("bert-v1.0.0", source, **RAW)
    assert [event.step for event in machine.events if isinstance(event, StepStarted)].count("prove") == 2


def test_publish_waits_while_a_collector_is_at_work(site, monkeypatch):
    machine = site.machine()
    monkeypatch.setattr(leases, "COLLECTOR_LOOK_S", 0.001)
    collector = Lease(site.store, new_record(leases.COLLECTOR), lambda _: None)
    collector.take()
    seen = []

    def enough():
        seen.append(len(site.parts()))
        if len(seen) == 4:
            collector.drop()

    looks = [Fault("list", "hold", nth=nth, key=f"{LEASES}gc", meanwhile=enough) for nth in range(1, 5)]
    place = machine.place(store=FaultyStore(site.store, looks))
    done = machine.publish("bert-v1.0.0", lay_out(site.folder / "m"), place=place, **RAW)
    assert seen == [0, 0, 0, 0]
    assert any("garbage collection" in warning for warning in done.warnings)


def test_publish_gives_up_on_a_collector_that_never_ends(site, monkeypatch):
    machine = site.machine()
    monkeypatch.setattr(leases, "COLLECTOR_LOOK_S", 0.001)
    monkeypatch.setattr(leases, "COLLECTOR_WAIT_S", 0.01)
    collector = Lease(site.store, new_record(leases.COLLECTOR), lambda _: None)
    collector.take()
    with pytest.raises(AnotherPublisher, match="garbage collection"):
        machine.publish("bert-v1.0.0", lay_out(site.folder / "m"), **RAW)
    collector.drop()
    assert site.leases() == []
    assert site.parts() == {}
