"""Bounded threads: results in order, never more under way than asked, nothing running on after a failure."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from pipeline.workers import chain, in_order, threads

pytestmark = pytest.mark.timeout(20)


def test_results_come_in_order_whatever_finishes_first():
    gates = [threading.Event() for _ in range(3)]

    def work(number):
        # Each waits for the one after it, so they finish from the back.
        if number < 2:
            gates[number + 1].wait()
        gates[number].set()
        return number

    with threads(3, "test") as pool:
        assert list(in_order(pool, work, range(3), ahead=3)) == [0, 1, 2]


@pytest.mark.parametrize("ahead", [1, 2, 5])
def test_no_more_than_ahead_are_taken_from_the_items(ahead):
    taken = 0

    def items():
        nonlocal taken
        for number in range(30):
            taken += 1
            yield number

    with threads(2, "test") as pool:
        for given, number in enumerate(in_order(pool, lambda number: number, items(), ahead=ahead)):
            assert given == number
            # One more is asked for before the oldest is waited for.
            assert taken - given <= ahead + 1
    assert taken == 30


def test_nothing_in_gives_nothing_out():
    with threads(1, "test") as pool:
        assert list(in_order(pool, str, [], ahead=4)) == []


def test_first_failure_ends_it_and_what_is_under_way_is_waited_for():
    started, release, ended = threading.Event(), threading.Event(), threading.Event()

    def work(number):
        if number == 0:
            started.wait()
            raise ValueError("zero")
        started.set()
        release.wait()
        ended.set()
        return number

    with threads(2, "test") as pool:
        results = in_order(pool, work, range(2), ahead=2)
        threading.Timer(0.05, release.set).start()
        with pytest.raises(ValueError, match="zero"):
            list(results)
        assert ended.is_set()


def test_items_that_fail_end_it_and_nothing_runs_on():
    done = []

    def items():
        yield 1
        yield 2
        raise OSError("no more")

    with threads(2, "test") as pool, pytest.raises(OSError, match="no more"):
        list(in_order(pool, done.append, items(), ahead=4))
    assert set(done) <= {1, 2}


def test_stopping_early_closes_the_items():
    closed = threading.Event()

    def items():
        try:
            while True:
                yield 1
        finally:
            closed.set()

    with threads(1, "test") as pool:
        source = items()
        results = in_order(pool, str, source, ahead=2)
        assert next(results) == "1"
        results.close()
        source.close()
        assert closed.is_set()


@pytest.mark.parametrize("fails", [False, True])
def test_no_thread_outlives_its_block(fails):
    before = set(threading.enumerate())

    def run():
        with threads(4, "test") as pool:
            assert isinstance(pool, ThreadPoolExecutor)
            list(pool.map(str, range(8)))
            if fails:
                raise KeyError("out")

    if fails:
        with pytest.raises(KeyError):
            run()
    else:
        run()
    assert set(threading.enumerate()) - before == set()


def test_a_chain_runs_one_thing_after_another_in_order():
    order, under_way, most = [], 0, 0
    lock = threading.Lock()

    def link(number):
        nonlocal under_way, most
        with lock:
            under_way += 1
            most = max(most, under_way)
        order.append(number)
        with lock:
            under_way -= 1
        return number

    with threads(4, "test") as pool, chain(pool) as links:
        futures = [links.submit(link, number) for number in range(500)]
        assert [future.result() for future in futures] == list(range(500))
    assert order == list(range(500))
    assert most == 1


def test_a_chain_leaves_threads_to_others():
    held, release = threading.Event(), threading.Event()

    def hold():
        held.set()
        release.wait()

    with threads(2, "test") as pool, chain(pool) as links:
        links.submit(hold)
        last = links.submit(str, 1)
        held.wait()
        assert pool.submit(str, 2).result() == "2"
        assert not last.done()
        release.set()
        assert last.result() == "1"


def test_a_link_that_fails_tells_whoever_waits_and_the_next_one_follows():
    with threads(1, "test") as pool, chain(pool) as links:
        failing, next_one = links.submit(int, "x"), links.submit(int, "1")
        with pytest.raises(ValueError, match="invalid literal"):
            failing.result()
        assert next_one.result() == 1


def test_what_a_chain_has_not_begun_never_begins_behind_its_block():
    held, release, ran = threading.Event(), threading.Event(), []

    def hold():
        held.set()
        release.wait()

    with threads(1, "test") as pool:
        with chain(pool) as links:
            first, second = links.submit(hold), links.submit(ran.append, 1)
            held.wait()
        # Whoever waits for it, on another thread, is told.
        assert second.cancelled()
        release.set()
        first.result()
    assert not ran
