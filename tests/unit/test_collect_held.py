"""What holds a collection back or keeps a release from it: pins, leases, records that are damaged, a store that refuses."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import msgspec
import pytest

from pipeline.digest import sha256_of
from pipeline.errors import AccessDenied, StoreUnavailable, UsageError
from pipeline.events import Warned
from pipeline.keeping import keep_releases, release_pins
from pipeline.layout import LEASES, PARTS, TARGETS
from pipeline.release import Release
from pipeline.steps import lease as lease_module
from pipeline.steps import sweep as sweep_module
from pipeline.steps.lease import COLLECTOR, Lease, new_record
from pipeline.stores.faulty import Fault, FaultyStore
from pipeline.trust.changes import Retire
from pipeline.trust.commit import commit_changes
from pipeline.trust.facts import PinFact
from pipeline.wire import encode_document
from tests.collect_world import ORPHAN, deleted_of, garbage_of, parts, replace_keys, roles
from tests.makers.stores import plant

# ---- pins


def pin(garden, *releases, **more):
    return keep_releases(
        [Release.parse(name) for name in releases], garden.place(), garden.machine.events.append, **{"reason": "site A", **more}
    )


def test_pin_keeps_a_release_from_being_retired_until_it_ends(garden):
    done = pin(garden, "bert-v1.0.0", until=timedelta(days=10))
    assert (done.changed, done.until != "") == (True, True)
    why = {one.release: one.why for one in garden.collect(apply=False).kept}["bert-v1.0.0"]
    assert why == [f"pinned until {done.until}: site A"]
    with pytest.raises(Exception, match="pinned until"):
        garden.retire("bert-v1.0.0")
    garden.pass_days(11)
    assert {one.release: one.why for one in garden.collect(apply=False).kept}["bert-v1.0.0"] == ["published"]
    assert garden.retire("bert-v1.0.0").changed


def test_several_reasons_keep_a_release_and_each_goes_alone(garden):
    pin(garden, "bert-v1.0.0")
    pin(garden, "bert-v1.0.0", reason="audit")
    assert not pin(garden, "bert-v1.0.0", reason="audit").changed
    undo = [Release.parse("bert-v1.0.0")]
    assert release_pins(undo, garden.place(), garden.machine.events.append, reason="site A").changed
    assert {one.release: one.why for one in garden.collect(apply=False).kept}["bert-v1.0.0"] == ["pinned: audit"]
    assert release_pins(undo, garden.place(), garden.machine.events.append).changed
    assert not release_pins(undo, garden.place(), garden.machine.events.append).changed
    assert garden.retire("bert-v1.0.0").changed


def test_pins_of_several_models_are_one_commit_and_ended_ones_go(garden):
    garden.publish("app-v1.0.0", garden.source("gpt", 0))
    before = roles(garden.tree(), "snapshot")[-1]
    done = pin(garden, "bert-v1.0.0", "app-v1.0.0", until=timedelta(days=1))
    assert (done.releases, done.snapshot) == (["bert-v1.0.0", "app-v1.0.0"], before + 1)
    garden.pass_days(2)
    pin(garden, "bert-v1.1.0", reason="later")
    assert [one.release for one in garden.place().view().pins("bert")] == ["bert-v1.1.0"]


def test_pinned_release_that_another_program_retired_is_kept_all_the_same(garden):
    """No rule of ours lets that be signed; a tree of others may hold it."""

    class RetireAndPin(Retire):
        def apply(self, draft):
            super().apply(draft)
            draft.put_pins(self.release.model, [PinFact(release=str(self.release), reason="site A")])

    publisher = replace_keys(garden.place().publisher(lambda _: None), garden)
    commit_changes(publisher, [RetireAndPin(Release.parse("bert-v1.0.0"), "me", "old")])
    assert {one.release: one.why for one in garden.collect(apply=False).kept}["bert-v1.0.0"] == ["pinned: site A"]


@pytest.mark.parametrize(
    "more", [{"reason": ""}, {"until": timedelta(seconds=-1)}, {"until": datetime(2020, 1, 1, tzinfo=UTC)}], ids=str
)
def test_pin_without_a_reason_or_with_a_past_end_is_refused(garden, more):
    before = garden.tree()
    with pytest.raises(UsageError):
        pin(garden, "bert-v1.0.0", **more)
    assert garden.tree() == before


def test_retired_release_cannot_be_pinned(garden):
    with pytest.raises(UsageError, match=r"gpt-v1\.0\.0"):
        pin(garden, "gpt-v1.0.0")


# ---- leases


def test_live_publisher_lets_it_only_record(ripe):
    plant(ripe.store, ORPHAN, b"x")
    lease = Lease(ripe.store, new_record("bert-v3.0.0"), lambda _: None)
    lease.take()
    before = ripe.tree()
    done = ripe.collect()
    assert (done.deleted, done.stopped_by.startswith("bert-v3.0.0 on ")) == (0, True)
    assert ripe.tree() == before
    assert (ORPHAN in ripe.records()[-1]["unreachable"], ripe.records()[-1]["stopped_by"]) == (True, done.stopped_by)
    lease.drop()
    ripe.pass_days(7)
    assert ORPHAN in deleted_of(ripe.collect())


def test_stale_lease_stops_nothing_and_stays_for_its_owner(ripe):
    record = msgspec.structs.replace(new_record("bert-v3.0.0"), host="far-away", id="1-a")
    plant(ripe.store, f"{LEASES}bert-v3.0.0.1-a.json", encode_document(record))
    gone = msgspec.structs.replace(new_record(COLLECTOR), host="far-away", id="1-b")
    plant(ripe.store, f"{LEASES}gc.1-b.json", encode_document(gone))
    ripe.pass_days(1)
    assert ripe.collect().deleted
    assert [info.key for info in ripe.store.list(LEASES)] == [f"{LEASES}bert-v3.0.0.1-a.json"]


def test_publisher_that_comes_between_two_batches_stops_it(ripe, monkeypatch):
    monkeypatch.setattr(sweep_module, "BATCH", 1)
    lease = Lease(ripe.store, new_record("bert-v3.0.0"), lambda _: None)
    seen = []

    def step(name):
        if name == "gc.again":
            seen.append(name)
            if len(seen) == 2:
                lease.take()

    done = ripe.collect(place=ripe.place(step=step))
    lease.drop()
    assert (done.deleted, done.due > 1) == (1, True)
    assert set(ripe.records()[-1]["deleted"]) == deleted_of(done)
    assert any(isinstance(event, Warned) and event.code == "gc-stopped" for event in ripe.machine.events)


@pytest.mark.parametrize("other_id, goes_on", [("0-earlier", False), ("9" * 12 + "-later", True)])
def test_of_two_collectors_the_one_with_the_lower_id_goes_on(ripe, other_id, goes_on):
    record = msgspec.structs.replace(new_record(COLLECTOR), host="far-away", id=other_id)
    plant(ripe.store, f"{LEASES}gc.{other_id}.json", encode_document(record))
    assert bool(ripe.collect().deleted) == goes_on


def test_collector_that_slept_stops_before_its_next_delete(ripe, monkeypatch):
    """Its lease was renewed over ten minutes ago: publishers may soon take it for dead."""
    slept = [0.0]
    real = lease_module.elapsed_s
    monkeypatch.setattr(Lease.__init__, "__defaults__", (lambda: real() + slept[0],))

    def step(name):
        if name == "gc.delete":
            slept[0] += 601

    before = ripe.tree()
    done = ripe.collect(place=ripe.place(step=step))
    assert (done.deleted, "its own lease" in done.stopped_by) == (0, True)
    assert ripe.tree() == before


def test_collector_that_slept_stops_though_its_lease_was_renewed_when_it_woke(ripe, monkeypatch):
    slept = [0.0]
    real = lease_module.elapsed_s
    monkeypatch.setattr(Lease.__init__, "__defaults__", (lambda: real() + slept[0],))
    leases = []
    monkeypatch.setattr(sweep_module, "Lease", lambda *given: leases.append(Lease(*given)) or leases[-1])

    def step(name):
        if name == "gc.delete":
            slept[0] += 601
            # What its thread does.
            leases[0]._write()

    done = ripe.collect(place=ripe.place(step=step))
    assert (done.deleted, "its own lease" in done.stopped_by) == (0, True)


def test_collector_renews_its_lease_between_batches(ripe, monkeypatch):
    slept = [0.0]
    real = lease_module.elapsed_s
    monkeypatch.setattr(Lease.__init__, "__defaults__", (lambda: real() + slept[0],))
    monkeypatch.setattr(sweep_module, "BATCH", 1)

    def step(name):
        if name == "gc.again":
            slept[0] += 400

    done = ripe.collect(place=ripe.place(step=step))
    assert done.deleted == done.due > 1


# ---- records


def test_record_names_who_deleted_what(ripe):
    done = ripe.collect()
    record = ripe.records()[-1]
    assert (set(record["deleted"]), record["by"]) == (deleted_of(done), ripe.machine.place().by)
    assert set(record["unreachable"]) == garbage_of(done) - deleted_of(done)
    assert not list(ripe.store.list(LEASES))


def test_record_that_cannot_be_read_lets_every_time_begin_anew(ripe):
    plant(ripe.store, "control/audit/999999999999-x.json", b"{")
    assert ripe.collect().deleted == 0
    ripe.pass_days(8)
    assert ripe.collect().deleted


def test_records_do_not_pile_up_and_no_time_is_lost_by_it(garden):
    garden.collect()
    for day in range(1, 29):
        garden.pass_days(1)
        done = garden.collect()
        # The first of the row, the one before it ends, the newest, and what says what was deleted.
        assert len(garden.records()) <= 4, day
    garden.pass_days(2)
    done = garden.collect()
    assert garbage_of(done) == deleted_of(done)
    assert [record for record in garden.records() if record["deleted"]]
    garden.pass_days(50)
    garden.collect()
    assert [record for record in garden.records() if record["deleted"]]


# ---- a store that refuses


def denied():
    return AccessDenied("DELETE refused: 403 AccessDenied")


def test_refused_delete_is_one_clear_line_and_the_record_says_what_is_gone(ripe, monkeypatch):
    monkeypatch.setattr(sweep_module, "DELETES_AT_ONCE", 1)
    store = FaultyStore(ripe.store, [Fault("delete", "refuse", times=99, key=PARTS, error=denied)])
    before = ripe.tree()
    with pytest.raises(AccessDenied) as caught:
        ripe.collect(place=ripe.place(store=store))
    assert caught.value.exit_code == 5
    assert PARTS in str(caught.value)
    assert "right to delete" in caught.value.hint
    gone = before - ripe.tree()
    assert gone
    assert set(ripe.records()[-1]["deleted"]) == gone
    assert not list(ripe.store.list(LEASES))
    assert ripe.collect().deleted
    ripe.whole("bert-v1.0.0", "bert-v1.1.0")


def test_lost_answer_to_a_delete_is_no_failure(ripe):
    store = FaultyStore(ripe.store, [Fault("delete", "lose answer", key=PARTS)])
    assert ripe.collect(place=ripe.place(store=store)).deleted


def test_collector_that_cannot_record_deletes_nothing(ripe):
    store = FaultyStore(ripe.store, [Fault("put", "refuse", times=99, key="control/audit/")])
    before = ripe.tree()
    with pytest.raises(StoreUnavailable):
        ripe.collect(place=ripe.place(store=store))
    assert ripe.tree() == before


def test_bytes_of_a_garbage_manifest_that_lie_hold_nothing(ripe):
    body = b'{"parts":[]}'
    plant(ripe.store, f"{TARGETS}gpt/9.9.9/{'0' * 64}.manifest.json", body)
    torn = b"{"
    plant(ripe.store, f"{TARGETS}gpt/9.9.8/{sha256_of(torn)}.manifest.json", torn)
    assert parts(deleted_of(ripe.collect()))
