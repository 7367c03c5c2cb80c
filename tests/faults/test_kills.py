"""A publish is killed anywhere, and run again, here or elsewhere: one manifest, no byte twice, no reader ever refuses."""

import os
import random
import signal
from pathlib import Path

import pytest

from pipeline.layout import PARTS, TIMESTAMP
from pipeline.publish import STEPS
from pipeline.release import Release
from pipeline.trust import commit, setup
from tests.publish_calm import finish
from tests.publish_world import STABLE, Killed, Mortal, Site, check_reader, directory_shelf

FLAGS = {"profile": "raw", "channel": "stable"}
# A first publish into one's own directory comes by all of these; into a store with named keys by all but init's.
WALK = (*setup.STEPS, *STEPS, *(step for step in commit.STEPS if step != "commit.complete"))
CALLS_AT_LEAST = 40


# --- every store call, in this process ----------------------------------------------------------


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("number", [0, 1], ids=["first", "second"])
def test_publish_killed_at_every_store_call_is_finished_by_the_next_run(calm, tmp_path, number, when):
    assert calm.calls[number] > CALLS_AT_LEAST
    died = 0
    for nth in range(1, calm.calls[number] + 4):
        site = calm.site_before(number, tmp_path / f"{nth}")
        machine = site.machine("machine")
        reader = check_reader(site)
        mortal = Mortal(site.store, nth, when)
        try:
            place = machine.place(store=mortal)
            machine.publish(calm.release(number), calm.sources[number], profile="raw", channel=STABLE, place=place)
        except Killed:
            died += 1
        reader = check_reader(site, reader)
        site.bury()
        finish(calm, site, number, machine, reader, told=f"killed {when} call {nth}, {mortal.calls[-1]}")
    # The order of calls varies a little: parts and proofs go on several threads at once.
    assert died >= calm.calls[number] - 2


# --- every named step, with a real SIGKILL --------------------------------------------------------


def kill_at(children, machine, calm, number, step, nth=1):
    at = {"step": step, "nth": nth, "signal": "SIGKILL"}
    return children.start(
        "publish", machine, release=calm.release(number), source=calm.sources[number], flags=FLAGS, at=at
    ).wait()


@pytest.mark.parametrize("step", WALK)
def test_kill_at_a_named_step_of_a_first_publish_is_finished_by_the_next_run(calm, children, tmp_path, step):
    site = calm.site_before(0, tmp_path / "site")
    machine = site.machine("machine")
    assert kill_at(children, machine, calm, 0, step) == -signal.SIGKILL, f"{step} never came"
    finish(calm, site, 0, machine, check_reader(site))


@pytest.mark.parametrize("step", [step for step in WALK if step not in setup.STEPS])
def test_kill_at_a_named_step_of_a_later_publish_is_finished_by_the_next_run(calm, children, tmp_path, step):
    site = calm.site_before(1, tmp_path / "site")
    machine = site.machine("machine")
    reader = check_reader(site)
    assert kill_at(children, machine, calm, 1, step) == -signal.SIGKILL, f"{step} never came"
    finish(calm, site, 1, machine, check_reader(site, reader))


def test_kill_while_completing_what_another_left_is_finished_by_the_next_run(calm, children, tmp_path):
    site = calm.site_before(1, tmp_path / "site")
    machine = site.machine("machine")
    reader = check_reader(site)
    assert kill_at(children, machine, calm, 1, "commit.names") == -signal.SIGKILL
    assert kill_at(children, machine, calm, 1, "commit.complete") == -signal.SIGKILL
    finish(calm, site, 1, machine, check_reader(site, reader))


def test_every_named_step_is_killed_once():
    assert {*WALK, "commit.complete"} == {*setup.STEPS, *STEPS, *commit.STEPS}


def test_kill_at_every_part_leaves_those_before_it(calm, children, tmp_path):
    site = calm.site_before(0, tmp_path / "site")
    machine = site.machine("machine")
    for nth in range(1, len(calm.parts[0]) + 1):
        assert kill_at(children, machine, calm, 0, "publish.part", nth) == -signal.SIGKILL
        assert len(site.parts()) >= nth
    finish(calm, site, 0, machine, None)


# --- another machine --------------------------------------------------------------------------


@pytest.mark.parametrize("ahead_s", [-600, 600], ids=["clock behind", "clock ahead"])
@pytest.mark.parametrize("step", ["publish.part", "publish.manifest", "commit.roles", "commit.names", "publish.committed"])
def test_run_killed_here_is_finished_on_another_machine(calm, children, tmp_path, step, ahead_s):
    site = Site(tmp_path, directory_shelf(tmp_path / "store"))
    first = site.begin()
    assert kill_at(children, first, calm, 0, step) == -signal.SIGKILL
    reader = check_reader(site)
    # Nobody here can see that the process there is gone: its lease counts as live.
    other = site.machine("other", ahead_s=ahead_s)
    there = site.parts()
    done = other.publish(calm.release(0), calm.sources[0], profile="raw", channel=STABLE)
    assert done.manifest == calm.manifests[0]
    assert site.parts() == calm.parts[0]
    assert done.bytes_uploaded < sum(calm.parts[0].values()) - sum(there.values()) + 60_000
    reader.check(Release.parse(calm.release(0)))
    assert site.announced() == site.highest()
    first.publish(calm.release(0), calm.sources[0], profile="raw", channel=STABLE)
    assert site.leases() == []


@pytest.mark.parametrize("step", [step for step in WALK if step not in setup.STEPS])
def test_kill_at_a_named_step_on_seaweedfs_is_finished_on_another_machine(calm, children, make_site, step):
    site = make_site("seaweedfs")
    first, other = site.machine(), site.machine()
    assert kill_at(children, first, calm, 0, step) == -signal.SIGKILL, f"{step} never came"
    finish(calm, site, 0, other, check_reader(site))


# --- anywhere -----------------------------------------------------------------------------------


def test_kill_at_a_random_moment_thirty_times_ends_as_an_undisturbed_run(calm, children, tmp_path):
    seed = int.from_bytes(os.urandom(4))
    chance = random.Random(seed)
    for turn in range(30):
        site = calm.site_before(1, tmp_path / f"{turn}")
        machine = site.machine("machine")
        reader = check_reader(site)
        # Killed by itself at a call that nobody knows beforehand, while other threads are in the middle of theirs.
        at = {"call": chance.randrange(1, calm.calls[1]), "when": chance.choice(["before", "after"]), "signal": "SIGKILL"}
        child = children.start(
            "publish", machine, release=calm.release(1), source=calm.sources[1], flags=FLAGS | {"rehash": True}, at=at
        )
        assert child.wait() == -signal.SIGKILL
        finish(calm, site, 1, machine, check_reader(site, reader), told=f"seed {seed}, turn {turn}: {at}")


def test_what_a_kill_leaves_is_never_under_a_final_name(calm, children, tmp_path):
    site = calm.site_before(0, tmp_path / "site")
    machine = site.machine("machine")
    for nth in range(1, calm.calls[0], 3):
        at = {"call": nth, "when": "after", "signal": "SIGKILL"}
        children.start("publish", machine, release=calm.release(0), source=calm.sources[0], flags=FLAGS, at=at).wait()
        assert {key: size for key, size in site.parts().items() if calm.parts[0].get(key) != size} == {}
    finish(calm, site, 0, machine, None)
    left = [path.name for path in (Path(site.shelf.where) / ".tmp").iterdir()]
    assert left == ["lock"]
    assert TIMESTAMP in {info.key for info in site.store.list("metadata/")}
    assert {info.key.split("/")[0] for info in site.store.list("")} == {"metadata", "targets", PARTS.rstrip("/")}
