"""Folders that no fetch installed: what a new release takes from them, and what it never believes."""

import shutil

import pytest

from pipeline.steps import neighbours
from tests.fetch_world import contents, copy_of, make_tree

TENSOR = 600 << 10


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    """bert 1.0.0 and 1.1.0, in which one tensor changed."""
    tree = make_tree(tmp_path_factory.mktemp("neighbours") / "tree")
    tree.lay_out("bert-v1.0.0", tensor_bytes=TENSOR)
    tree.lay_out("bert-v1.1.0", tensor_bytes=TENSOR, other=1)
    return tree


def check_arrived(tree, folder, release):
    assert contents(folder) == contents(tree.sources[release])


def by_hand(published, fetcher, release):
    """A folder that no fetch installed: somebody copied it there."""
    return shutil.copytree(published.sources[release], fetcher.models / release)


@pytest.mark.parametrize("to", [None, "elsewhere"])
def test_a_folder_that_no_fetch_installed_serves_as_a_base(published, tmp_path, to):
    fetcher = published.fetcher()
    by_hand(published, fetcher, "bert-v1.0.0")
    done = fetcher.fetch("bert-v1.1.0", to=tmp_path / to if to else None)
    check_arrived(published, tmp_path / to if to else fetcher.models / "bert-v1.1.0", "bert-v1.1.0")
    others = published.fetcher()
    others.fetch("bert-v1.0.0")
    others.cache.shrink(0)
    # As much as beside an installed one, and that is the tensor that changed.
    assert done.bytes_fetched == others.fetch("bert-v1.1.0").bytes_fetched < TENSOR * 1.1
    assert contents(fetcher.models / "bert-v1.0.0") == contents(published.sources["bert-v1.0.0"])
    # Metadata, both manifests and no more: the older one is small beside what it saves.
    assert fetcher.readers[0].part_bytes == done.bytes_fetched
    assert len([key for key, _, _ in fetcher.readers[0].asked if key.endswith(".manifest.json")]) == 2


def test_an_altered_neighbour_brings_what_is_right_of_it_only(published):
    fetcher = published.fetcher()
    folder = by_hand(published, fetcher, "bert-v1.0.0")
    spoilt = bytearray((folder / "model.safetensors").read_bytes())
    spoilt[1000:1003] = b"rot"
    (folder / "model.safetensors").write_bytes(spoilt)
    (folder / "config.json").unlink()
    (folder / "config.json").symlink_to("/etc/hostname")
    done = fetcher.fetch("bert-v1.1.0")
    check_arrived(published, fetcher.models / "bert-v1.1.0", "bert-v1.1.0")
    assert TENSOR * 0.9 < done.bytes_reused < done.bytes


def test_a_folder_that_only_bears_the_name_costs_bytes_and_nothing_else(published):
    fetcher = published.fetcher()
    (fetcher.models / "bert-v1.0.0").mkdir(parents=True)
    (fetcher.models / "bert-v1.0.0" / "model.safetensors").write_bytes(b"\0" * 3 * TENSOR)
    (fetcher.models / "bert-v9.9.9").mkdir()
    (fetcher.models / "other-v1.0.0").mkdir()
    done = fetcher.fetch("bert-v1.1.0")
    check_arrived(published, fetcher.models / "bert-v1.1.0", "bert-v1.1.0")
    assert done.warnings == []


def test_another_models_folder_by_hand_serves_too(published, tmp_path):
    tree = copy_of(published, tmp_path / "tree")
    tree.lay_out("twin-v3.0.0", tensor_bytes=TENSOR, other=3)
    fetcher = tree.fetcher()
    by_hand(tree, fetcher, "twin-v3.0.0")
    done = fetcher.fetch("bert-v1.0.0")
    check_arrived(tree, fetcher.models / "bert-v1.0.0", "bert-v1.0.0")
    assert done.bytes_fetched < TENSOR * 1.1
    assert done.bytes_reused > TENSOR * 1.9


def test_a_manifest_that_costs_more_than_it_can_save_is_not_asked_for(published, monkeypatch):
    monkeypatch.setattr(neighbours, "WORTH", 10_000)
    fetcher = published.fetcher()
    by_hand(published, fetcher, "bert-v1.0.0")
    fetcher.fetch("bert-v1.1.0")
    check_arrived(published, fetcher.models / "bert-v1.1.0", "bert-v1.1.0")
    assert len([key for key, _, _ in fetcher.readers[0].asked if key.endswith(".manifest.json")]) == 1
