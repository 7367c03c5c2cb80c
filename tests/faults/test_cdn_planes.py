"""The driver before every vendor's control plane: whatever goes wrong over there, each URL is done once, or told.

The planes check signatures, limits, pace, quota and clock; what they remember is compared with what the driver says.
"""

from __future__ import annotations

import logging
from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from pipeline.errors import AccessDenied, CallRefused, ModelportError, RedirectRefused
from pipeline.plan.calls import url_of
from pipeline.ports import Op
from pipeline.providers import PROVIDERS
from pipeline.steps.driving import Tempo
from pipeline.steps.edge_proof import Front
from pipeline.steps.ledger import Ledger
from pipeline.steps.prefetch import Dispatch, drive_job, refresh_keys, warm_release
from pipeline.stores.memory import MemoryStore
from tests.makers.driving import JOB, keys
from tests.our_cdns import ACCOUNTS, BASE_URL, open_ours
from tests.servers.control_planes.door import run_plane
from tests.servers.control_planes.plane import BEGIN, PREFETCH

PREFETCHERS = [name for name in ACCOUNTS if PROVIDERS[name].prefetches]
REFRESHERS = [name for name in ACCOUNTS if name != "dragonfly"]
COUNTED = ("aliyun", "tencent", "huawei", "volcengine", "qiniu")
COUNT = 45
TIMESTAMP = "metadata/timestamp.json"


class Site:
    """A publisher before one plane, whose manual clock is the clock of both."""

    def __init__(self, name, plane, **opening):
        self.plane = plane
        self.began = plane.now
        self.cdn = open_ours(name, plane, **opening)
        self.store = MemoryStore(now=lambda: plane.now)
        self.events = []
        self.runs = 0

    def elapsed_s(self):
        return (self.plane.now - self.began).total_seconds()

    def dispatch(self):
        self.runs += 1
        tempo = Tempo(
            now=lambda: self.plane.now,
            elapsed_s=self.elapsed_s,
            sleep=self.plane.advance,
        )
        return Dispatch(Ledger(self.store), f"run{self.runs}", "me", tempo, self.events.append)

    def warm(self, count=COUNT):
        return warm_release([Front(self.cdn, None)], JOB, keys(count), self.dispatch(), release=JOB)

    def resume(self):
        dispatch = self.dispatch()
        return drive_job([Front(self.cdn, None)], dispatch.ledger.open(JOB), dispatch)

    def taken(self):
        """How often each URL was asked for. Aliyun gives a call several ids: the second begins with the first."""
        jobs = [job for job in self.plane.jobs.values() if job.id[:-1] not in self.plane.jobs]
        return Counter(url for job in jobs for url in job.urls)


def urls(count=COUNT):
    return {url_of(BASE_URL, key) for key in keys(count)}


@pytest.fixture
def plane(name):
    account = ACCOUNTS[name]
    # botocore signs with the real clock.
    with run_plane(account.plane(now=datetime.now(UTC) if account.real_clock else BEGIN)) as running:
        for op, allowed in running.allowed.items():
            running.allowed[op] = replace(allowed, per_call=min(20, allowed.per_call))
        yield running


def small_calls(site):
    """Let the driver make calls of twenty URLs at most."""
    from pipeline.cdns.configured import ConfiguredCdn

    inner = site.cdn
    site.cdn = ConfiguredCdn(inner.name, inner.base_url, lambda: inner, urls_per_call=20)
    return site


@pytest.mark.parametrize("name", PREFETCHERS)
def test_release_is_prefetched_by_every_vendor_that_can(name, plane):
    site = small_calls(Site(name, plane))
    assert site.warm().complete
    assert site.taken() == dict.fromkeys(urls(), 1)
    assert {job.op for job in plane.jobs.values()} == {PREFETCH}


@pytest.mark.parametrize("name", REFRESHERS)
def test_mutable_url_is_refreshed_by_every_vendor_that_can(name, plane):
    site = Site(name, plane)
    assert refresh_keys([site.cdn], [TIMESTAMP], site.dispatch()).complete
    assert refresh_keys([site.cdn], [TIMESTAMP], site.dispatch()).complete
    assert site.taken() == {url_of(BASE_URL, TIMESTAMP): 2}


@pytest.mark.parametrize("name", PREFETCHERS)
def test_pace_of_the_vendor_is_kept(name, plane):
    site = small_calls(Site(name, plane))
    plane.rate = max(1, int(site.cdn.limits[Op.PREFETCH].per_second))
    assert site.warm(400 if name != "qiniu" else 90).complete
    assert not [event for event in site.events if getattr(event, "attempt", 0)]


UNDONE = ["throttled", "ill", "reset", "html"]
DONE = ["lost", "truncated", "cut", "500"]


@pytest.mark.parametrize("how", [*UNDONE, *DONE])
@pytest.mark.parametrize("name", PREFETCHERS)
def test_call_that_goes_wrong_once_is_mended_without_sending_twice(name, plane, how):
    site = small_calls(Site(name, plane))
    submit = name_of_submit(site)
    plane.spoil(how, submit, nth=2, headers={"Retry-After": "3"})
    assert site.warm().complete
    assert set(site.taken()) == urls()
    # Who tells nobody what was asked for (or knows names of requests) is sent it again: tests/contracts/test_cdn_contract.py.
    if name != "dragonfly" or how in UNDONE:
        assert set(site.taken().values()) == {1}


def name_of_submit(site):
    """What the plane calls a prefetch, found out by one."""
    plane = site.plane
    site.cdn.submit(Op.PREFETCH, [f"{BASE_URL}/probe"], key="p" * 64)
    name = plane.calls[-1][0]
    plane.jobs.clear()
    plane.calls.clear()
    plane.advance(5)
    return name


@pytest.mark.parametrize("name", PREFETCHERS)
def test_vendor_that_stays_busy_is_asked_six_times_and_left_to_another_run(name, plane):
    site = small_calls(Site(name, plane))
    submit = name_of_submit(site)
    fault = plane.spoil("ill", submit, times=99)
    with pytest.raises(ModelportError) as caught:
        site.warm()
    assert caught.value.exit_code == 5
    assert len(plane.named(submit)) == 6
    plane.faults.remove(fault)
    assert site.resume().complete
    assert site.taken() == dict.fromkeys(urls(), 1)


@pytest.mark.parametrize("name", COUNTED)
def test_quota_that_is_used_up_in_the_middle_leaves_the_rest_for_the_vendors_next_day(name, plane):
    site = small_calls(Site(name, plane))
    submit = name_of_submit(site)
    # Another program of this account uses it up behind our back.
    plane.spoil("quota", submit, nth=2)
    driven = site.warm()
    (share,) = driven.shares
    assert (share.done, len(share.left)) == (20, COUNT - 20)
    assert share.waits_until > plane.now
    plane.now = share.waits_until + timedelta(minutes=1)
    assert site.resume().complete
    assert site.taken() == dict.fromkeys(urls(), 1)


@pytest.mark.parametrize("name", COUNTED)
def test_what_is_left_today_is_asked_for_beforehand(name, plane):
    site = small_calls(Site(name, plane))
    plane.allowed[PREFETCH] = replace(plane.allowed[PREFETCH], per_day=30)
    if site.cdn.quota() is None:
        from pipeline.cdns.configured import ConfiguredCdn

        inner = site.cdn
        site.cdn = ConfiguredCdn(inner.name, inner.base_url, lambda: inner, prefetch_per_day=30)
    driven = site.warm()
    assert (driven.shares[0].done, len(driven.shares[0].left)) == (30, COUNT - 30)
    assert list(site.taken()) == [url_of(BASE_URL, key) for key in keys(30)]
    plane.now = driven.shares[0].waits_until + timedelta(minutes=1)
    assert site.resume().complete
    assert site.taken() == dict.fromkeys(urls(), 1)


@pytest.mark.parametrize("name", PREFETCHERS)
def test_one_url_that_the_vendor_takes_for_malformed_does_not_stop_the_others(name, plane):
    site = small_calls(Site(name, plane))
    bad = keys(COUNT)[27]
    take = plane.take

    def picky(op, asked, **more):
        from tests.servers.control_planes.plane import Refused

        if url_of(BASE_URL, bad) in asked:
            raise Refused("url", url_of(BASE_URL, bad), [url_of(BASE_URL, bad)])
        return take(op, asked, **more)

    plane.take = picky
    (share,) = site.warm().shares
    assert list(share.failed) == [bad]
    assert share.done == COUNT - 1
    assert site.taken() == dict.fromkeys(urls() - {url_of(BASE_URL, bad)}, 1)


@pytest.mark.parametrize("name", PREFETCHERS)
@pytest.mark.parametrize("how", ["failed", "invalid"])
def test_url_that_fails_once_is_asked_for_again_and_then_done(name, plane, how):
    site = small_calls(Site(name, plane))
    submit = name_of_submit(site)
    bad = url_of(BASE_URL, keys(COUNT)[3])
    plane.spoil(how, submit, urls=(bad,))
    assert site.warm().complete
    assert site.taken()[bad] == 2


@pytest.mark.parametrize("name", PREFETCHERS)
def test_task_that_never_ends_is_left_and_ended_by_another_run(name, plane):
    site = small_calls(Site(name, plane))
    submit = name_of_submit(site)
    plane.spoil("stuck", submit)
    driven = site.warm()
    assert not driven.complete
    assert len(driven.shares[0].running) in {1, 20}
    for job in plane.jobs.values():
        job.outcome = dict.fromkeys(job.urls, "done")
    assert site.resume().complete
    assert set(site.taken().values()) == {1}


@pytest.mark.parametrize("name", PREFETCHERS)
def test_task_that_vanished_is_asked_for_again(name, plane):
    site = small_calls(Site(name, plane))
    submit = name_of_submit(site)
    plane.spoil("vanished", submit)
    assert site.warm().complete
    assert set(site.taken()) == urls()


@pytest.mark.parametrize("name", ACCOUNTS)
def test_wrong_credential_is_tried_once_and_never_seen(name, plane, caplog):
    caplog.set_level(logging.DEBUG)
    account = ACCOUNTS[name]
    secret = list(account.credentials)[-1] if name != "cloudfront" else "secret_access_key"
    site = Site(name, plane, credentials={secret: "wrong-credential-canary"})
    with pytest.raises(AccessDenied) as caught:
        refresh_keys([site.cdn], [TIMESTAMP], site.dispatch()) if name in REFRESHERS else site.warm()
    assert len(plane.calls) == 1
    assert plane.jobs == {}
    ledger = b"".join(b"".join(site.store.get(info.key)) for info in site.store.list(""))
    said = [str(caught.value), caught.value.hint, ledger.decode(), *(repr(event) for event in site.events)]
    if name != "cloudfront":
        # botocore writes every header into its own debug log: masking that is the command line's business.
        said += [record.getMessage() for record in caplog.records]
    for canary in (*account.canaries, "wrong-credential-canary"):
        # The public half of a pair of keys stands in every signature; messages do not show it either.
        assert [line for line in said if canary in line] == []


@pytest.mark.parametrize("name", PREFETCHERS)
def test_redirect_ends_the_run_and_nothing_goes_elsewhere(name, plane):
    site = small_calls(Site(name, plane))
    submit = name_of_submit(site)
    with run_plane(ACCOUNTS[name].plane()) as other:
        plane.spoil("redirect", submit, body=f"{other.http}/elsewhere", times=9)
        with pytest.raises(RedirectRefused):
            site.warm()
        assert other.calls == []
    assert len(plane.named(submit)) == 1


@pytest.mark.parametrize("name", PREFETCHERS)
def test_foreign_domain_is_told_once(name, plane):
    plane.hosts = {"another.example.net"}
    site = small_calls(Site(name, plane))
    try:
        driven = site.warm()
    except CallRefused:
        return
    assert driven.shares[0].done == 0
    assert len(driven.shares[0].failed) == COUNT
    assert len(plane.calls) <= 15 + COUNT
