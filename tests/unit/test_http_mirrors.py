"""Several sources as one: who is asked, who is dropped and why, on fake readers and a fake clock."""

import threading

import pytest

from pipeline.errors import AccessDenied, DigestMismatch, DiskError, ObjectMissing, SourceLied, StoreUnavailable, UnavailableError
from pipeline.events import Warned
from pipeline.ports import Fresh
from pipeline.sources.mirrors import Mirrors, SourceUse
from pipeline.sources.pace import Limits, Pace
from pipeline.sources.standing import Standing, choose, too_slow

BODY = bytes(range(250)) * 40
KEY = "parts/ab/x"


class Clock:
    """Time that passes only when somebody says so."""

    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now

    def sleep(self, seconds):
        self.now += seconds


class Reader:
    """Gives BODY at ``per_s``; each call takes the next of ``faults`` first: an error, or (bytes, error) to break off with."""

    def __init__(self, name, clock, *, per_s=1e6, faults=(), body=BODY):
        self.url = f"https://{name}.example"
        self.clock = clock
        self.per_s = per_s
        self.faults = list(faults)
        self.body = body
        self.requests = 0
        self.closed = False

    def fault(self):
        found = self.faults.pop(0) if self.faults else None
        return found if isinstance(found, tuple) else (0, found)

    def read_range(self, key, start, size, take, *, total=None):
        self.requests += 1
        limit, error = self.fault()
        at = 0
        while at < size:
            if error and at >= limit:
                raise error
            block = self.body[start + at : start + min(size, at + 500)]
            self.clock.sleep(len(block) / self.per_s)
            take(memoryview(block))
            at += len(block)

    def get(self, key, *, start=0, size=None):
        self.requests += 1
        _, error = self.fault()
        if error:
            raise error
        return iter([self.body])

    def revalidate(self, key, etag, *, cap):
        return Fresh(b"".join(self.get(key)), "tag")

    def close(self):
        self.closed = True


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def events():
    return []


@pytest.fixture
def mirrors(clock, events):
    def make(*readers, **more):
        return Mirrors(readers, clock=clock, sleep=clock.sleep, listen=events.append, **more)

    return make


def read(mirrors, start=0, size=5000):
    got = bytearray()
    mirrors.read_range(KEY, start, size, got.extend, total=len(BODY))
    assert bytes(got) == BODY[start : start + size]


def names(mirrors):
    return [reader.url[8:9] for reader in mirrors.readers]


def down():
    return StoreUnavailable("down")


def test_range_goes_on_elsewhere_where_one_broke_off(mirrors, clock, events):
    a, b = Reader("a", clock, faults=[(1000, down())]), Reader("b", clock)
    both = mirrors(a, b)
    read(both)
    assert [(use.bytes, use.dropped) for use in both.uses()] == [(1000, ""), (4000, "")]
    assert both.requests == 2
    assert events == []


def test_dead_source_is_dropped_after_three_tries_and_named(mirrors, clock, events):
    a, b = Reader("a", clock, faults=[down() for _ in range(9)]), Reader("b", clock)
    both = mirrors(a, b)
    for _ in range(3):
        # Only the dead one can be asked for what the other one just failed to give.
        b.faults = [(500, down())]
        with pytest.raises(StoreUnavailable):
            read(both)
    assert both.uses()[0] == SourceUse(url=a.url, bytes=0, seconds=0.0, dropped="dead: down")
    assert events == [Warned("source-dropped", "https://a.example is not used any more: dead: down")]
    assert a.requests == 3
    read(both)


def test_failure_is_told_with_what_came_and_the_last_one_is_never_dropped(mirrors, clock):
    a = Reader("a", clock, faults=[(1500, down()), *[down() for _ in range(9)]])
    alone = mirrors(a)
    with pytest.raises(StoreUnavailable) as raised:
        read(alone)
    assert raised.value.delivered == 1500
    for _ in range(9):
        with pytest.raises(StoreUnavailable):
            read(alone)
    assert names(alone) == ["a"]
    read(alone)


@pytest.mark.parametrize(
    "error, why",
    [
        (SourceLied("206 without Content-Range"), "lied: 206 without Content-Range"),
        (AccessDenied("HTTP 403"), "HTTP 403"),
        (UnavailableError("not trusted"), "not trusted"),
        (DiskError("EIO"), "EIO"),
    ],
)
def test_source_that_lies_or_is_closed_to_us_is_dropped_at_once(mirrors, clock, events, error, why):
    a, b = Reader("a", clock, faults=[(1000, error)]), Reader("b", clock)
    both = mirrors(a, b)
    read(both)
    assert names(both) == ["b"]
    assert both.uses()[0].dropped == why
    assert [event.code for event in events] == ["source-dropped"]


def test_only_source_that_lies_once_is_asked_again(mirrors, clock):
    a = Reader("a", clock, faults=[SourceLied("lie")])
    read(mirrors(a))
    assert a.requests == 2


def test_only_source_that_keeps_lying_is_an_error(mirrors, clock):
    a = Reader("a", clock, faults=[SourceLied("lie")] * 3)
    with pytest.raises(SourceLied):
        read(mirrors(a))
    assert a.requests == 2


def checked(mirrors):
    """Read as the engine does: a digest is checked at the end of every 2500 bytes, and what was right is kept."""
    done = 0
    for _ in range(5):
        got = bytearray()

        def take(block, got=got):
            nonlocal done
            got.extend(block)
            while len(got) >= 2500:
                if bytes(got[:2500]) != BODY[done : done + 2500]:
                    raise DigestMismatch("wrong bytes")
                del got[:2500]
                done += 2500

        try:
            mirrors.read_range(KEY, done, 5000 - done, take, total=len(BODY))
        except DigestMismatch:
            continue
        assert done == 5000
        return
    raise AssertionError("never right")


WRONG = BODY[:3000] + b"!" + BODY[3001:]


def test_wrong_bytes_are_fetched_elsewhere_and_good_ones_kept(mirrors, clock, events):
    a, b = Reader("a", clock, body=WRONG), Reader("b", clock)
    both = mirrors(a, b)
    checked(both)
    assert names(both) == ["a", "b"]
    assert both.uses()[1].bytes == 2500
    # A second time is once too often, whatever the object.
    both.blame(a, "again", key="parts/other")
    assert names(both) == ["b"]
    assert both.uses()[0].dropped == "wrong bytes: again"
    assert [event.code for event in events] == ["source-dropped"]


def _mismatch():
    raise DigestMismatch("wrong bytes")


def test_wrong_bytes_of_the_only_source_go_to_the_caller(mirrors, clock):
    alone = mirrors(Reader("a", clock, body=WRONG))
    for _ in range(4):
        with pytest.raises(DigestMismatch):
            alone.read_range(KEY, 3000, 1, lambda block: _mismatch())
    assert names(alone) == ["a"]


def test_errors_of_the_taker_are_nobodys_fault(mirrors, clock, events):
    both = mirrors(Reader("a", clock), Reader("b", clock))

    def full(block):
        raise DiskError("no space")

    for _ in range(5):
        with pytest.raises(DiskError):
            both.read_range(KEY, 0, 100, full)
    assert names(both) == ["a", "b"]
    assert events == []


def test_object_that_one_lacks_comes_from_another_without_waiting(mirrors, clock):
    a, b = Reader("a", clock, faults=[ObjectMissing("404")] * 50), Reader("b", clock)
    both = mirrors(a, b)
    begun = clock.now
    read(both)
    assert clock.now - begun < 1
    assert names(both) == ["a", "b"]


def test_object_that_is_not_visible_yet_is_asked_for_again(mirrors, clock, events):
    a = Reader("a", clock, faults=[ObjectMissing("404"), ObjectMissing("404")])
    read(mirrors(a))
    assert 3.0 <= clock.now < 3.1
    assert [event.code for event in events] == ["not-visible"] * 2


def test_object_that_nobody_has_is_missing_after_the_waits(mirrors, clock):
    a, b = Reader("a", clock, faults=[ObjectMissing("a: 404")] * 9), Reader("b", clock, faults=[ObjectMissing("b: 404")] * 9)
    with pytest.raises(ObjectMissing, match="a: 404; b: 404") as missing:
        read(mirrors(a, b))
    assert clock.now == 15.0
    assert "visible at the CDN" in missing.value.hint


def test_slow_source_beside_a_fast_one_is_dropped_in_mid_range(mirrors, clock, events):
    a, b = Reader("a", clock, per_s=50), Reader("b", clock, per_s=1e6)
    both = mirrors(a, b)
    with both._lock:
        both._standings[1].per_s = 1e6
        both._standings[0].per_s = 2e6
    read(both)
    assert names(both) == ["b"]
    assert both.uses()[0].dropped == "slow: 50 bytes a second beside 1000000"
    assert both.uses()[0].bytes == 500


def test_source_that_crawled_until_it_broke_off_is_dropped(mirrors, clock):
    a, b = Reader("a", clock, per_s=50, faults=[(500, down())]), Reader("b", clock)
    both = mirrors(a, b)
    read(both)
    assert both.uses()[0].dropped == "slow: 500 bytes in 10.0 s: down"


def test_connections_divide_by_measured_throughput():
    fast, slow = Standing("fast", per_s=3e6), Standing("slow", per_s=1e6)
    counts = [0, 0]
    for _ in range(8):
        place = choose([fast, slow], KEY, ())
        counts[place] += 1
        (fast, slow)[place].under_way += 1
    assert counts == [6, 2]


def test_new_source_is_tried_as_if_it_were_the_best_and_a_failing_one_less():
    known, new = Standing("known", per_s=1e6, under_way=1), Standing("new")
    assert choose([known, new], KEY, ()) == 1
    new.failures = 1
    assert choose([known, new], KEY, ()) == 0
    assert choose([known, new], KEY, {0}) == 1
    assert choose([known, new], KEY, {0, 1}) is None


def test_dropped_source_is_never_chosen_and_avoided_one_only_alone():
    a, b = Standing("a", per_s=9e6, avoided={KEY}), Standing("b", per_s=1.0)
    assert choose([a, b], KEY, ()) == 1
    assert choose([a, b], "parts/other", ()) == 0
    b.dropped = "dead"
    assert choose([a, b], KEY, ()) == 0


def test_slowness_needs_a_comparison_and_time():
    a, b = Standing("a"), Standing("b", per_s=1e6)
    assert too_slow([a, b], 0, size=10, spent_s=4.0) is None
    assert too_slow([a, b], 0, size=10, spent_s=5.0) == 1e6
    assert too_slow([a, b], 0, size=500_000, spent_s=5.0) is None
    assert too_slow([a], 0, size=10, spent_s=500.0) is None


def test_seconds_count_once_however_many_reads_are_under_way():
    one = Standing("a")
    one.begin(1.0)
    one.begin(2.0)
    one.end(3.0, size=10, spent_s=2.0)
    one.end(5.0, size=20, spent_s=3.0)
    one.begin(9.0)
    one.end(10.0, size=5, spent_s=1.0)
    assert one.seconds == 5.0
    assert one.bytes == 35


def test_metadata_comes_from_the_first_that_answers(mirrors, clock):
    a, b = Reader("a", clock, faults=[down()]), Reader("b", clock)
    both = mirrors(a, b)
    assert b"".join(both.get("metadata/timestamp.json")) == BODY
    assert (a.requests, b.requests) == (1, 1)
    assert both.revalidate("metadata/timestamp.json", "", cap=1 << 20).data == BODY
    assert (a.requests, b.requests) == (2, 1)


def test_root_that_the_first_lacks_is_no_reason_to_ask_another_but_a_manifest_is(mirrors, clock):
    a, b = Reader("a", clock, faults=[ObjectMissing("404")] * 2), Reader("b", clock)
    both = mirrors(a, b)
    with pytest.raises(ObjectMissing):
        both.get("metadata/2.root.json")
    assert b.requests == 0
    assert b"".join(both.get("targets/bert/x.json")) == BODY


def test_drop_leaves_the_last_one_and_close_reaches_all(mirrors, clock):
    a, b = Reader("a", clock), Reader("b", clock)
    both = mirrors(a, b)
    both.drop(a, "out of date")
    both.drop(b, "out of date")
    assert names(both) == ["b"]
    assert both.url == b.url
    both.close()
    assert a.closed
    assert b.closed


def test_close_ends_the_wait_for_what_is_not_visible(clock):
    reader = Reader("a", clock, faults=[ObjectMissing("404")] * 9)
    mirrors = Mirrors([reader], visible_s=[600.0])
    ended = threading.Event()

    def work():
        with pytest.raises(ObjectMissing):
            mirrors.read_range(KEY, 0, 10, lambda block: None)
        ended.set()

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    while not reader.requests:
        thread.join(0.01)
    mirrors.close()
    assert ended.wait(5)


def test_pace_waits_for_the_first_byte_and_then_wants_speed():
    pace = Pace(Limits(window_s=10, least_per_s=100))
    pace.note(1, 29.0)
    for _ in range(3):
        pace.note(5000, 9.0)
        pace.note(1, 1.0)
    for _ in range(19):
        pace.note(1, 0.5)
    with pytest.raises(TimeoutError, match=r"20 bytes in 10\.0 s, expected at least 100 bytes a second"):
        pace.note(1, 0.5)
