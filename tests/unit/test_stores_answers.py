"""What an answer means, where no server of the tests would say it."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from pipeline.digest import sha256_of
from pipeline.errors import AccessDenied, StoreUnavailable, UnavailableError, WrongStore
from pipeline.stores.answers import Answer, Asked, StoreClock, date_of, read_answer, refusal, require, retry_after_s, sha256_in
from pipeline.stores.pools import connection_fault

ASKED = Asked("put", "s3://b", "parts/x", at=datetime(2026, 11, 22, 12, tzinfo=UTC))


def test_a_document_is_read_without_trusting_it():
    body = b"<?xml version='1.0'?><Error><Code>Slow&amp;Down</Code><Message> wait </Message><Region>eu-1</Region></Error>"
    answer = read_answer(503, {"Date": "x"}, body)
    assert (answer.code, answer.message, answer.region) == ("Slow&Down", "wait", "eu-1")
    assert read_answer(500, {}, b"<html><Code>AccessDenied</Code></html>").code == ""
    assert read_answer(500, {}, b"\xff" * 100_000).code == ""


def test_an_answer_in_colours_is_told_in_one_plain_line():
    error = refusal(Answer(500, "\x1b[31mX", "a\nb\u202e" + "c" * 900), ASKED)
    assert str(error).isprintable()
    assert len(str(error)) < 400


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("7", 7.0),
        ("0", 0.0),
        ("Sun, 22 Nov 2026 12:00:30 GMT", 30.0),
        ("Sun, 22 Nov 2026 11:00:00 GMT", 0.0),
        ("soon", None),
        ("", None),
        ("-5", None),
        ("99999999999", None),
    ],
)
def test_retry_after_is_read_in_both_forms(text, wanted):
    assert retry_after_s({"retry-after": text, "date": "Sun, 22 Nov 2026 12:00:00 GMT"}) == wanted


@pytest.mark.parametrize("text", ["", "yesterday", "Sun, 99 Nov 2026 12:00:00 GMT"])
def test_a_date_that_is_none_is_none(text):
    assert date_of({"date": text}) is None


def test_the_store_clock_starts_with_the_first_date():
    clock = StoreClock()
    clock.note({})
    assert clock.now() is None
    clock.note({"date": "Sun, 22 Nov 2026 12:00:00 GMT"})
    found = clock.now()
    assert found is not None
    assert 0 <= (found - datetime(2026, 11, 22, 12, tzinfo=UTC)).total_seconds() < 60


def test_only_a_whole_sha256_is_a_digest():
    assert sha256_in("LPJNul+wow4m6DsqxbninhsWHlwfp0JecwQzYpOLmCQ=") == sha256_of(b"hello")
    for text in (None, "", "LPJNul+wow4m6DsqxbninhsWHlwfp0JecwQzYpOLmCQ=-3", "AAAA", "ü"):
        assert sha256_in(text) is None


@pytest.mark.parametrize("status", [401, 403, 407])
def test_a_denial_without_a_document_is_a_denial(status):
    assert type(refusal(Answer(status), ASKED)) is AccessDenied


def test_a_bucket_that_is_not_found_is_a_wrong_store():
    assert type(refusal(Answer(404), Asked("find", "s3://b"))) is WrongStore


def test_a_complete_answer_passes_and_an_incomplete_one_can_be_tried_again():
    require("told", {"etag": "e"}, "etag")
    with pytest.raises(StoreUnavailable, match="told"):
        require("told", {"etag": None}, "etag")


def test_the_innermost_reason_of_a_failed_connection_is_told():
    inner = OSError("CERTIFICATE_VERIFY_FAILED: self-signed")
    error = connection_fault(RuntimeError(ValueError(inner)), "s3://b: head x")
    assert type(error) is UnavailableError
    assert "self-signed" in str(error)
    loop = RuntimeError("round")
    loop.reason = loop
    assert connection_fault(loop, "told").retryable
