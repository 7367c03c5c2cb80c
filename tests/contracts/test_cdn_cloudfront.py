"""CloudFront: paths for URLs, one invalidation for one reference, and what boto3's errors mean."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import boto3
import pytest
from botocore.session import Session
from moto.server import ThreadedMotoServer

from pipeline.cdns.calling import Calling
from pipeline.cdns.cloudfront import CloudFront, path_of
from pipeline.errors import (
    AccessDenied,
    CallRefused,
    CallUnanswered,
    CdnUnavailable,
    ClockSkew,
    RedirectRefused,
    SettingsError,
    UnavailableError,
)
from pipeline.ports import Op, TaskState
from pipeline.providers import Credentials
from tests.our_cdns import ACCOUNTS, BASE_URL, open_ours
from tests.servers.control_planes.cloudfront import DISTRIBUTION, CloudFrontPlane
from tests.servers.control_planes.door import run_plane
from tests.servers.processes import free_port

URLS = [f"{BASE_URL}/metadata/timestamp.json", f"{BASE_URL}/a%20b"]
INTERNAL = "<ErrorResponse><Error><Code>InternalError</Code><Message>We failed.</Message></Error></ErrorResponse>"
SMALLEST = {
    "CallerReference": "d",
    "Comment": "",
    "Enabled": True,
    "Origins": {
        "Quantity": 1,
        "Items": [{"Id": "o", "DomainName": "b.s3.amazonaws.com", "S3OriginConfig": {"OriginAccessIdentity": ""}}],
    },
    "DefaultCacheBehavior": {
        "TargetOriginId": "o",
        "ViewerProtocolPolicy": "allow-all",
        "MinTTL": 0,
        "ForwardedValues": {"QueryString": False, "Cookies": {"Forward": "none"}},
    },
}


@pytest.fixture
def plane(server_tls):
    with run_plane(CloudFrontPlane(now=datetime.now(UTC)), server_tls) as running:
        yield running


@pytest.fixture
def cdn(plane):
    return open_ours("cloudfront", plane, answer_s=0.5)


def test_url_becomes_a_path():
    assert path_of(f"{BASE_URL}/a%20b?c=d", Op.REFRESH) == "/a%20b?c=d"
    assert path_of(f"{BASE_URL}/targets/", Op.REFRESH_PREFIX) == "/targets/*"
    assert path_of(BASE_URL, Op.REFRESH) == "/"


def test_same_key_is_one_invalidation_in_any_order(plane, cdn):
    (first,) = cdn.submit(Op.REFRESH, URLS, key="one")
    (again,) = cdn.submit(Op.REFRESH, URLS[::-1], key="one")
    (other,) = cdn.submit(Op.REFRESH, URLS, key="another")
    assert first.id == again.id != other.id
    assert len(plane.jobs) == 2
    assert plane.jobs[first.id].more["paths"] == ["/a%20b", "/metadata/timestamp.json"]


def test_lost_answer_is_asked_for_by_sending_the_same_again(plane, cdn):
    plane.spoil("lost")
    with pytest.raises(CallUnanswered):
        cdn.submit(Op.REFRESH, URLS, key="one")
    assert cdn.find(Op.REFRESH, URLS, since=plane.now) is None
    cdn.submit(Op.REFRESH, URLS, key="one")
    assert len(plane.jobs) == 1


def test_key_that_was_used_for_something_else_is_refused(cdn):
    cdn.submit(Op.REFRESH, URLS, key="one")
    with pytest.raises(CallRefused, match="InvalidationBatchAlreadyExists"):
        cdn.submit(Op.REFRESH, URLS[:1], key="one")


def test_invalidation_goes_on_until_it_is_completed(plane, cdn):
    tasks = [*cdn.submit(Op.REFRESH, URLS, key="a"), *cdn.submit(Op.REFRESH_PREFIX, [f"{BASE_URL}/targets/"], key="b")]
    assert {status.state for status in cdn.poll(tasks).values()} == {TaskState.RUNNING}
    plane.advance(60)
    assert {status.state for status in cdn.poll(tasks).values()} == {TaskState.DONE}
    plane.now += timedelta(days=8)
    with pytest.raises(ClockSkew):
        cdn.poll(tasks)


def test_unknown_invalidation_is_unknown(plane, cdn):
    plane.spoil("vanished")
    tasks = cdn.submit(Op.REFRESH, URLS, key="a")
    assert cdn.poll(tasks)[tasks[0].id].state is TaskState.UNKNOWN


def test_fifteen_prefixes_at_once_are_the_most(plane, cdn):
    prefixes = [f"{BASE_URL}/{number}/" for number in range(15)]
    cdn.submit(Op.REFRESH_PREFIX, prefixes, key="a")
    with pytest.raises(CdnUnavailable, match="TooManyInvalidationsInProgress"):
        cdn.submit(Op.REFRESH_PREFIX, prefixes[:1], key="b")
    plane.advance(60)
    cdn.submit(Op.REFRESH_PREFIX, prefixes[:1], key="b")


@pytest.mark.parametrize(
    ("how", "more", "submitting", "polling"),
    [
        ("throttled", {}, CdnUnavailable, CdnUnavailable),
        ("ill", {}, CdnUnavailable, CdnUnavailable),
        ("status", {"status": 503}, CdnUnavailable, CdnUnavailable),
        ("status", {"status": 429}, CdnUnavailable, CdnUnavailable),
        ("500", {}, CallUnanswered, CdnUnavailable),
        ("status", {"status": 500, "body": INTERNAL}, CallUnanswered, CdnUnavailable),
        ("html", {}, CallUnanswered, CdnUnavailable),
        ("status", {"status": 200, "body": "{}"}, CallUnanswered, CdnUnavailable),
        ("truncated", {}, CallUnanswered, CdnUnavailable),
        ("cut", {}, CallUnanswered, CdnUnavailable),
        ("slow", {}, CallUnanswered, CdnUnavailable),
        ("hang", {}, CallUnanswered, CdnUnavailable),
        ("reset", {}, CallUnanswered, CdnUnavailable),
        ("lost", {}, CallUnanswered, CdnUnavailable),
        ("redirect", {"body": "https://elsewhere.example.com/"}, RedirectRefused, RedirectRefused),
        ("refused", {"reason": "url"}, CallRefused, CallRefused),
        ("refused", {"reason": "batch"}, CallRefused, CallRefused),
        ("refused", {"reason": "distribution"}, CallRefused, CallRefused),
        ("refused", {"reason": "key"}, AccessDenied, AccessDenied),
        ("refused", {"reason": "signature"}, AccessDenied, AccessDenied),
    ],
)
def test_every_fault_has_its_error(plane, cdn, how, more, submitting, polling):
    tasks = cdn.submit(Op.REFRESH, URLS, key="before")
    plane.advance(1)
    plane.spoil(how, "CreateInvalidation", nth=1, **more)
    plane.spoil(how, "GetInvalidation", nth=1, **more)
    for error, call in ((submitting, lambda: cdn.submit(Op.REFRESH, URLS, key="k")), (polling, lambda: cdn.poll(tasks))):
        asked = len(plane.calls)
        with pytest.raises(error) as caught:
            call()
        assert type(caught.value) is error
        # Nothing is repeated but by the driver.
        assert len(plane.calls) == asked + 1
    assert cdn.poll(tasks)[tasks[0].id].state is TaskState.RUNNING


def test_what_cannot_be_reached_was_never_sent(plane):
    cdn = open_ours("cloudfront", plane, endpoint=f"http://127.0.0.1:{free_port()}")
    with pytest.raises(CdnUnavailable, match="nothing was sent"):
        cdn.submit(Op.REFRESH, URLS, key="k")


def test_over_tls_the_authority_must_be_trusted(plane, ca_file):
    assert open_ours("cloudfront", plane, endpoint=plane.https, ca_file=str(ca_file)).submit(Op.REFRESH, URLS, key="k")
    with pytest.raises(UnavailableError) as caught:
        open_ours("cloudfront", plane, endpoint=plane.https).submit(Op.REFRESH, URLS, key="k")
    assert not caught.value.retryable


def test_wrong_credentials_are_tried_once(plane):
    cdn = open_ours("cloudfront", plane, credentials={"secret_access_key": "wrong"})
    with pytest.raises(AccessDenied, match="SignatureDoesNotMatch"):
        cdn.submit(Op.REFRESH, URLS, key="k")
    assert len(plane.calls) == 1


def test_no_credentials_anywhere_is_said(plane, monkeypatch, tmp_path):
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    cdn = CloudFront(BASE_URL, DISTRIBUTION, Calling(), plane.http, open_session=Session)
    with pytest.raises(AccessDenied, match="credentials"):
        cdn.submit(Op.REFRESH, URLS, key="k")
    assert plane.calls == []


def test_endpoint_that_is_no_url_is_a_setting_to_correct(plane):
    with pytest.raises(SettingsError, match="no url"):
        open_ours("cloudfront", plane, endpoint="no url").submit(Op.REFRESH, URLS, key="k")


def test_secrets_stand_in_no_error_or_repr(plane, cdn):
    plane.spoil("refused", reason="signature")
    with pytest.raises(AccessDenied) as caught:
        cdn.submit(Op.REFRESH, URLS, key="k")
    for canary in ACCOUNTS["cloudfront"].canaries:
        for text in (str(caught.value), repr(caught.value), repr(cdn)):
            assert canary not in text


def test_url_of_another_host_is_refused_before_anything_is_sent(plane, cdn):
    foreign = "https://other.example.net/metadata/timestamp.json"
    with pytest.raises(CallRefused, match=r"other\.example\.net") as caught:
        cdn.submit(Op.REFRESH, [*URLS, foreign], key="k")
    assert caught.value.urls == (foreign,)
    assert plane.calls == []


def test_moto_takes_our_calls():
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    endpoint = "http://{}:{}".format(*server.get_host_and_port())
    keys = {"aws_access_key_id": "AKIDMOTO", "aws_secret_access_key": "moto"}
    admin = boto3.client("cloudfront", "us-east-1", endpoint_url=endpoint, **keys)
    try:
        distribution = admin.create_distribution(DistributionConfig=SMALLEST)["Distribution"]["Id"]
        credentials = Credentials({name.removeprefix("aws_"): value for name, value in keys.items()})
        cdn = CloudFront(BASE_URL, distribution, Calling(), endpoint, credentials)
        (task,) = cdn.submit(Op.REFRESH, URLS, key="k" * 64)
        assert cdn.poll([task])[task.id].state is TaskState.DONE
        stored = admin.get_invalidation(DistributionId=distribution, Id=task.id)["Invalidation"]["InvalidationBatch"]
        assert stored["CallerReference"] == "k" * 64
        assert stored["Paths"]["Items"] == ["/a%20b", "/metadata/timestamp.json"]
        with pytest.raises(CallRefused, match="NoSuchDistribution"):
            CloudFront(BASE_URL, "E000", Calling(), endpoint, credentials).submit(Op.REFRESH, URLS, key="k")
    finally:
        admin.close()
        server.stop()
