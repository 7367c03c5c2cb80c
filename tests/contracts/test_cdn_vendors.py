"""What is particular to Aliyun, Tencent, Huawei and Volcengine: their traps, their codes, their settings."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from urllib.parse import parse_qs

import pytest

from pipeline.cdns import aliyun, huawei, tencent, volcengine
from pipeline.cdns.verdicts import Verdict, verdict_of
from pipeline.errors import AccessDenied, CallRefused, CdnUnavailable, QuotaUsedUp
from pipeline.ports import CdnTask, Op, TaskState
from tests.our_cdns import BASE_URL, open_ours
from tests.servers.control_planes.aliyun import AliyunPlane
from tests.servers.control_planes.door import run_plane
from tests.servers.control_planes.huawei import HuaweiPlane
from tests.servers.control_planes.plane import PREFETCH, Told
from tests.servers.control_planes.tencent import TencentPlane
from tests.servers.control_planes.volcengine import VolcenginePlane

URLS = [f"{BASE_URL}/parts/aa/{number}" for number in range(4)]
PLANES = {"aliyun": AliyunPlane, "tencent": TencentPlane, "huawei": HuaweiPlane, "volcengine": VolcenginePlane}


@pytest.fixture(params=PLANES)
def name(request):
    return request.param


@pytest.fixture
def plane(name):
    with run_plane(PLANES[name]()) as running:
        yield running


def only(name):
    return pytest.mark.parametrize("name", [name], indirect=True)


def test_a_session_token_goes_along(name, plane):
    headers = {
        "aliyun": ("security_token", "x-acs-security-token"),
        "tencent": ("token", "x-tc-token"),
        "huawei": ("security_token", "x-security-token"),
        "volcengine": ("session_token", "x-security-token"),
    }
    credential, header = headers[name]
    cdn = open_ours(name, plane, credentials={credential: "token-canary-of-a-session"})
    cdn.submit(Op.PREFETCH, URLS, key="k")
    ((_, asked),) = plane.calls
    assert asked.headers[header] == "token-canary-of-a-session"
    assert "token-canary" not in repr(cdn)


def test_a_release_s_worth_of_urls_is_found_over_many_pages(name, plane):
    plane.allowed[PREFETCH] = type(plane.allowed[PREFETCH])(1000, 10**6, 4096)
    plane.rate = 10**6
    cdn = open_ours(name, plane)
    urls = [f"{BASE_URL}/parts/aa/{number}" for number in range(350)]
    since = plane.now
    cdn.submit(Op.PREFETCH, urls, key="1")
    plane.advance(10)
    for number in range(5):
        cdn.submit(Op.PREFETCH, [f"{BASE_URL}/parts/bb/{number}"], key=f"2{number}")
    found = cdn.find(Op.PREFETCH, urls, since=since)
    assert [url for task in found for url in task.urls] == urls
    plane.advance(90)
    assert {status.state for status in cdn.poll(found).values()} == {TaskState.DONE}


def test_each_url_belongs_to_the_newest_task_that_holds_it(name, plane):
    cdn = open_ours(name, plane)
    cdn.submit(Op.REFRESH, URLS, key="1")
    plane.advance(30)
    between = plane.now
    plane.advance(30)
    newer = cdn.submit(Op.REFRESH, URLS, key="2")
    every = cdn.find(Op.REFRESH, URLS, since=between - timedelta(minutes=5))
    assert {url for task in every for url in task.urls} == set(URLS)
    assert {one for task in every for one in task.id.split(",")} == {one for task in newer for one in task.id.split(",")}
    assert cdn.find(Op.REFRESH, URLS[:1], since=plane.now + timedelta(seconds=1)) == []


def test_one_operation_does_not_find_another_s_tasks(name, plane):
    cdn = open_ours(name, plane)
    cdn.submit(Op.REFRESH, URLS, key="1")
    assert cdn.find(Op.PREFETCH, URLS, since=plane.now) == []
    assert cdn.find(Op.REFRESH_PREFIX, [f"{URLS[0]}/"], since=plane.now) == []


def test_one_malformed_url_of_many_is_named(name, plane):
    cdn = open_ours(name, plane)
    bad = f"{BASE_URL}/parts/%zz"
    with pytest.raises(CallRefused) as caught:
        cdn.submit(Op.PREFETCH, [*URLS, bad], key="k")
    assert caught.value.urls == (bad,)
    assert caught.value.code
    assert plane.jobs == {}


def test_what_the_vendor_answers_without_a_task_id_may_have_been_done(name, plane):
    cdn = open_ours(name, plane)
    for document in ({}, {"Response": {}}, {"Result": {}}, {"Response": {"TaskId": ""}}, {"preheating_task": None}):
        plane.carry_out = lambda name, asked, document=document: Told(document)
        with pytest.raises(Exception, match="it may have been carried out"):
            cdn.submit(Op.PREFETCH, URLS, key="k")


def test_the_quota_of_the_vendor_wins_and_ends_at_midnight_in_china(name, plane):
    plane.allowed[PREFETCH] = type(plane.allowed[PREFETCH])(77, 5000)
    cdn = open_ours(name, plane)
    cdn.submit(Op.PREFETCH, URLS, key="k")
    found = cdn.quota()[Op.PREFETCH]
    assert (found.limit, found.remaining) == (5000, 4996)
    assert found.resets_at == datetime(2026, 11, 22, 16, 0, tzinfo=UTC)
    assert found.batch == (77 if name in {"tencent", "volcengine"} else None)


@only("aliyun")
def test_aliyun_urls_go_in_the_body_and_ids_come_joined(plane):
    cdn = open_ours("aliyun", plane, area="overseas", l2_preload=True)
    (task,) = cdn.submit(Op.PREFETCH, URLS, key="k")
    ((_, asked),) = plane.calls
    assert asked.target == "/"
    form = parse_qs(asked.body.decode())
    assert form == {"ObjectPath": ["\n".join(URLS)], "Area": ["overseas"], "L2Preload": ["true"]}
    assert task.id.count(",") == 1
    assert cdn.poll([task])[task.id].state is TaskState.RUNNING


@only("aliyun")
def test_aliyun_ids_are_asked_for_by_ten_at_most(plane):
    cdn = open_ours("aliyun", plane)
    tasks = [task for number in range(12) for task in cdn.submit(Op.PREFETCH, URLS, key=str(number))]
    assert len(cdn.poll(tasks)) == 12
    asked = [parse_qs(one.body.decode())["TaskId"][0].count(",") + 1 for one in plane.named("DescribeRefreshTaskById")]
    assert asked == [10, 10, 4]


@only("tencent")
@pytest.mark.parametrize(
    "area, prefetch, refresh", [("", None, None), ("overseas", "overseas", "overseas"), ("global", "global", None)]
)
def test_tencent_area_is_sent_where_it_is_taken(plane, area, prefetch, refresh):
    cdn = open_ours("tencent", plane, area=area)
    cdn.submit(Op.PREFETCH, URLS, key="1")
    cdn.submit(Op.REFRESH, URLS, key="2")
    assert [asked.json.get("Area") for _, asked in plane.calls] == [prefetch, refresh]


@only("tencent")
def test_tencent_quota_is_that_of_the_area_and_of_the_scarcer_one_for_global(plane):
    plane._used[PREFETCH, "2026-11-22"] = 300
    remaining = {
        area: open_ours("tencent", plane, area=area).quota()[Op.PREFETCH].remaining for area in ("", "overseas", "global")
    }
    assert remaining == {"": 700, "overseas": 1000, "global": 700}


@only("tencent")
def test_tencent_signs_its_action(plane):
    open_ours("tencent", plane).submit(Op.PREFETCH, URLS, key="k")
    ((_, asked),) = plane.calls
    assert "SignedHeaders=content-type;host;x-tc-action," in asked.headers["authorization"]


@only("huawei")
def test_huawei_project_and_account_go_along_signed(plane):
    cdn = open_ours("huawei", plane, enterprise_project_id="a b/c", domain_id="d-1")
    (task,) = cdn.submit(Op.PREFETCH, URLS, key="k")
    cdn.poll([task])
    assert [asked.target.partition("?")[2] for _, asked in plane.calls] == [
        "enterprise_project_id=a%20b%2Fc",
        "enterprise_project_id=a%20b%2Fc&page_number=1&page_size=1000",
    ]
    assert all("x-domain-id" in asked.headers["authorization"] for _, asked in plane.calls)


@only("huawei")
def test_huawei_task_that_is_done_may_have_failed(plane):
    cdn = open_ours("huawei", plane)
    plane.spoil("invalid", urls=(URLS[1],))
    (task,) = cdn.submit(Op.PREFETCH, URLS, key="k")
    plane.advance(90)
    assert plane._detail(task.id, {}).document["status"] == "task_done"
    status = cdn.poll([task])[task.id]
    assert status.state is TaskState.FAILED
    assert status.failed == {URLS[1]: "ORIGIN_ERROR 404"}


@only("volcengine")
def test_volcengine_region_and_area_are_settings(plane):
    with pytest.raises(AccessDenied):
        open_ours("volcengine", plane, region="ap-southeast-1").submit(Op.PREFETCH, URLS, key="k")
    open_ours("volcengine", plane, area="oversea").submit(Op.PREFETCH, URLS, key="k")
    assert plane.calls[-1][1].json == {"Urls": "\n".join(URLS), "Area": "oversea"}


TABLES = {"aliyun": aliyun.VERDICTS, "tencent": tencent.VERDICTS, "huawei": huawei.VERDICTS, "volcengine": volcengine.VERDICTS}


@pytest.mark.parametrize(
    "vendor, status, code, verdict",
    [
        ("aliyun", 400, "QuotaExceeded.Preload", Verdict.QUOTA),
        ("aliyun", 400, "QuotaExceeded.Refresh", Verdict.QUOTA),
        ("aliyun", 403, "PreloadQueueFull", Verdict.QUOTA),
        ("aliyun", 400, "QuotaPerMinuteExceeded.Refresh", Verdict.AGAIN),
        ("aliyun", 400, "TooMany.Refresh", Verdict.AGAIN),
        ("aliyun", 429, "TooManyRequests", Verdict.AGAIN),
        ("aliyun", 400, "Throttling.User", Verdict.AGAIN),
        ("aliyun", 503, "ServiceUnavailable", Verdict.AGAIN),
        ("aliyun", 500, "InternalError", Verdict.UNSURE),
        ("aliyun", 400, "SingleRequest.OverLimit", Verdict.REFUSED),
        ("aliyun", 400, "InvalidObjectPath.Malformed", Verdict.REFUSED),
        ("aliyun", 404, "InvalidDomain.NotFound", Verdict.REFUSED),
        ("aliyun", 403, "Forbidden.RAM", Verdict.DENIED),
        ("aliyun", 404, "InvalidAccessKeyId.NotFound", Verdict.DENIED),
        ("aliyun", 400, "SignatureDoesNotMatch", Verdict.DENIED),
        ("aliyun", 400, "InvalidTimeStamp.Expired", Verdict.CLOCK),
        ("tencent", 200, "LimitExceeded.CdnPushExceedDayLimit", Verdict.QUOTA),
        ("tencent", 200, "LimitExceeded.CdnPurgeUrlExceedDayLimit", Verdict.QUOTA),
        ("tencent", 200, "LimitExceeded.CdnPurgePathExceedDayLimit", Verdict.QUOTA),
        ("tencent", 200, "LimitExceeded.CdnPushExceedBatchLimit", Verdict.REFUSED),
        ("tencent", 200, "InvalidParameter.CdnPushWildcardNotAllowed", Verdict.REFUSED),
        ("tencent", 200, "ResourceNotFound.CdnHostNotExists", Verdict.REFUSED),
        ("tencent", 200, "RequestLimitExceeded", Verdict.AGAIN),
        ("tencent", 200, "RequestLimitExceeded.UinLimitExceeded", Verdict.AGAIN),
        ("tencent", 200, "AuthFailure.SignatureFailure", Verdict.DENIED),
        ("tencent", 200, "AuthFailure.SignatureExpire", Verdict.CLOCK),
        ("tencent", 200, "InternalError.CdnSystemError", Verdict.UNSURE),
        ("tencent", 200, "UnauthorizedOperation.CdnCamUnauthorized", Verdict.DENIED),
        ("huawei", 200, "CDN.0110", Verdict.QUOTA),
        ("huawei", 200, "CDN.0108", Verdict.REFUSED),
        ("huawei", 200, "CDN.0021", Verdict.DENIED),
        ("huawei", 429, "APIGW.0308", Verdict.AGAIN),
        ("huawei", 401, "APIGW.0301", Verdict.DENIED),
        ("huawei", 500, "CDN.0002", Verdict.UNSURE),
        ("volcengine", 200, "InvalidParameter.NoActionQuota", Verdict.QUOTA),
        ("volcengine", 200, "InvalidParameter.Urls", Verdict.REFUSED),
        ("volcengine", 429, "FlowLimitExceeded", Verdict.AGAIN),
        ("volcengine", 401, "InvalidAccessKey", Verdict.DENIED),
        ("volcengine", 400, "InvalidTimestamp", Verdict.CLOCK),
        ("volcengine", 500, "InternalServiceError", Verdict.UNSURE),
    ],
)
def test_each_code_has_its_verdict(vendor, status, code, verdict):
    assert verdict_of(code, status, TABLES[vendor]) is verdict


@pytest.mark.parametrize("reason, kind", [("throttled", CdnUnavailable), ("quota", QuotaUsedUp), ("url", CallRefused)])
def test_a_refusal_inside_http_200_is_a_refusal(name, plane, reason, kind):
    plane.spoil("refused", reason=reason)
    with pytest.raises(kind) as caught:
        open_ours(name, plane).submit(Op.PREFETCH, URLS, key="k")
    assert plane.REFUSALS[reason][1] in str(caught.value)
    assert plane.jobs == {}


def test_a_task_of_nobody_is_unknown_and_says_so(name, plane):
    task = CdnTask("00000000", Op.PREFETCH, tuple(URLS))
    status = open_ours(name, plane).poll([task])["00000000"]
    assert status.state is TaskState.UNKNOWN
    assert status.detail


def test_bodies_are_json_or_forms_that_say_so(name, plane):
    open_ours(name, plane).submit(Op.REFRESH_PREFIX, [f"{BASE_URL}/a/"], key="k")
    ((_, asked),) = plane.calls
    if name == "aliyun":
        assert asked.headers["content-type"] == "application/x-www-form-urlencoded"
    else:
        assert json.loads(asked.body)
        assert asked.headers["content-type"].startswith("application/json")
