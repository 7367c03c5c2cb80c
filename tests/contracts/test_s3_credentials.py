"""Who asks an S3 store, and over what: where keys come from, what is said of wrong and expired ones, proxies, TLS."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from pipeline.digest import sha256_of
from pipeline.errors import (
    AccessDenied,
    ConditionFailed,
    ObjectExists,
    UnavailableError,
)
from pipeline.stores.s3 import S3Store
from tests.makers.store_calls import BODY, CALLS
from tests.servers.processes import free_port
from tests.servers.relay import Rule, s3_error

CANARY = "canary-token-4711"


@pytest.fixture(scope="module")
def bucket(seaweedfs):
    return seaweedfs.new_bucket()


@pytest.fixture
def relay(seaweedfs_relay):
    return seaweedfs_relay


def test_wrong_keys_are_denied_and_their_source_is_named(seaweedfs, bucket):
    store = S3Store(
        bucket,
        endpoint=seaweedfs.endpoint,
        region="us-east-1",
        open_session=lambda: seaweedfs.session(secret_key="wrong-canary-1"),
    )
    for call in CALLS.values():
        with pytest.raises(AccessDenied, match="credentials from: explicit") as caught:
            call(store)
        assert "canary" not in f"{caught.value}{caught.value.hint}"


def _child(seaweedfs, bucket, environment):
    """A put in a process of its own: boto3's chain reads the environment."""
    code = (
        "import sys\n"
        "from pipeline.stores.s3 import S3Store\n"
        "from pipeline.errors import ModelportError\n"
        "from pipeline.digest import sha256_of\n"
        "try:\n"
        "    S3Store(sys.argv[1], endpoint=sys.argv[2], region='us-east-1').put('parts/env', b'x', sha256=sha256_of(b'x'))\n"
        "except ModelportError as error:\n"
        "    print(type(error).__name__, error, error.hint)\n"
        "else:\n"
        "    print('done')\n"
    )
    clean = {name: value for name, value in os.environ.items() if not name.upper().startswith(("AWS_", "HTTP", "NO_PROXY"))}
    clean |= {"AWS_EC2_METADATA_DISABLED": "true", "HOME": "/nonexistent", **environment}
    done = subprocess.run(
        [sys.executable, "-c", code, bucket, seaweedfs.endpoint],
        env=clean,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    return done.stdout


def test_keys_come_from_the_usual_chain(seaweedfs, bucket):
    assert _child(seaweedfs, bucket, seaweedfs.environment) == "done\n"
    wrong = _child(seaweedfs, bucket, {**seaweedfs.environment, "AWS_SECRET_ACCESS_KEY": "wrong-canary-2"})
    assert wrong.startswith("AccessDenied")
    assert "credentials from: env" in wrong
    assert "canary" not in wrong


def test_no_keys_at_all_say_what_to_set(seaweedfs, bucket):
    assert "AWS_ACCESS_KEY_ID" in _child(seaweedfs, bucket, {})


def test_a_proxy_of_the_environment_is_used_and_no_proxy_honoured(seaweedfs, bucket):
    dead = {"HTTP_PROXY": f"http://user:canary-3@127.0.0.1:{free_port()}"}
    through = _child(seaweedfs, bucket, {**seaweedfs.environment, **dead})
    assert through.startswith("StoreUnavailable")
    assert "canary" not in through
    assert _child(seaweedfs, bucket, {**seaweedfs.environment, **dead, "NO_PROXY": "127.0.0.1"}) == "done\n"


@pytest.mark.parametrize("call", list(CALLS))
def test_expired_credentials_are_renewed_once(seaweedfs, relay, bucket, call):
    opened = []

    def open_session():
        # The first ones carry a session token, as temporary credentials do; the store says it has expired.
        opened.append(None)
        return seaweedfs.session(token=CANARY) if len(opened) == 1 else seaweedfs.session()

    store = S3Store(bucket, endpoint=relay.endpoint, region="us-east-1", open_session=open_session)
    seaweedfs.client().put_object(Bucket=bucket, Key="parts/x", Body=BODY)
    relay.spoil(Rule("answer", status=400, body=s3_error("ExpiredToken", "The provided token has expired.")))
    if call == "create":
        with pytest.raises(ObjectExists):
            CALLS[call](store)
    elif call == "swap":
        with pytest.raises(ConditionFailed):
            CALLS[call](store)
    else:
        CALLS[call](store)
    assert len(opened) == 2


@pytest.mark.parametrize("call", list(CALLS))
def test_credentials_that_stay_expired_end_with_their_source(seaweedfs, relay, bucket, call):
    store = S3Store(bucket, endpoint=relay.endpoint, region="us-east-1", open_session=lambda: seaweedfs.session(token=CANARY))
    relay.spoil(Rule("answer", status=400, body=s3_error("ExpiredToken", "The provided token has expired."), times=9))
    with pytest.raises(UnavailableError) as caught:
        CALLS[call](store)
    assert caught.value.exit_code == 5
    assert len(relay.requests) == 2
    assert CANARY not in f"{caught.value}{caught.value.hint}"


def test_an_authority_that_is_not_trusted_is_told_and_not_tried_again(seaweedfs, seaweedfs_tls, bucket):
    store = S3Store(bucket, endpoint=seaweedfs_tls.endpoint, region="us-east-1", open_session=seaweedfs.session)
    for call in CALLS.values():
        with pytest.raises(UnavailableError, match="not trusted") as caught:
            call(store)
        assert not caught.value.retryable
        assert "SSL_CERT_FILE" in caught.value.hint


def test_a_body_goes_out_over_tls_plain_signed_and_hashed_once(seaweedfs, seaweedfs_tls, bucket, ca_file):
    """Over https a stock client wraps it in aws-chunked with a trailer, which OSS and older servers refuse."""
    store = S3Store(
        bucket, endpoint=seaweedfs_tls.endpoint, region="us-east-1", ca_file=str(ca_file), open_session=seaweedfs.session
    )
    data = os.urandom(1 << 20)
    store.put("parts/tls", data, sha256=sha256_of(data), if_absent=True)
    sent = next(request for request in seaweedfs_tls.requests if request.method == "PUT")
    names = [name.lower() for name, _ in sent.fields]
    assert len(names) == len(set(names))
    assert sent.headers["content-length"] == str(len(data))
    assert sent.headers["x-amz-content-sha256"] == sha256_of(data)
    assert sent.headers["if-none-match"] == "*"
    assert "x-amz-checksum-sha256" in sent.headers
    for absent in ("content-encoding", "transfer-encoding", "expect", "x-amz-trailer", "x-amz-decoded-content-length"):
        assert absent not in sent.headers
    assert "STREAMING" not in "".join(value for _, value in sent.fields)
    assert not [name for name in names if name.startswith(("x-amz-checksum", "x-amz-sdk-checksum", "content-md5"))][1:]
