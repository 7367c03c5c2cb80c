"""How a folder of volumes is told from a tree, and how it is then opened."""

import shutil

import pytest

from bundles.reader import BundleReader
from pipeline.connect import open_place, open_reader, open_source_place, open_supply, pick_store
from pipeline.errors import NotPinned, SettingsError, TrustError, UsageError
from pipeline.events import ignore
from pipeline.settings import load_settings
from pipeline.sources.objects import FolderReader
from pipeline.stores.directory import DirectoryStore
from tests.bundle_forge import forge
from tests.bundle_world import begin_tree, builder_of, volumes_in


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    return begin_tree(tmp_path_factory.mktemp("tree"), tensor_bytes=8 << 10)


@pytest.fixture(scope="module")
def medium(tree):
    builder_of(tree).build(tree.folder / "medium", "plain-v1.0.0")
    return tree.folder / "medium"


def settings(tmp_path, **flags):
    return load_settings({name: str(value) for name, value in flags.items()}, {"HOME": str(tmp_path)}, tmp_path)


def test_a_folder_of_volumes_is_a_bundle_and_a_tree_is_a_tree(tree, medium, tmp_path):
    for source, kind in (
        (medium, BundleReader),
        (medium.as_uri(), BundleReader),
        (tree.store, FolderReader),
        (tmp_path, FolderReader),
    ):
        made = settings(tmp_path, source=source)
        assert isinstance(open_reader(made, made.source[0]), kind)


def test_a_bundle_is_judged_as_at_a_place_without_a_network(tree, medium, tmp_path):
    assert open_supply(settings(tmp_path, source=medium)).media
    assert not open_supply(settings(tmp_path, source=tree.store)).media


def test_bundles_and_other_sources_are_not_mixed(tree, medium, tmp_path):
    with pytest.raises(SettingsError, match="bundles and other sources"):
        open_supply(settings(tmp_path, source=f"{medium} {tree.store}"))


def test_a_bundle_as_a_store_is_read_only(tree, medium, tmp_path):
    assert isinstance(pick_store(settings(tmp_path, store=medium)), BundleReader)
    assert isinstance(pick_store(settings(tmp_path, store=tree.store)), DirectoryStore)
    place = open_place(settings(tmp_path, store=medium))
    assert place.media
    assert not open_place(settings(tmp_path, store=tree.store)).media
    with pytest.raises(UsageError, match="read-only"):
        place.store.put("control/x", b"", sha256="00")


def test_show_and_verify_look_into_bundles_and_stores_but_not_into_web_servers(tree, medium, tmp_path):
    assert open_source_place(settings(tmp_path, source=medium)).media
    assert not open_source_place(settings(tmp_path, source=tree.store)).media
    with pytest.raises(SettingsError, match="not into web servers"):
        open_source_place(settings(tmp_path, source="https://cdn.example/tree"))


def test_trust_in_bundles_is_kept_under_their_publisher_whichever_way_and_wherever_they_are_opened(tree, medium, tmp_path):
    builder_of(tree).build(tmp_path / "next", "bert-v1.0.0")
    folders = set()
    for folder in (medium, shutil.copytree(medium, tmp_path / "elsewhere"), tmp_path / "next"):
        made = settings(tmp_path, source=folder, endpoint="http://127.0.0.1:9")
        folders |= {open_supply(made).state.folder, open_source_place(made).state.folder}
        folders.add(open_supply(settings(tmp_path, source=folder)).state.folder)
    assert len(folders) == 1
    assert open_supply(settings(tmp_path, source=tree.store)).state.folder not in folders


def test_the_pin_for_one_publisher_is_none_for_another(tree, medium, tmp_path):
    other = begin_tree(tmp_path / "other", tensor_bytes=8 << 10)
    builder_of(other).build(tmp_path / "theirs", "plain-v1.0.0")
    open_supply(settings(tmp_path, source=medium)).state.pin(tree.site.fingerprint)
    theirs = open_supply(settings(tmp_path, source=tmp_path / "theirs"))
    with pytest.raises(NotPinned):
        theirs.read(lambda view: view.snapshot, ignore)


def test_a_medium_that_claims_the_root_of_another_publisher_is_refused(tree, medium, tmp_path):
    other = begin_tree(tmp_path / "other", tensor_bytes=8 << 10)
    builder_of(other).build(tmp_path / "theirs", "plain-v1.0.0")
    root = (tree.store / "metadata" / "1.root.json").read_bytes()
    forge(volumes_in(tmp_path / "theirs")[0], tmp_path / "forged", bodies={"metadata/1.root.json": root})
    open_supply(settings(tmp_path, source=medium)).state.pin(tree.site.fingerprint)
    supply = open_supply(settings(tmp_path, source=tmp_path / "forged"))
    with pytest.raises(TrustError, match="signed by"):
        supply.read(lambda view: view.snapshot, ignore)
