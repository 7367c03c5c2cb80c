"""What is in the way of a build: folders that hold something else, planted links, sources that are missing, old or alter bytes."""

import hashlib
import os
import re

import pytest

from pipeline.errors import (
    DigestMismatch,
    OtherContent,
    RollbackRefused,
    StoreUnavailable,
    UnavailableError,
    UsageError,
)
from tests.bundle_world import (
    begin_tree,
    builder_of,
    contents_of,
    keys_in,
    volumes_in,
)
from tests.fetch_world import Reader, copy_of


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    return begin_tree(tmp_path_factory.mktemp("tree"))


@pytest.fixture
def builder(tree):
    return builder_of(tree)


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


def test_a_source_that_breaks_off_after_a_few_bytes_each_time_ends_the_build(tree, tmp_path):
    class Breaking(Reader):
        def read_range(self, key, start, size, take, *, total=None):
            few = min(size, 100) if key.startswith("parts/") else size
            super().read_range(key, start, few, take, total=total)
            if few < size:
                raise StoreUnavailable("it broke off")

    reader = Breaking(tree.store)
    with pytest.raises(StoreUnavailable, match="it broke off"):
        builder_of(tree, reader).build(tmp_path / "out", "bert@stable")
    assert not volumes_in(tmp_path / "out")
