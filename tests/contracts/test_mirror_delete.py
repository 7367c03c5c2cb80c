"""What a mirror keeps of that which its source no longer has, and when it deletes the rest."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from pipeline.digest import sha256_of
from pipeline.layout import AUDIT, PARTS
from pipeline.release import Release
from pipeline.steps.lease import Lease, new_record
from pipeline.stores.memory import MemoryStore
from tests.mirror_world import begin_tree, client_of, contents, current, mirrored, one_release_later


@pytest.fixture(scope="module")
def first(tmp_path_factory):
    """A tree with two models, and the machine that publishes to it."""
    return begin_tree(tmp_path_factory.mktemp("first"))


@pytest.fixture(scope="module")
def second(first, tmp_path_factory):
    return one_release_later(first[0], tmp_path_factory.mktemp("second"))


@pytest.fixture
def source(first):
    return first[0]


@pytest.fixture
def aged(first, second):
    """A copy of two snapshots, in a store whose clock the test sets: the first ones' metadata is garbage."""
    target = MemoryStore()
    clock = [datetime.now(UTC)]
    target._now = lambda: clock[0]
    mirrored(first[0], target)
    mirrored(second, target)
    return target, clock


def kept(target):
    return {key for key in contents(target) if not key.startswith("control/")}


def test_delete_alone_only_shows(second, aged):
    target, _ = aged
    before = contents(target, control=True)
    done = mirrored(second, target, delete=True)
    assert done.garbage
    assert not any(one.deleted or one.due_at for one in done.garbage)
    assert contents(target, control=True) == before
    assert {one.key for one in done.garbage} == kept(target) - current(second.store).keys()


def test_apply_records_first_and_deletes_after_the_grace(second, aged, tmp_path):
    target, clock = aged
    done = mirrored(second, target, delete=True, apply=True)
    assert done.garbage
    assert not any(one.deleted for one in done.garbage)
    assert list(target.list(AUDIT))
    clock[0] += timedelta(days=29)
    # Of these snapshots only metadata and a channel are left over, and metadata waits for 30 days.
    young = mirrored(second, target, delete=True, apply=True)
    assert {one.key.partition("/")[0] for one in young.garbage if one.deleted} <= {"targets"}
    clock[0] += timedelta(days=2)
    gone = mirrored(second, target, delete=True, apply=True)
    assert gone.garbage
    assert all(one.deleted for one in gone.garbage)
    assert kept(target) == current(second.store).keys()
    client_of(second, target, tmp_path).check(Release.parse("bert-v1.0.0"), Release.parse("bert-v2.0.0"))


def test_what_was_reachable_in_between_waits_anew(source, second, aged):
    target, clock = aged
    stray = f"{PARTS}ab/{'ab' * 32}"
    target.put(stray, b"x", sha256=sha256_of(b"x"))
    mirrored(second, target, delete=True, apply=True)
    clock[0] += timedelta(days=6)
    target.delete(stray)
    mirrored(second, target, delete=True, apply=True)
    target.put(stray, b"x", sha256=sha256_of(b"x"))
    clock[0] += timedelta(days=2)
    mirrored(second, target, delete=True, apply=True)
    assert stray in contents(target)
    clock[0] += timedelta(days=8)
    mirrored(second, target, delete=True, apply=True)
    assert stray not in contents(target)


def test_live_lease_of_a_publisher_stops_the_deleting(second, aged):
    target, clock = aged
    mirrored(second, target, delete=True, apply=True)
    clock[0] += timedelta(days=31)
    lease = Lease(target, new_record("bert-v3.0.0"), lambda _: None)
    lease.take()
    done = mirrored(second, target, delete=True, apply=True)
    assert done.garbage
    assert not any(one.deleted for one in done.garbage)
    assert any("bert-v3.0.0" in warning for warning in done.warnings)
    lease.drop()
    assert all(one.deleted for one in mirrored(second, target, delete=True, apply=True).garbage)


def test_partial_copy_keeps_what_it_was_once_given(second, aged):
    """What is not chosen now is no garbage: the source still has it."""
    target, _ = aged
    done = mirrored(second, target, "gpt", delete=True)
    assert not [one for one in done.garbage if one.key.startswith(PARTS)]
