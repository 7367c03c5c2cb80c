"""Bundles of every source and kind: a web server, S3, a store in memory, a bundle; models, web applications, wheels."""

from __future__ import annotations

import dataclasses
import shutil
from datetime import UTC, datetime

import pytest

from bundles.reader import BundleReader
from bundles.verifying import verify_bundle
from pipeline.errors import DiskError, MetadataExpired, ObjectMissing, RollbackRefused, StoreUnavailable, UsageError, VerifyFailed
from pipeline.events import ignore
from pipeline.fetch import FetchOrder, fetch_release
from pipeline.mirroring import MirrorOrder, mirror_tree
from pipeline.plan.wants import read_want
from pipeline.release import Release
from pipeline.sources.http import HttpReader
from pipeline.sources.objects import StoreReader
from pipeline.stores.directory import DirectoryStore
from pipeline.trust.reading import read_view
from pipeline.trust.state import TrustState
from pipeline.verify import verify_release
from tests.bundle_world import Builder, begin_tree, builder_of, contents_of, flip, volumes_in
from tests.fetch_world import Reader, contents
from tests.makers.releases import lay_files
from tests.publish_world import Site, lay_out, memory_shelf, s3_shelf
from tests.servers.hostile import run_hostile


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    return begin_tree(tmp_path_factory.mktemp("tree"), tensor_bytes=256 << 10)


@pytest.fixture(scope="module")
def built(tree):
    builder_of(tree).build(tree.folder / "built", "bert@stable")
    return contents_of(tree.folder / "built")


def test_a_web_server_gives_the_same_bundle(tree, built, tmp_path):
    objects = {path.relative_to(tree.store).as_posix(): path.read_bytes() for path in tree.store.rglob("*") if path.is_file()}
    with run_hostile(objects) as server:
        reader = HttpReader(server.url)
        builder_of(tree, reader).build(tmp_path / "out", "bert@stable")
        reader.close()
    assert contents_of(tmp_path / "out") == built


def test_a_bundle_gives_the_same_bundle(tree, built, tmp_path):
    builder_of(tree, BundleReader(tree.folder / "built")).build(tmp_path / "out", "bert@stable")
    assert contents_of(tmp_path / "out") == built


@pytest.fixture(scope="module")
def large(tmp_path_factory):
    """A tree whose second release shares whole parts with its first."""
    return begin_tree(tmp_path_factory.mktemp("large"))


@pytest.fixture(scope="module")
def delta(large):
    builder_of(large).build(large.folder / "delta", "bert-v2.0.0", bases=["bert-v1.0.0"])
    return BundleReader(large.folder / "delta")


def test_a_differential_gives_no_whole_bundle_and_nothing_is_begun(large, delta, tmp_path):
    with pytest.raises(ObjectMissing, match=r"it is a differential for a site that has bert-v1\.0\.0"):
        builder_of(large, delta).build(tmp_path / "out", "bert@stable")
    assert not (tmp_path / "out").exists()
    done = builder_of(large, delta, Reader(large.store)).build(tmp_path / "out", "bert@stable")
    assert done.releases == ["bert-v2.0.0", "tok-v1.0.0"]


def test_verify_says_of_a_differential_for_whom_it_is(large, delta):
    place = dataclasses.replace(large.site.machine().place(), store=delta)
    place.state.pin(large.site.fingerprint)
    with pytest.raises(VerifyFailed, match=r"are not here: .*a differential for a site that has bert-v1\.0\.0") as failed:
        verify_release(Release.parse("bert-v2.0.0"), place, ignore, sample_percent=100)
    assert "missing" not in str(failed.value)
    assert "publish" not in failed.value.hint


@pytest.mark.parametrize("kind", ["memory", "s3"])
def test_a_store_gives_a_bundle(kind, tmp_path, request):
    if kind == "memory":
        shelf = memory_shelf()
    else:
        server = request.getfixturevalue("seaweedfs")
        shelf = s3_shelf(server, server.new_bucket())
    site = Site(tmp_path, shelf)
    site.begin().publish("bert-v1.0.0", lay_out(tmp_path / "bert1", tensor_bytes=64 << 10), channel="stable")

    class Tree:
        folder, store = tmp_path, None

    Tree.site = site
    builder = Builder(tmp_path / "builder", Tree, readers=[StoreReader(site.store)])
    builder.build(tmp_path / "out", "bert@stable")
    assert verify_bundle([tmp_path / "out"], lambda _: None, fingerprint=site.fingerprint).releases == ["bert-v1.0.0"]


def test_a_source_that_breaks_off_is_asked_again(tree, built, tmp_path):
    class Breaking(Reader):
        broken = 0

        def read_range(self, key, start, size, take, *, total=None):
            if size > 1000 and Breaking.broken < 2:
                Breaking.broken += 1
                super().read_range(key, start, size // 2, take, total=total)
                raise StoreUnavailable("it broke off", delivered=size // 2)
            super().read_range(key, start, size, take, total=total)

    builder_of(tree, Breaking(tree.store)).build(tmp_path / "out", "bert@stable")
    assert Breaking.broken == 2
    assert contents_of(tmp_path / "out") == built


def test_a_source_that_fails_for_good_ends_the_build_and_the_next_goes_on(tree, built, tmp_path):
    class Failing(Reader):
        def read_range(self, key, start, size, take, *, total=None):
            if key.startswith("parts/"):
                raise DiskError("it is gone", hint="x")
            super().read_range(key, start, size, take, total=total)

    builder = builder_of(tree, Failing(tree.store))
    with pytest.raises(DiskError, match="it is gone"):
        builder.build(tmp_path / "out", "bert@stable")
    assert volumes_in(tmp_path / "out") == []
    builder.readers = []
    assert builder.build(tmp_path / "out", "bert@stable").volumes[0].kept > 0
    assert contents_of(tmp_path / "out") == built


@pytest.mark.parametrize("kind", ["web", "wheels"])
def test_other_kinds_travel_the_same_way(tmp_path, kind):
    tree = begin_tree(tmp_path / "tree", tensor_bytes=8 << 10)
    files = {"index.html": b"<html></html>", "assets/app.3f9c0a1b2c4d.js": b"export {}" * 9000}
    if kind == "wheels":
        files = {"tiny-1.0-py3-none-any.whl": b"PK" * 5000, "other-2.0-py3-none-any.whl": b"PK!" * 700_000}
    source = lay_files(tmp_path / "source", files)
    tree.publish("app-v1.0.0", source, kind=kind, profile="web" if kind == "web" else None)
    builder_of(tree).build(tmp_path / "out", "app-v1.0.0", "bert@stable")
    done = verify_bundle([tmp_path / "out"], lambda _: None, fingerprint=tree.site.fingerprint)
    assert done.releases == ["app-v1.0.0", "bert-v2.0.0", "tok-v1.0.0"]
    fetcher = tree.fetcher(BundleReader(tmp_path / "out"))
    fetcher.fetch("app-v1.0.0")
    assert contents(fetcher.models / "app-v1.0.0") == contents(source)


def test_volumes_on_several_media_are_one_source(tree, tmp_path):
    builder = builder_of(tree)
    builder.build(tmp_path / "a", "bert-v1.0.0", "bert@stable", size=1 << 20)
    (tmp_path / "b").mkdir()
    paths = volumes_in(tmp_path / "a")
    assert len(paths) > 1
    shutil.move(paths[1], tmp_path / "b")
    fetcher = tree.fetcher(BundleReader(tmp_path / "a"), BundleReader(tmp_path / "b"))
    for release in ("bert-v1.0.0", "bert-v2.0.0"):
        fetcher.fetch(release)
        assert contents(fetcher.models / release) == contents(tree.sources[release])


def test_an_old_medium_is_read_with_a_warning_and_a_web_server_so_old_is_refused(tree, tmp_path):
    """Years later: the timestamp has long expired (docs/format.md §8)."""
    reader = BundleReader(tree.folder / "built")

    def later():
        return datetime(2040, 1, 1, tzinfo=UTC)

    for offline in (True, False):
        state = TrustState(tmp_path / f"state{offline}")
        state.pin(tree.site.fingerprint)
        if offline:
            assert read_view(reader, state, now=later, offline=True).releases("bert")
        else:
            with pytest.raises(MetadataExpired):
                read_view(reader, state, now=later)


def test_an_older_medium_is_read_after_a_newer_one(tmp_path):
    """Media out of order: what was seen of another model does not count, what was seen of this one does."""
    tree = begin_tree(tmp_path / "tree", tensor_bytes=8 << 10)
    builder_of(tree).build(tmp_path / "old", "bert@stable")
    tree.lay_out("plain-v2.0.0", seed=9, tensor_bytes=8 << 10)
    builder_of(tree).build(tmp_path / "newer", "plain-v2.0.0")
    tree.lay_out("bert-v3.0.0", seed=4, tensor_bytes=8 << 10)
    builder_of(tree).build(tmp_path / "newest", "bert-v3.0.0")
    fetcher = tree.fetcher()

    def fetch(medium, release, **allowed):
        fetcher.readers = [BundleReader(tmp_path / medium)]
        supply = dataclasses.replace(fetcher.supply(), media=True, **allowed)
        return fetch_release(FetchOrder(read_want(release), fetcher.models), supply, fetcher.events.append)

    fetch("newer", "plain-v2.0.0")
    done = fetch("old", "bert-v2.0.0")
    assert any("older" in warning for warning in done.warnings)
    fetch("newest", "bert-v3.0.0")
    with pytest.raises(RollbackRefused) as refused:
        fetch("old", "bert-v1.0.0")
    assert "--allow-downgrade" in refused.value.hint
    done = fetch("old", "bert-v2.0.0", allow_downgrade=True)
    assert any("allowed by --allow-downgrade" in warning for warning in done.warnings)
    with pytest.raises(RollbackRefused):
        fetch("old", "bert-v1.0.0")


def test_an_installed_folder_is_repaired_from_a_medium_chunk_by_chunk(tree):
    fetcher = tree.fetcher(BundleReader(tree.folder / "built"))
    fetcher.fetch("bert-v2.0.0")
    folder = fetcher.models / "bert-v2.0.0"
    flip(folder / "onnx" / "noise.bin", 100)
    done = fetcher.verify(folder, repair=True)
    assert done.repaired == ["onnx/noise.bin"]
    assert 0 < done.bytes_fetched <= 64 << 10
    assert contents(folder) == contents(tree.sources["bert-v2.0.0"])


def test_a_mirror_of_a_bundle_wants_one_that_has_every_model(tree, tmp_path):
    builder = builder_of(tree)
    builder.build(tmp_path / "some", "tok-v1.0.0")
    builder.build(tmp_path / "all", "bert-v1.0.0", "bert-v2.0.0", "plain-v1.0.0")
    supply = dataclasses.replace(tree.fetcher(BundleReader(tmp_path / "some")).supply(), media=True)
    with pytest.raises(UsageError, match="its own releases alone") as refused:
        mirror_tree(MirrorOrder(), supply, DirectoryStore(tmp_path / "copy"), ignore, by="me")
    assert "--keep-parts" in refused.value.hint
    assert not list(DirectoryStore(tmp_path / "copy").list("metadata/"))
    supply = dataclasses.replace(tree.fetcher(BundleReader(tmp_path / "all")).supply(), media=True)
    done = mirror_tree(MirrorOrder(), supply, DirectoryStore(tmp_path / "copy"), ignore, by="me")
    assert done.releases == ["bert-v1.0.0", "bert-v2.0.0", "plain-v1.0.0", "tok-v1.0.0"]
    fetcher = tree.fetcher(Reader(tmp_path / "copy"))
    fetcher.fetch("bert@stable")
    assert contents(fetcher.models / "bert-v2.0.0") == contents(tree.sources["bert-v2.0.0"])
