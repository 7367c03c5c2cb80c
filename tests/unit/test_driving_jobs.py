"""The driver's jobs before a CDN in memory: what is wanted anew or besides, refreshes, several CDNs and several machines."""

import pytest

from pipeline.cdns.memory import PREFETCH
from pipeline.errors import (
    AccessDenied,
    AnotherPublisher,
    StoreUnavailable,
)
from pipeline.plan.calls import url_of
from pipeline.ports import Op
from pipeline.steps.lease import Lease, new_record
from pipeline.steps.prefetch import drive_job, refresh_keys, warm_release
from pipeline.stores.memory import MemoryStore
from tests.makers.driving import BASE, JOB, FaultyCdn, ManualClock, World, keys, resume, warm


def test_order_of_more_keeps_what_was_wanted():
    world = World()
    warm(world, 1600)
    more = warm_release(world.fronts, JOB, ["parts/zz/new"], world.dispatch(), release=JOB, more=True)
    assert len(more.shares[0].left) == 601


def test_order_anew_replaces_what_was_wanted_and_sends_nothing_twice():
    world = World()
    warm(world, 1600)
    anew = warm_release(world.fronts, JOB, keys(500), world.dispatch(), release=JOB)
    assert anew.complete
    assert anew.shares[0].calls == 0
    assert len(world.sent()) == 1000


def test_finished_job_can_be_ordered_again_under_another_name():
    world = World()
    warm(world, 10)
    world.clock.elapsed += 60
    assert warm(world, 10).complete
    assert set(world.sent().values()) == {2}
    assert len({kept.key for kept in world.cdns[0].kept.values()}) == 2


def test_cdn_that_the_settings_no_longer_name_keeps_its_work():
    world = World()
    other = world.cdn("https://other.example.com")
    world.cdns.append(FaultyCdn(other, {("submit", 0): AccessDenied("no")}))
    with pytest.raises(AccessDenied):
        warm(world, 10)
    world.cdns.pop()
    driven = resume(world)
    assert not driven.complete
    assert "https://other.example.com" in world.warnings("cdn-not-set")[0]
    world.cdns.append(other)
    assert resume(world).complete


def test_refresh_is_waited_for_and_each_has_a_job_of_its_own():
    world = World()
    first = refresh_keys(world.cdns, ["metadata/timestamp.json"], world.dispatch())
    second = refresh_keys(world.cdns, ["metadata/timestamp.json"], world.dispatch())
    assert first.complete
    assert second.complete
    assert first.job != second.job
    assert world.sent() == {url_of(BASE, "metadata/timestamp.json"): 2}


def test_refresh_of_a_prefix_ends_with_a_slash():
    world = World()
    refresh_keys(world.cdns, ["targets/bert"], world.dispatch(), prefix=True)
    assert list(world.sent()) == [f"{BASE}/targets/bert/"]
    assert next(iter(world.cdns[0].kept.values())).task.op is Op.REFRESH_PREFIX


def test_cdn_without_refresh_is_told_and_passed_by():
    world = World()
    world.cdns = [world.cdn(limits={Op.PREFETCH: PREFETCH})]
    assert refresh_keys(world.cdns, ["metadata/timestamp.json"], world.dispatch()).shares == ()
    assert world.warnings("no-refresh")
    assert list(world.store.list("control/")) == []


def test_refresh_that_is_not_waited_for_goes_on_in_the_ledger():
    world = World()
    driven = refresh_keys(world.cdns, ["metadata/timestamp.json"], world.dispatch(), wait=False)
    assert driven.shares[0].running
    assert world.clock.elapsed < 1


def test_every_cdn_that_fails_is_told():
    world = World()
    bases = ("https://one.example.com", "https://two.example.com", "https://three.example.com")
    world.cdns = [FaultyCdn(world.cdn(base), {("submit", 0): AccessDenied(f"{base}: wrong key")}) for base in bases]
    with pytest.raises(AccessDenied, match="one"):
        warm(world, 1)
    assert world.warnings("cdn-failed") == [f"{base}: wrong key" for base in bases[1:]]


def test_job_that_a_live_run_holds_is_left_to_it():
    world = World()
    lease = Lease(world.store, new_record(JOB), world.events.append)
    lease.take()
    try:
        warm(world, 1600, holder=lease.key)
        with pytest.raises(AnotherPublisher) as caught:
            resume(world)
        assert "user@host1" in str(caught.value)
        with pytest.raises(AnotherPublisher):
            warm(world, 10)
    finally:
        lease.drop()
    world.clock.elapsed += 86_400
    assert resume(world).complete


def test_of_two_machines_that_resume_at_once_one_goes_on():
    world = World()
    warm(world, 1600)
    world.clock.elapsed += 86_400
    first, second = world.dispatch(), world.dispatch()
    log, stale = first.ledger.open(JOB), second.ledger.open(JOB)
    assert drive_job(world.fronts, log, first).complete
    with pytest.raises(AnotherPublisher) as caught:
        drive_job(world.fronts, stale, second)
    assert "took over" in str(caught.value)
    assert set(world.sent().values()) == {1}


def test_run_that_slept_through_its_lease_stops_at_its_next_record():
    world = World()
    done = []

    def step(name):
        # Another machine takes the job over while this one is about to send its second chunk.
        if name == "cdn.send" and len(world.cdns[0].kept) == 1 and not done:
            done.append(resume(world))

    with pytest.raises(AnotherPublisher):
        warm(world, 300, step=step)
    assert done[0].complete
    assert set(world.sent().values()) == {1}


def test_store_that_fails_stops_everything_at_once():
    class Failing(MemoryStore):
        writes = 0

        def put(self, key, body, **more):
            self.writes += 1
            if self.writes == 4:
                raise StoreUnavailable("the store is gone")
            return super().put(key, body, **more)

    clock = ManualClock()
    world = World(store=Failing(now=clock.now), clock=clock)
    with pytest.raises(StoreUnavailable):
        warm(world, 500)
    # Nothing is sent that the ledger does not know of.
    assert len(world.cdns[0].kept) == 1
    assert resume(world).complete
    assert set(world.sent().values()) == {1}
