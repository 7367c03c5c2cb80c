"""Records may go without any time changing, whatever was found and recorded before."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from pipeline.plan.garbage import Garbage, Mark, batches, find_garbage, superseded
from pipeline.ports import ObjectInfo

START = datetime(2026, 11, 22, 10, 0, 0, tzinfo=UTC)
KEYS = [f"parts/{at:02x}/{at:02x}{'0' * 62}" for at in range(4)]
FOUND = [ObjectInfo(key, 1, START - timedelta(days=900), "e") for key in KEYS]
LOOKS = st.lists(st.tuples(st.frozensets(st.sampled_from(KEYS)), st.booleans()), max_size=12)


def due(marks, unreachable, now):
    live = set(KEYS) - unreachable
    return {one.key: one.due_at for one in find_garbage(FOUND, live, marks)} | {"now": now}


@given(LOOKS, st.integers(1, 200))
def test_what_is_due_is_the_same_with_and_without_superseded_records(looks, days_between):
    every: list[Mark] = []
    kept: list[Mark] = []
    for number, (unreachable, deletes) in enumerate(looks):
        now = START + timedelta(days=days_between * number)
        assert due(kept, unreachable, now) == due(every, unreachable, now)
        gone = set(superseded(kept, unreachable, now))
        mark = Mark(now, unreachable, f"{number}", deletes)
        kept = [one for one in kept if one.key not in gone] + [mark]
        every.append(mark)


@given(LOOKS, st.data())
def test_a_run_killed_while_it_removes_records_lets_nothing_go_earlier(looks, data):
    marks = [
        Mark(START + timedelta(days=number), unreachable, f"{number}", deletes)
        for number, (unreachable, deletes) in enumerate(looks)
    ]
    now = START + timedelta(days=len(looks))
    unreachable = data.draw(st.frozensets(st.sampled_from(KEYS)))
    gone = superseded(marks, unreachable, now)
    done = set(data.draw(st.permutations(gone))[: data.draw(st.integers(0, len(gone)))])
    newest = Mark(now, unreachable, "new")
    left = [one for one in marks if one.key not in done] + [newest]
    later = now + timedelta(days=1)
    for seen in (unreachable, frozenset(KEYS)):
        assert due(left, seen, later) == due([*marks, newest], seen, later)


@given(LOOKS)
def test_records_of_what_was_deleted_stay_for_a_year(looks):
    marks = [Mark(START + timedelta(days=number), keys, f"{number}", deletes) for number, (keys, deletes) in enumerate(looks)]
    last = START + timedelta(days=364)
    assert not {mark.key for mark in marks if mark.deletes} & set(superseded(marks, (), last))
    assert len(superseded(marks, (), last + timedelta(days=30))) >= len(marks) - 1


@given(st.lists(st.sampled_from([0, 0, 1, 2, 3, 3, 3, 4, 4]), max_size=30), st.integers(1, 7))
def test_batches_hold_everything_once_in_order_and_nothing_that_names_another(ranks, size):
    names = [
        "metadata/1.snapshot.json",
        "metadata/1.targets.json",
        "metadata/1.bert.json",
        f"targets/bert/1.0.0/{'1' * 64}.manifest.json",
        KEYS[0],
    ]
    due_now = [Garbage(names[rank], number, None, None) for number, rank in enumerate(sorted(ranks))]
    cut = list(batches(due_now, size))
    assert [one for batch in cut for one in batch] == due_now
    assert all(len({one.key for one in batch}) == 1 and len(batch) <= size for batch in cut)
