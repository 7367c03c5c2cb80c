"""Dates in the heads of answers come from strangers: what is none, or none that can be reckoned with, is no date."""

from datetime import UTC, datetime

import pytest

from pipeline.sources.answers import read_date, read_retry_after


@pytest.mark.parametrize("text", ["", "soon", "Fri, 31 Dec 9999 23:59:59 -1400", "Fri, 31 Feb 2026 10:00:00 GMT"])
def test_what_is_no_date_that_can_be_reckoned_with_is_none(text):
    assert read_date(text) is None
    assert read_retry_after(text, None) is None


def test_a_date_is_read_as_utc():
    assert read_date("Sun, 22 Nov 2026 10:00:00 GMT") == datetime(2026, 11, 22, 10, tzinfo=UTC)
