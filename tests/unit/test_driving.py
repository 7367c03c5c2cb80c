"""The driver before a CDN in memory: quota, pace, refusals, tasks that go wrong, several CDNs, several machines."""

from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pytest

from pipeline.cdns.memory import LIMITS, PREFETCH
from pipeline.errors import (
    AccessDenied,
    AnotherPublisher,
    CallRefused,
    CallUnanswered,
    CdnUnavailable,
    ClockSkew,
    QuotaUsedUp,
    RedirectRefused,
    StoreUnavailable,
)
from pipeline.events import Retrying
from pipeline.plan.calls import url_of
from pipeline.plan.ledger import KeyState
from pipeline.ports import CallLimits, Op, Quota, TaskState, TaskStatus
from pipeline.retry import Patience
from pipeline.steps.driving import Bucket
from pipeline.steps.lease import Lease, new_record
from pipeline.steps.prefetch import drive_job, refresh_keys, warm_release
from pipeline.stores.memory import MemoryStore
from tests.makers.driving import BASE, JOB, FaultyCdn, ManualClock, World, keys


def warm(world, count=250, **more):
    return warm_release(world.fronts, JOB, keys(count), world.dispatch(**more), release=JOB)


def resume(world, **more):
    dispatch = world.dispatch(**more)
    return drive_job(world.fronts, dispatch.ledger.open(JOB), dispatch)


def test_a_release_is_sent_once_in_legal_calls():
    world = World()
    driven = warm(world)
    assert driven.complete
    assert [len(kept.task.urls) for kept in world.cdns[0].kept.values()] == [100, 100, 50]
    assert list(world.sent()) == [url_of(BASE, key) for key in keys(250)]
    assert set(world.sent().values()) == {1}
    assert world.job().finished


def test_quota_of_the_day_takes_the_first_keys_and_the_rest_another_day():
    world = World()
    driven = warm(world, 1600)
    (share,) = driven.shares
    assert (share.done, len(share.left), share.calls, share.urls) == (1000, 600, 10, 1000)
    assert share.left == tuple(keys(1600)[1000:])
    assert share.waits_until == datetime(2026, 11, 23, 0, 0, tzinfo=UTC)
    assert "600 URLs are left for 2026-11-23" in world.warnings("quota-used-up")[0]
    world.clock.elapsed += 86_400
    assert resume(world).complete
    assert set(world.sent().values()) == {1}
    assert len(world.sent()) == 1600


@pytest.mark.parametrize("tells_quota", [True, False])
def test_what_was_sent_today_counts_on_every_machine(tells_quota):
    world = World()
    world.cdns[0].tells_quota = tells_quota
    warm(world, 700)
    other = warm_release(world.fronts, "bert-v2.0.0", keys(1700)[700:], world.dispatch(), release="bert-v2.0.0")
    assert other.shares[0].done == 300
    assert len(other.shares[0].left) == 700


def test_settings_quota_holds_for_the_vendors_day():
    limits = {Op.PREFETCH: replace(PREFETCH, per_day=100, day_ahead=timedelta(hours=8))}
    world = World()
    world.cdns = [world.cdn(limits=limits, tells_quota=False)]
    driven = warm(world, 150)
    assert driven.shares[0].waits_until == datetime(2026, 11, 22, 16, 0, tzinfo=UTC)
    world.clock.elapsed += 6 * 3600
    assert resume(world).complete


def test_batch_of_the_quota_api_is_the_size_of_calls():
    world = World()
    inner = world.cdn()

    class Batched(FaultyCdn):
        def quota(self):
            return {Op.PREFETCH: Quota(1000, 1000, batch=40)}

    world.cdns = [Batched(inner)]
    warm(world, 100)
    assert [len(kept.task.urls) for kept in inner.kept.values()] == [40, 40, 20]


def test_quota_that_ends_in_the_middle_leaves_the_rest():
    world = World()
    resets_at = datetime(2026, 11, 24, tzinfo=UTC)
    world.cdns = [FaultyCdn(world.cdn(), {("submit", 3): QuotaUsedUp("no more", resets_at=resets_at)})]
    driven = warm(world, 700)
    (share,) = driven.shares
    assert (share.done, len(share.left), share.waits_until) == (200, 500, resets_at)
    assert world.cdns[0].made["submit"] == 3
    assert resume(world).complete
    assert set(world.sent().values()) == {1}


def test_quota_that_cannot_be_asked_is_that_of_the_settings():
    world = World()
    world.cdns = [FaultyCdn(world.cdn(), {("quota", 0): CdnUnavailable("busy")})]
    assert warm(world, 1500).shares[0].done == 1000
    assert world.warnings("quota-unknown")


def test_throttled_calls_are_repeated_with_full_jitter_six_times_at_most():
    world = World()
    world.cdns = [FaultyCdn(world.cdn(), {("submit", 0): CdnUnavailable("busy")})]
    with pytest.raises(CdnUnavailable):
        warm(world, 10)
    assert world.cdns[0].made["submit"] == 6
    waits = [event.wait_s for event in world.events if isinstance(event, Retrying)]
    assert len(waits) == 5
    assert all(0 <= wait <= 2 * 2**number for number, wait in enumerate(waits))
    world.cdns[0].plan.clear()
    assert resume(world).complete


def test_retry_after_is_obeyed():
    world = World()
    world.cdns = [FaultyCdn(world.cdn(), {("submit", 1): CdnUnavailable("busy", retry_after_s=90)})]
    assert warm(world, 10).complete
    assert any(90 <= wait <= 92 for wait in world.clock.slept)


@pytest.mark.parametrize(
    "error", [AccessDenied("wrong key"), ClockSkew("clock"), RedirectRefused("elsewhere")], ids=lambda error: type(error).__name__
)
def test_what_no_repetition_mends_is_tried_once(error):
    world = World()
    world.cdns = [FaultyCdn(world.cdn(), {("submit", 0): error})]
    with pytest.raises(type(error)):
        warm(world, 250)
    assert world.cdns[0].made["submit"] == 1
    assert world.job().lanes[BASE].keys_in(KeyState.PLANNED) == tuple(keys(250))


def test_wrong_credential_that_the_quota_call_meets_is_tried_once():
    world = World()
    world.cdns = [FaultyCdn(world.cdn(), {("quota", 0): AccessDenied("wrong key")})]
    with pytest.raises(AccessDenied):
        warm(world)
    assert world.cdns[0].made == Counter(quota=1)


def test_one_cdn_that_fails_does_not_stop_the_other():
    world = World()
    other = "https://other.example.com"
    world.cdns = [FaultyCdn(world.cdn(), {("submit", 0): AccessDenied("wrong key")}), world.cdn(other)]
    with pytest.raises(AccessDenied):
        warm(world)
    job = world.job()
    assert len(job.lanes[other].keys_in(KeyState.DONE)) == 250
    assert len(job.lanes[BASE].keys_in(KeyState.PLANNED)) == 250
    world.cdns[0].plan.clear()
    assert resume(world).complete
    assert set(world.sent(world.cdns[1]).values()) == {1}


@pytest.mark.parametrize("named", [True, False])
@pytest.mark.parametrize("at", [0, 37, 99])
def test_one_bad_url_among_a_hundred_is_isolated(named, at):
    world = World()
    bad = keys(100)[at]
    world.cdns[0].refused = {url_of(BASE, bad)}
    world.cdns[0].names_refused = named
    driven = warm(world, 100)
    (share,) = driven.shares
    assert share.done == 99
    assert list(share.failed) == [bad]
    assert share.calls <= (2 if named else 16)
    assert set(world.sent().values()) == {1}


def test_several_bad_urls_are_isolated():
    world = World()
    bad = [keys(100)[at] for at in (3, 4, 50, 98)]
    world.cdns[0].refused = {url_of(BASE, key) for key in bad}
    world.cdns[0].names_refused = False
    (share,) = warm(world, 100).shares
    assert list(share.failed) == bad
    assert share.done == 96


def test_a_vendor_that_refuses_everything_is_not_asked_a_hundred_times():
    world = World()
    world.cdns = [FaultyCdn(world.cdn(), {("submit", 0): CallRefused("no such domain")})]
    (share,) = warm(world, 900).shares
    assert share.done == 0
    assert len(share.failed) == 900
    assert "no such domain" in share.failed[keys(1)[0]]
    assert share.calls <= 12


def test_url_that_is_too_long_is_never_sent():
    world = World()
    world.cdns = [world.cdn(limits={Op.PREFETCH: CallLimits(urls=100, url_chars=1024)})]
    long = "parts/" + "a" * 1024
    driven = warm_release(world.fronts, JOB, [*keys(3), long], world.dispatch())
    assert list(driven.shares[0].failed) == [long]
    assert "1024" in driven.shares[0].failed[long]
    assert driven.shares[0].done == 3


def test_url_that_no_task_names_was_not_taken():
    world = World()
    inner = world.cdn()

    class Half(FaultyCdn):
        def submit(self, op, urls, *, key):
            return super().submit(op, urls[:-1], key=key)

    world.cdns = [Half(inner)]
    (share,) = warm(world, 5).shares
    assert list(share.failed) == [keys(5)[-1]]


def test_failed_task_is_sent_once_more_then_told_by_url():
    world = World()
    bad = keys(100)[5]
    world.cdns[0].failing = {url_of(BASE, bad): "Origin Return StatusCode 502"}
    driven = warm(world, 100)
    (share,) = driven.shares
    assert share.done == 99
    assert dict(share.failed) == {bad: "Origin Return StatusCode 502"}
    assert world.sent()[url_of(BASE, bad)] == 2
    assert not world.job().finished
    world.cdns[0].failing = {}
    assert resume(world).complete
    assert world.sent()[url_of(BASE, keys(1)[0])] == 1


def test_second_try_of_a_failed_url_has_a_name_of_its_own():
    world = World()
    world.cdns[0].failing = {url_of(BASE, keys(1)[0]): "502"}
    warm(world, 1)
    assert len({kept.key for kept in world.cdns[0].kept.values()}) == 2


def test_task_that_vanished_is_sent_again():
    world = World()
    inner = world.cdn(knows_keys=False)

    class Forgetful(FaultyCdn):
        def poll(self, tasks):
            self.made["poll"] += 1
            return {task.id: TaskStatus(TaskState.UNKNOWN) if task.id == "m1" else s for task, s in self._known(tasks)}

        def _known(self, tasks):
            found = self.inner.poll(tasks)
            return [(task, found[task.id]) for task in tasks]

    world.cdns = [Forgetful(inner)]
    assert warm(world, 100).complete
    assert len(inner.kept) == 2


def test_task_that_is_not_known_yet_is_given_time():
    world = World()
    world.cdns = [FaultyCdn(world.cdn())]
    early = iter([True, True])

    class Late(FaultyCdn):
        def poll(self, tasks):
            return {} if next(early, False) else self.inner.poll(tasks)

    world.cdns = [Late(world.cdn())]
    assert warm(world, 10).complete
    assert len(world.cdns[0].kept) == 1


def test_task_that_never_ends_is_left_at_the_deadline():
    world = World()
    world.cdns = [world.cdn(polls=10**9)]
    driven = warm(world, 100)
    (share,) = driven.shares
    assert len(share.running) == 100
    assert not driven.complete
    assert world.clock.elapsed == pytest.approx(2700, abs=1)
    assert world.warnings("tasks-not-ended")
    assert len(world.clock.slept) < 60
    world.cdns[0].kept["m1"].polls = 1
    assert resume(world).complete
    assert len(world.cdns[0].kept) == 1


def test_polls_come_ever_less_often():
    world = World()
    world.cdns = [world.cdn(polls=12)]
    warm(world, 10)
    polls = [wait for wait in world.clock.slept if wait >= 1]
    assert polls[:3] == [1.0, 1.5, 2.25]
    assert max(world.clock.slept) == 60.0


def test_cdn_that_tells_no_more_than_accepted_is_done():
    world = World()
    world.cdns = [FaultyCdn(world.cdn(can_poll=False))]
    assert warm(world, 100).complete
    assert world.cdns[0].made["poll"] == 0


@pytest.mark.parametrize("knows_keys", [True, False])
def test_lost_answer_is_looked_for_before_anything_is_sent_again(knows_keys):
    world = World()
    world.cdns = [FaultyCdn(world.cdn(knows_keys=knows_keys), {("submit", 2): "lost"})]
    assert warm(world, 250).complete
    assert world.cdns[0].made["submit"] == 3
    assert world.cdns[0].made["find"] == 1
    assert set(world.sent().values()) == {1}


def test_call_that_was_never_carried_out_is_sent_again_under_the_same_name():
    world = World()
    world.cdns = [FaultyCdn(world.cdn(), {("submit", 1): CallUnanswered("gone"), ("submit", 2): CallUnanswered("gone")})]
    assert warm(world, 100).complete
    assert world.cdns[0].made == Counter(quota=1, submit=3, find=2, poll=1)
    assert set(world.sent().values()) == {1}


def test_lost_answer_of_a_cdn_that_cannot_be_asked_is_sent_again():
    world = World()

    class Mute(FaultyCdn):
        def find(self, op, urls, *, since):
            return None

    world.cdns = [Mute(world.cdn(), {("submit", 1): "lost"})]
    assert warm(world, 100).complete
    assert world.cdns[0].made["submit"] == 2
    # The name of the request is the same, so that this CDN did it once.
    assert set(world.sent().values()) == {1}


def test_answer_that_stays_lost_is_left_in_doubt_and_asked_about_the_next_day():
    world = World()
    world.cdns = [FaultyCdn(world.cdn(), {("submit", 0): CallUnanswered("gone")})]
    with pytest.raises(CallUnanswered):
        warm(world, 100)
    assert world.cdns[0].made["submit"] == 6
    assert len(world.job().lanes[BASE].keys_in(KeyState.SENDING)) == 100
    world.cdns[0].plan.clear()
    assert resume(world).complete
    assert set(world.sent().values()) == {1}


def test_task_of_an_earlier_refresh_is_not_taken_for_this_one():
    world = World()
    cdn = world.cdns[0] = FaultyCdn(world.cdn(knows_keys=False))
    refresh_keys([cdn], ["metadata/timestamp.json"], world.dispatch())
    cdn.plan = {("submit", 2): CallUnanswered("gone")}
    assert refresh_keys([cdn], ["metadata/timestamp.json"], world.dispatch()).complete
    assert cdn.made["submit"] == 3
    assert len(cdn.kept) == 2


def test_part_of_a_lost_call_that_was_taken_is_not_sent_again():
    world = World()

    class Halving(FaultyCdn):
        def submit(self, op, urls, *, key):
            self.made["submit"] += 1
            if self.made["submit"] == 1:
                self.inner.submit(op, urls[:30], key="first")
                raise CallUnanswered("gone")
            return self.inner.submit(op, urls, key=key)

    world.cdns = [Halving(world.cdn())]
    assert warm(world, 100).complete
    assert set(world.sent().values()) == {1}
    assert [len(kept.task.urls) for kept in world.cdns[0].kept.values()] == [30, 70]


def test_calls_keep_the_vendors_pace():
    limits = {Op.PREFETCH: CallLimits(urls=1, per_second=2.0)}
    world = World()
    world.cdns = [world.cdn(limits=limits, can_poll=False)]
    warm(world, 21)
    assert 9.0 <= world.clock.elapsed <= 10.5


def test_questions_do_not_spend_the_pace_of_a_slow_plan():
    # Five purges a minute, as Cloudflare's free plan: the first waits for no question about a quota.
    limits = {Op.PREFETCH: CallLimits(urls=1, per_second=5 / 60)}
    world = World()
    world.cdns = [world.cdn(limits=limits, can_poll=False)]
    assert warm(world, 1).complete
    assert world.clock.elapsed < 2.0


def test_vendor_that_tells_no_quota_is_not_waited_for():
    world = World()
    slow = CallLimits(urls=30, per_second=5 / 60)
    world.cdns = [world.cdn(limits={Op.REFRESH: slow}, can_poll=False, tells_quota=False)]
    assert refresh_keys(world.cdns, ["metadata/timestamp.json"], world.dispatch()).complete
    assert world.clock.elapsed == 0


def test_bucket_gives_calls_at_the_rate_and_never_two_at_once():
    clock = ManualClock()
    bucket = Bucket(4.0, clock.tempo())
    times = []
    for _ in range(9):
        bucket.take()
        times.append(clock.elapsed)
    assert times == pytest.approx([number / 4 for number in range(9)])
    clock.elapsed += 100
    bucket.take()
    assert clock.elapsed == pytest.approx(102.0)
    bucket.take()
    assert clock.elapsed == pytest.approx(102.25)


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


class Pages:
    """An edge that gives every object but those that it lacks."""

    url = BASE

    def __init__(self, lacking=()):
        self.lacking = set(lacking)
        self.read = Counter()

    def get(self, key):
        self.read[key] += 1
        if key in self.lacking:
            raise StoreUnavailable(f"{key}: HTTP 500")
        return iter([b"x" * 1000, b"y"])


def reading_world(edge):
    world = World()
    world.cdns = [world.cdn(limits={Op.REFRESH: LIMITS[Op.REFRESH]})]
    world.edge = edge
    return world


def test_cdn_without_prefetch_is_warmed_by_reads_and_says_so():
    edge = Pages()
    world = reading_world(edge)
    driven = warm(world, 100)
    assert driven.complete
    assert driven.shares[0].by_reads
    assert set(edge.read.values()) == {1}
    assert len(edge.read) == 100
    assert "warms the one location" in world.warnings("one-location-warm")[0]


def test_object_that_cannot_be_read_is_named_and_read_the_next_time():
    bad = keys(40)[7]
    edge = Pages([bad])
    world = reading_world(edge)
    driven = warm(world, 40, patience=Patience(attempts=2))
    assert list(driven.shares[0].failed) == [bad]
    edge.lacking.clear()
    assert resume(world).complete
    assert edge.read[keys(40)[0]] == 1


def test_edge_that_never_stops_sending_is_not_read_for_ever():
    sent = []

    def endless(key):
        while len(sent) < 1000:
            sent.append(key)
            yield bytes(1 << 20)

    driven = warm(reading_world(SimpleNamespace(url=BASE, get=endless)), 1)
    assert list(driven.shares[0].failed) == keys(1)
    assert "more than 268435456 bytes" in driven.shares[0].failed[keys(1)[0]]
    assert len(sent) == 257


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
