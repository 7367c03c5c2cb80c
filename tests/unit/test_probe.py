"""A probe finds out which conditional writes hold, and leaves nothing behind."""

import pytest

from pipeline.errors import AccessDenied, UnsafeStore
from pipeline.retry import Patience, Retry
from pipeline.steps.probe import Capabilities, probe_store
from pipeline.stores.faulty import Fault, FaultyStore
from pipeline.stores.memory import MemoryStore
from pipeline.stores.retrying import RetryingStore
from tests.makers.stores import CreateOnlyStore, IgnoringStore, RefusingStore, UnknownStore


def test_store_whose_kind_settles_it_is_not_probed():
    store = FaultyStore(MemoryStore())
    assert probe_store(store, allow_unsafe=False) == Capabilities(create_only=True, compare_and_swap=True)
    assert store.calls == []


@pytest.mark.parametrize(
    "make, found",
    [
        (UnknownStore, Capabilities(create_only=True, compare_and_swap=True)),
        (CreateOnlyStore, Capabilities(create_only=True, compare_and_swap=False)),
    ],
)
def test_store_that_heeds_create_only_writes_is_taken(make, found):
    store = make()
    assert probe_store(store, allow_unsafe=False) == found
    assert list(store.list("")) == []


@pytest.mark.parametrize("make", [IgnoringStore, RefusingStore])
def test_store_that_does_not_is_refused_and_taken_when_asked(make):
    store = make()
    with pytest.raises(UnsafeStore, match="memory:memory does not honour conditional writes") as error:
        probe_store(store, allow_unsafe=False)
    assert "--allow-unsafe-store" in error.value.hint
    assert error.value.exit_code == 2
    assert probe_store(store, allow_unsafe=True) == Capabilities(create_only=False, compare_and_swap=False)
    assert list(store.list("")) == []


def test_probe_writes_only_where_probes_belong():
    store = FaultyStore(UnknownStore())
    probe_store(store, allow_unsafe=False)
    assert {op for op, _ in store.calls} == {"put", "delete"}
    assert all(key.startswith("control/probes/") for _, key in store.calls)


@pytest.mark.parametrize("nth", [1, 2, 3])
@pytest.mark.parametrize("make, safe", [(UnknownStore, True), (IgnoringStore, False)])
def test_lost_answers_change_no_verdict(nth, make, safe):
    store = make()
    unlucky = FaultyStore(store, [Fault("put", "lose answer", nth=nth)])
    retrying = RetryingStore(unlucky, retry=Retry(Patience(attempts=3), sleep=lambda _: None))
    assert probe_store(retrying, allow_unsafe=True).create_only is safe
    assert list(store.list("")) == []


def test_store_that_refuses_access_says_so():
    store = FaultyStore(UnknownStore(), [Fault("put", "refuse", nth=2, error=lambda: AccessDenied("planned"))])
    with pytest.raises(AccessDenied):
        probe_store(store, allow_unsafe=False)
