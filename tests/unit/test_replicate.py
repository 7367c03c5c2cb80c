"""One object read whole for a copy: it goes on where it broke off, and ends when a source only keeps it busy."""

import pytest

from pipeline.digest import sha256_of
from pipeline.errors import StoreUnavailable
from pipeline.retry import PROGRESS_BYTES, Patience, Retry
from pipeline.steps import replicate
from pipeline.steps.replicate import read_named
from pipeline.trust.whole import Named

BODY = bytes(range(256)) * (20 * PROGRESS_BYTES // 256)
WANTED = Named("parts/00/x", len(BODY), sha256_of(BODY))
ATTEMPTS = 8


class Breaking:
    """A source that gives so many bytes, ``took_s`` seconds long, and breaks off, again and again."""

    def __init__(self, monkeypatch, gives, took_s=0.0):
        self.gives, self.took_s = gives, took_s
        self.now = 0.0
        self.asked = 0
        monkeypatch.setattr(replicate.time, "monotonic", lambda: self.now)

    def read_range(self, key, start, size, take, *, total=None):
        self.asked += 1
        came = min(self.gives, size)
        take(memoryview(BODY)[start : start + came])
        self.now += self.took_s
        if came < size:
            raise StoreUnavailable("broke off")


def read(source):
    return read_named(source, WANTED, Retry(Patience(attempts=ATTEMPTS), sleep=lambda _: None))


def test_line_that_breaks_off_after_enough_each_time_brings_the_whole(monkeypatch):
    source = Breaking(monkeypatch, PROGRESS_BYTES)
    assert read(source) == BODY
    assert source.asked == len(BODY) // PROGRESS_BYTES > ATTEMPTS


def test_source_that_breaks_off_after_a_few_bytes_is_given_up(monkeypatch):
    source = Breaking(monkeypatch, 100)
    with pytest.raises(StoreUnavailable, match="broke off"):
        read(source)
    assert source.asked == ATTEMPTS


def test_source_that_crawls_is_given_up_however_much_came(monkeypatch):
    source = Breaking(monkeypatch, PROGRESS_BYTES, took_s=PROGRESS_BYTES / 1000)
    with pytest.raises(StoreUnavailable, match="broke off"):
        read(source)
    assert source.asked == ATTEMPTS
