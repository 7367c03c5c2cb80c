"""From what a vendor tells of single URLs to what a task is."""

from __future__ import annotations

import pytest

from pipeline.cdns.progress import UrlState, count_in, find_tasks, percent_in, seen_as, status_of
from pipeline.ports import CdnTask, Op, TaskState

DONE, RUNNING, FAILED = TaskState.DONE, TaskState.RUNNING, TaskState.FAILED
A, B, C = (f"https://cdn.example.com/{name}" for name in "abc")


def state(*told, urls=(A, B)):
    return status_of(CdnTask("1", Op.PREFETCH, urls), told)


def test_a_task_is_done_when_all_that_is_told_of_it_is():
    assert (state(UrlState(A, DONE), UrlState(B, DONE)).state, state(UrlState(A, DONE), UrlState(B, DONE)).percent) == (DONE, 100)
    assert state(UrlState(A, DONE), UrlState(B, RUNNING, 50)).state is RUNNING
    assert state(UrlState(A, DONE), UrlState(B, RUNNING, 50)).percent == 75


def test_it_has_failed_only_when_nothing_runs_any_more_and_names_what_failed_at_once():
    running = state(UrlState(A, FAILED, reason="origin\n404"), UrlState(B, RUNNING))
    assert (running.state, running.failed) == (RUNNING, {A: "origin 404"})
    assert state(UrlState(A, FAILED), UrlState(B, DONE)).failed == {A: "failed"}
    assert state(UrlState(A, FAILED), UrlState(B, DONE)).state is FAILED


def test_nothing_told_is_unknown():
    assert state().state is TaskState.UNKNOWN
    assert state().detail


def test_urls_of_others_do_not_count_unless_there_are_no_own():
    assert state(UrlState(A, DONE), UrlState(C, FAILED)).state is DONE
    assert state(UrlState(C, FAILED, reason="x")).failed == {C: "x"}


def test_another_spelling_is_the_same_url_and_is_told_as_it_was_asked():
    told = state(UrlState("cdn.example.com/a", FAILED, reason="x"), UrlState("http://cdn.example.com/b/", DONE))
    assert (told.state, told.failed) == (FAILED, {A: "x"})
    assert seen_as("https://cdn.example.com/a/") == seen_as("cdn.example.com/a")


def test_each_url_is_found_in_the_newest_task_that_holds_it():
    rows = iter([("3", "cdn.example.com/b"), ("", A), ("2", C), ("2", A), ("1", B)])
    assert find_tasks(Op.REFRESH, [A, B, A], rows) == [CdnTask("2", Op.REFRESH, (A,)), CdnTask("3", Op.REFRESH, (B,))]
    # The page with it was not asked for.
    assert next(rows) == ("1", B)


@pytest.mark.parametrize(
    "value, count",
    [(7, 7), ("7", 7), (" 7 ", 7), ("²", None), ("9" * 5000, None), (-1, None), (True, None), (7.5, None), (None, None)],
)
def test_counts_are_read_from_numbers_and_text(value, count):
    assert count_in(value) == count


@pytest.mark.parametrize("value, percent", [("97%", 97), ("97", 97), (97, 97), ("1000%", 100), ("%", None), (None, None)])
def test_percents_are_read_in_each_spelling(value, percent):
    assert percent_in(value) == percent
