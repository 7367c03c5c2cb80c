"""What OSS answers when it refuses, and what its requests look like; signatures are checked by the server of the tests."""

from __future__ import annotations

import base64
import os
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import oss2
import pytest

from pipeline.digest import sha256_of
from pipeline.errors import (
    AccessDenied,
    ClockSkew,
    ModelportError,
    ObjectExists,
    ObjectMissing,
    SettingsError,
    StoreUnavailable,
    UnavailableError,
    UnsafeStore,
    WrongStore,
)
from pipeline.stores.oss import OssStore
from tests.servers.oss_shim import ACCESS_KEY_SECRET
from tests.servers.processes import free_port
from tests.servers.relay import Rule, s3_error, sends_through_a_stall

BODY = b"hello"
SHA = sha256_of(BODY)

CALLS = {
    "put": lambda store: store.put("parts/x", BODY, sha256=SHA),
    "create": lambda store: store.put("parts/y", BODY, sha256=SHA, if_absent=True),
    "get": lambda store: list(store.get("parts/x")),
    "head": lambda store: store.head("parts/x"),
    "list": lambda store: list(store.list("parts/")),
    "delete": lambda store: store.delete("parts/z"),
}


@pytest.fixture(scope="module")
def bucket(oss_server):
    return oss_server.new_bucket()


@pytest.fixture
def relay(oss_relay):
    return oss_relay


@pytest.fixture
def make(oss_server, relay, bucket):
    def made(**changes):
        settings = {"endpoint": relay.endpoint, "region": oss_server.region, "credentials": oss_server} | changes
        return OssStore(settings.pop("bucket", bucket), **settings)

    return made


@pytest.fixture
def oss(make):
    store = make()
    store.now()
    return store


ANSWERS = [
    (503, "ServiceUnavailable", "", StoreUnavailable),
    (503, "UploadTrafficRateLimitExceeded", "", StoreUnavailable),
    (500, "InternalError", "", StoreUnavailable),
    (429, "Throttling", "", StoreUnavailable),
    (403, "AccessDenied", "no", AccessDenied),
    (403, "AccessDenied", "The bucket you are attempting to access must be addressed using the specified endpoint.", WrongStore),
    (403, "SecurityTokenExpired", "The security token you provided has expired.", AccessDenied),
    (403, "UserDisable", "", AccessDenied),
    (404, "NoSuchBucket", "", WrongStore),
    (405, "MethodNotAllowed", "", UnavailableError),
]


@pytest.mark.parametrize("call", ["put", "get", "head", "list", "delete"])
@pytest.mark.parametrize(
    ("status", "code", "message", "kind"), ANSWERS, ids=[f"{row[0]}-{row[1]}-{row[3].__name__}" for row in ANSWERS]
)
def test_each_refusal_of_each_call_is_one_of_our_errors(oss, relay, call, status, code, message, kind):
    # A HEAD has its error document in a header.
    document = s3_error(code, message, "<Endpoint>oss-cn-beijing.aliyuncs.com</Endpoint>")
    headers = {"x-oss-err": base64.b64encode(document).decode()}
    relay.spoil(Rule("answer", status=status, headers=headers, body=document, times=9))
    with pytest.raises(kind) as caught:
        CALLS[call](oss)
    assert type(caught.value) is kind
    assert oss.url in str(caught.value)
    assert caught.value.hint
    if kind is WrongStore and code == "AccessDenied":
        assert "oss-cn-beijing.aliyuncs.com" in str(caught.value)


def test_an_existing_object_is_known_by_its_code(oss, relay):
    relay.spoil(Rule("answer", "PUT", status=409, body=s3_error("FileAlreadyExists")))
    with pytest.raises(ObjectExists):
        CALLS["create"](oss)


@pytest.mark.parametrize("status", [501, 400])
def test_a_store_that_refuses_the_condition_is_unsafe(oss, relay, status):
    relay.spoil(Rule("answer", "PUT", status=status, body=s3_error("NotImplemented")))
    with pytest.raises(UnsafeStore):
        CALLS["create"](oss)


def test_a_bucket_with_versions_ignores_the_condition_and_a_probe_sees_it(make, oss_server):
    bucket = oss_server.new_bucket()
    oss_server.versioned.add(bucket)
    store = make(bucket=bucket)
    assert store.properties.create_only is None
    for body in (b"one", b"two"):
        store.put("control/probes/p", body, sha256=sha256_of(body), if_absent=True)
    assert b"".join(store.get("control/probes/p")) == b"two"


def test_other_bytes_than_were_sent_are_found_and_removed(oss, oss_server, bucket):
    data = os.urandom(1 << 20)
    oss_server.damaged.add(f"{bucket}/parts/damaged")
    with pytest.raises(StoreUnavailable, match="CRC-64"):
        oss.put("parts/damaged", data, sha256=sha256_of(data), if_absent=True)
    with pytest.raises(ObjectMissing):
        oss.head("parts/damaged")
    oss.put("parts/damaged", data, sha256=sha256_of(data), if_absent=True)
    assert b"".join(oss.get("parts/damaged")) == data


def test_requests_are_signed_with_version_4_and_sent_plain_over_tls(make, oss_tls, ca_file):
    store = make(endpoint=oss_tls.endpoint, ca_file=str(ca_file))
    data = os.urandom(1 << 20)
    store.put("parts/tls", data, sha256=sha256_of(data), if_absent=True)
    store.put("parts/empty", b"", sha256=sha256_of(b""))
    for sent in (request for request in oss_tls.requests if request.method == "PUT"):
        names = [name.lower() for name, _ in sent.fields]
        assert len(names) == len(set(names))
        assert sent.headers["authorization"].startswith("OSS4-HMAC-SHA256 ")
        assert sent.headers["x-oss-content-sha256"] == "UNSIGNED-PAYLOAD"
        assert "content-length" in sent.headers
        for absent in ("transfer-encoding", "content-encoding", "expect"):
            assert absent not in sent.headers


def test_other_authorities_of_the_environment_do_not_overrule_ours(make, oss_tls, ca_file, monkeypatch):
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", "/nonexistent")
    assert list(make(endpoint=oss_tls.endpoint, ca_file=str(ca_file)).list("never/")) == []


def test_an_authority_that_is_not_trusted_is_told_and_not_tried_again(make, oss_tls):
    with pytest.raises(UnavailableError, match="not trusted") as caught:
        make(endpoint=oss_tls.endpoint).head("parts/x")
    assert not caught.value.retryable


@pytest.mark.parametrize("call", list(CALLS))
def test_wrong_keys_are_denied_and_their_source_is_named(make, oss_server, call):
    store = make(credentials=replace(oss_server, access_key_secret="wrong-canary-5"))
    with pytest.raises(AccessDenied, match="OSS_ACCESS_KEY_ID") as caught:
        CALLS[call](store)
    told = f"{caught.value}{caught.value.hint}"
    assert "canary" not in told
    assert ACCESS_KEY_SECRET not in told


def test_an_expired_token_is_denied(make, oss_server):
    oss_server.expired_tokens.add("canary-token")
    with pytest.raises(AccessDenied) as caught:
        make(credentials=replace(oss_server, session_token="canary-token")).head("parts/x")
    assert "canary" not in f"{caught.value}{caught.value.hint}"
    assert caught.value.hint == "Renew them."


@pytest.mark.parametrize("call", list(CALLS))
def test_another_region_is_told(make, call):
    with pytest.raises(WrongStore, match="region"):
        CALLS[call](make(region="cn-elsewhere"))


@pytest.mark.parametrize("call", ["put", "create", "head", "list", "get"])
def test_a_missing_bucket_is_told(make, call):
    with pytest.raises(WrongStore):
        CALLS[call](make(bucket="no-such-bucket"))


def test_a_name_that_is_no_bucket_is_told(make):
    with pytest.raises(WrongStore):
        make(bucket="Not_A_Bucket")


@pytest.mark.parametrize("call", list(CALLS))
def test_a_reset_or_refused_connection_can_be_tried_again(oss, make, relay, call):
    relay.spoil(Rule("reset", times=9))
    with pytest.raises(StoreUnavailable):
        CALLS[call](oss)
    with pytest.raises(StoreUnavailable):
        CALLS[call](make(endpoint=f"http://127.0.0.1:{free_port()}"))


def test_a_lost_answer_of_a_creation_is_an_object_that_exists(oss, relay):
    relay.spoil(Rule("lose answer", "PUT"))
    with pytest.raises(ObjectExists, match="connection broke"):
        oss.put("parts/lost", BODY, sha256=SHA, if_absent=True)
    assert oss.head("parts/lost").size == 5


def test_an_answer_cut_off_is_not_taken_for_the_end(oss, relay):
    data = os.urandom(3 << 20)
    oss.put("parts/cut", data, sha256=sha256_of(data))
    relay.spoil(Rule("cut answer", "GET", keep=(1 << 20) + 5))
    with pytest.raises(StoreUnavailable):
        list(oss.get("parts/cut"))


def test_a_range_that_the_server_ignores_is_cut_out_of_the_whole(oss, relay):
    relay.spoil(Rule("answer", "GET", status=200, headers={"ETag": '"e"'}, body=b"0123456789", times=3))
    assert b"".join(oss.get("parts/x", size=4)) == b"0123"
    assert b"".join(oss.get("parts/x", start=3, size=4)) == b"3456"
    assert b"".join(oss.get("parts/x", start=80, size=4)) == b""


def test_a_range_that_ends_early_is_refused(oss, relay):
    headers = {"Content-Range": "bytes 3-4/10", "ETag": '"e"'}
    relay.spoil(Rule("answer", "GET", status=206, headers=headers, body=b"34"))
    with pytest.raises(StoreUnavailable, match="asked for bytes from 3"):
        oss.get("parts/x", start=3, size=4)


def test_a_listing_that_says_there_is_more_and_not_where_ends(oss, relay):
    page = (
        b"<?xml version='1.0'?><ListBucketResult><IsTruncated>true</IsTruncated>"
        b"<NextContinuationToken></NextContinuationToken></ListBucketResult>"
    )
    relay.spoil(Rule("answer", "GET", status=200, body=page, times=9))
    with pytest.raises(StoreUnavailable, match="where it goes on"):
        list(oss.list("parts/"))


def test_a_clock_that_is_off_is_told_with_both_times(oss, relay):
    there = datetime.now(UTC) - timedelta(hours=3)
    headers = {"Date": format_datetime(there, usegmt=True)}
    relay.spoil(Rule("answer", status=403, headers=headers, body=s3_error("RequestTimeTooSkewed"), times=9))
    with pytest.raises(ClockSkew, match=f"{there:%Y-%m-%dT%H:%M}"):
        CALLS["list"](oss)


@pytest.mark.parametrize(
    ("endpoint", "region", "url", "wanted"),
    [
        ("", "cn-hangzhou", "https://bucket-1.oss-cn-hangzhou.aliyuncs.com/k", "cn-hangzhou"),
        ("", "oss-cn-hangzhou", "https://bucket-1.oss-cn-hangzhou.aliyuncs.com/k", "cn-hangzhou"),
        ("oss-cn-beijing-internal.aliyuncs.com", "", "https://bucket-1.oss-cn-beijing-internal.aliyuncs.com/k", "cn-beijing"),
        ("https://oss-eu-central-1.aliyuncs.com", "", "https://bucket-1.oss-eu-central-1.aliyuncs.com/k", "eu-central-1"),
        ("http://127.0.0.1:99", "cn-x", "http://127.0.0.1:99/bucket-1/k", "cn-x"),
    ],
)
def test_of_endpoint_and_region_one_is_found_from_the_other(oss_server, monkeypatch, endpoint, region, url, wanted):
    sent = []

    def refuse(self, request, timeout):
        sent.append(request)
        raise oss2.exceptions.RequestError(OSError("planned"))

    monkeypatch.setattr("oss2.Session.do_request", refuse)
    with pytest.raises(StoreUnavailable, match="planned"):
        OssStore("bucket-1", endpoint=endpoint, region=region, credentials=oss_server).head("k")
    assert sent[0].url == url
    assert f"/{wanted}/oss/aliyun_v4_request" in sent[0].headers["authorization"]


def test_an_unknown_region_is_a_setting_to_mend(oss_server):
    for endpoint in ("", "https://files.example.com"):
        with pytest.raises(SettingsError, match="region") as caught:
            OssStore("bucket-1", endpoint=endpoint, credentials=oss_server)
        assert "OSS_REGION" in caught.value.hint


def test_no_keys_at_all_say_what_to_set(oss_server):
    with pytest.raises(AccessDenied) as caught:
        OssStore("bucket-1", region="cn-x", credentials=replace(oss_server, access_key_secret=""))
    assert "OSS_ACCESS_KEY_SECRET" in caught.value.hint


def test_no_vendor_error_gets_out(oss, relay):
    for status in (200, 302, 400, 401, 404, 500):
        for body in (b"", b"\xff\xfe<Error>", b"<Error><Code>", s3_error("Weird", "x" * 5000), b"<html>log in</html>"):
            for name, call in CALLS.items():
                relay.forget()
                relay.spoil(Rule("answer", status=status, body=body, times=9))
                try:
                    call(oss)
                except ModelportError as error:
                    told = f"{error}{error.hint}"
                    assert ACCESS_KEY_SECRET not in told
                    assert told.isprintable()
                else:
                    assert name in {"get", "delete"} or status == 200


def test_a_login_page_is_no_empty_listing(oss, relay):
    relay.spoil(Rule("answer", status=200, body=b"<html>Please log in</html>", times=9))
    for call in ("list", "head", "put"):
        with pytest.raises(StoreUnavailable):
            CALLS[call](oss)


def test_a_server_that_takes_no_bytes_for_a_while_is_waited_for(make, relay, monkeypatch):
    """Sending is not under the connect timeout: a disk may be busy for longer than a network."""
    monkeypatch.setattr("pipeline.stores.oss.CONNECT_S", 0.2)
    store = make()
    assert sends_through_a_stall(store, relay)
