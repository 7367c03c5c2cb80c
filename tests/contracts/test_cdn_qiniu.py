"""Qiniu: HTTP 200 with a code inside, tasks by URL, and URLs that are under way already."""

from __future__ import annotations

import pytest

from pipeline.errors import AccessDenied, CallRefused, CallUnanswered, CdnUnavailable, ClockSkew, QuotaUsedUp
from pipeline.ports import Op, TaskState
from tests.our_cdns import BASE_URL, open_ours
from tests.servers.control_planes.door import run_plane
from tests.servers.control_planes.plane import PREFETCH, Allowed, Told
from tests.servers.control_planes.qiniu import QiniuPlane

URLS = [f"{BASE_URL}/parts/aa/{number}" for number in range(4)]


@pytest.fixture
def plane():
    with run_plane(QiniuPlane()) as running:
        yield running


@pytest.fixture
def cdn(plane):
    return open_ours("qiniu", plane)


def test_a_call_is_signed_with_its_body(plane, cdn):
    cdn.submit(Op.PREFETCH, URLS, key="k")
    assert plane.calls[0][1].headers["authorization"].startswith("Qiniu ")


@pytest.mark.parametrize(
    ("how", "more", "error", "says"),
    [
        ("quota", {}, QuotaUsedUp, "400033"),
        ("throttled", {}, CdnUnavailable, "403024"),
        ("refused", {"reason": "host"}, CallRefused, "400032"),
        ("refused", {"reason": "key"}, AccessDenied, "bad token"),
        ("status", {"status": 200, "body": '{"code":500000,"error":"internal error"}'}, CallUnanswered, "500000"),
        ("status", {"status": 200, "body": '{"code":499999,"error":"new"}'}, CallRefused, "499999"),
        ("status", {"status": 200, "body": '{"code":200,"error":"success"}'}, CallUnanswered, "expected requestId"),
    ],
)
def test_the_code_inside_decides(plane, cdn, how, more, error, says):
    plane.spoil(how, **more)
    with pytest.raises(error, match=says):
        cdn.submit(Op.PREFETCH, URLS, key="k")
    assert plane.jobs == {}


def test_the_quota_begins_anew_at_midnight_in_china(plane, cdn):
    plane.allowed[PREFETCH] = Allowed(20, 3)
    with pytest.raises(QuotaUsedUp) as caught:
        cdn.submit(Op.PREFETCH, URLS, key="k")
    assert f"{caught.value.resets_at:%Y-%m-%dT%H:%M:%SZ}" == "2026-11-22T16:00:00Z"
    assert cdn.quota() is None


def test_invalid_urls_are_named(plane, cdn):
    foreign = "https://elsewhere.example.com/a"
    with pytest.raises(CallRefused, match="400032") as caught:
        cdn.submit(Op.PREFETCH, [*URLS, foreign], key="k")
    assert caught.value.urls == (foreign,)


def test_url_under_way_is_joined_and_the_rest_is_sent(plane, cdn):
    (first,) = cdn.submit(Op.PREFETCH, URLS[:2], key="k")
    tasks = cdn.submit(Op.PREFETCH, URLS, key="another")
    assert [(task.id == first.id, task.urls) for task in tasks] == [(True, tuple(URLS[:2])), (False, tuple(URLS[2:]))]
    assert plane.used(PREFETCH) == 4
    assert [task.id for task in cdn.submit(Op.PREFETCH, URLS[:2], key="k")] == [first.id]
    plane.advance(60)
    assert {status.state for status in cdn.poll(tasks).values()} == {TaskState.DONE}


def test_url_under_way_that_is_not_listed_yet_can_be_tried_again(plane, cdn):
    plane.spoil("refused", "prefetch", reason="existed")
    with pytest.raises(CdnUnavailable, match="400037"):
        cdn.submit(Op.PREFETCH, URLS, key="k")


def test_refreshes_of_files_and_folders_are_tasks_of_their_own(plane, cdn):
    (files,) = cdn.submit(Op.REFRESH, URLS, key="k")
    (folders,) = cdn.submit(Op.REFRESH_PREFIX, [f"{BASE_URL}/targets/"], key="k")
    assert plane.jobs[folders.id].op == "refresh_prefix"
    assert cdn.find(Op.REFRESH, URLS, since=plane.now)[0].id == files.id
    assert cdn.find(Op.REFRESH_PREFIX, folders.urls, since=plane.now)[0].id == folders.id
    plane.advance(60)
    assert {status.state for status in cdn.poll([files, folders]).values()} == {TaskState.DONE}


def test_long_lists_are_read_to_their_end(plane, cdn):
    plane.rate = 1000
    for _ in range(30):
        (task,) = cdn.submit(Op.REFRESH, URLS, key="k")
    found = cdn.find(Op.REFRESH, URLS, since=plane.now)
    assert len(found) == 30
    assert found[0].id == task.id


def test_a_task_tells_of_each_url(plane, cdn):
    plane.spoil("invalid", "prefetch", urls=(URLS[1],))
    (task,) = cdn.submit(Op.PREFETCH, URLS, key="k")
    assert cdn.poll([task])[task.id].state is TaskState.RUNNING
    plane.advance(60)
    status = cdn.poll([task])[task.id]
    assert (status.state, status.failed) == (TaskState.FAILED, {URLS[1]: "origin 404"})
    plane.advance(8 * 86400)
    assert cdn.poll([task])[task.id].state is TaskState.UNKNOWN


def test_a_clock_that_is_off_is_named_with_both_times(plane):
    cdn = open_ours("qiniu", plane)
    ahead = type("Ahead", (), {"now": plane.now.replace(hour=20), "http": plane.http})
    cdn = open_ours("qiniu", ahead)
    with pytest.raises(ClockSkew, match=r"20:00:00Z.*10:00:00Z"):
        cdn.submit(Op.PREFETCH, URLS, key="k")


def test_a_list_of_something_else_is_no_answer(plane, cdn):
    plane.carry_out = lambda name, asked: Told({"code": 200, "items": [1, None]})
    with pytest.raises(CdnUnavailable, match="expected a list of objects"):
        cdn.find(Op.PREFETCH, URLS, since=plane.now)
