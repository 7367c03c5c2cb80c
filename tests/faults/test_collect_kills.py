"""A collection is killed anywhere: nothing that is needed goes, no reference is left hanging, its record is true, the next goes on."""

from __future__ import annotations

import os
import signal
from dataclasses import replace
from pathlib import Path

import pytest

from pipeline.errors import AccessDenied
from pipeline.release import Release
from pipeline.steps import sweep as sweep_module
from pipeline.steps.sweep import STEPS
from tests.collect_world import Garden
from tests.publish_world import Killed, Mortal, directory_shelf

OLD = ("bert-v1.0.0", "bert-v1.1.0")
NEW = "gpt-v1.1.0"


@pytest.fixture(scope="module")
def ripe(tmp_path_factory) -> Garden:
    """Everything that nothing needs may go, metadata too."""
    garden = Garden(tmp_path_factory.mktemp("ripe")).plant()
    garden.collect()
    garden.pass_days(31)
    return garden


def prove(garden: Garden, before: set[str]) -> None:
    """What is gone was to go, and says so; what is needed is whole; whoever comes next goes on."""
    gone = before - garden.tree()
    records = garden.records()
    assert gone <= {key for record in records for key in (*record["due"], *record["deleted"])}
    assert not {key for record in records for key in record["deleted"]} & garden.tree()
    assert garden.dangling() == set()
    garden.whole(*OLD)
    # Its lease looks stale by now.
    garden.pass_days(0.1)
    garden.publish(NEW, garden.source("gpt", 0))
    garden.whole(*OLD, NEW)
    garden.collect()
    garden.pass_days(40)
    garden.collect()
    assert garden.collect(apply=False).garbage == []
    assert garden.dangling() == set()
    garden.whole(*OLD, NEW)
    garden.reader().check(*map(Release.parse, (*OLD, NEW)))


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("nth", [1, 3])
def test_collection_killed_at_a_named_step_is_finished_by_the_next(ripe, tmp_path, step, nth, monkeypatch):
    monkeypatch.setattr(sweep_module, "BATCH", 2)
    garden = ripe.copy(tmp_path)
    mortal = Mortal(garden.store)
    before, left = garden.tree(), [nth if step in {"gc.again", "gc.batch", "gc.delete"} else 1]

    def at(name) -> None:
        if name == step:
            left[0] -= 1
            if left[0] == 0:
                mortal._end()

    with pytest.raises(Killed):
        garden.collect(place=garden.place(store=mortal, step=at))
    prove(garden, before)


@pytest.mark.parametrize("when", ["before", "after"])
def test_collection_killed_at_any_store_call_is_finished_by_the_next(ripe, tmp_path, when):
    counted = ripe.copy(tmp_path / "count")
    mortal = Mortal(counted.store)
    assert counted.collect(place=counted.place(store=mortal)).deleted
    total = len(mortal.calls)
    assert total > 40
    for nth in range(1, total + 1):
        garden = ripe.copy(tmp_path / f"{nth}")
        before = garden.tree()
        with pytest.raises(Killed):
            garden.collect(place=garden.place(store=Mortal(garden.store, nth, when)))
        prove(garden, before)


def age(folder: Path, days: float) -> None:
    """Let everything in a directory store be older."""
    for path in folder.rglob("*"):
        if path.is_file() and ".tmp" not in path.parts:
            at = path.stat().st_mtime_ns - int(days * 86400e9)
            os.utime(path, ns=(at, at))


@pytest.mark.parametrize("step", STEPS)
def test_collection_that_is_really_killed_is_finished_by_the_next(children, tmp_path, step):
    garden = Garden(tmp_path, directory_shelf(tmp_path / "store")).plant()
    garden.collect()
    age(tmp_path / "store", 31)
    before = garden.tree()
    child = children.start("collect", garden.machine, at={"step": step, "signal": "SIGKILL"})
    assert child.wait() == -signal.SIGKILL, f"{step} never came: {child.answer()}"
    assert garden.dangling() == set()
    garden.whole(*OLD)
    # Nobody waits for the lease of a process that is known to be dead.
    garden.publish(NEW, garden.source("gpt", 0))
    garden.whole(*OLD, NEW)
    garden.collect()
    age(tmp_path / "store", 31)
    done = garden.collect()
    assert done.deleted == len(done.garbage)
    assert before - garden.tree()
    assert garden.dangling() == set()
    assert garden.site.leases() == []
    garden.whole(*OLD, NEW)


def test_folder_that_may_not_be_written_ends_it_with_one_line(children, open_path):
    """Another user, who may read the tree and write leases and records, and nothing else."""
    nobody = 65534
    store = open_path / "store"
    garden = Garden(open_path, directory_shelf(store)).plant()
    garden.collect()
    age(store, 31)
    before = garden.tree()
    for folder in (store / ".tmp", store / "control", garden.machine.home):
        for path in (folder, *folder.rglob("*")):
            os.chown(path, nobody, nobody)
    child = children.start("collect", replace(garden.machine, keys=""), uid=nobody)
    assert child.wait() == AccessDenied.exit_code, child.answer()
    said = child.answer()
    assert "cannot be deleted" in said["error"]
    assert "\n" not in said["error"]
    assert "right to delete" in said["hint"]
    assert garden.tree() == before
    assert [record["deleted"] for record in garden.records()] == [[], []]
    assert garden.site.leases() == []
