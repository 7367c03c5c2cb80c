"""A publisher behind an edge is killed at every named step, and run again: users never see a mixture or a cold release."""

import pytest

from pipeline import promote, publish
from pipeline.layout import TIMESTAMP
from pipeline.steps import driving
from pipeline.trust import commit
from tests.edge_world import front_memory, version
from tests.publish_world import Killed, check_reader, die, steps_until

OLD, NEW = str(version(0)), str(version(1))
COMMIT = tuple(step for step in commit.STEPS if step != "commit.complete")
PUBLISH = (*publish.STEPS, *COMMIT, *driving.STEPS)
# A refresh is driven by the same steps; a move prefetches nothing.
MOVE = (*promote.STEPS, *COMMIT, *driving.STEPS)


@pytest.fixture
def fronted(tmp_path):
    fronted = front_memory(tmp_path)
    fronted.publish(0)
    return fronted


def look(fronted, expected=(OLD, NEW)):
    """What users see: one of two releases, and if it is the new one, all of it is at the edge."""
    check_reader(fronted.site)
    seen = fronted.seen()
    assert seen in expected
    if seen == NEW:
        cold = [key for key in fronted.site.parts() if fronted.edges[0].kept.get(key) is None]
        assert cold == []
    return seen


def finish(fronted):
    fronted.site.bury()
    done = fronted.publish(1, name="another")
    assert done.complete
    assert look(fronted) == NEW
    assert fronted.site.announced() == fronted.site.highest()
    assert fronted.site.leases() == []
    assert fronted.edges[0].kept[TIMESTAMP] == b"".join(fronted.site.store.get(TIMESTAMP))
    assert fronted.history() == [("", OLD, False), (OLD, NEW, False)]


def sent(fronted):
    return [url for kept in fronted.cdns[0].kept.values() if kept.task.op == "prefetch" for url in kept.task.urls]


@pytest.mark.parametrize("step", PUBLISH)
def test_publish_killed_at_a_step_shows_one_release_and_is_finished_by_another_machine(fronted, step):
    with pytest.raises(Killed):
        fronted.publish(1, step=steps_until(step, 1, die))
    look(fronted)
    finish(fronted)
    # Nothing was spent twice: what the first run had sent, the second one knew of or found.
    assert len(sent(fronted)) == len(set(sent(fronted)))


# The first ones are those of the prefetch, whose job is written down and then claimed.
@pytest.mark.parametrize("step, nth", [("cdn.order", 3), ("cdn.send", 2), ("cdn.call", 2), ("cdn.answer", 2)])
def test_publish_killed_while_it_refreshes_the_timestamp_is_finished_by_the_next(fronted, step, nth):
    with pytest.raises(Killed):
        fronted.publish(1, step=steps_until(step, nth, die))
    assert fronted.site.channel("bert").release == NEW
    look(fronted)
    finish(fronted)


@pytest.mark.parametrize("step", MOVE)
def test_rollback_killed_at_a_step_shows_one_release_and_is_finished_by_the_next(fronted, step):
    fronted.publish(1)
    with pytest.raises(Killed):
        fronted.rollback(step=steps_until(step, 1, die))
    look(fronted)
    fronted.site.bury()
    moved = fronted.rollback(name="another", to=version(0))
    assert moved.complete
    assert look(fronted) == OLD
    assert fronted.history() == [("", OLD, False), (OLD, NEW, False), (NEW, OLD, False)]
    assert fronted.site.leases() == []


@pytest.mark.parametrize("step", MOVE)
def test_promotion_killed_at_a_step_shows_one_release_and_is_finished_by_the_next(fronted, step):
    fronted.publish(1, channel=None)
    with pytest.raises(Killed):
        fronted.promote(1, step=steps_until(step, 1, die))
    look(fronted)
    fronted.site.bury()
    assert fronted.promote(1, name="another").complete
    assert look(fronted) == NEW
    assert fronted.history() == [("", OLD, False), (OLD, NEW, False)]
    assert fronted.site.leases() == []
