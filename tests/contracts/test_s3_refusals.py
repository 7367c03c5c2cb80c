"""What S3 answers when it refuses, and what comes out: one error of ours, with the next step, and no secret in it."""

from __future__ import annotations

import os
import socket
import threading
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from pipeline.digest import sha256_of
from pipeline.errors import (
    AccessDenied,
    ClockSkew,
    ConditionFailed,
    DigestMismatch,
    ModelportError,
    ObjectExists,
    ObjectMissing,
    SettingsError,
    StoreUnavailable,
    UnavailableError,
    UnsafeStore,
    WrongStore,
)
from pipeline.retry import Patience, Retry
from pipeline.stores.retrying import RetryingStore
from pipeline.stores.s3 import S3Store
from tests.makers.store_calls import BODY, CALLS, SHA
from tests.servers.processes import free_port
from tests.servers.relay import Rule, s3_error, sends_through_a_stall
from tests.servers.s3_servers import SECRET_KEY, run_juicefs


@pytest.fixture(scope="module")
def bucket(seaweedfs):
    return seaweedfs.new_bucket()


@pytest.fixture
def relay(seaweedfs_relay):
    return seaweedfs_relay


@pytest.fixture
def s3(seaweedfs, relay, bucket):
    store = S3Store(bucket, endpoint=relay.endpoint, region=seaweedfs.region, open_session=seaweedfs.session)
    store.now()
    return store


ANSWERS = [
    (503, "SlowDown", "", StoreUnavailable),
    (500, "InternalError", "", StoreUnavailable),
    (502, "", "", StoreUnavailable),
    (429, "TooManyRequests", "", StoreUnavailable),
    (400, "RequestTimeout", "", StoreUnavailable),
    (409, "OperationAborted", "", StoreUnavailable),
    (403, "AccessDenied", "", AccessDenied),
    (403, "InvalidAccessKeyId", "", AccessDenied),
    (403, "SignatureDoesNotMatch", "", AccessDenied),
    (404, "NoSuchBucket", "", WrongStore),
    (301, "PermanentRedirect", "<Endpoint>b.s3.eu-west-1.amazonaws.com</Endpoint>", WrongStore),
    (307, "TemporaryRedirect", "", WrongStore),
    (400, "AuthorizationHeaderMalformed", "<Region>eu-west-1</Region>", WrongStore),
    (405, "MethodNotAllowed", "", UnavailableError),
]


@pytest.mark.parametrize("call", ["put", "get", "list", "delete"])
@pytest.mark.parametrize(("status", "code", "more", "kind"), ANSWERS, ids=[f"{row[0]}-{row[1]}" for row in ANSWERS])
def test_each_refusal_of_each_call_is_one_of_our_errors(s3, relay, call, status, code, more, kind):
    relay.spoil(Rule("answer", status=status, body=s3_error(code, more=more) if code else b"<html>proxy</html>", times=9))
    with pytest.raises(kind) as caught:
        CALLS[call](s3)
    assert type(caught.value) is kind
    assert caught.value.retryable == (kind is StoreUnavailable)
    assert s3.url in str(caught.value)
    assert caught.value.hint
    assert "\n" not in f"{caught.value}{caught.value.hint}"


@pytest.mark.parametrize(
    ("status", "headers", "kind"),
    [
        (503, {}, StoreUnavailable),
        (403, {}, AccessDenied),
        (400, {"x-amz-bucket-region": "eu-west-1"}, WrongStore),
        (400, {"x-amz-bucket-region": "us-east-1"}, UnavailableError),
        (301, {"x-amz-bucket-region": "eu-west-1"}, WrongStore),
    ],
)
def test_a_head_is_judged_without_a_body(s3, relay, status, headers, kind):
    relay.spoil(Rule("answer", status=status, headers=headers, times=9))
    with pytest.raises(kind):
        s3.head("parts/x")


@pytest.mark.parametrize("call", list(CALLS))
def test_another_region_is_named_and_nothing_is_sent_elsewhere(s3, relay, call):
    headers = {"x-amz-bucket-region": "eu-west-1", "Location": "http://127.0.0.1:1/elsewhere"}
    relay.spoil(Rule("answer", status=301, headers=headers, body=s3_error("PermanentRedirect"), times=9))
    relay.requests.clear()
    with pytest.raises(WrongStore, match="eu-west-1") as caught:
        CALLS[call](s3)
    assert "eu-west-1" in caught.value.hint
    assert len(relay.requests) == 1


@pytest.mark.parametrize(("call", "kind"), [("create", ObjectExists), ("swap", ConditionFailed)])
def test_412_is_the_condition(s3, relay, call, kind):
    relay.spoil(Rule("answer", "PUT", status=412, body=s3_error("PreconditionFailed")))
    with pytest.raises(kind):
        CALLS[call](s3)


def test_a_swap_of_an_object_that_went_is_a_failed_condition(s3, relay):
    relay.spoil(Rule("answer", "PUT", status=404, body=s3_error("NoSuchKey")))
    with pytest.raises(ConditionFailed):
        CALLS["swap"](s3)


@pytest.mark.parametrize("call", ["create", "swap"])
def test_a_conflict_of_two_conditional_writes_is_tried_again(s3, relay, call):
    relay.spoil(Rule("answer", "PUT", status=409, body=s3_error("ConditionalRequestConflict")))
    with pytest.raises(StoreUnavailable) as caught:
        CALLS[call](s3)
    assert caught.value.retryable


@pytest.mark.parametrize(("status", "code"), [(501, "NotImplemented"), (400, "NotImplemented"), (400, "InvalidArgument")])
@pytest.mark.parametrize("call", ["create", "swap"])
def test_a_store_that_refuses_the_condition_is_unsafe(s3, relay, call, status, code):
    relay.spoil(Rule("answer", "PUT", status=status, body=s3_error(code)))
    with pytest.raises(UnsafeStore, match="two publishers") as caught:
        CALLS[call](s3)
    assert "--allow-unsafe-store" in caught.value.hint


def test_200_with_an_error_inside_is_an_error(s3, relay):
    relay.spoil(Rule("answer", "PUT", status=200, body=s3_error("InternalError", "We encountered an internal error")))
    with pytest.raises(StoreUnavailable, match="internal error"):
        CALLS["put"](s3)


@pytest.mark.parametrize("code", ["BadDigest", "XAmzContentSHA256Mismatch"])
def test_bytes_that_changed_on_the_way_are_told(s3, relay, code):
    relay.spoil(Rule("answer", "PUT", status=400, body=s3_error(code)))
    with pytest.raises(DigestMismatch):
        CALLS["put"](s3)


@pytest.mark.parametrize("call", ["put", "get", "list", "head"])
def test_a_clock_that_is_off_is_told_with_both_times(s3, relay, call):
    there = datetime.now(UTC) + timedelta(hours=3)
    headers = {"Date": format_datetime(there, usegmt=True)}
    relay.spoil(Rule("answer", status=403, headers=headers, body=s3_error("RequestTimeTooSkewed"), times=9))
    with pytest.raises(ClockSkew) as caught:
        CALLS[call](s3)
    assert f"{there:%Y-%m-%dT%H:%M}" in str(caught.value)
    assert f"{datetime.now(UTC):%Y-%m-%dT%H:}" in str(caught.value)


def test_retry_after_is_kept(s3, relay):
    relay.spoil(Rule("answer", status=503, headers={"Retry-After": "7"}, body=s3_error("SlowDown"), times=2))
    for call in ("put", "get"):
        with pytest.raises(StoreUnavailable) as caught:
            CALLS[call](s3)
        assert caught.value.retry_after_s == 7.0


@pytest.mark.parametrize("call", list(CALLS))
def test_a_reset_connection_can_be_tried_again(s3, relay, call):
    relay.spoil(Rule("reset", times=9))
    with pytest.raises(StoreUnavailable):
        CALLS[call](s3)


@pytest.mark.parametrize("call", list(CALLS))
def test_a_refused_connection_can_be_tried_again(seaweedfs, bucket, call):
    store = S3Store(bucket, endpoint=f"http://127.0.0.1:{free_port()}", region="us-east-1", open_session=seaweedfs.session)
    with pytest.raises(StoreUnavailable):
        CALLS[call](store)


def test_a_lost_answer_of_a_creation_is_an_object_that_exists(s3, relay):
    relay.spoil(Rule("lose answer", "PUT"))
    with pytest.raises(ObjectExists, match="connection broke"):
        s3.put("parts/lost", BODY, sha256=SHA, if_absent=True)
    assert s3.head("parts/lost").sha256 == SHA


def test_a_reset_creation_of_nothing_can_be_tried_again(s3, relay):
    relay.spoil(Rule("reset", "PUT"))
    patient = RetryingStore(s3, retry=Retry(Patience(attempts=2), sleep=lambda _: None))
    patient.put("parts/reset", BODY, sha256=SHA, if_absent=True)
    assert s3.head("parts/reset").size == 5


def test_an_answer_cut_off_is_not_taken_for_the_end(s3, relay):
    data = os.urandom(3 << 20)
    s3.put("parts/cut", data, sha256=sha256_of(data))
    relay.spoil(Rule("cut answer", "GET", keep=(1 << 20) + 5))
    with pytest.raises(StoreUnavailable):
        list(s3.get("parts/cut"))
    relay.forget()
    relay.spoil(Rule("cut answer", "GET", keep=(1 << 20) + 5))
    patient = RetryingStore(s3, retry=Retry(Patience(attempts=2), sleep=lambda _: None))
    assert b"".join(patient.get("parts/cut", start=7)) == data[7:]


def test_a_range_that_the_server_ignores_is_cut_out_of_the_whole(s3, relay):
    relay.spoil(Rule("answer", "GET", status=200, headers={"ETag": '"e"'}, body=b"0123456789", times=3))
    assert b"".join(s3.get("parts/x", start=3, size=4)) == b"3456"
    assert b"".join(s3.get("parts/x", start=8, size=4)) == b"89"
    assert b"".join(s3.get("parts/x", start=80, size=4)) == b""


def test_another_range_than_asked_for_is_refused(s3, relay):
    headers = {"Content-Range": "bytes 0-3/10", "ETag": '"e"'}
    relay.spoil(Rule("answer", "GET", status=206, headers=headers, body=b"0123"))
    with pytest.raises(StoreUnavailable, match="asked for bytes from 3"):
        s3.get("parts/x", start=3, size=4)


def test_a_range_that_ends_early_is_refused(s3, relay):
    headers = {"Content-Range": "bytes 3-4/10", "ETag": '"e"'}
    relay.spoil(Rule("answer", "GET", status=206, headers=headers, body=b"34"))
    with pytest.raises(StoreUnavailable, match="asked for bytes from 3"):
        s3.get("parts/x", start=3, size=4)


def test_a_listing_that_says_there_is_more_and_not_where_ends(s3, relay):
    page = b"<?xml version='1.0'?><ListBucketResult><IsTruncated>true</IsTruncated></ListBucketResult>"
    relay.spoil(Rule("answer", "GET", status=200, body=page, times=9))
    with pytest.raises(StoreUnavailable, match="where it goes on"):
        list(s3.list("parts/"))


def test_an_answer_that_is_not_s3_is_told(s3, relay):
    relay.spoil(Rule("answer", status=200, body=b"<html>Please log in</html>", times=9))
    for call in (CALLS["list"], CALLS["head"], CALLS["put"]):
        with pytest.raises(StoreUnavailable, match="not an object store's"):
            call(s3)


def test_a_misspelt_bucket_is_not_made(seaweedfs):
    store = S3Store("no-such-bucket", endpoint=seaweedfs.endpoint, region="us-east-1", open_session=seaweedfs.session)
    for call in CALLS.values():
        with pytest.raises(WrongStore, match="no such bucket"):
            call(store)
    assert "no-such-bucket" not in [found["Name"] for found in seaweedfs.client().list_buckets()["Buckets"]]


def test_the_body_is_not_copied_and_not_hashed(s3, monkeypatch):
    seen = []
    monkeypatch.setattr("botocore.auth.sha256", lambda data=b"": (seen.append(len(data)), __import__("hashlib").sha256(data))[1])
    data = bytearray(os.urandom(1 << 20))
    s3.put("parts/nohash", data, sha256=sha256_of(data))
    assert seen
    assert max(seen) < 10_000


def test_an_endpoint_without_a_scheme_is_a_setting_to_mend(seaweedfs, bucket):
    store = S3Store(bucket, endpoint="127.0.0.1:1", region="us-east-1", open_session=seaweedfs.session)
    with pytest.raises(SettingsError) as caught:
        store.head("x")
    assert "https://" in caught.value.hint


def test_a_server_that_stops_in_the_middle_of_a_body(seaweedfs, relay, bucket):
    """A listener that takes some bytes, then goes away."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def take_some():
            # The first connection asks for the bucket, the second brings the body.
            for answered in (True, False):
                connection, _ = listener.accept()
                with connection:
                    connection.recv(65536)
                    if answered:
                        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")

        thread = threading.Thread(target=take_some)
        thread.start()
        endpoint = f"http://127.0.0.1:{listener.getsockname()[1]}"
        store = S3Store(bucket, endpoint=endpoint, region="us-east-1", open_session=seaweedfs.session)
        data = bytes(8 << 20)
        with pytest.raises(StoreUnavailable):
            store.put("parts/stopped", data, sha256=sha256_of(data))
        thread.join()


def test_a_real_server_that_is_killed_is_unavailable():
    with run_juicefs() as server:
        store = S3Store(server.new_bucket(), endpoint=server.endpoint, region="us-east-1", open_session=server.session)
        store.put("parts/x", BODY, sha256=SHA)
    for name, call in CALLS.items():
        with pytest.raises(StoreUnavailable):
            call(store)
        assert name


def test_no_vendor_error_and_no_secret_gets_out(s3, relay):
    bodies = [
        b"",
        b"\xff\xfe<Error>",
        b"<Error><Code>",
        s3_error("Weird", "x" * 5000),
        b"{}",
        s3_error("A\nB", "m\n\x1b[31m"),
    ]
    for status in (200, 204, 302, 304, 400, 401, 404, 418, 500):
        for body in bodies if status not in {204, 304} else [b""]:
            for call in CALLS.values():
                relay.forget()
                relay.spoil(Rule("answer", status=status, body=body, times=9))
                try:
                    call(s3)
                except ModelportError as error:
                    told = f"{error}{error.hint}"
                    assert SECRET_KEY not in told
                    assert told.isprintable()
                    assert len(told) < 800


def test_a_missing_object_is_not_a_missing_bucket(s3):
    with pytest.raises(ObjectMissing):
        s3.head("parts/none")
    with pytest.raises(ObjectMissing):
        s3.get("parts/none")


def test_a_server_that_takes_no_bytes_for_a_while_is_waited_for(seaweedfs, relay, monkeypatch):
    """Sending is not under the connect timeout: a disk may be busy for longer than a network."""
    monkeypatch.setattr("pipeline.stores.pools.CONNECT_S", 0.2)
    store = S3Store(seaweedfs.new_bucket(), endpoint=relay.endpoint, region="us-east-1", open_session=seaweedfs.session)
    assert sends_through_a_stall(store, relay)
