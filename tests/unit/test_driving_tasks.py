"""The driver's tasks before a CDN in memory: those that fail, vanish or never end, and answers that were lost."""

from collections import Counter

import pytest

from pipeline.errors import (
    CallUnanswered,
)
from pipeline.plan.calls import url_of
from pipeline.plan.ledger import KeyState
from pipeline.ports import TaskState, TaskStatus
from pipeline.steps.prefetch import refresh_keys
from tests.makers.driving import BASE, FaultyCdn, World, keys, resume, warm


def test_failed_task_is_sent_once_more_then_told_by_url():
    world = World()
    bad = keys(100)[5]
    world.cdns[0].failing = {url_of(BASE, bad): "Origin Return StatusCode 502"}
    driven = warm(world, 100)
    (share,) = driven.shares
    assert share.done == 99
    assert dict(share.failed) == {bad: "Origin Return StatusCode 502"}
    assert world.sent()[url_of(BASE, bad)] == 2
    assert not world.job().finished
    world.cdns[0].failing = {}
    assert resume(world).complete
    assert world.sent()[url_of(BASE, keys(1)[0])] == 1


def test_second_try_of_a_failed_url_has_a_name_of_its_own():
    world = World()
    world.cdns[0].failing = {url_of(BASE, keys(1)[0]): "502"}
    warm(world, 1)
    assert len({kept.key for kept in world.cdns[0].kept.values()}) == 2


def test_task_that_vanished_is_sent_again():
    world = World()
    inner = world.cdn(knows_keys=False)

    class Forgetful(FaultyCdn):
        def poll(self, tasks):
            self.made["poll"] += 1
            return {task.id: TaskStatus(TaskState.UNKNOWN) if task.id == "m1" else s for task, s in self._known(tasks)}

        def _known(self, tasks):
            found = self.inner.poll(tasks)
            return [(task, found[task.id]) for task in tasks]

    world.cdns = [Forgetful(inner)]
    assert warm(world, 100).complete
    assert len(inner.kept) == 2


def test_task_that_is_not_known_yet_is_given_time():
    world = World()
    world.cdns = [FaultyCdn(world.cdn())]
    early = iter([True, True])

    class Late(FaultyCdn):
        def poll(self, tasks):
            return {} if next(early, False) else self.inner.poll(tasks)

    world.cdns = [Late(world.cdn())]
    assert warm(world, 10).complete
    assert len(world.cdns[0].kept) == 1


def test_task_that_never_ends_is_left_at_the_deadline():
    world = World()
    world.cdns = [world.cdn(polls=10**9)]
    driven = warm(world, 100)
    (share,) = driven.shares
    assert len(share.running) == 100
    assert not driven.complete
    assert world.clock.elapsed == pytest.approx(2700, abs=1)
    assert world.warnings("tasks-not-ended")
    assert len(world.clock.slept) < 60
    world.cdns[0].kept["m1"].polls = 1
    assert resume(world).complete
    assert len(world.cdns[0].kept) == 1


def test_polls_come_ever_less_often():
    world = World()
    world.cdns = [world.cdn(polls=12)]
    warm(world, 10)
    polls = [wait for wait in world.clock.slept if wait >= 1]
    assert polls[:3] == [1.0, 1.5, 2.25]
    assert max(world.clock.slept) == 60.0


def test_cdn_that_tells_no_more_than_accepted_is_done():
    world = World()
    world.cdns = [FaultyCdn(world.cdn(can_poll=False))]
    assert warm(world, 100).complete
    assert world.cdns[0].made["poll"] == 0


@pytest.mark.parametrize("knows_keys", [True, False])
def test_lost_answer_is_looked_for_before_anything_is_sent_again(knows_keys):
    world = World()
    world.cdns = [FaultyCdn(world.cdn(knows_keys=knows_keys), {("submit", 2): "lost"})]
    assert warm(world, 250).complete
    assert world.cdns[0].made["submit"] == 3
    assert world.cdns[0].made["find"] == 1
    assert set(world.sent().values()) == {1}


def test_call_that_was_never_carried_out_is_sent_again_under_the_same_name():
    world = World()
    world.cdns = [FaultyCdn(world.cdn(), {("submit", 1): CallUnanswered("gone"), ("submit", 2): CallUnanswered("gone")})]
    assert warm(world, 100).complete
    assert world.cdns[0].made == Counter(quota=1, submit=3, find=2, poll=1)
    assert set(world.sent().values()) == {1}


def test_lost_answer_of_a_cdn_that_cannot_be_asked_is_sent_again():
    world = World()

    class Mute(FaultyCdn):
        def find(self, op, urls, *, since):
            return None

    world.cdns = [Mute(world.cdn(), {("submit", 1): "lost"})]
    assert warm(world, 100).complete
    assert world.cdns[0].made["submit"] == 2
    # The name of the request is the same, so that this CDN did it once.
    assert set(world.sent().values()) == {1}


def test_answer_that_stays_lost_is_left_in_doubt_and_asked_about_the_next_day():
    world = World()
    world.cdns = [FaultyCdn(world.cdn(), {("submit", 0): CallUnanswered("gone")})]
    with pytest.raises(CallUnanswered):
        warm(world, 100)
    assert world.cdns[0].made["submit"] == 6
    assert len(world.job().lanes[BASE].keys_in(KeyState.SENDING)) == 100
    world.cdns[0].plan.clear()
    assert resume(world).complete
    assert set(world.sent().values()) == {1}


def test_task_of_an_earlier_refresh_is_not_taken_for_this_one():
    world = World()
    cdn = world.cdns[0] = FaultyCdn(world.cdn(knows_keys=False))
    refresh_keys([cdn], ["metadata/timestamp.json"], world.dispatch())
    cdn.plan = {("submit", 2): CallUnanswered("gone")}
    assert refresh_keys([cdn], ["metadata/timestamp.json"], world.dispatch()).complete
    assert cdn.made["submit"] == 3
    assert len(cdn.kept) == 2


def test_part_of_a_lost_call_that_was_taken_is_not_sent_again():
    world = World()

    class Halving(FaultyCdn):
        def submit(self, op, urls, *, key):
            self.made["submit"] += 1
            if self.made["submit"] == 1:
                self.inner.submit(op, urls[:30], key="first")
                raise CallUnanswered("gone")
            return self.inner.submit(op, urls, key=key)

    world.cdns = [Halving(world.cdn())]
    assert warm(world, 100).complete
    assert set(world.sent().values()) == {1}
    assert [len(kept.task.urls) for kept in world.cdns[0].kept.values()] == [30, 70]
