"""What an error code of a control plane comes to."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from pipeline.cdns.calling import Call, Reply
from pipeline.cdns.verdicts import Verdict, failure, named_in, verdict_of
from pipeline.errors import AccessDenied, CallRefused, CallUnanswered, CdnUnavailable, ClockSkew, QuotaUsedUp

TABLE = {"Auth": Verdict.DENIED, "Auth.Slow": Verdict.AGAIN, "Day.Over": Verdict.QUOTA, "Late": Verdict.CLOCK}
NOW = datetime(2026, 11, 22, 10, 0, tzinfo=UTC)


def judged(code, status=400, message="", *, asks=False, date=NOW, urls=(), secrets=(), **headers):
    call = Call("acme Push", "POST", "https://api.example/", asks=asks, secrets=secrets)
    reply = Reply(call, status, {"date": format_datetime(date, usegmt=True), **headers}, {})
    return failure(reply, TABLE, code=code, message=message, now=NOW, request_id="r-1", urls=urls, resets_at=NOW)


@pytest.mark.parametrize(
    "code, status, verdict",
    [
        ("Auth", 200, Verdict.DENIED),
        ("Auth.Unknown.Deep", 200, Verdict.DENIED),
        ("Auth.Slow", 400, Verdict.AGAIN),
        ("Auth.Slow.Down", 400, Verdict.AGAIN),
        ("Day", 400, Verdict.REFUSED),
        ("", 429, Verdict.AGAIN),
        ("New", 503, Verdict.AGAIN),
        ("New", 500, Verdict.UNSURE),
        ("New", 403, Verdict.DENIED),
        ("New", 200, Verdict.REFUSED),
    ],
)
def test_a_code_is_looked_up_by_its_longest_known_beginning_then_by_status(code, status, verdict):
    assert verdict_of(code, status, TABLE) is verdict


@pytest.mark.parametrize(
    "code, status, asks, kind",
    [
        ("Auth", 403, False, AccessDenied),
        ("Day.Over", 400, False, QuotaUsedUp),
        ("Auth.Slow", 400, False, CdnUnavailable),
        ("Odd", 500, False, CallUnanswered),
        ("Odd", 500, True, CdnUnavailable),
        ("Odd", 400, False, CallRefused),
        ("Late", 400, False, ClockSkew),
    ],
)
def test_each_verdict_has_its_error(code, status, asks, kind):
    error = judged(code, status, "in words", asks=asks)
    assert type(error) is kind
    assert error.hint
    if kind is not ClockSkew:
        assert "r-1" in str(error)


def test_a_refused_signature_from_a_clock_that_is_off_names_both_clocks():
    error = judged("Auth", 403, date=NOW + timedelta(minutes=20))
    assert type(error) is ClockSkew
    assert "2026-11-22T10:00:00Z" in str(error)
    assert "2026-11-22T10:20:00Z" in str(error)


def test_how_long_to_wait_is_passed_on():
    assert judged("", 429, **{"retry-after": "7"}).retry_after_s == 7.0
    assert judged("Day.Over").resets_at == NOW


def test_secrets_in_an_answer_are_taken_out():
    error = judged("Odd", 400, "you signed with hunter22hunter22\nand \x1b[31mthat is wrong", secrets=("hunter22hunter22",))
    assert "hunter22" not in str(error)
    assert "\n" not in str(error)
    assert "\x1b" not in str(error)


def test_urls_that_a_refusal_names_are_told_apart_from_their_beginnings():
    urls = ["https://a.example/x", "https://a.example/x/y", "https://a.example/z"]
    assert named_in('bad: "https://a.example/x/y".', urls) == ("https://a.example/x/y",)
    assert named_in("The url https://a.example/x.", urls) == ("https://a.example/x",)
    assert named_in("nothing", urls) == ()
    assert judged("Odd", 400, "https://a.example/z is malformed", urls=urls).urls == ("https://a.example/z",)
