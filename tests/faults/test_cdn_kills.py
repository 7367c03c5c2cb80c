"""CDN work that is killed or fails anywhere: another run, on another machine, ends it, and nothing accepted is sent twice."""

from collections import Counter

import pytest

from pipeline.errors import (
    AccessDenied,
    CallRefused,
    CallUnanswered,
    CdnUnavailable,
    ModelportError,
    QuotaUsedUp,
    StoreUnavailable,
)
from pipeline.plan.calls import url_of
from pipeline.ports import CallLimits, Op
from pipeline.steps.driving import STEPS
from pipeline.steps.prefetch import drive_job, refresh_keys, warm_release
from pipeline.stores.memory import MemoryStore
from tests.makers.driving import BASE, JOB, FaultyCdn, Killed, KillingStore, ManualClock, World, keys

COUNT = 55
# Two days, eleven calls.
LIMITS = {op: CallLimits(urls=5, per_second=50.0, per_day=40) for op in Op}
WANTED = {url_of(BASE, key) for key in keys(COUNT)}


def world_of(store=None, clock=None, plan=None):
    world = World(store=store, clock=clock)
    # A CDN that would do a request as often as it comes.
    world.cdns = [FaultyCdn(world.cdn(limits=LIMITS, knows_keys=False, polls=2), plan)]
    return world


def run_to_the_end(world):
    """Go on, day after day, on ever new machines."""
    for _ in range(4):
        dispatch = world.dispatch()
        log = dispatch.ledger.open(JOB)
        if not log.job.known:
            warm_release(world.fronts, JOB, keys(COUNT), dispatch, release=JOB)
        elif not log.job.finished:
            drive_job(world.fronts, log, dispatch)
        else:
            return
        world.clock.elapsed += 86_400
    raise AssertionError("it does not end")


def check(world):
    assert world.job().finished
    assert world.job().complete
    assert set(world.sent(world.cdns[0])) == WANTED


def names_reached():
    seen = Counter()
    world = world_of()
    warm_release(world.fronts, JOB, keys(COUNT), world.dispatch(lambda name: seen.update([name])), release=JOB)
    world.clock.elapsed += 86_400
    dispatch = world.dispatch(lambda name: seen.update([name]))
    drive_job(world.fronts, dispatch.ledger.open(JOB), dispatch)
    return seen


def test_every_step_is_reached():
    assert set(names_reached()) == set(STEPS)


@pytest.mark.parametrize("name", STEPS)
def test_run_that_is_killed_at_a_step_is_continued_and_nothing_is_sent_twice(name):
    for nth in range(1, names_reached()[name] + 1):
        world = world_of()
        left = Counter({name: nth})

        def step(reached, left=left):
            left[reached] -= 1
            if left[reached] == 0:
                raise Killed

        for _ in range(2):
            dispatch = world.dispatch(step)
            log = dispatch.ledger.open(JOB)
            try:
                if log.job.known:
                    drive_job(world.fronts, log, dispatch)
                else:
                    warm_release(world.fronts, JOB, keys(COUNT), dispatch, release=JOB)
            except Killed:
                break
            world.clock.elapsed += 86_400
        run_to_the_end(world)
        check(world)
        assert set(world.sent(world.cdns[0]).values()) == {1}


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_run_that_is_killed_at_any_write_of_the_ledger_is_continued(after):
    clock = ManualClock()
    counting = KillingStore(now=clock.now)
    run_to_the_end(world_of(counting, clock))
    for kill_at in range(1, counting.puts + 1):
        clock = ManualClock()
        store = KillingStore(now=clock.now)
        store.kill_at, store.after = kill_at, after
        world = world_of(store, clock)
        for _ in range(3):
            try:
                run_to_the_end(world)
            except Killed:
                continue
            break
        check(world)
        assert set(world.sent(world.cdns[0]).values()) == {1}


ERRORS = {
    "busy": CdnUnavailable("busy"),
    "unanswered": CallUnanswered("gone"),
    "lost": "lost",
    "refused": CallRefused("no"),
    "denied": AccessDenied("no"),
    "quota": QuotaUsedUp("no more"),
}


def calls_of(method):
    world = world_of()
    run_to_the_end(world)
    return world.cdns[0].made[method]


@pytest.mark.parametrize("error", ERRORS)
@pytest.mark.parametrize("method", ["submit", "poll", "quota", "find"])
def test_every_error_at_every_call_loses_one_effect_at_most(method, error):
    if method != "submit" and error in {"lost", "unanswered", "quota"}:
        # Questions change nothing: adapters have no such errors for them (tests/contracts/test_cdn_contract.py).
        error = "busy"
    # Without a lost answer nobody asks what became of a call.
    lost = {("submit", 2): "lost"} if method == "find" else {}
    for nth in range(1, (calls_of(method) if method != "find" else 1) + 1):
        world = world_of(plan={**lost, (method, nth): ERRORS[error]})
        for _ in range(3):
            try:
                run_to_the_end(world)
            except ModelportError:
                world.clock.elapsed += 86_400
                continue
            break
        check(world)
        # Whoever may not ask what became of a call sends it again, under the same name.
        most = 2 if (method, error) == ("find", "refused") else 1
        assert max(world.sent(world.cdns[0]).values()) <= most


@pytest.mark.parametrize("name", [name for name in STEPS if name != "cdn.finish"])
def test_refresh_that_is_killed_is_ended_by_another_run(name):
    world = world_of()

    def step(reached):
        if reached == name:
            raise Killed

    with pytest.raises(Killed):
        refresh_keys([world.cdns[0]], ["metadata/timestamp.json"], world.dispatch(step))
    jobs = world.dispatch().ledger.jobs()
    for job in jobs:
        dispatch = world.dispatch()
        assert drive_job(world.fronts, dispatch.ledger.open(job.name), dispatch).complete
    assert len(jobs) == (name != "cdn.order")
    assert set(world.sent(world.cdns[0]).values()) <= {1}


def test_answer_of_the_store_that_is_lost_is_our_own_record():
    class Lossy(MemoryStore):
        lost = False

        def put(self, key, body, **more):
            done = super().put(key, body, **more)
            if not self.lost and key.endswith("00000002.json"):
                self.lost = True
                # What a retrying store does when the answer to a write that was made is lost.
                return super().put(key, body, **more)
            return done

    clock = ManualClock()
    world = world_of(Lossy(now=clock.now), clock)
    run_to_the_end(world)
    check(world)


def test_store_that_fails_at_any_write_is_told_and_nothing_unknown_was_sent():
    class Failing(KillingStore):
        def put(self, key, body, **more):
            try:
                return super().put(key, body, **more)
            except Killed:
                raise StoreUnavailable("the store is gone") from None

    for kill_at in range(1, 12):
        clock = ManualClock()
        store = Failing(now=clock.now)
        store.kill_at = kill_at
        world = world_of(store, clock)
        with pytest.raises(StoreUnavailable):
            run_to_the_end(world)
        run_to_the_end(world)
        check(world)
        assert set(world.sent(world.cdns[0]).values()) == {1}
