"""Publishers, promotions and rollbacks that race behind edges: one history, and users at every edge see its end."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from pipeline.errors import AnotherPublisher, ChannelMoved, UsageError
from tests.edge_world import front_memory, sources_in, version
from tests.publish_world import check_reader

# What may honestly be said to the loser of a race.
LOST = (ChannelMoved, AnotherPublisher)


def together(*acts):
    """Run all at once; each gives its answer or the error that it lost with."""
    gate = threading.Barrier(len(acts))

    def run(act):
        gate.wait(30)
        try:
            return act()
        except (*LOST, UsageError) as error:
            return error

    with ThreadPoolExecutor(len(acts)) as pool:
        return [future.result(120) for future in [pool.submit(run, act) for act in acts]]


def check(fronted):
    """The history is a chain, and every edge shows where it ends."""
    check_reader(fronted.site)
    history = fronted.history()
    assert [origin for origin, _, _ in history] == ["", *(to for _, to, _ in history[:-1])]
    for number in range(len(fronted.edges)):
        assert fronted.seen(number) == history[-1][1]
        cold = [key for key in fronted.site.parts() if fronted.edges[number].kept.get(key) is None]
        assert cold == []
    assert fronted.site.announced() == fronted.site.highest()
    assert fronted.site.leases() == []


@pytest.mark.parametrize("turn", range(4))
def test_publishers_of_different_releases_race_for_one_channel(tmp_path, turn):
    fronted = front_memory(tmp_path, edges=2)
    fronted.sources = sources_in(tmp_path / "more", 5)
    fronted.publish(0)
    done = together(*(lambda number=number: fronted.publish(number, name=f"machine{number}") for number in range(1, 5)))
    assert [error for error in done if isinstance(error, UsageError)] == []
    assert any(not isinstance(found, Exception) for found in done)
    assert fronted.site.releases() == [str(version(number)) for number in range(5)]
    check(fronted)


@pytest.mark.parametrize("turn", range(4))
def test_promotions_and_rollbacks_race(tmp_path, turn):
    fronted = front_memory(tmp_path, edges=2)
    fronted.publish(0)
    for number in (1, 2):
        fronted.publish(number, channel=None)
    fronted.promote(1)
    done = together(
        lambda: fronted.promote(2, name="one"),
        lambda: fronted.rollback(name="two"),
        lambda: fronted.promote(1, name="three"),
        lambda: fronted.rollback(name="four"),
    )
    assert any(not isinstance(found, Exception) for found in done)
    check(fronted)


def test_same_release_is_published_by_two_machines_at_once(tmp_path):
    fronted = front_memory(tmp_path)
    fronted.publish(0)
    done = together(lambda: fronted.publish(1, name="one"), lambda: fronted.publish(1, name="two"))
    assert any(not isinstance(found, Exception) for found in done)
    assert fronted.site.releases() == [str(version(0)), str(version(1))]
    check(fronted)
