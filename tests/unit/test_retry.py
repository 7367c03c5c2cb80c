"""Repetition: bounded, jittered, and blind to everything but ``retryable``."""

from __future__ import annotations

import random

import pytest

from pipeline.errors import AccessDenied, StoreUnavailable
from pipeline.events import Retrying
from pipeline.retry import Patience, Retry


class Flaky:
    """Fails a number of times, then answers."""

    def __init__(self, failures, error=StoreUnavailable):
        self.left, self.error, self.calls = failures, error, 0

    def __call__(self):
        self.calls += 1
        if self.left:
            self.left -= 1
            raise self.error(f"failure {self.calls}")
        return "answer"


def patient(attempts=4, **more):
    waits = []
    return Retry(Patience(attempts=attempts), sleep=waits.append, rng=random.Random(1), **more), waits


def test_an_answer_needs_no_wait():
    retry, waits = patient()
    assert retry.call(Flaky(0), what="x") == "answer"
    assert waits == []


def test_what_is_retryable_is_tried_again_until_it_answers():
    retry, waits = patient()
    call = Flaky(3)
    assert retry.call(call, what="x") == "answer"
    assert (call.calls, len(waits)) == (4, 3)


def test_the_last_error_is_raised_when_attempts_are_used_up():
    retry, waits = patient(attempts=3)
    call = Flaky(9)
    with pytest.raises(StoreUnavailable, match="failure 3"):
        retry.call(call, what="x")
    assert (call.calls, len(waits)) == (3, 2)


def test_what_is_not_retryable_is_raised_at_once():
    retry, waits = patient()
    call = Flaky(1, AccessDenied)
    with pytest.raises(AccessDenied):
        retry.call(call, what="x")
    assert (call.calls, waits) == (1, [])


def test_errors_outside_the_tree_are_bugs_and_pass_through():
    retry, waits = patient()
    call = Flaky(1, KeyError)
    with pytest.raises(KeyError):
        retry.call(call, what="x")
    assert (call.calls, waits) == (1, [])


def test_each_repetition_is_told():
    heard = []
    retry, waits = patient(listen=heard.append)
    retry.call(Flaky(2), what="put parts/x")
    assert heard == [
        Retrying(what="put parts/x", attempt=1, wait_s=waits[0], why="failure 1"),
        Retrying(what="put parts/x", attempt=2, wait_s=waits[1], why="failure 2"),
    ]


def test_waits_are_spread_from_zero_to_a_ceiling_that_doubles():
    patience = Patience(first_wait_s=0.5, longest_wait_s=4.0)
    rng = random.Random(7)
    for failed, ceiling in enumerate([0.5, 1.0, 2.0, 4.0, 4.0, 4.0], start=1):
        drawn = [patience.wait_s(failed, rng=rng) for _ in range(500)]
        assert 0 <= min(drawn) < ceiling * 0.1
        assert ceiling * 0.9 < max(drawn) <= ceiling
    assert patience.wait_s(10**6, rng=rng) <= 4.0


@pytest.mark.parametrize(("asked", "least", "most"), [(2.0, 2.0, 2.25), (500.0, 20.0, 20.0), (-3.0, 0.0, 0.25)])
def test_retry_after_is_a_lower_bound_that_is_bounded(asked, least, most):
    patience = Patience(first_wait_s=0.25, longest_wait_s=20.0)
    for seed in range(50):
        assert least <= patience.wait_s(1, rng=random.Random(seed), retry_after_s=asked) <= most


def test_retry_after_of_an_error_is_waited_for():
    retry, waits = patient()
    retry.call(Flaky(1, lambda text: StoreUnavailable(text, retry_after_s=5.0)), what="x")
    assert 5.0 <= waits[0] <= 5.25


def test_at_least_one_attempt_is_made():
    with pytest.raises(ValueError, match="at least one"):
        Patience(attempts=0)
