"""Yank and retire: commits that readers accept, refused while something needs the release."""

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
        lay_out(desk.folder / "models" / f"bert-v1.{number}.0", other=number)
        done = desk.run("publish", "--model", f"bert-v1.{number}.0", "--profile", "raw", "--channel", "stable")
        assert done.code == 0
    desk.keep()
    return desk


@pytest.fixture
def desk(prepared) -> Desk:
    prepared.restore()
    return prepared


@pytest.fixture
def reader(desk, tmp_path):
    store = DirectoryStore(desk.folder / ".modelport" / "store")
    client = Client(store, tmp_path / "client", b"".join(store.get("metadata/1.root.json")))
    client.refresh()
    return client


def released(desk, name):
    return next(found for found in desk.run("show").result["models"][0]["releases"] if found["release"] == name)


def leases(desk):
    folder = desk.folder / ".modelport" / "store" / "control" / "leases"
    return list(folder.iterdir()) if folder.exists() else []


def test_yank_marks_a_release_and_undo_takes_it_back(desk, reader):
    done = desk.run("yank", "--model", "bert-v1.0.0", "--reason", "tokenizer is broken").result
    assert (done["changed"], done["action"]) == (True, "yank")
    assert released(desk, "bert-v1.0.0")["yanked"] == "tokenizer is broken"
    reader.check(Release.parse("bert-v1.0.0"))
    assert desk.run("yank", "--model", "bert-v1.0.0").result["changed"] is False
    refused = desk.run("publish", "--model", "bert-v1.0.0", "--channel", "beta").refused(8)
    assert "yanked" in refused
    assert desk.run("yank", "--model", "bert-v1.0.0", "--undo").result["changed"]
    assert released(desk, "bert-v1.0.0")["yanked"] == ""
    reader.check(Release.parse("bert-v1.0.0"), Release.parse("bert-v1.1.0"))
    assert leases(desk) == []


def test_retire_is_refused_while_a_channel_names_the_release(desk, reader):
    assert "stable" in desk.run("retire", "--model", "bert-v1.1.0").refused(8)
    assert released(desk, "bert-v1.1.0")["retired"] == ""
    assert desk.run("retire", "--model", "bert-v1.0.0", "--reason", "old").result["changed"]
    assert released(desk, "bert-v1.0.0")["retired"] == "old"
    reader.check(Release.parse("bert-v1.1.0"))
    assert leases(desk) == []


def test_retire_is_refused_while_another_release_depends_on_it(desk):
    folder = lay_out(desk.folder / "models" / "app-v1.0.0", seed=9)
    (folder / "model.yaml").write_text("display_name: App\ndependencies:\n  bert: ~1.0.0\n")
    desk.run("publish", "--model", "app-v1.0.0", "--profile", "raw")
    assert "app-v1.0.0" in desk.run("retire", "--model", "bert-v1.0.0").refused(8)


def test_name_of_a_retired_release_stays_taken(desk):
    desk.run("retire", "--model", "bert-v1.0.0")
    assert "retired" in desk.run("publish", "--model", "bert-v1.0.0").refused(8)
    assert "there is no release bert-v1.0.0" in desk.run("verify", "--model", "bert-v1.0.0").refused(2)
    # What it shared with others is still theirs.
    assert desk.run("verify", "--model", "bert-v1.1.0", "--all").result["read"]


def test_store_without_conditional_writes_takes_them_from_its_only_publisher(juicefs, tmp_path):
    desk = Desk(tmp_path / "desk", tmp_path / "home", juicefs.environment)
    lay_out(desk.folder / "models" / "bert-v1.0.0")
    store = ["--store", f"s3://{juicefs.new_bucket()}/tree", "--endpoint", juicefs.endpoint]
    desk.run("trust.init", *store, "--allow-unsafe-store")
    desk.run("publish", "--model", "bert-v1.0.0", *store, "--allow-unsafe-store")
    for task in ("yank", "retire"):
        assert "--allow-unsafe-store" in desk.run(task, "--model", "bert-v1.0.0", *store).refused(2)
        assert desk.run(task, "--model", "bert-v1.0.0", *store, "--allow-unsafe-store").result["changed"]


@pytest.mark.parametrize("task", ["yank", "retire"])
def test_unknown_release_is_refused_with_the_nearest(desk, task):
    assert "bert-v1.1.0" in desk.run(task, "--model", "bert-v1.1.1").refused(2)
    assert "gpt" in desk.run(task, "--model", "gpt-v1.0.0").refused(2)
