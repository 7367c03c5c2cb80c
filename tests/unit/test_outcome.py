"""What is said when work is left for another run."""

from datetime import UTC, datetime

from pipeline.outcome import left_error, left_results
from pipeline.steps.serve import LeftAt
from pipeline.steps.show_edge import Stale

DAY = datetime(2026, 11, 23, 16, tzinfo=UTC)


def test_nothing_left_is_no_error():
    assert left_error("bert-v1.0.0 is committed", left_results([])) is None


def test_day_of_the_rest_and_the_channel_that_waits_are_named():
    left = left_results([LeftAt("aliyun https://a", 600, "the quota of the day is used up", DAY)])
    error = left_error("bert-v1.0.0 is committed", left, channel="stable")
    assert error is not None
    assert error.exit_code == 7
    assert str(error) == (
        "bert-v1.0.0 is committed; stable stays where it is; 600 URLs wait in the ledger until 2026-11-23T16:00:00Z"
    )
    assert "cdn.resume" in error.hint


def test_urls_that_failed_are_named_with_their_reason():
    left = left_results([LeftAt("aliyun https://a", 1, "parts/aa/x failed: origin 5xx")])
    assert "parts/aa/x failed: origin 5xx" in str(left_error("done", left))


def test_urls_that_were_refused_do_not_wait_and_what_to_mend_is_told():
    left = left_results([LeftAt("aliyun https://a", 3, "it refused parts/aa/x: no domain of yours", refused=True)])
    error = left_error("done", left)
    assert error is not None
    assert "3 URLs were refused" in str(error)
    assert "wait in the ledger" not in str(error)
    assert "cdn.resume" not in error.hint
    waiting = left_error("done", left, channel="stable")
    assert waiting is not None
    assert "cdn.resume" in waiting.hint


def test_edge_that_shows_the_old_timestamp_asks_for_a_refresh():
    error = left_error("bert@stable points to bert-v1.0.0", left_results([], [Stale("https://a", "412 other bytes came")]))
    assert error is not None
    assert "https://a: it may show what was there before: 412 other bytes came" in str(error)
    assert "cdn.refresh" in error.hint


def test_one_url_is_told_as_one():
    waits = left_results([LeftAt("aliyun https://a", 1, "the quota of the day is used up", DAY)])
    assert "1 URL waits in the ledger" in str(left_error("done", waits))
    assert "1 URL was refused" in str(left_error("done", left_results([LeftAt("a", 1, "no", refused=True)])))
