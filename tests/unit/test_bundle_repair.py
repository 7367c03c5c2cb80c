"""Damaged volumes made whole: by parity, by the other copy, by both, and by the run after one that was cut off."""

import os
import shutil
import subprocess

import pytest

from bundles.parity import find_program
from pipeline.errors import UsageError, VerifyFailed
from tests.bundle_world import (
    begin_tree,
    builder_of,
    contents_of,
    flip,
    member_at,
    repair,
    volumes_in,
)

# --- repair --------------------------------------------------------------------------------------


def whole(built, folder):
    return {name: data for name, data in contents_of(folder).items() if name in contents_of(built)} == contents_of(built)


def test_nothing_is_done_to_a_sound_bundle(copy, built):
    before = {path: path.stat().st_mtime_ns for path in copy.iterdir()}
    assert repair(copy).repaired == []
    assert {path: path.stat().st_mtime_ns for path in copy.iterdir()} == before


def test_parity_makes_a_damaged_volume_whole(copy, built):
    path = volumes_in(copy)[1]
    at, _ = member_at(path, "parts/")
    for offset in (5, 9000, 20_000):
        flip(path, at + offset)
    done = repair(copy)
    assert [(one.volume, one.parity) for one in done.repaired] == [(2, True)]
    assert contents_of(copy) == contents_of(built)


# The par2cmdline of Debian, which is another program than the one that wrote these files.
STOCK = shutil.which("par2", path="/usr/bin:/usr/local/bin") or "par2"


@pytest.mark.parametrize("damage", ["bits", "cut", "index", "longer"])
def test_stock_par2_repairs_a_volume(copy, built, tmp_path, damage):
    """As the README tells a person who has nothing of ours: the volume and its parity alone in a folder."""
    path = volumes_in(copy)[1]
    if damage == "bits":
        flip(path, member_at(path, "parts/")[0] + 5)
    elif damage == "cut":
        os.truncate(path, path.stat().st_size - 3000)
    elif damage == "index":
        flip(path, 700)
    else:
        with path.open("ab") as file:
            file.write(b"more")
    alone = tmp_path / "alone"
    alone.mkdir()
    for file in copy.glob(f"{path.name}*"):
        shutil.copy(file, alone)
    done = subprocess.run(
        [STOCK, "repair", f"{path.name}.par2"], cwd=alone, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stdout
    assert (alone / path.name).read_bytes() == (built / path.name).read_bytes()


def test_stock_par2_is_another_program_than_ours():
    words = [
        subprocess.run([program, "-V"], capture_output=True, text=True, check=False).stdout for program in (STOCK, find_program())
    ]
    assert "par2cmdline" in words[0]
    assert words[0] != words[1]


def test_stock_par2_says_where_damage_is_beyond_it(copy):
    path = volumes_in(copy)[1]
    at, size = member_at(path, "parts/")
    with path.open("r+b") as file:
        file.seek(at)
        file.write(bytes(size * 3 // 4))
    done = subprocess.run(
        [STOCK, "repair", f"{path.name}.par2"], cwd=copy, capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, "Repair is not possible" in done.stdout) == (2, True), done.stdout


def test_parity_of_the_stock_program_is_used_too(tree, tmp_path, monkeypatch):
    """A publisher without the extra, and a site with it."""
    with monkeypatch.context() as patch:
        patch.setattr("bundles.parity.find_program", lambda: STOCK)
        patch.setattr("bundles.building.find_program", lambda: STOCK)
        builder_of(tree).build(tmp_path / "out", "bert-v1.0.0", parity=20)
    path = volumes_in(tmp_path / "out")[0]
    good = path.read_bytes()
    flip(path, member_at(path, "parts/")[0] + 5)
    assert [one.parity for one in repair(tmp_path / "out").repaired] == [True]
    assert path.read_bytes() == good


def test_without_par2_parity_is_refused_and_says_how_to_get_it(tree, tmp_path, monkeypatch):
    monkeypatch.setattr("bundles.parity.find_spec", lambda _: None)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UsageError, match="par2") as refused:
        builder_of(tree).build(tmp_path / "out", "plain-v1.0.0", parity=10)
    assert "modelport[parity]" in refused.value.hint
    assert not (tmp_path / "out").exists()


def test_parity_makes_a_damaged_index_whole(copy, built):
    for path in volumes_in(copy):
        flip(path, 700)
    repair(copy)
    assert contents_of(copy) == contents_of(built)


def test_parity_makes_a_truncated_volume_whole(copy, built):
    path = volumes_in(copy)[1]
    os.truncate(path, path.stat().st_size - 3000)
    repair(copy)
    assert contents_of(copy) == contents_of(built)


def test_more_damage_than_parity_makes_good_is_said(copy):
    path = volumes_in(copy)[1]
    at, size = member_at(path, "parts/")
    with path.open("r+b") as file:
        file.seek(at)
        file.write(bytes(size * 3 // 4))
    with pytest.raises(VerifyFailed, match="could not be repaired"):
        repair(copy)


def without_parity(folder):
    """As it is built without --parity."""
    for path in folder.glob("*.par2"):
        path.unlink()
    sums = folder / "SHA256SUMS"
    sums.write_text("".join(line for line in sums.read_text().splitlines(keepends=True) if not line.endswith(".par2\n")))
    return folder


def test_two_half_good_copies_make_a_whole_one(built, tmp_path):
    one, other = (without_parity(shutil.copytree(built, tmp_path / name)) for name in ("one", "other"))
    path, twin = volumes_in(one)[0], volumes_in(other)[0]
    flip(path, member_at(path, "parts/")[0] + 3)
    flip(twin, member_at(twin, "metadata/")[0] + 3)
    volumes_in(one)[1].unlink()
    flip(volumes_in(other)[2], 600)
    done = repair(one, other)
    assert [one.volume for one in done.repaired] == [1, 2]
    assert whole(without_parity(shutil.copytree(built, tmp_path / "right")), one)


def test_copies_that_share_a_damaged_part_are_merged_chunk_by_chunk(tree, tmp_path):
    big = begin_tree(tmp_path / "big", tensor_bytes=2 << 20)
    builder = builder_of(big)
    builder.build(tmp_path / "right", "bert-v1.0.0")
    one, other = (shutil.copytree(tmp_path / "right", tmp_path / name) for name in ("one", "other"))
    path, twin = volumes_in(one)[0], volumes_in(other)[0]
    at, size = member_at(path, "parts/")
    flip(path, at + 100)
    flip(twin, at + size - 100)
    done = repair(one, other)
    assert [(one.volume, one.parity) for one in done.repaired] == [(1, False)]
    assert contents_of(one) == contents_of(tmp_path / "right")


def test_damage_in_the_same_place_of_both_copies_is_said(built, tmp_path):
    one, other = (without_parity(shutil.copytree(built, tmp_path / name)) for name in ("one", "other"))
    for folder in (one, other):
        path = volumes_in(folder)[1]
        flip(path, member_at(path, "parts/")[0] + 3)
    with pytest.raises(VerifyFailed, match="whole in no copy"):
        repair(one, other)


# --- a repair that is interrupted -----------------------------------------------------------------


@pytest.mark.parametrize("nth", [1, 2, 3, 5, 8])
def test_a_repair_cut_off_at_any_write_is_finished_by_the_next(built, tmp_path, monkeypatch, nth):
    one, other = (without_parity(shutil.copytree(built, tmp_path / name)) for name in ("one", "other"))
    for path in volumes_in(one):
        for ending in ("parts/", "metadata/", "targets/"):
            flip(path, member_at(path, ending)[0] + 3)
        flip(path, path.stat().st_size - 5)
    volumes_in(one)[1].unlink()
    write, left = os.pwrite, [nth]

    def cut(fd, data, at):
        left[0] -= 1
        if left[0] < 0:
            # Half of it, and then the machine is gone.
            write(fd, data[: len(data) // 2], at)
            raise KeyboardInterrupt
        return write(fd, data, at)

    with monkeypatch.context() as patch:
        patch.setattr("bundles.salvage.os.pwrite", cut)
        with pytest.raises(KeyboardInterrupt):
            repair(one, other)
    repair(one, other)
    assert contents_of(one) == contents_of(other)


def test_a_par2_that_lies_where_one_stands_is_not_run(tmp_path, monkeypatch):
    (tmp_path / "par2").write_text("#!/bin/sh\n")
    (tmp_path / "par2").chmod(0o755)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("bundles.parity.find_spec", lambda _: None)
    monkeypatch.setenv("PATH", f".{os.pathsep}")
    with pytest.raises(UsageError, match="par2, which is not on this machine"):
        find_program()
    monkeypatch.setenv("PATH", str(tmp_path))
    assert find_program() == str(tmp_path / "par2")
