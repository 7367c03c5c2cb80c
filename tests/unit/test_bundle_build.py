"""What goes into a bundle, and that the same order makes the same bytes."""

import hashlib
import json
import os
import re
import subprocess
import sys
from dataclasses import replace

import pytest
from securesystemslib.signer import CryptoSigner

from bundles.beside import make_folder
from bundles.index import Index
from bundles.inventory import Installed, Inventory
from bundles.recipes import RecipeShelf, recipe_of
from bundles.side_files import read_sums, sums_text
from bundles.verifying import verify_bundle
from pipeline.digest import Sha256, sha256_of
from pipeline.errors import (
    DigestMismatch,
    OtherContent,
    RollbackRefused,
    StoreUnavailable,
    UnavailableError,
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
    least_size,
    listed_by_tar,
    member_at,
    reader_of,
    volume,
    volumes_in,
)
from tests.fetch_world import Reader, Tree, copy_of
from tests.mirror_world import begin_tree as begin_copied


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    return begin_tree(tmp_path_factory.mktemp("tree"))


@pytest.fixture
def builder(tree):
    return builder_of(tree)


def keys_in(folder):
    return {key for path in volumes_in(folder) for key in listed_by_tar(path)}


def part_keys(tree, *releases):
    found = set()
    for release in releases:
        name = Release.parse(release)
        target = next((tree.store / "targets" / name.model / name.version).glob("*.manifest.json"))
        found |= {f"parts/{one['blake3'][:2]}/{one['blake3']}" for one in json.loads(target.read_bytes())["parts"]}
    return found


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


# --- what is in the way --------------------------------------------------------------------------


def test_another_bundle_in_the_folder_is_refused_and_left_alone(builder, tmp_path):
    builder.build(tmp_path / "out", "plain-v1.0.0")
    before = contents_of(tmp_path / "out")
    with pytest.raises(OtherContent, match=r"holds bundle plain-v1\.0\.0"):
        builder.build(tmp_path / "out", "bert@stable")
    assert contents_of(tmp_path / "out") == before


def test_a_file_of_somebody_elses_under_a_volumes_name_is_left_alone(builder, tmp_path):
    (tmp_path / "out").mkdir()
    mine = tmp_path / "out" / "plain-v1.0.0.vol001.tar"
    mine.write_bytes(b"holiday pictures")
    with pytest.raises(OtherContent, match="is no volume"):
        builder.build(tmp_path / "out", "plain-v1.0.0")
    assert mine.read_bytes() == b"holiday pictures"


@pytest.mark.parametrize("how", ["link", "hard link", "fifo"])
@pytest.mark.parametrize(
    "name", ["plain-v1.0.0.vol001.tar.partial", "plain-v1.0.0.vol001.tar", "README.txt.partial", "README.txt"]
)
def test_what_somebody_planted_is_not_written_through(builder, tmp_path, how, name):
    (tmp_path / "out").mkdir()
    target, planted = tmp_path / "precious", tmp_path / "out" / name
    target.write_bytes(b"precious")
    if how == "link":
        planted.symlink_to(target)
    elif how == "hard link":
        planted.hardlink_to(target)
    else:
        os.mkfifo(planted)
    if name.startswith("README") and (how, name) != ("hard link", "README.txt"):
        builder.build(tmp_path / "out", "plain-v1.0.0")
        assert (tmp_path / "out" / "README.txt").read_text().startswith("This is plain-v1.0.0")
    else:
        with pytest.raises((UsageError, OtherContent)):
            builder.build(tmp_path / "out", "plain-v1.0.0")
    assert target.read_bytes() == b"precious"


def test_a_build_without_sources_says_so(builder, tmp_path):
    supply = builder.supply()
    object.__setattr__(supply, "sources", None)
    builder.supply = lambda: supply
    with pytest.raises(UnavailableError, match="needs a source"):
        builder.build(tmp_path / "out", "plain-v1.0.0")


def test_a_source_that_is_older_than_what_was_seen_is_refused(tmp_path):
    tree = begin_tree(tmp_path / "tree", tensor_bytes=8 << 10)
    old = copy_of(tree, tmp_path / "old")
    tree.lay_out("bert-v3.0.0", seed=3, tensor_bytes=8 << 10)
    builder = builder_of(tree)
    builder.plan("plain-v1.0.0")
    builder.readers = [Reader(old.store)]
    with pytest.raises(RollbackRefused):
        builder.build(tmp_path / "out", "plain-v1.0.0")


def test_a_source_that_alters_bytes_is_refused_and_no_volume_appears(tree, tmp_path):
    def spoil(key, at, block):
        if not key.startswith("parts/"):
            return block
        changed = bytearray(block)
        changed[0] ^= 1
        return memoryview(changed)

    builder = builder_of(tree, Reader(tree.store, spoil))
    with pytest.raises(DigestMismatch, match=rf"{re.escape(tree.store.as_uri())}: parts/.*: blake3 .*, expected"):
        builder.build(tmp_path / "out", "plain-v1.0.0")
    assert volumes_in(tmp_path / "out") == []


def test_a_mirror_that_alters_bytes_is_left_for_the_other_one(tree, tmp_path):
    def spoil(key, at, block):
        changed = bytearray(block)
        changed[-1] ^= 1
        return memoryview(changed) if key.startswith("parts/") else block

    builder = builder_of(tree, Reader(tree.store, spoil, "?lies"), Reader(tree.store))
    builder.build(tmp_path / "out", "bert@stable")
    builder_of(tree).build(tmp_path / "right", "bert@stable")
    assert contents_of(tmp_path / "out") == contents_of(tmp_path / "right")


@pytest.mark.parametrize("block_bytes", [8 << 10, 4 << 20])
def test_only_what_was_altered_is_read_again_and_the_rest_of_the_volume_follows(tree, tmp_path, monkeypatch, block_bytes):
    builder_of(tree).build(tmp_path / "right", "bert@stable")
    parts = sorted(key for key in keys_in(tmp_path / "right") if key.startswith("parts/"))
    spoilt = parts[len(parts) // 2]
    altered, asked = set(), []

    def spoil(key, at, block):
        asked.append(key)
        if key == spoilt and at not in altered:
            altered.add(at)
            return memoryview(bytes(len(block)))
        return block

    monkeypatch.setattr("bundles.tape.BLOCK_BYTES", block_bytes)
    built = builder_of(tree, Reader(tree.store, spoil)).build(tmp_path / "out", "bert@stable")
    assert altered
    assert contents_of(tmp_path / "out") == contents_of(tmp_path / "right")
    assert built.volumes[0].sha256 == hashlib.sha256(volumes_in(tmp_path / "out")[0].read_bytes()).hexdigest()
    assert asked.count(spoilt) > 1


def test_what_was_altered_is_read_again_from_a_source_that_breaks_off_too(tree, tmp_path):
    builder_of(tree).build(tmp_path / "right", "bert@stable")
    spoilt = max(key for key in keys_in(tmp_path / "right") if key.startswith("parts/"))
    asked = []

    def spoil(key, at, block):
        asked.append(key)
        if asked.count(key) == 2 and key == spoilt:
            raise StoreUnavailable("it broke off")
        return memoryview(bytes(len(block))) if key == spoilt and asked.count(key) == 1 else block

    builder_of(tree, Reader(tree.store, spoil)).build(tmp_path / "out", "bert@stable")
    assert asked.count(spoilt) > 2
    assert contents_of(tmp_path / "out") == contents_of(tmp_path / "right")


# --- differential --------------------------------------------------------------------------------


def test_only_parts_that_the_base_cannot_give_are_packed(builder, tree, tmp_path):
    built = builder.build(tmp_path / "delta", "bert-v2.0.0", bases=["bert-v1.0.0"])
    whole = builder.plan("bert-v2.0.0").document
    carried = {key for key in keys_in(tmp_path / "delta") if key.startswith("parts/")}
    left_out = part_keys(tree, "bert-v2.0.0", "tok-v1.0.0") - carried
    assert left_out
    assert left_out <= part_keys(tree, "bert-v1.0.0")
    assert built.bases == ["bert-v1.0.0"]
    assert built.left_out + built.bytes > whole.bytes - 20_000
    plan = volume(volumes_in(tmp_path / "delta")[0]).bundle.plan
    assert plan.name == "bert-v2.0.0-delta"
    # The site has the base, and so its manifest.
    assert not any("targets/bert/1.0.0/" in document.key for document in plan.documents)
    assert any("targets/bert/2.0.0/" in document.key for document in plan.documents)


def test_a_base_that_helps_nothing_is_not_demanded(builder, tmp_path):
    built = builder.build(tmp_path / "out", "bert-v2.0.0", bases=["plain-v1.0.0"])
    assert built.bases == []
    assert any("plain-v1.0.0" in warning for warning in built.warnings)


def test_a_part_that_another_release_of_the_bundle_needs_is_packed(builder, tree, tmp_path):
    builder.build(tmp_path / "out", "bert-v1.0.0", "bert-v2.0.0", bases=["bert-v1.0.0"])
    # The site has all of 1.0.0, so nothing of it travels, and 2.0.0 stands on it.
    assert not part_keys(tree, "bert-v1.0.0") & keys_in(tmp_path / "out")


def inventory(tree, *releases, **changes):
    found = []
    for name in releases:
        release = Release.parse(name)
        path = next((tree.store / "targets" / release.model / release.version).glob("*.manifest.json"))
        found.append(Installed(release=name, manifest_sha256=Sha256(path.name.partition(".")[0])))
    fields = {
        "format": "modelport-inventory",
        "format_version": 1,
        "root_fingerprint": tree.site.fingerprint,
        "snapshot": 1,
        "made_at": "2026-11-22T10:00:00Z",
        "releases": tuple(found),
    }
    return Inventory(**{**fields, **changes})


def test_an_inventory_makes_the_same_bundle_as_naming_its_releases(builder, tree, tmp_path):
    have = inventory(tree, "bert-v1.0.0", "plain-v1.0.0")
    one = builder.plan("bert-v2.0.0", have=have).document
    assert one.bases == ["bert-v1.0.0"]
    assert one.bundle == builder.plan("bert-v2.0.0", bases=["bert-v1.0.0"]).document.bundle


def test_a_site_that_has_everything_needs_no_part(builder, tree, tmp_path):
    built = builder.build(tmp_path / "out", "bert-v2.0.0", have=inventory(tree, "bert-v2.0.0", "tok-v1.0.0"))
    assert not [key for key in keys_in(tmp_path / "out") if key.startswith("parts/")]
    assert built.bases == ["bert-v2.0.0", "tok-v1.0.0"]
    assert any("has bert-v2.0.0, tok-v1.0.0 already: nothing is carried but what proves it" in told for told in built.warnings)


def test_a_release_that_the_site_has_takes_no_older_one_to_stand_on(builder, tree):
    """An inventory names the older one first; asking for it at the site would be asking for nothing."""
    planned = builder.plan("bert-v2.0.0", have=inventory(tree, "bert-v1.0.0", "bert-v2.0.0", "tok-v1.0.0")).document
    assert planned.bases == ["bert-v2.0.0", "tok-v1.0.0"]


def test_of_two_releases_only_the_one_that_the_site_lacks_travels(builder, tree, tmp_path):
    built = builder.build(tmp_path / "out", "bert-v1.0.0", "bert-v2.0.0", have=inventory(tree, "bert-v1.0.0"))
    assert built.bases == ["bert-v1.0.0"]
    assert any("has bert-v1.0.0 already: of that is carried only what proves it" in told for told in built.warnings)


def test_the_same_order_again_is_not_said_to_go_on_with_another_bundle(builder, tmp_path):
    builder.build(tmp_path / "one", "bert-v1.0.0")
    again = builder.build(tmp_path / "other", "bert-v1.0.0", only=(1,))
    assert not any("goes on with bundle" in told for told in again.warnings)


def test_an_inventory_of_another_tree_is_refused(builder, tree):
    with pytest.raises(UsageError, match="is none of"):
        builder.plan("bert-v2.0.0", have=inventory(tree, "bert-v1.0.0", root_fingerprint=Sha256("00" * 32)))


def test_what_the_site_has_under_another_manifest_or_a_retired_name_serves_nothing(builder, tree):
    have = inventory(
        tree,
        releases=(
            Installed(release="bert-v1.0.0", manifest_sha256=Sha256("00" * 32)),
            Installed(release="bert-v0.0.1", manifest_sha256=Sha256("00" * 32)),
        ),
    )
    assert builder.plan("bert-v2.0.0", have=have).document.bases == []


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
