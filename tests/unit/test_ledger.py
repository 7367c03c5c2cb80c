"""The ledger's records: how they are read, what they add up to, and when they go."""

import json
from datetime import timedelta

import pytest

from pipeline.digest import sha256_of
from pipeline.errors import InvalidDocument
from pipeline.layout import LEDGER, ledger_key, ledger_record
from pipeline.plan.ledger import KeyState, fold
from pipeline.plan.records import CdnName, Finished, Ordered, Promised, decode_record
from pipeline.ports import Op
from pipeline.steps.ledger import Ledger, make
from pipeline.steps.prefetch import finish_job, promise_move, warm_release
from pipeline.wire import encode_document
from tests.makers.driving import BASE, JOB, World, keys


def ordered(world, **more):
    cdn = CdnName(provider="memory", account="memory", base_url=BASE)
    fields = {"op": Op.PREFETCH, "keys": ("a", "b"), "cdns": (cdn,), "holder": "h", "by": "me"}
    return make(Ordered, world.clock.now(), **{**fields, **more})


def put(world, key, data):
    world.store.put(key, data, sha256=sha256_of(data))


def test_key_of_a_record_sorts_by_number():
    assert ledger_key(JOB, 7) == "control/ledger/bert-v1.0.0/00000007.json"
    assert ledger_record(ledger_key(JOB, 123)) == (JOB, 123)
    assert sorted(ledger_key(JOB, number) for number in (10, 9, 100)) == [ledger_key(JOB, number) for number in (9, 10, 100)]


@pytest.mark.parametrize(
    "key", ["control/ledger/x.json", "control/ledger/../00000001.json", "control/ledger/a/1.json", "parts/aa/b"]
)
def test_what_is_no_records_key_is_none(key):
    assert ledger_record(key) is None


def test_record_comes_back_as_it_was_written():
    world = World()
    record = ordered(world)
    assert decode_record(encode_document(record), "x") == record


@pytest.mark.parametrize(
    "data, said",
    [
        (b"", "not strict JSON"),
        (b'{"what":"ordered"', "not strict JSON"),
        (b"<html>", "not strict JSON"),
        (b"[]", "no ledger record"),
        (b'{"format":"modelport-ledger","version":1,"what":"ordered"}', "no ledger record"),
        (b'{"format":"modelport-ledger","version":1,"what":"danced","at":"2026-11-22T10:00:00Z"}', "no ledger record"),
        (b'{"format":"other","version":1,"what":"finished","at":"2026-11-22T10:00:00Z","why":""}', "format 'other'"),
        (b'{"format":"modelport-ledger","version":2,"what":"new"}', "version 2, expected 1"),
        (b'{"format":"modelport-ledger","version":1,"what":"finished","at":"2026-11-22T10:00:00","why":""}', "timezone"),
        (
            b'{"format":"modelport-ledger","version":1,"what":"waits","at":"2026-11-22T10:00:00Z","cdn":"","until":"2026-11-22T10:00:00"}',
            "timezone",
        ),
    ],
)
def test_damaged_or_newer_record_is_told_in_one_line_with_its_name(data, said):
    with pytest.raises(InvalidDocument) as caught:
        decode_record(data, "control/ledger/x/00000001.json")
    assert said in str(caught.value)
    assert "control/ledger/x/00000001.json" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert "update" in caught.value.hint or "Remove this record" in caught.value.hint


def test_damaged_record_in_the_store_stops_the_job_and_harms_nobody_else():
    world = World()
    warm_release(world.fronts, JOB, keys(1600), world.dispatch())
    put(world, ledger_key(JOB, 3), b"{")
    with pytest.raises(InvalidDocument) as caught:
        Ledger(world.store).open(JOB)
    assert f"memory:memory/{ledger_key(JOB, 3)}" in str(caught.value)
    assert Ledger(world.store).open("other-v1.0.0").job.finished


def test_removed_record_is_survived():
    world = World()
    warm_release(world.fronts, JOB, keys(300), world.dispatch())
    # The second chunk's "accepted": what became of it is not known any more.
    world.store.delete(ledger_key(JOB, 4))
    job = Ledger(world.store).open(JOB).job
    assert job.finished
    assert len(job.lanes[BASE].keys_in(KeyState.SENDING)) == 100


def test_unknown_fields_are_ignored():
    world = World()
    document = json.loads(encode_document(ordered(world)))
    document["added_later"] = 1
    assert decode_record(json.dumps(document).encode(), "x") == ordered(world)


def test_objects_that_are_no_records_are_ignored():
    world = World()
    put(world, f"{LEDGER}README.txt", b"hello")
    put(world, f"{LEDGER}{JOB}/notes.txt", b"hello")
    assert Ledger(world.store).jobs() == []


def test_job_without_its_beginning_counts_for_nothing():
    world = World()
    warm_release(world.fronts, JOB, keys(1600), world.dispatch())
    world.store.delete(ledger_key(JOB, 0))
    assert Ledger(world.store).jobs() == []
    assert warm_release(world.fronts, JOB, keys(10), world.dispatch()).shares[0].failed == {}


def test_order_after_the_end_begins_a_new_round():
    world = World()
    first = [(0, ordered(world)), (1, make(Finished, world.clock.now(), why="done"))]
    assert fold(JOB, first).finished
    again = fold(JOB, [*first, (2, ordered(world, keys=("c",), more=True))])
    assert again.keys == ("c",)
    assert again.occasion != fold(JOB, first).occasion


def test_promise_stays_until_the_job_is_finished():
    world = World()
    dispatch = world.dispatch()
    warm_release(world.fronts, JOB, keys(1600), dispatch)
    log = dispatch.ledger.open(JOB)
    move = {"model": "bert", "channel": "stable", "release": JOB, "expected": "", "sequence": 0, "by": "me"}
    promise_move(log, make(Promised, world.clock.now(), **move))
    assert world.job().move.channel == "stable"
    world.clock.elapsed += 86_400
    driven = warm_release(world.fronts, JOB, keys(1600), world.dispatch())
    assert driven.complete
    assert not world.job().finished
    log = world.dispatch().ledger.open(JOB)
    log.claim("h", "me", world.clock.now())
    finish_job(log, world.dispatch())
    assert world.job().finished
    assert world.job().move is None


def test_finished_jobs_go_after_thirty_days():
    world = World()
    warm_release(world.fronts, JOB, keys(10), world.dispatch())
    warm_release(world.fronts, "bert-v2.0.0", keys(1600), world.dispatch())
    ledger = Ledger(world.store)
    world.clock.elapsed += timedelta(days=29).total_seconds()
    assert ledger.remove_finished(now=world.clock.now()) == []
    world.clock.elapsed += timedelta(days=2).total_seconds()
    assert ledger.remove_finished(now=world.clock.now()) == [JOB]
    assert [job.name for job in ledger.jobs()] == ["bert-v2.0.0"]
    assert ledger.open(JOB).job.finished


def test_removal_that_was_interrupted_is_ended_by_the_next():
    world = World()
    warm_release(world.fronts, JOB, keys(10), world.dispatch())
    world.clock.elapsed += timedelta(days=31).total_seconds()
    world.store.delete(ledger_key(JOB, 0))
    assert Ledger(world.store).remove_finished(now=world.clock.now()) == [JOB]
    assert list(world.store.list(LEDGER)) == []


def test_used_quota_counts_accepted_and_open_calls_of_the_day_only():
    world = World()
    warm_release(world.fronts, JOB, keys(250), world.dispatch())
    ledger = Ledger(world.store)
    midnight = world.clock.now().replace(hour=0)
    assert ledger.used("memory", "memory", Op.PREFETCH, midnight) == 250
    assert ledger.used("memory", "other", Op.PREFETCH, midnight) == 0
    assert ledger.used("memory", "memory", Op.REFRESH, midnight) == 0
    assert ledger.used("memory", "memory", Op.PREFETCH, midnight + timedelta(days=1)) == 0


def test_times_in_the_ledger_are_whole_seconds():
    world = World()
    world.clock.elapsed = 0.4
    warm_release(world.fronts, JOB, keys(2), world.dispatch())
    for info in world.store.list(LEDGER):
        record = json.loads(b"".join(world.store.get(info.key)))
        assert record["at"].endswith("Z")
        assert "." not in record["at"]
