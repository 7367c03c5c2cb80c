"""A publish is killed anywhere, and run again, here or elsewhere: one manifest, no byte twice, no reader ever refuses."""

import os
from contextlib import suppress

import pytest

from pipeline.layout import PARTS
from pipeline.release import Release
from pipeline.publish import STEPS
from pipeline.trust import commit, setup
from tests.publish_world import STABLE, Killed, Mortal, check_reader, lay_out

ALL_STEPS = (*setup.STEPS, *STEPS, *commit.STEPS)
# commit.complete comes only where another run left a snapshot that nobody announced.
AFTER_A_KILL = {"commit.complete"}


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    """Two releases of one model, the second with one tensor changed; the same bytes for every test."""
    folder = tmp_path_factory.mktemp("sources")
    return lay_out(folder / "one"), lay_out(folder / "two", other=1)


def undisturbed(make_site, sources, kind="directory"):
    """What a publish that nobody disturbs makes: manifests and parts."""
    site = make_site(kind)
    machine = site.machine("calm")
    first = machine.publish("bert-v1.0.0", sources[0], profile="raw", channel=STABLE)
    second = machine.publish("bert-v1.1.0", sources[1], profile="raw", channel=STABLE)
    return site, first, second


def check_end(site, wanted, reader, *releases):
    """All releases stand as in the undisturbed site, nothing is left over, readers see the newest."""
    assert site.releases() == sorted(releases)
    assert site.announced() == site.highest()
    assert site.parts() == wanted
    assert site.leases() == []
    (reader or site.reader()).check(*(Release.parse(name) for name in releases))


class Witness:
    """A step hook that lets a polling reader look at every step of a walk."""

    def __init__(self, site, step=lambda _: None) -> None:
        self.site, self.step, self.reader, self.names = site, step, None, []

    def __call__(self, name):
        self.names.append(name)
        self.reader = check_reader(self.site, self.reader)
        self.step(name)


# --- every store call, in this process ----------------------------------------------------------


def count_calls(make_site, sources, first):
    site = make_site("directory")
    machine = site.machine()
    if not first:
        machine.publish("bert-v1.0.0", sources[0], profile="raw", channel=STABLE)
    mortal = Mortal(site.store)
    name, source = ("bert-v1.0.0", sources[0]) if first else ("bert-v1.1.0", sources[1])
    machine.publish(name, source, profile="raw", channel=STABLE, place=machine.place(store=mortal))
    return len(mortal.calls)


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("first", [True, False], ids=["first", "second"])
def test_publish_killed_at_every_store_call_is_finished_by_the_next_run(make_site, sources, first, when):
    calm, one, two = undisturbed(make_site, sources)
    calls = count_calls(make_site, sources, first)
    assert calls > 30
    died = 0
    for nth in range(1, calls + 5):
        site = make_site("directory")
        machine = site.machine()
        if not first:
            machine.publish("bert-v1.0.0", sources[0], profile="raw", channel=STABLE)
        reader = check_reader(site)
        name, source, wanted = ("bert-v1.0.0", sources[0], one) if first else ("bert-v1.1.0", sources[1], two)
        mortal = Mortal(site.store, nth, when)
        try:
            machine.publish(name, source, profile="raw", channel=STABLE, place=machine.place(store=mortal))
        except Killed:
            died += 1
        reader = check_reader(site, reader)
        site.bury()
        there = set(site.parts())
        counting = Mortal(site.store)
        done = machine.publish(name, source, profile="raw", channel=STABLE, place=machine.place(store=counting))
        assert done.manifest == wanted.manifest, f"killed {when} call {nth} ({mortal.calls[-1]})"
        puts = [key for key in site.parts() if key not in there]
        assert done.bytes_uploaded < sum(site.parts()[key] for key in puts) + 40_000
        releases = ["bert-v1.0.0"] if first else ["bert-v1.0.0", "bert-v1.1.0"]
        check_end(site, one_parts(calm, first, sources, make_site) if first else calm.parts(), reader, *releases)
    assert died >= calls - 3


_ONE = {}


def one_parts(calm, first, sources, make_site):
    if "parts" not in _ONE:
        site = make_site("directory")
        site.machine().publish("bert-v1.0.0", sources[0], profile="raw", channel=STABLE)
        _ONE["parts"] = site.parts()
    return _ONE["parts"]
