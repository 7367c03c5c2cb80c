"""Every provider's adapter before its control plane keeps what the port ``Cdn`` says, over http and https.

Each plane checks signatures, limits, clock and quota with code of its own, so what it takes is a call that the vendor takes.
"""

from __future__ import annotations

import logging
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from pipeline.cli.masking import Mask
from pipeline.errors import (
    AccessDenied,
    CallRefused,
    CallUnanswered,
    CdnUnavailable,
    ClockSkew,
    ModelportError,
    QuotaUsedUp,
    RedirectRefused,
)
from pipeline.ports import CdnTask, Op, TaskState
from pipeline.providers import PROVIDERS
from tests.our_cdns import ACCOUNTS, BASE_URL, open_ours
from tests.servers.control_planes.door import run_plane
from tests.servers.control_planes.plane import BEGIN, PREFETCH
from tests.servers.processes import free_port

# Whose signature holds the time; a bearer token has none.
DATED = ("aliyun", "tencent", "huawei", "volcengine", "qiniu", "akamai", "webhook")
# Whose API ends a day at a count; the others slow one down, or charge.
COUNTED = ("aliyun", "tencent", "huawei", "volcengine", "qiniu")
# Whose tasks can fail; an invalidation of CloudFront is done some day.
FAILING = ("aliyun", "tencent", "huawei", "volcengine", "qiniu", "dragonfly", "webhook")
LOST = ("reset", "lost", "hang", "slow", "cut", "truncated", "html", "500")


@pytest.fixture(params=ACCOUNTS)
def name(request):
    return request.param


def plane_of(name):
    account = ACCOUNTS[name]
    return account.plane(now=datetime.now(UTC) if account.real_clock else BEGIN)


@pytest.fixture
def plane(name):
    with run_plane(plane_of(name)) as running:
        yield running


@pytest.fixture
def cdn(name, plane):
    return open_ours(name, plane, answer_s=5)


def urls_for(op, count=2):
    return [f"{BASE_URL}/parts/aa/{number:04d}{'/' if op is Op.REFRESH_PREFIX else ''}" for number in range(count)]


def some(cdn, op):
    return urls_for(op, min(2, cdn.limits[op].urls))


def first_op(cdn):
    return next(iter(cdn.limits))


def submit(cdn, urls=None, op=None):
    op = op or first_op(cdn)
    return cdn.submit(op, urls or some(cdn, op), key="k" * 64)


def asked_urls(plane):
    return {url for job in plane.jobs.values() for url in job.urls}


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_each_operation_is_one_call_that_the_vendor_takes(name, ca_file, server_tls, scheme):
    with run_plane(plane_of(name), server_tls) as plane:
        cdn = open_ours(name, plane, endpoint=getattr(plane, scheme), ca_file=str(ca_file))
        for number, op in enumerate(cdn.limits, 1):
            urls = some(cdn, op)
            tasks = cdn.submit(op, urls, key=f"{number}" * 64)
            assert len(plane.calls) == number
            assert [url for task in tasks for url in task.urls] == urls
            assert all(task.op is op for task in tasks)
            assert all(task.id for task in tasks) or not cdn.can_poll
            assert all(asked.secure == (scheme == "https") for _, asked in plane.calls)
    assert {job.op for job in plane.jobs.values()} == {str(op) for op in cdn.limits}


def test_a_call_as_large_as_its_limits_is_taken(plane, cdn):
    for number, op in enumerate(cdn.limits):
        limits = cdn.limits[op]
        count = limits.urls if limits.body_bytes is None else min(limits.urls, limits.body_bytes // 64)
        plane.allowed[str(op)] = replace(plane.allowed[str(op)], per_day=10**6)
        cdn.submit(op, urls_for(op, count), key=f"{number}" * 64)
    assert len(plane.calls) == len(cdn.limits)


def test_it_says_who_it_is_without_a_secret(name, cdn):
    assert cdn.name == name
    assert cdn.base_url == BASE_URL
    assert cdn.account
    for canary in ACCOUNTS[name].canaries:
        assert canary not in f"{cdn!r} {cdn.account}"


def test_a_task_runs_then_is_done(plane, cdn):
    tasks = list(submit(cdn))
    if not cdn.can_poll:
        assert {status.state for status in cdn.poll(tasks).values()} == {TaskState.ACCEPTED}
        return
    plane.advance(30)
    assert {status.state for status in cdn.poll(tasks).values()} == {TaskState.RUNNING}
    plane.advance(60)
    found = cdn.poll(tasks)
    assert set(found) == {task.id for task in tasks}
    assert {(status.state, len(status.failed)) for status in found.values()} == {(TaskState.DONE, 0)}


def test_many_tasks_are_polled_at_once(plane, cdn):
    op = first_op(cdn)
    plane.rate = 1000
    tasks = [task for number in range(12) for task in cdn.submit(op, [urls_for(op, 12)[number]], key=f"{number:02d}" * 32)]
    plane.advance(90)
    found = cdn.poll(tasks)
    assert set(found) == {task.id for task in tasks}
    assert {status.state for status in found.values()} == {TaskState.DONE if cdn.can_poll else TaskState.ACCEPTED}


@pytest.mark.parametrize("name", FAILING, indirect=True)
@pytest.mark.parametrize("how", ["failed", "invalid"])
def test_a_task_that_fails_names_its_urls(plane, cdn, how):
    urls = some(cdn, first_op(cdn))
    plane.spoil(how, urls=(urls[-1],))
    tasks = submit(cdn)
    plane.advance(90)
    states = {status.state for status in cdn.poll(tasks).values()}
    failed = {url: why for status in cdn.poll(tasks).values() for url, why in status.failed.items()}
    assert TaskState.FAILED in states
    # Some vendors tell of the whole task only.
    assert urls[-1] in failed
    assert all(why for why in failed.values())


def test_a_task_that_never_ends_is_running(plane, cdn):
    if cdn.can_poll:
        plane.spoil("stuck")
        tasks = submit(cdn)
        plane.advance(600)
        assert {status.state for status in cdn.poll(tasks).values()} == {TaskState.RUNNING}


def test_a_task_that_vanished_or_never_was_is_unknown(plane, cdn):
    if cdn.can_poll:
        plane.spoil("vanished")
        tasks = [*submit(cdn), CdnTask("4711", first_op(cdn), tuple(some(cdn, first_op(cdn))))]
        assert {status.state for status in cdn.poll(tasks).values()} == {TaskState.UNKNOWN}


def test_a_task_older_than_the_history_is_unknown(plane, cdn, name):
    if cdn.can_poll and not ACCOUNTS[name].real_clock:
        tasks = submit(cdn)
        plane.advance((plane.HISTORY + timedelta(hours=1)).total_seconds())
        assert {status.state for status in cdn.poll(tasks).values()} == {TaskState.UNKNOWN}


def test_quota_counts_down(plane, cdn):
    before = cdn.quota()
    if before is None:
        return
    for number, op in enumerate(before):
        urls = some(cdn, op)
        cdn.submit(op, urls, key=f"{number}" * 64)
        after = cdn.quota()
        assert after[op].limit == before[op].limit == plane.allowed[str(op)].per_day
        assert after[op].remaining == before[op].remaining - len(urls)


@pytest.mark.parametrize("name", COUNTED, indirect=True)
def test_a_quota_that_is_used_up_ends_the_day(plane, cdn):
    op = first_op(cdn)
    plane.allowed[str(op)] = replace(plane.allowed[str(op)], per_day=3)
    urls = urls_for(op, 4)
    cdn.submit(op, urls[:2], key="1" * 64)
    with pytest.raises(QuotaUsedUp) as caught:
        cdn.submit(op, urls[2:], key="2" * 64)
    # Midnight in China, where all of them are.
    assert caught.value.resets_at == datetime(2026, 11, 22, 16, 0, tzinfo=UTC)
    plane.now = caught.value.resets_at
    cdn.submit(op, urls[2:], key="3" * 64)
    assert asked_urls(plane) == set(urls)


def test_what_a_lost_answer_had_done_is_found(plane, cdn):
    for number, op in enumerate(cdn.limits):
        urls = some(cdn, op)
        plane.advance(5)
        since = plane.now
        plane.advance(1)
        plane.faults.clear()
        plane.spoil("lost")
        with pytest.raises(CallUnanswered):
            cdn.submit(op, urls, key=f"{number}" * 64)
        plane.faults.clear()
        found = cdn.find(op, urls, since=since)
        if found is None:
            continue
        assert sorted(url for task in found for url in task.urls) == sorted(urls)
        assert all(task.op is op for task in found)
        plane.advance(90)
        assert {status.state for status in cdn.poll(found).values()} == {TaskState.DONE}


def test_what_was_never_done_or_is_older_is_not_found(plane, cdn):
    op = first_op(cdn)
    submit(cdn)
    plane.advance(10)
    assert not cdn.find(op, some(cdn, op), since=plane.now)
    assert not cdn.find(op, [f"{BASE_URL}/parts/zz/never"], since=plane.now - timedelta(hours=1))


@pytest.mark.parametrize("how", LOST)
def test_an_answer_that_is_lost_or_meaningless_may_have_been_carried_out(name, plane, how):
    cdn = open_ours(name, plane, answer_s=0.4)
    plane.spoil(how, times=9)
    with pytest.raises(CallUnanswered):
        submit(cdn)
    # It is not sent again from in here.
    assert len(plane.calls) == 1


@pytest.mark.parametrize("how", ["lost", "truncated", "html", "500", "throttled", "ill"])
def test_a_question_without_an_answer_may_be_asked_again(plane, cdn, how):
    tasks = submit(cdn)
    plane.spoil(how, times=9)
    made = len(plane.calls)
    op = first_op(cdn)
    for ask in (
        lambda: cdn.poll(tasks),
        cdn.quota,
        lambda: cdn.find(op, some(cdn, op), since=plane.now - timedelta(hours=1)),
    ):
        before = len(plane.calls)
        try:
            ask()
        except CdnUnavailable:
            assert len(plane.calls) == before + 1
        else:
            # It asks nobody.
            assert len(plane.calls) == before
    assert len(plane.calls) > made or not cdn.can_poll


@pytest.mark.parametrize("how", ["throttled", "ill"])
def test_a_busy_vendor_may_be_asked_again(plane, cdn, how):
    plane.spoil(how, headers={"Retry-After": "7"})
    with pytest.raises(CdnUnavailable) as caught:
        submit(cdn)
    assert caught.value.retryable
    assert len(plane.calls) == 1
    assert plane.jobs == {}
    assert submit(cdn)


def test_nobody_there_means_that_nothing_was_sent(name, plane):
    cdn = open_ours(name, plane, endpoint=f"http://127.0.0.1:{free_port()}")
    with pytest.raises(CdnUnavailable):
        submit(cdn)


def test_a_wrong_credential_is_tried_once(name, plane):
    for credential in ACCOUNTS[name].credentials:
        wrong = open_ours(name, plane, credentials={credential: "another-canary-of-a-wrong-credential"})
        before = len(plane.calls)
        with pytest.raises(AccessDenied) as caught:
            submit(wrong)
        assert len(plane.calls) == before + 1
        assert not caught.value.retryable
        assert "another-canary" not in f"{caught.value} {caught.value.hint}"
    assert plane.jobs == {}


@pytest.mark.parametrize("spoiled", ["a-canary-with-a-line-break\n", "a-canary-with-\u00fcml\u00e4uts", "a-canary\r\nX-More: b"])
def test_a_credential_that_no_header_takes_is_refused_without_being_shown(name, plane, spoiled):
    for credential in ACCOUNTS[name].credentials:
        with pytest.raises(AccessDenied) as caught:
            submit(open_ours(name, plane, credentials={credential: spoiled}))
        assert "canary" not in f"{caught.value} {caught.value.hint} {caught.value.__cause__!r}"
    assert plane.jobs == {}


def test_a_missing_credential_is_named_before_anything_is_sent(name, plane):
    needed = [credential.name for credential in PROVIDERS[name].credentials if credential.needed]
    for credential in needed:
        with pytest.raises(AccessDenied, match=credential):
            submit(open_ours(name, plane, credentials={credential: ""}))
    assert plane.calls == []


@pytest.mark.parametrize("name", DATED, indirect=True)
@pytest.mark.parametrize("hours", [-2, 2])
def test_a_clock_that_is_off_is_told_with_both_times(name, plane, cdn, hours):
    now = plane.now + timedelta(hours=hours)
    cdn = replace(cdn, calling=replace(cdn.calling, now=lambda: now))
    with pytest.raises(ClockSkew) as caught:
        submit(cdn)
    assert f"{now:%Y-%m-%dT%H:%M}" in str(caught.value)
    assert f"{plane.now:%Y-%m-%dT%H:%M}" in str(caught.value)
    assert plane.jobs == {}


def test_a_redirect_goes_nowhere(name, plane, cdn):
    with run_plane(ACCOUNTS[name].plane()) as other:
        plane.spoil("redirect", body=f"{other.http}/elsewhere", times=9)
        with pytest.raises(RedirectRefused):
            submit(cdn)
        assert other.calls == []
    assert len(plane.calls) == 1


def test_a_foreign_host_is_refused(plane, cdn):
    op = first_op(cdn)
    with pytest.raises(CallRefused):
        cdn.submit(op, ["https://other.example.net/parts/aa/bb" + ("/" if op is Op.REFRESH_PREFIX else "")], key="k" * 64)
    assert plane.jobs == {}


def test_a_malformed_url_is_refused(plane, cdn):
    op = first_op(cdn)
    with pytest.raises(CallRefused) as caught:
        cdn.submit(op, [*some(cdn, op)[1:], f"{BASE_URL}/parts/{'a' * 9000}"], key="k" * 64)
    assert not caught.value.retryable
    assert plane.jobs == {}


@pytest.mark.parametrize("how", ["throttled", "ill", "quota", "html", "truncated", "cut", "500", "lost", "redirect", "refused"])
def test_no_secret_is_seen_even_when_debugging(name, plane, cdn, how, caplog):
    caplog.set_level(logging.DEBUG)
    said = []
    plane.spoil(how, body="http://elsewhere.example/", times=9)
    for ask in (lambda: submit(cdn), cdn.quota, lambda: cdn.poll([CdnTask("1", first_op(cdn), tuple(some(cdn, first_op(cdn))))])):
        try:
            ask()
        except ModelportError as error:
            said += [str(error), repr(error), error.hint, repr(error.__cause__), repr(error.__context__)]
    plane.faults.clear()
    said += [repr(task) for task in submit(cdn)]
    # botocore writes every header into its own debug log: masking that is the command line's business.
    shown = Mask().text if name == "cloudfront" else str
    said += [shown(record.getMessage()) for record in caplog.records]
    for canary in ACCOUNTS[name].canaries:
        assert [line for line in said if canary in line] == []


def test_an_answer_that_echoes_the_credentials_is_masked(name, plane, cdn):
    body = " ".join(["<html>", *ACCOUNTS[name].canaries])
    plane.spoil("status", status=502, body=body, times=9)
    with pytest.raises(CallUnanswered) as caught:
        submit(cdn)
    for canary in ACCOUNTS[name].canaries:
        assert canary not in str(caught.value)


def test_prefetch_is_missing_where_the_vendor_has_none(name, plane, cdn):
    assert (Op.PREFETCH in cdn.limits) == (PREFETCH in plane.allowed)
