"""Parity that somebody else wrote: nobody signs it, and its files may name any other file to be written."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from bundles.parity import find_program, make_parity
from bundles.repairing import repair_bundle
from pipeline.errors import VerifyFailed
from tests.bundle_world import begin_tree, builder_of, contents_of, flip, least_size, member_at, volumes_in
from tests.par2_forge import forge_parity


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    tree = begin_tree(tmp_path_factory.mktemp("tree"), tensor_bytes=16 << 10)
    builder = builder_of(tree)
    builder.build(tree.folder / "built", "bert@stable", size=least_size(builder, "bert@stable"), parity=100)
    return tree.folder / "built"


@pytest.fixture
def copy(built, tmp_path):
    return shutil.copytree(built, tmp_path / "ground" / "copy")


def repair(folder: Path, *others: Path):
    return repair_bundle(folder, others, lambda _: None)


def everything(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("named", ["../escaped", "{outside}/escaped", "sub/escaped", "lnk/escaped", "README.txt", "install.pyz"])
@pytest.mark.parametrize("where", ["a part", "every index"])
def test_parity_that_names_another_file_writes_nothing(copy, tmp_path, named, where):
    outside = tmp_path / "outside"
    outside.mkdir()
    (copy / "lnk").symlink_to(outside)
    (copy / "install.pyz").write_bytes(b"what somebody compared")
    volumes = volumes_in(copy)
    for path in volumes if where == "every index" else volumes[:1]:
        flip(path, 700 if where == "every index" else member_at(path, "parts/")[0] + 5)
        for parity in copy.glob(f"{path.name}*.par2"):
            parity.unlink()
        forge_parity(path, named.format(outside=outside), b"evil" * 5000, tmp_path / f"forge-{path.name}")
    before = everything(tmp_path)
    with pytest.raises(VerifyFailed, match="does not lead to the volume"):
        repair(copy)
    assert everything(tmp_path) == before
    assert not (copy / "sub").exists()


def test_parity_of_other_bytes_leaves_a_damaged_volume_as_it_is(copy, tmp_path):
    """What it makes has the volume's name and is no volume: the volume may yet be mended by other parity."""
    path = volumes_in(copy)[0]
    flip(path, member_at(path, "parts/")[0] + 5)
    before = path.read_bytes()
    for parity in copy.glob(f"{path.name}*.par2"):
        parity.unlink()
    forge_parity(path, path.name, b"evil" * 5000, tmp_path / "forge")
    with pytest.raises(VerifyFailed, match="does not lead to the volume"):
        repair(copy)
    assert path.read_bytes() == before


def test_a_whole_copy_that_parity_names_is_neither_moved_nor_altered(copy, built, tmp_path):
    path = volumes_in(copy)[0]
    other = tmp_path / "other"
    other.mkdir()
    spare = other / path.name
    spare.write_bytes(path.read_bytes())
    for one in (path, spare):
        flip(one, member_at(one, "parts/")[0] + 5)
    before = everything(other)
    assert [one.parity for one in repair(copy, other).repaired] == [True]
    assert everything(other) == before
    assert contents_of(copy) == contents_of(built)


def test_a_repair_that_was_killed_leaves_nothing_that_hinders_the_next(copy, built):
    path = volumes_in(copy)[0]
    flip(path, member_at(path, "parts/")[0] + 5)
    left = path.with_name(f".{path.name}.repair")
    left.mkdir()
    (left / path.name).write_bytes(b"half")
    repair(copy)
    assert contents_of(copy) == contents_of(built)
    assert not left.exists()
    flip(path, member_at(path, "parts/")[0] + 5)
    (copy.parent / "elsewhere").mkdir()
    (copy.parent / "elsewhere" / "mine").write_bytes(b"mine")
    left.symlink_to(copy.parent / "elsewhere")
    repair(copy)
    assert (copy.parent / "elsewhere" / "mine").read_bytes() == b"mine"
    assert contents_of(copy) == contents_of(built)


def test_a_medium_without_links_is_repaired_too(copy, built, monkeypatch):
    path = volumes_in(copy)[0]
    flip(path, member_at(path, "parts/")[0] + 5)
    symlink = os.symlink

    def fat(target, link, *args, **named):
        if Path(link).is_relative_to(copy):
            raise PermissionError(1, "Operation not permitted")
        symlink(target, link, *args, **named)

    monkeypatch.setattr(os, "symlink", fat)
    repair(copy)
    assert contents_of(copy) == contents_of(built)


def test_parity_is_not_written_through_a_planted_link(copy, tmp_path):
    path = volumes_in(copy)[0]
    (planted,) = copy.glob(f"{path.name}.par2")
    planted.unlink()
    planted.symlink_to(tmp_path / "planted")
    make_parity(path, 10)
    assert not (tmp_path / "planted").exists()
    assert planted.is_file()
    assert not planted.is_symlink()


def test_what_the_forger_makes_is_parity_that_the_program_believes(tmp_path):
    """Else nothing above would show anything."""
    medium = tmp_path / "medium"
    medium.mkdir()
    forge_parity(medium / "v.tar", "README.txt", b"evil" * 5000, tmp_path / "forge")
    subprocess.run([find_program(), "repair", "-q", "-q", "--", "v.tar.par2"], cwd=medium, check=True)
    assert (medium / "README.txt").read_bytes() == b"evil" * 5000
