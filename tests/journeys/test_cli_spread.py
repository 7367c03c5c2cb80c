"""publish and mirror with several stores, as a person starts them."""

import json
import os
import signal
import time

import pytest

from pipeline.steps.copies import list_behind
from pipeline.stores.directory import DirectoryStore
from tests.desk import Desk
from tests.mirror_world import current
from tests.publish_world import lay_out


@pytest.fixture
def desk(tmp_path):
    desk = Desk(tmp_path / "desk", tmp_path / "home")
    lay_out(desk.folder / "models" / "bert-v1.0.0", tensor_bytes=64 << 10)
    return desk


def store(desk, name):
    return DirectoryStore(desk.folder / name)


def block(desk, name):
    """No part can be written at this place."""
    (desk.folder / name).mkdir()
    (desk.folder / name / "parts").write_text("a file, and no folder")


def behind(desk, name="first"):
    return [record.store for record in list_behind(store(desk, name))]


STORES = ("--store", "first", "--store", "se cond", "--store", "third")


def test_release_is_published_to_every_store(desk):
    done = desk.run("publish", "--model", "bert-v1.0.0", "--channel", "stable", *STORES).result
    assert [(one["complete"], one["announced"]) for one in done["copies"]] == [(True, done["snapshot"])] * 2
    assert done["store"] == store(desk, "first").url
    assert current(store(desk, "first")) == current(store(desk, "se cond")) == current(store(desk, "third"))
    pin = ("trust.pin", "--source", "third", "--fingerprint", done["root_fingerprint"])
    assert desk.run(*pin).code == 0
    assert desk.run("fetch", "--model", "bert@stable", "--source", "third", "--to", "there").code == 0


def test_store_that_fell_behind_is_named_and_repaired(desk):
    block(desk, "third")
    said = desk.run("publish", "--model", "bert-v1.0.0", *STORES)
    last = json.loads(said.err.splitlines()[-1])
    assert (said.code, last["code"]) == (7, 7)
    assert store(desk, "third").url in last["error"]
    assert "2 of 3 stores hold it and 3 should" in last["error"]
    assert "mirror --repair --store first" in last["hint"]
    assert behind(desk) == [store(desk, "third").url]
    # With a quorum the same is a success that names it.
    lay_out(desk.folder / "models" / "bert-v1.1.0", other=1)
    met = desk.run("publish", "--model", "bert-v1.1.0", *STORES, "--quorum", "2")
    assert [one["complete"] for one in met.result["copies"]] == [True, False]
    assert any("fell behind" in line for line in met.result["warnings"]) or "fell behind" in met.err
    # Elsewhere, another day: the ledger knows.
    again = desk.run("mirror", "--repair", "--store", "first")
    assert again.code == 7
    (desk.folder / "third" / "parts").unlink()
    mended = desk.run("mirror", "--repair", "--store", "first").result
    assert [(one["store"], one["complete"]) for one in mended["copies"]] == [(store(desk, "third").url, True)]
    assert current(store(desk, "third")) == current(store(desk, "first"))
    assert behind(desk) == []
    assert "no copy fell behind" in desk.run("mirror", "--repair", "--store", "first", report="plain").out


def test_settings_name_several_stores(desk):
    (desk.folder / "modelport.yaml").write_text("store: [first, {url: third}]\n")
    done = desk.run("publish", "--model", "bert-v1.0.0").result
    assert [one["store"] for one in done["copies"]] == [store(desk, "third").url]
    # A later decision is made in the first; a repair brings the others to it.
    assert desk.run("yank", "--model", "bert-v1.0.0").code == 0
    assert desk.run("mirror", "--repair").result["copies"][0]["complete"]
    assert current(store(desk, "third")) == current(store(desk, "first"))
    alone = desk.run("publish", "--model", "bert-v1.0.0", "--store", "first").result
    assert alone["copies"] == []


def test_mirror_copies_to_several_stores(desk):
    done = desk.run("publish", "--model", "bert-v1.0.0", "--store", "first").result
    block(desk, "c")
    words = ("mirror", "--source", "first", "--to", "a", "--to", "b", "--to", "c", "--model", "bert-v1.0.0")
    assert desk.run("trust.pin", "--source", "first", "--fingerprint", done["root_fingerprint"]).code == 0
    assert desk.run(*words).code == 7
    met = desk.run(*words, "--quorum", "2").result
    assert [one["complete"] for one in met["copies"]] == [True, False]
    assert current(store(desk, "a")) == current(store(desk, "b")) == current(store(desk, "first"))
    assert behind(desk, "a") == [store(desk, "c").url]
    assert list_behind(store(desk, "a"))[0].names == ("bert-v1.0.0",)
    plain = desk.run(*words, "--quorum", "1", report="plain").out
    assert f"copy         {store(desk, 'c').url} fell behind" in plain


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (("publish", "--model", "bert-v1.0.0", *STORES, "--quorum", "4"), "is not a number from 1 to 3"),
        (("publish", "--model", "bert-v1.0.0", "--store", "first", "--store", "./first"), "is named twice"),
        (("publish", "--model", "bert-v1.0.0", "--store", "first", "--store", "ftp://x"), "unknown scheme"),
        (("mirror", "--source", "first"), "--to is needed"),
        (("mirror", "--repair", "--quorum", "2"), "--quorum goes with several --to"),
    ],
)
def test_stores_that_cannot_be_are_refused_before_anything_is_written(desk, words, why):
    assert why in desk.run(*words).refused(2)
    assert not (desk.folder / "first").exists()


def test_publish_that_is_killed_while_it_copies_is_named_and_gone_on_with(desk):
    model = desk.folder / "models" / "big-v1.0.0"
    model.mkdir()
    for number in range(40):
        (model / f"{number}.bin").write_bytes(os.urandom(1 << 20))
    words = ("publish", "--model", "big-v1.0.0", "--profile", "raw", "--store", "first", "--store", "third")
    child = desk.start(*words)
    deadline = time.monotonic() + 60
    while not list((desk.folder / "third").rglob("parts/*/*")) and child.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.002)
    child.send_signal(signal.SIGKILL)
    child.communicate()
    assert child.returncode == -signal.SIGKILL
    assert not (desk.folder / "third" / "metadata" / "timestamp.json").exists()
    assert behind(desk) == [store(desk, "third").url]
    done = desk.run(*words).result
    assert done["already_published"]
    assert done["copies"][0]["complete"]
    assert done["copies"][0]["objects_copied"] < 41
    assert current(store(desk, "third")) == current(store(desk, "first"))
    assert behind(desk) == []
