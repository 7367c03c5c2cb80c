"""What goes into a bundle, and that the same order makes the same bytes."""

import json
import os
import subprocess
import sys
from dataclasses import replace

import pytest
from securesystemslib.signer import CryptoSigner

from bundles.beside import make_folder
from bundles.index import Index
from bundles.recipes import RecipeShelf, recipe_of
from bundles.side_files import read_sums, sums_text
from bundles.verifying import verify_bundle
from pipeline.digest import Sha256, sha256_of
from pipeline.errors import (
    UnknownName,
    UsageError,
)
from pipeline.release import Release
from pipeline.trust.rotate import rotate_key
from pipeline.withdraw import yank_release
from tests.bundle_world import (
    begin_tree,
    builder_of,
    contents_of,
    flip,
    index_of,
    keys_in,
    least_size,
    listed_by_tar,
    member_at,
    part_keys,
    reader_of,
    volume,
    volumes_in,
)
from tests.fetch_world import Tree
from tests.mirror_world import begin_tree as begin_copied


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    return begin_tree(tmp_path_factory.mktemp("tree"))


@pytest.fixture
def builder(tree):
    return builder_of(tree)


# --- contents ------------------------------------------------------------------------------------


def test_a_bundle_holds_a_release_its_closure_and_what_proves_them(builder, tree, tmp_path):
    built = builder.build(tmp_path / "out", "bert@stable")
    keys = keys_in(tmp_path / "out")
    assert built.releases == ["bert-v2.0.0", "tok-v1.0.0"]
    assert {key for key in keys if key.startswith("parts/")} == part_keys(tree, "bert-v2.0.0", "tok-v1.0.0")
    assert {key.split(".", 1)[1] for key in keys if key.startswith("metadata/")} == {
        "root.json",
        "targets.json",
        "snapshot.json",
        "bert.json",
        "tok.json",
        "json",
    }
    assert sum(key.endswith(".manifest.json") for key in keys) == 2
    assert sum(key.endswith(".stable.json") for key in keys) == 1
    assert not [key for key in keys if key.startswith(("control/", "web/"))]


def test_every_object_is_that_of_the_store(builder, tree, tmp_path):
    builder.build(tmp_path / "out", "bert@stable")
    reader = reader_of(tmp_path / "out")
    for info in reader.list(""):
        assert b"".join(reader.get(info.key)) == (tree.store / info.key).read_bytes()


def test_the_whole_root_chain_travels(tmp_path):
    site, machine = begin_copied(tmp_path)
    publisher = replace(machine.place().publisher(lambda _: None), pause=lambda _: None)
    rotate_key(publisher, "root", [CryptoSigner.generate_ed25519()])
    tree = Tree(tmp_path, site)
    builder_of(tree).build(tmp_path / "out", "gpt-v1.0.0")
    assert {"metadata/1.root.json", "metadata/2.root.json"} <= keys_in(tmp_path / "out")
    verify_bundle([tmp_path / "out"], lambda _: None, fingerprint=site.fingerprint)


def test_volumes_spread_parts_and_repeat_documents(builder, tmp_path):
    built = builder.build(tmp_path / "out", "bert-v1.0.0", "bert@stable", size=least_size(builder, "bert-v1.0.0", "bert@stable"))
    held = [listed_by_tar(path) for path in volumes_in(tmp_path / "out")]
    assert len(held) == len(built.volumes) > 1
    documents = [[key for key in keys if not key.startswith("parts/")] for keys in held]
    assert all(one == documents[0] for one in documents)
    parts = [key for keys in held for key in keys if key.startswith("parts/")]
    assert len(parts) == len(set(parts))
    assert all(path.stat().st_size <= least_size(builder, "bert-v1.0.0", "bert@stable") for path in volumes_in(tmp_path / "out"))


def test_the_index_says_what_the_format_says(builder, tmp_path):
    builder.build(tmp_path / "out", "bert@stable")
    index = index_of(volumes_in(tmp_path / "out")[0])
    assert set(index) == set(Index.__struct_fields__)
    plan = json.dumps(index["plan"], sort_keys=True, separators=(",", ":")) + "\n"
    assert index["bundle"] == sha256_of(plan.encode())
    assert [one["chosen"] for one in index["plan"]["releases"]] == [True, False]


def test_a_yanked_release_is_refused_unless_it_is_named_exactly(tmp_path):
    tree = begin_tree(tmp_path / "tree", tensor_bytes=8 << 10)
    yank_release(Release.parse("plain-v1.0.0"), tree.site.machine("publisher").place(), lambda _: None, reason="bad")
    builder = builder_of(tree)
    with pytest.raises(UsageError, match="was yanked"):
        builder.build(tmp_path / "out", "plain-v1.0.0")
    assert builder.build(tmp_path / "out", "plain-v1.0.0", allow_yanked=True).releases == ["plain-v1.0.0"]


def test_unknown_releases_are_refused_before_anything_is_written(builder, tmp_path):
    with pytest.raises(UnknownName):
        builder.build(tmp_path / "out", "bert-v9.0.0")
    assert not (tmp_path / "out").exists()


# --- the same bytes ------------------------------------------------------------------------------


def test_two_machines_make_the_same_bytes(tree, tmp_path):
    for name in ("one", "other"):
        builder_of(tree).build(tmp_path / name, "bert@stable", size=5 << 20, parity=10)
    assert contents_of(tmp_path / "one") == contents_of(tmp_path / "other")


def test_locale_hash_seed_and_time_zone_do_not_show(tree, tmp_path):
    program = (
        "import sys; from pathlib import Path; from tests.fetch_world import Tree; from tests.publish_world import Site, directory_shelf\n"
        "from tests.bundle_world import Builder\n"
        "home, store, to = map(Path, sys.argv[1:])\n"
        "tree = Tree(store.parent, Site(store.parent, directory_shelf(store)))\n"
        "Builder(home, tree).build(to, 'bert@stable', 'plain-v1.0.0')\n"
    )
    for number, environment in enumerate(
        ({"PYTHONHASHSEED": "1", "TZ": "Asia/Tokyo"}, {"PYTHONHASHSEED": "2", "LC_ALL": "C", "TZ": "UTC"})
    ):
        words = [sys.executable, "-c", program, tmp_path / f"home{number}", tree.store, tmp_path / f"out{number}"]
        subprocess.run(words, check=True, env={"PATH": os.environ["PATH"], "PYTHONPATH": ".", **environment})
    assert contents_of(tmp_path / "out0") == contents_of(tmp_path / "out1")


def test_one_volume_alone_is_the_one_of_the_whole_build(builder, tmp_path):
    wants = ("bert-v1.0.0", "bert@stable")
    size = least_size(builder, *wants)
    builder.build(tmp_path / "all", *wants, size=size)
    alone = builder.build(tmp_path / "alone", *wants, size=size, only=(2,))
    (path,) = volumes_in(tmp_path / "alone")
    assert path.read_bytes() == (tmp_path / "all" / path.name).read_bytes()
    assert [one.volume for one in alone.volumes] == [2]
    assert list(read_sums((tmp_path / "alone" / "SHA256SUMS").read_text())) == ["README.txt", path.name, "install.pyz"]


def test_a_lost_volume_is_made_again_though_the_tree_moved_on(tmp_path):
    tree = begin_tree(tmp_path / "tree", tensor_bytes=256 << 10)
    builder, wants = builder_of(tree), ("bert-v1.0.0", "bert-v2.0.0")
    size = least_size(builder, *wants)
    first = builder.build(tmp_path / "all", *wants, size=size)
    tree.lay_out("bert-v3.0.0", seed=3, tensor_bytes=8 << 10)
    again = builder.build(tmp_path / "again", *wants, size=size, only=(1,))
    assert again.bundle == first.bundle
    (path,) = volumes_in(tmp_path / "again")
    assert path.read_bytes() == (tmp_path / "all" / path.name).read_bytes()
    # A whole build elsewhere is of the tree as it is now; the old one is had by its id.
    assert builder.build(tmp_path / "fresh", *wants, size=size).bundle != first.bundle
    assert builder.build(tmp_path / "old", *wants, size=size, bundle=first.bundle[:10]).bundle == first.bundle
    with pytest.raises(UsageError, match="not what was ordered"):
        builder.build(tmp_path / "x", "plain-v1.0.0", bundle=first.bundle[:10])


def test_another_machine_makes_a_lost_volume_from_a_sibling(tmp_path):
    tree = begin_tree(tmp_path / "tree", tensor_bytes=256 << 10)
    builder, wants = builder_of(tree), ("bert-v1.0.0", "bert-v2.0.0")
    size = least_size(builder, *wants)
    builder.build(tmp_path / "all", *wants, size=size)
    before = contents_of(tmp_path / "all")
    volumes_in(tmp_path / "all")[0].unlink()
    tree.lay_out("bert-v3.0.0", seed=3, tensor_bytes=8 << 10)
    other = builder_of(tree)
    other.build(tmp_path / "all", *wants, size=size)
    assert contents_of(tmp_path / "all") == before
    assert any("goes on with bundle" in getattr(event, "message", "") for event in other.events)


def test_a_second_run_writes_nothing(builder, tmp_path):
    builder.build(tmp_path / "out", "bert@stable")
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").iterdir()}
    again = builder.build(tmp_path / "out", "bert@stable")
    assert again.bytes_written == 0
    assert again.volumes[0].sha256 == sha256_of(volumes_in(tmp_path / "out")[0].read_bytes())
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "out").iterdir()} == before


def test_a_rotten_volume_is_made_right_by_a_second_run(builder, tmp_path):
    builder.build(tmp_path / "out", "bert@stable")
    before = contents_of(tmp_path / "out")
    path = volumes_in(tmp_path / "out")[0]
    flip(path, member_at(path, "parts/")[0] + 77)
    again = builder.build(tmp_path / "out", "bert@stable")
    assert contents_of(tmp_path / "out") == before
    assert again.volumes[0].kept < again.bytes


def test_a_truncated_volume_is_continued(builder, tmp_path):
    builder.build(tmp_path / "out", "bert@stable")
    before = contents_of(tmp_path / "out")
    path = volumes_in(tmp_path / "out")[0]
    os.truncate(path, path.stat().st_size - 2000)
    assert builder.build(tmp_path / "out", "bert@stable").volumes[0].kept > 0
    assert contents_of(tmp_path / "out") == before


# --- recipes and sums ----------------------------------------------------------------------------


def test_a_recipe_comes_back_from_its_shelf_and_from_a_volume(builder, tmp_path):
    builder.build(tmp_path / "out", "bert@stable")
    held = volume(volumes_in(tmp_path / "out")[0])
    kept = builder.shelf.find(held.bundle.id[:8])
    assert kept is not None
    assert kept == recipe_of(held)


def test_a_damaged_recipe_is_as_good_as_none(builder, tmp_path):
    builder.build(tmp_path / "out", "plain-v1.0.0")
    (path,) = (builder.home / "recipes").glob("*.recipe")
    flip(path, path.stat().st_size - 5)
    assert builder.shelf.find("") is None
    path.write_bytes(b"12")
    assert list(builder.shelf.all()) == []


def test_only_the_newest_recipes_are_kept(builder, tmp_path, monkeypatch):
    monkeypatch.setattr("bundles.recipes.KEPT", 2)
    shelf = RecipeShelf(tmp_path / "shelf")
    for number, name in enumerate(("one", "two", "three")):
        recipe = builder.plan("plain-v1.0.0", name=name).recipe
        shelf.keep(recipe)
        path = tmp_path / "shelf" / f"{recipe.bundle.id}.recipe"
        os.utime(path, (number, number))
    shelf.keep(builder.plan("plain-v1.0.0", name="four").recipe)
    assert sorted(kept.bundle.plan.name for kept in shelf.all()) == ["four", "three"]


def test_sums_come_back():
    sums = {"b": Sha256("aa" * 32), "wheels/a b": Sha256("bb" * 32)}
    assert read_sums(sums_text(sums) + "nonsense\n") == sums


@pytest.mark.parametrize("below", ["file", "file/volumes"])
def test_a_file_is_no_folder_for_volumes(tmp_path, below):
    (tmp_path / "file").write_bytes(b"mine")
    with pytest.raises(UsageError, match="is not a folder"):
        make_folder(tmp_path / below)
    assert (tmp_path / "file").read_bytes() == b"mine"
