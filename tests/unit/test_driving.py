"""The driver before a CDN in memory: quota, pace, refusals, and reads where there is no prefetch."""

from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pytest

from pipeline.cdns.memory import LIMITS, PREFETCH
from pipeline.errors import (
    AccessDenied,
    CallRefused,
    CdnUnavailable,
    ClockSkew,
    QuotaUsedUp,
    RedirectRefused,
    StoreUnavailable,
)
from pipeline.events import Retrying
from pipeline.plan.calls import url_of
from pipeline.plan.ledger import KeyState
from pipeline.ports import CallLimits, Op, Quota
from pipeline.retry import Patience
from pipeline.steps.driving import Bucket
from pipeline.steps.prefetch import refresh_keys, warm_release
from tests.makers.driving import BASE, JOB, FaultyCdn, ManualClock, World, keys, resume, warm


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
