"""Spans and ends of time as people type them."""

from datetime import UTC, datetime, timedelta

import pytest

from pipeline.cli.times import end_of, span_of
from pipeline.errors import UsageError


@pytest.mark.parametrize(
    "text, span",
    [("36h", timedelta(hours=36)), ("7d", timedelta(days=7)), (" 2w ", timedelta(days=14)), ("1y", timedelta(days=365))],
)
def test_span_is_read(text, span):
    assert span_of(text, "--grace") == span
    assert end_of(text, "--until") == span


@pytest.mark.parametrize("text", ["", "7", "d", "0d", "-1d", "1.5d", "7 d", "7D", "1m", "100000d", "P7D"])
def test_what_is_no_span_is_refused_naming_the_flag(text):
    with pytest.raises(UsageError, match="--grace") as caught:
        span_of(text, "--grace")
    assert "--grace 7d" in caught.value.hint


@pytest.mark.parametrize("text", ["1001y", "99999w", "99999y"])
def test_span_that_no_calendar_holds_is_refused(text):
    with pytest.raises(UsageError, match=f"--until '{text}' is over 1000 years"):
        end_of(text, "--until")


@pytest.mark.parametrize(
    "text, end",
    [
        ("2027-11-22", datetime(2027, 11, 22, 23, 59, 59, tzinfo=UTC)),
        ("2027-11-22T10:00:00Z", datetime(2027, 11, 22, 10, tzinfo=UTC)),
        ("2027-11-22T12:00:00+02:00", datetime(2027, 11, 22, 10, tzinfo=UTC)),
    ],
)
def test_day_and_instant_are_read(text, end):
    assert end_of(text, "--until") == end


@pytest.mark.parametrize(
    "text",
    [
        "tomorrow",
        "2027-11-22T10:00:00",
        "2027-13-01",
        "22.11.2027",
        "20271122",
        "9999-12-31T23:00:00-05:00",
        "0001-01-01T00:00:00+05:00",
    ],
)
def test_what_is_no_end_is_refused(text):
    with pytest.raises(UsageError, match="--until"):
        end_of(text, "--until")
