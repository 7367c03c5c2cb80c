"""Dragonfly: preheat jobs, their states in every version's words, and the names under which peers know an object."""

from __future__ import annotations

import json

import pytest

from pipeline.cdns.dragonfly import SIGNED_QUERY, status_of
from pipeline.errors import AccessDenied, CallRefused, CallUnanswered, CdnUnavailable
from pipeline.ports import CdnTask, Op, TaskState
from tests.our_cdns import BASE_URL, open_ours
from tests.servers.control_planes.door import run_plane
from tests.servers.control_planes.dragonfly import DragonflyPlane
from tests.servers.control_planes.plane import Told

URLS = [f"{BASE_URL}/parts/aa/{number}" for number in range(3)]


@pytest.fixture
def plane():
    with run_plane(DragonflyPlane()) as running:
        yield running


def test_preheat_only(plane):
    cdn = open_ours("dragonfly", plane)
    assert set(cdn.limits) == {Op.PREFETCH}
    assert cdn.quota() is None
    assert cdn.find(Op.PREFETCH, URLS, since=plane.now) is None
    assert plane.calls == []


def test_job_says_who_preheats_and_under_which_names(plane):
    more = {"scheduler_cluster_ids": (1, 3), "tag": "t", "application": "a", "scope": "all_peers"}
    (task,) = open_ours("dragonfly", plane, **more).submit(Op.PREFETCH, URLS, key="the-key")
    sent = plane.calls[0][1].json
    assert sent["scheduler_cluster_ids"] == [1, 3]
    assert sent["args"] == {
        "type": "file",
        "urls": URLS,
        "scope": "all_peers",
        "tag": "t",
        "application": "a",
        "filtered_query_params": SIGNED_QUERY,
    }
    assert plane.jobs[task.id].more["bio"] == "modelport the-key"
    assert "access_token" not in plane.calls[0][1].target


def test_signature_of_a_presigned_url_is_no_part_of_its_name(plane):
    cdn = open_ours("dragonfly", plane)
    cdn.submit(Op.PREFETCH, URLS, key="k")
    filtered = plane.calls[0][1].json["args"]["filtered_query_params"].split("&")
    assert {"X-Amz-Signature", "X-Amz-Date", "Signature", "Expires", "x-oss-signature", "X-Goog-Signature"} <= set(filtered)
    assert len(filtered) == len(set(filtered))
    open_ours("dragonfly", plane, filtered_query_params="token").submit(Op.PREFETCH, URLS, key="k")
    assert plane.calls[-1][1].json["args"]["filtered_query_params"] == "token"


@pytest.mark.parametrize("old", [False, True])
def test_job_goes_through_its_states(plane, old):
    plane.old = old
    cdn = open_ours("dragonfly", plane)
    (task,) = cdn.submit(Op.PREFETCH, URLS, key="k")
    seen = []
    for _ in range(5):
        seen.append(cdn.poll([task])[task.id].state)
        plane.advance(16)
    assert seen == [TaskState.RUNNING] * 4 + [TaskState.DONE]


def test_failed_job_names_the_urls_that_failed(plane):
    plane.spoil("invalid", "preheat", urls=(URLS[1],))
    cdn = open_ours("dragonfly", plane)
    (task,) = cdn.submit(Op.PREFETCH, URLS, key="k")
    plane.advance(60)
    status = cdn.poll([task])[task.id]
    assert (status.state, status.failed) == (TaskState.FAILED, {URLS[1]: "the source is invalid"})


def test_failed_job_that_names_nobody_failed_for_all(plane):
    plane.old = True
    plane.spoil("failed", "preheat")
    cdn = open_ours("dragonfly", plane)
    (task,) = cdn.submit(Op.PREFETCH, URLS, key="k")
    plane.advance(60)
    assert cdn.poll([task])[task.id].failed == dict.fromkeys(URLS, "the job failed")


@pytest.mark.parametrize(
    ("word", "state"),
    [
        ("PENDING", TaskState.RUNNING),
        ("RECEIVED", TaskState.RUNNING),
        ("STARTED", TaskState.RUNNING),
        ("RETRY", TaskState.RUNNING),
        ("SUCCESS", TaskState.DONE),
        ("FAILURE", TaskState.FAILED),
        ("success", TaskState.DONE),
        ("SOMETHING_NEW", TaskState.UNKNOWN),
        ("", TaskState.UNKNOWN),
    ],
)
@pytest.mark.parametrize("field", ["state", "status"])
def test_every_word_has_its_state(word, state, field):
    assert status_of(CdnTask("1", Op.PREFETCH, tuple(URLS)), {field: word}).state is state


@pytest.mark.parametrize("result", [None, [], {}, "text", [[{"failure_tasks": 3}]], {"failure_tasks": [1, {"url": "x"}]}])
def test_result_of_another_shape_is_no_reason_to_stumble(result):
    status = status_of(CdnTask("1", Op.PREFETCH, tuple(URLS)), {"state": "FAILURE", "result": result})
    assert set(status.failed) == set(URLS)


@pytest.mark.parametrize("body", [b'{"message":"record not found"}', b"404 page not found", b""])
def test_job_that_is_gone_is_unknown(plane, body):
    cdn = open_ours("dragonfly", plane)
    (task,) = cdn.submit(Op.PREFETCH, URLS, key="k")
    plane.spoil("status", "job", status=404, body=body.decode())
    assert cdn.poll([task])[task.id].state is TaskState.UNKNOWN


@pytest.mark.parametrize(
    ("status", "body", "error"),
    [
        (401, {"message": "Unauthorized"}, AccessDenied),
        (403, {"message": "forbidden: scope job"}, AccessDenied),
        (404, {"message": "no route"}, CallRefused),
        (422, {"errors": "Key: 'PreheatArgs.URL' Error"}, CallRefused),
        (429, {"message": "rate limit exceeded"}, CdnUnavailable),
        (500, {"message": "Internal Server Error"}, CallUnanswered),
        (200, {"message": "no id"}, CallUnanswered),
    ],
)
def test_manager_says_no_by_status(plane, status, body, error):
    plane.spoil("status", status=status, body=json.dumps(body))
    with pytest.raises(error) as caught:
        open_ours("dragonfly", plane).submit(Op.PREFETCH, URLS, key="k")
    assert type(caught.value) is error


def test_poll_that_fails_says_so(plane):
    cdn = open_ours("dragonfly", plane)
    (task,) = cdn.submit(Op.PREFETCH, URLS, key="k")
    for status, error in ((401, AccessDenied), (500, CdnUnavailable), (400, CallRefused)):
        plane.carry_out = lambda name, asked, status=status: Told({"message": "no"}, status)
        with pytest.raises(error):
            cdn.poll([task])
