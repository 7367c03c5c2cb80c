"""What each wrapper adds to the contract."""

from __future__ import annotations

import threading

import pytest

from pipeline.digest import sha256_of
from pipeline.errors import AccessDenied, DigestMismatch, ObjectExists, ObjectMissing, StoreUnavailable
from pipeline.events import Retrying
from pipeline.ports import BLOCK
from pipeline.retry import Patience, Retry
from pipeline.stores.counting import CountingStore
from pipeline.stores.dryrun import DryRunStore, Intended
from pipeline.stores.faulty import Fault, FaultyStore
from pipeline.stores.memory import MemoryStore
from pipeline.stores.retrying import RetryingStore


def put(store, key, body, **conditions):
    return store.put(key, body, sha256=sha256_of(body), **conditions)


def body_of(store, key, **span):
    return b"".join(store.get(key, **span))


def patient(store, attempts=3, **more):
    return RetryingStore(store, retry=Retry(Patience(attempts=attempts), sleep=lambda _: None, **more))


def test_repetition_tells_each_failure_with_the_call():
    heard = []
    store = patient(FaultyStore(MemoryStore(), [Fault("put", "refuse", times=2)]), listen=heard.append)
    put(store, "parts/x", b"x")
    assert [(event.what, event.attempt) for event in heard if isinstance(event, Retrying)] == [
        ("put parts/x", 1),
        ("put parts/x", 2),
    ]


def test_repetition_ends():
    faulty = FaultyStore(MemoryStore(), [Fault("put", "refuse", times=9)])
    with pytest.raises(StoreUnavailable):
        put(patient(faulty, attempts=4), "parts/x", b"x")
    assert len(faulty.calls) == 4


def test_a_refusal_is_not_repeated():
    faulty = FaultyStore(MemoryStore(), [Fault("head", "refuse", error=lambda: AccessDenied("no"))])
    with pytest.raises(AccessDenied):
        patient(faulty).head("parts/x")
    assert len(faulty.calls) == 1


def test_a_get_goes_on_where_it_broke():
    memory = MemoryStore()
    data = bytes(range(256)) * (BLOCK // 64)
    put(memory, "parts/x", data)
    faulty = FaultyStore(memory, [Fault("get", "cut short", nth=nth) for nth in (1, 2, 3)])
    assert body_of(patient(faulty), "parts/x", start=3, size=len(data) - 9) == data[3:-6]
    assert [op for op, _ in faulty.calls] == ["get"] * 4


def test_attempts_count_anew_after_progress():
    memory = MemoryStore()
    data = bytes(BLOCK * 8)
    put(memory, "parts/x", data)
    faulty = FaultyStore(memory, [Fault("get", "cut short", times=6)])
    assert body_of(patient(faulty, attempts=2), "parts/x") == data


def test_a_get_without_progress_ends():
    memory = MemoryStore()
    put(memory, "parts/x", b"x")
    faulty = FaultyStore(memory, [Fault("get", "cut short", times=9)])
    with pytest.raises(StoreUnavailable):
        body_of(patient(faulty), "parts/x")
    assert len(faulty.calls) == 3


def test_a_listing_goes_on_without_saying_anything_twice():
    memory = MemoryStore()
    for n in range(5):
        put(memory, f"parts/{n}", b"x")
    store = patient(FaultyStore(memory, [Fault("list", "cut short"), Fault("list", "refuse", nth=2)]))
    assert [info.key for info in store.list("parts/")] == [f"parts/{n}" for n in range(5)]


def test_a_lost_answer_of_a_creation_meets_its_own_object():
    store = patient(FaultyStore(MemoryStore(), [Fault("put", "lose answer")]))
    with pytest.raises(ObjectExists):
        put(store, "metadata/1.root.json", b"x", if_absent=True)
    assert body_of(store, "metadata/1.root.json") == b"x"


def test_every_body_sent_is_counted_repetitions_too():
    counting = CountingStore(FaultyStore(MemoryStore(), [Fault("put", "lose answer")]))
    put(patient(counting), "parts/x", b"12345")
    assert body_of(counting, "parts/x", start=1) == b"2345"
    list(counting.list(""))
    assert (counting.counts.sent, counting.counts.received) == (10, 4)
    assert counting.counts.calls == {"put": 2, "get": 1, "list": 1}
    assert counting.counts.requests == 4


def test_counts_of_many_threads_add_up():
    counting = CountingStore(MemoryStore())
    threads = [threading.Thread(target=lambda n=n: [put(counting, f"p/{n}/{m}", b"123") for m in range(50)]) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (counting.counts.sent, counting.counts.calls["put"]) == (1200, 400)


def test_a_dry_run_writes_nothing_and_says_what_it_would():
    memory = MemoryStore()
    put(memory, "parts/old", b"old")
    dry = DryRunStore(memory)
    put(dry, "parts/new", b"new!", if_absent=True)
    put(dry, "parts/large", bytes(BLOCK + 1))
    dry.delete("parts/old")
    assert [info.key for info in memory.list("")] == ["parts/old"]
    assert [info.key for info in dry.list("")] == ["parts/large", "parts/new"]
    assert dry.intended == [
        Intended("put", "parts/new", 4),
        Intended("put", "parts/large", BLOCK + 1),
        Intended("delete", "parts/old", 0),
    ]


def test_a_dry_run_honours_conditions_against_what_is_there():
    memory = MemoryStore()
    etag = put(memory, "metadata/timestamp.json", b"1").etag
    dry = DryRunStore(memory)
    with pytest.raises(ObjectExists):
        put(dry, "metadata/timestamp.json", b"2", if_absent=True)
    put(dry, "metadata/timestamp.json", b"2", if_etag=etag)
    assert body_of(dry, "metadata/timestamp.json") == b"2"
    assert body_of(memory, "metadata/timestamp.json") == b"1"


@pytest.mark.parametrize("op", ["put", "head", "get", "list", "delete", "now"])
def test_a_planned_fault_hits_its_call_and_no_other(op):
    memory = MemoryStore()
    put(memory, "parts/x", b"x")
    store = FaultyStore(memory, [Fault(op, "refuse", nth=2)])
    calls = {
        "put": lambda: put(store, "parts/x", b"x"),
        "head": lambda: store.head("parts/x"),
        "get": lambda: store.get("parts/x"),
        "list": lambda: store.list(""),
        "delete": lambda: store.delete("parts/y"),
        "now": store.now,
    }
    calls[op]()
    for other, call in calls.items():
        if other != op:
            call()
    with pytest.raises(StoreUnavailable):
        calls[op]()
    calls[op]()


def test_a_fault_of_a_key_counts_calls_of_that_key():
    store = FaultyStore(MemoryStore(), [Fault("put", "refuse", key="snapshot")])
    put(store, "metadata/1.root.json", b"x")
    with pytest.raises(StoreUnavailable):
        put(store, "metadata/1.snapshot.json", b"x")
    with pytest.raises(ObjectMissing):
        store.head("metadata/1.snapshot.json")


def test_a_flipped_bit_is_the_same_for_a_seed():
    memory = MemoryStore()
    put(memory, "parts/x", bytes(1000))
    first, second, other = (body_of(FaultyStore(memory, [Fault("get", "flip bit")], seed=seed), "parts/x") for seed in (5, 5, 6))
    assert first == second != other
    assert sum(byte.bit_count() for byte in first) == 1
    with pytest.raises(DigestMismatch):
        put(FaultyStore(memory, [Fault("put", "flip bit")]), "parts/y", b"abc")


def test_an_object_can_be_late():
    memory = MemoryStore()
    put(memory, "parts/x", b"x")
    store = FaultyStore(memory, [Fault("head", "not there yet", times=2)])
    for _ in range(2):
        with pytest.raises(ObjectMissing):
            store.head("parts/x")
    assert store.head("parts/x").size == 1


def test_another_can_write_just_before_a_call():
    memory = MemoryStore()
    store = FaultyStore(memory, [Fault("put", "hold", meanwhile=lambda: put(memory, "parts/x", b"theirs"))])
    with pytest.raises(ObjectExists):
        put(store, "parts/x", b"ours", if_absent=True)
    assert body_of(store, "parts/x") == b"theirs"
