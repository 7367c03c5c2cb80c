"""How a folder of volumes is told from a tree, and how it is then opened."""

import pytest

from bundles.reader import BundleReader
from pipeline.connect import open_place, open_reader, open_source_place, open_supply, pick_store
from pipeline.errors import SettingsError, UsageError
from pipeline.settings import load_settings
from pipeline.sources.objects import FolderReader
from pipeline.stores.directory import DirectoryStore
from tests.bundle_world import begin_tree, builder_of


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


def test_trust_in_a_bundle_is_kept_under_its_folder_whichever_way_it_is_opened(medium, tmp_path):
    made = settings(tmp_path, source=medium)
    assert open_supply(made).state.folder == open_source_place(made).state.folder
