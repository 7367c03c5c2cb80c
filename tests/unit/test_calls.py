"""Which calls a CDN gets: URLs, legal chunks, their names, and days."""

from datetime import UTC, date, datetime, timedelta

import pytest

from pipeline.plan.calls import (
    chunk_key,
    chunk_urls,
    day_of,
    fault_of,
    halves,
    is_hopeless,
    key_of,
    last_day,
    next_day_at,
    normalise_url,
    url_of,
)
from pipeline.ports import CallLimits, Op

BASE = "https://cdn.example.com/tree"


@pytest.mark.parametrize(
    "url, spelled",
    [
        ("HTTPS://CDN.Example.COM:443/a", "https://cdn.example.com/a"),
        ("http://h:80", "http://h/"),
        ("http://h:8080/a", "http://h:8080/a"),
        ("https://h/a b#top", "https://h/a%20b"),
        ("https://h/a%20b", "https://h/a%20b"),
        ("https://h/100%/x", "https://h/100%25/x"),
        ("https://h/%c3%a9", "https://h/%C3%A9"),
        ("https://h/é?q=ü", "https://h/%C3%A9?q=%C3%BC"),
        ("http://[::1]:8/a", "http://[::1]:8/a"),
    ],
)
def test_url_has_one_spelling(url, spelled):
    assert normalise_url(url) == spelled
    assert normalise_url(spelled) == spelled


@pytest.mark.parametrize("url", ["", "ftp://h/a", "cdn.example.com/a", "https://", "https://user@h/a", "https://u:secret@h/a"])
def test_what_is_no_url_is_refused(url):
    with pytest.raises(ValueError):
        normalise_url(url)


def test_url_of_a_key_leads_back_to_it():
    for key in ("metadata/timestamp.json", "web/app/ü 100%.js", "parts/aa/", ""):
        assert key_of(BASE, url_of(BASE, key)) == key


def test_url_elsewhere_has_no_key():
    for url in (
        "https://cdn.example.com/other/a",
        "https://other.example.com/tree/a",
        f"{BASE}/a?sign=1",
        "https://cdn.example.com/treeish/a",
    ):
        assert key_of(BASE, url) is None


def test_chunks_hold_as_many_as_a_call_may():
    urls = [f"{BASE}/{number}" for number in range(250)]
    chunks = chunk_urls(urls, CallLimits(urls=100))
    assert [len(chunk) for chunk in chunks] == [100, 100, 50]
    assert [url for chunk in chunks for url in chunk] == urls


def test_the_vendors_batch_wins_over_the_table():
    urls = [f"{BASE}/{number}" for number in range(50)]
    assert [len(chunk) for chunk in chunk_urls(urls, CallLimits(urls=100), batch=20)] == [20, 20, 10]
    assert [len(chunk) for chunk in chunk_urls(urls, CallLimits(urls=30), batch=100)] == [30, 20]


def test_a_url_that_stands_twice_is_sent_once():
    assert chunk_urls(["a", "b", "a"], CallLimits(urls=9)) == [("a", "b")]


def test_chunks_keep_within_bytes_and_hosts():
    urls = [f"https://h{number % 3}/{number:03}" for number in range(30)]
    chunks = chunk_urls(urls, CallLimits(urls=100, body_bytes=70, hosts=2))
    assert all(sum(len(url) + 4 for url in chunk) <= 70 for chunk in chunks)
    assert all(len({url.split("/")[2] for url in chunk}) <= 2 for chunk in chunks)
    assert [url for chunk in chunks for url in chunk] == urls


def test_url_that_no_call_may_hold_is_told_beforehand():
    limits = CallLimits(urls=10, url_chars=40, body_bytes=60)
    assert fault_of("https://h/" + "a" * 30, limits) == ""
    assert "41 characters" in fault_of("https://h/" + "a" * 31, limits)
    assert "60 bytes" in fault_of("https://h/" + "a" * 50, CallLimits(urls=10, body_bytes=60))


def test_a_chunks_name_is_the_same_everywhere_and_another_for_anything_else():
    name = chunk_key("aliyun", "me", Op.PREFETCH, ["a", "b"], "bert-v1.0.0/0")
    assert name == chunk_key("aliyun", "me", Op.PREFETCH, ["b", "a"], "bert-v1.0.0/0")
    others = {
        chunk_key("tencent", "me", Op.PREFETCH, ["a", "b"], "bert-v1.0.0/0"),
        chunk_key("aliyun", "you", Op.PREFETCH, ["a", "b"], "bert-v1.0.0/0"),
        chunk_key("aliyun", "me", Op.REFRESH, ["a", "b"], "bert-v1.0.0/0"),
        chunk_key("aliyun", "me", Op.PREFETCH, ["a"], "bert-v1.0.0/0"),
        chunk_key("aliyun", "me", Op.PREFETCH, ["a", "b"], "bert-v1.0.0/1"),
    }
    assert len(others | {name}) == 6


def test_halves_hold_everything_once():
    assert halves("abcde") == (("a", "b"), ("c", "d", "e"))


def test_one_bad_url_of_a_hundred_is_never_hopeless():
    # Worst case: the whole, then every half down to the one.
    assert not is_hopeless(8, 100)
    assert is_hopeless(12, 100)


def test_the_vendors_day_begins_where_the_vendor_is():
    beijing = CallLimits(urls=1, day_ahead=timedelta(hours=8))
    at = datetime(2026, 11, 22, 17, 30, tzinfo=UTC)
    assert day_of(at, beijing) == date(2026, 11, 23)
    assert next_day_at(at, beijing) == datetime(2026, 11, 23, 16, 0, tzinfo=UTC)
    assert next_day_at(at, CallLimits(urls=1)) == datetime(2026, 11, 23, 0, 0, tzinfo=UTC)


@pytest.mark.parametrize("rest, per_day, day", [(600, 1000, 23), (1000, 1000, 23), (1001, 1000, 24), (1, None, 23), (0, 10, 23)])
def test_the_last_day_is_counted_from_the_next(rest, per_day, day):
    assert last_day(rest, per_day, date(2026, 11, 23)) == date(2026, 11, day)
