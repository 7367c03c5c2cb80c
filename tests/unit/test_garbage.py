"""When garbage may go: by records in a row, by its own age, referrers first."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from pipeline.plan.garbage import GRACE, METADATA_GRACE, Mark, find_garbage, in_time, is_collected
from pipeline.ports import ObjectInfo

NOW = datetime(2026, 11, 22, 10, 0, 0, tzinfo=UTC)
PART = f"parts/ab/{'ab' * 32}"
OTHER = f"parts/cd/{'cd' * 32}"
MANIFEST = f"targets/bert/1.0.0/{'12' * 32}.manifest.json"
ROLE = "metadata/1.bert.json"


def info(key: str, age_days: float = 100) -> ObjectInfo:
    return ObjectInfo(key, 5, NOW - timedelta(days=age_days), "e")


def mark(age_days: float, *keys: str) -> Mark:
    return Mark(NOW - timedelta(days=age_days), frozenset(keys))


def due(key: str, *marks: Mark, age_days: float = 100) -> bool:
    (found,) = find_garbage([info(key, age_days)], (), marks)
    return found.is_due(NOW)


@pytest.mark.parametrize(
    "key",
    [
        "metadata/1.root.json",
        "metadata/timestamp.json",
        "control/leases/a.json",
        "control/audit/a.json",
        "web/app/index.html",
        "x",
    ],
)
def test_what_a_collection_never_touches(key):
    assert not is_collected(key)
    assert find_garbage([info(key)], (), [mark(100, key)]) == ()


def test_what_is_live_is_no_garbage():
    assert [one.key for one in find_garbage([info(PART), info(OTHER)], {PART}, [])] == [OTHER]


def test_what_no_run_recorded_has_no_time():
    (found,) = find_garbage([info(PART)], (), [])
    assert (found.since, found.due_at, found.is_due(NOW)) == (None, None, False)


@pytest.mark.parametrize(
    "key, grace", [(PART, GRACE), (MANIFEST, GRACE), (ROLE, METADATA_GRACE), ("metadata/3.snapshot.json", METADATA_GRACE)]
)
def test_grace_counts_from_the_record(key, grace):
    assert due(key, mark(grace.days, key))
    assert not due(key, mark(grace.days - 0.01, key))


def test_grace_counts_from_the_objects_own_age_too():
    assert not due(PART, mark(8, PART), age_days=6)
    assert due(PART, mark(8, PART), age_days=7)


def test_the_oldest_of_the_records_in_a_row_counts():
    assert due(PART, mark(8, PART), mark(3, PART), mark(1, PART))


def test_a_record_without_it_lets_the_time_begin_anew():
    assert not due(PART, mark(30, PART), mark(8), mark(6, PART))
    assert not due(PART, mark(30, PART), mark(8))
    assert due(PART, mark(30, PART), mark(9), mark(7, PART))


def test_records_of_one_second_count_for_what_all_of_them_name():
    early, late = mark(9, PART), mark(8, PART, OTHER)
    same = Mark(late.at, frozenset({PART}), "another")
    assert [one.unreachable for one in in_time([late, same, early])] == [{PART}, {PART}, {PART}]
    assert due(PART, *in_time([late, same, early]))
    assert not due(OTHER, *in_time([late, same, early]))


def test_referrers_go_before_what_they_refer_to():
    keys = [PART, MANIFEST, ROLE, "metadata/4.targets.json", "metadata/9.snapshot.json", OTHER]
    found = find_garbage([info(key) for key in keys], (), [])
    assert [one.key for one in found] == ["metadata/9.snapshot.json", "metadata/4.targets.json", ROLE, MANIFEST, PART, OTHER]
