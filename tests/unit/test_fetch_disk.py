"""What a fetch does to the disk: room for every file before the first byte, and copies that the kernel makes."""

import errno
import os
from pathlib import Path

import pytest

from pipeline.steps import holdings
from pipeline.steps.folders import opened_folder
from pipeline.steps.landing import landing_at
from pipeline.steps.leftovers import remove_leftovers
from tests.fetch_world import Reader, contents, make_tree
from tests.makers.fetching import manifest_of

TENSOR = 600 << 10


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    tree = make_tree(tmp_path_factory.mktemp("disk") / "tree")
    tree.lay_out("bert-v1.0.0", tensor_bytes=TENSOR)
    tree.lay_out("bert-v1.1.0", tensor_bytes=TENSOR, other=1)
    return tree


def test_every_file_has_its_space_before_the_first_byte_comes(published):
    seen = {}

    def look(key, at, block):
        landing = next(fetcher.models.glob(".bert-v1.0.0.partial-*"))
        if not seen:
            files = [path for path in landing.rglob("*") if path.is_file()]
            seen.update({path.relative_to(landing).as_posix(): path.stat() for path in files})
        return block

    fetcher = published.fetcher(Reader(published.store, look))
    fetcher.fetch("bert-v1.0.0")
    source = contents(published.sources["bert-v1.0.0"])
    assert {path: found.st_size for path, found in seen.items()} == {path: len(data) for path, (data, _) in source.items()}
    # A hole would have no blocks: the disk may be full when its bytes come.
    assert all(found.st_blocks * 512 >= found.st_size for found in seen.values())


@pytest.mark.parametrize("fault", [None, errno.EXDEV, errno.EOPNOTSUPP])
def test_what_is_here_is_copied_by_the_kernel_where_it_can(published, monkeypatch, fault):
    fetcher = published.fetcher()
    fetcher.fetch("bert-v1.0.0")
    fetcher.cache.shrink(0)
    copied = []
    real = os.copy_file_range

    def copy(source, target, size, *offsets):
        if fault is not None:
            raise OSError(fault, os.strerror(fault))
        copied.append(real(source, target, size, *offsets))
        return copied[-1]

    monkeypatch.setattr(holdings.os, "copy_file_range", copy)
    done = fetcher.fetch("bert-v1.1.0")
    assert contents(fetcher.models / "bert-v1.1.0") == contents(published.sources["bert-v1.1.0"])
    assert done.bytes_reused > TENSOR * 1.9
    assert sum(copied) >= (done.bytes_reused if fault is None else 0)


def test_what_lies_behind_a_link_of_this_machine_serves_as_well(published, tmp_path):
    fetcher = published.fetcher()
    (tmp_path / "disk").mkdir()
    fetcher.cache.place.parent.mkdir(parents=True, exist_ok=True)
    fetcher.cache.place.symlink_to(tmp_path / "disk")
    fetcher.fetch("bert-v1.0.0")
    (fetcher.models / "bert-v1.0.0").rename(tmp_path / "moved")
    done = fetcher.fetch("bert-v1.1.0")
    assert contents(fetcher.models / "bert-v1.1.0") == contents(published.sources["bert-v1.1.0"])
    assert done.bytes_reused > TENSOR * 1.9


def test_a_file_that_cannot_be_taken_over_keeps_nothing_open(tmp_path):
    manifest = manifest_of([[("one", 3)]], paths=["sub/a"])
    old = tmp_path / "old" / "sub"
    old.mkdir(parents=True)
    (old / "a").write_bytes(b"one")
    with (
        opened_folder(tmp_path / "old") as old_fd,
        landing_at(tmp_path / "new", manifest, "k" * 16, waiting=lambda: None) as landing,
    ):
        (landing.folder / "sub").write_text("what an earlier run left")
        before = len(list(Path("/proc/self/fd").iterdir()))
        assert not landing.adopt(0, old_fd)
        assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_what_somebody_else_put_beside_a_destination_keeps_no_leftover(tmp_path):
    for number in range(3):
        (tmp_path / f".bert.partial-{number}0").write_text("not ours")
        (tmp_path / f".bert.partial-{number}1").mkdir()
    remove_leftovers(tmp_path / "bert")
    assert sorted(path.name for path in tmp_path.iterdir()) == [f".bert.partial-{number}0" for number in range(3)]
