"""Pins and collections at the desk: what a person types, reads and gets."""

from __future__ import annotations

import os

import pytest

from pipeline.release import Release
from pipeline.stores.directory import DirectoryStore
from tests.desk import Desk
from tests.publish_world import lay_out
from tests.trust_world import Client


@pytest.fixture(scope="module")
def prepared(tmp_path_factory) -> Desk:
    folder = tmp_path_factory.mktemp("prepared")
    desk = Desk(folder / "desk", folder / "home")
    for number in (0, 1):
        lay_out(desk.folder / "models" / f"bert-v1.{number}.0", other=number, tensor_bytes=4 << 10)
        assert desk.run("publish", "--model", f"bert-v1.{number}.0", "--profile", "raw", "--channel", "stable").code == 0
    desk.keep()
    return desk


@pytest.fixture
def desk(prepared) -> Desk:
    prepared.restore()
    return prepared


def store(desk):
    return desk.folder / ".modelport" / "store"


def pass_days(desk, days):
    """The store is a folder: its times are those of its files."""
    for path in store(desk).rglob("*"):
        if path.is_file() and ".tmp" not in path.parts:
            at = path.stat().st_mtime_ns - int(days * 86400e9)
            os.utime(path, ns=(at, at))


def objects(desk):
    return {str(path.relative_to(store(desk))) for path in store(desk).rglob("*") if path.is_file() and ".tmp" not in path.parts}


def test_retired_release_is_shown_recorded_and_removed(desk, tmp_path):
    tree = DirectoryStore(store(desk))
    reader = Client(tree, tmp_path / "client", b"".join(tree.get("metadata/1.root.json")))
    reader.refresh()
    assert desk.run("retire", "--model", "bert-v1.0.0", "--reason", "old").result["changed"]
    before = objects(desk)
    shown = desk.run("gc").result
    assert objects(desk) == before
    assert [(one["release"], one["why"]) for one in shown["kept"]] == [("bert-v1.1.0", ["channel stable"])]
    assert shown["bytes"] == sum(one["size"] for one in shown["garbage"]) > 0
    dry = Desk(desk.folder, desk.home).start("--dry", "gc", "--apply", "--report", "json")
    assert dry.communicate(timeout=60)[0]
    assert dry.returncode == 0
    assert objects(desk) == before
    first = desk.run("gc", "--apply").result
    assert (first["applied"], first["deleted"], first["next_due_at"] != "") == (True, 0, True)
    pass_days(desk, 31)
    words = desk.run("gc", report="plain").out
    assert f"next: modelport gc --apply removes {len(shown['garbage'])} objects" in words
    assert "channel stable" in words
    done = desk.run("gc", "--apply").result
    assert done["deleted"] == len(shown["garbage"])
    assert {one["key"] for one in shown["garbage"]} & objects(desk) == set()
    reader.check(Release.parse("bert-v1.1.0"))
    assert desk.run("verify", "--model", "bert-v1.1.0", "--all").result["read"]
    assert "retired" in desk.run("publish", "--model", "bert-v1.0.0").refused(8)
    assert not list((store(desk) / "control" / "leases").iterdir())


def test_pin_keeps_a_release_and_undo_lets_it_go(desk):
    done = desk.run("keep", "--model", "bert-v1.0.0", "--reason", "site A", "--until", "1y").result
    assert (done["changed"], done["releases"], done["reason"]) == (True, ["bert-v1.0.0"], "site A")
    refused = desk.run("retire", "--model", "bert-v1.0.0").refused(8)
    assert "site A" in refused
    assert done["until"] in refused
    why = {one["release"]: one["why"] for one in desk.run("gc").result["kept"]}
    assert why["bert-v1.0.0"] == [f"pinned until {done['until']}: site A"]
    assert desk.run("keep", "--model", "bert-v1.0.0", "--undo").result["changed"]
    assert desk.run("retire", "--model", "bert-v1.0.0").result["changed"]


@pytest.mark.parametrize(
    "words, said",
    [
        (["keep", "--model", "bert-v1.0.0", "--reason", "x", "--until", "soon"], "--until"),
        (["keep", "--model", "bert-v1.0.0", "--reason", "x", "--until", "2020-01-01"], "past"),
        (["keep", "--model", "bert-v1.0.0"], "--reason"),
        (["keep", "--reason", "x"], "--model"),
        (["keep", "--model", "bert-v1.0.0", "--undo", "--until", "1y"], "--undo"),
        (["keep", "--model", "bert-v1.0.1", "--reason", "x"], "bert-v1.0.0"),
        (["gc", "--grace", "3h"], "under a day"),
        (["gc", "--metadata-grace", "often"], "--metadata-grace"),
    ],
)
def test_what_cannot_be_is_refused_and_nothing_is_changed(desk, words, said):
    before = objects(desk)
    assert said in desk.run(*words).refused(2)
    assert objects(desk) == before
