"""Media that are damaged, swapped or mixed, and what verify, repair and a source make of them."""

import hashlib
import os
import random
import shutil
import subprocess

import pytest

from bundles import verifying
from bundles.medium import open_medium
from bundles.parity import find_program
from bundles.zipped import installer_bytes
from pipeline.errors import DiskError, InvalidDocument, NotPinned, ObjectMissing, SourceLied, UsageError, VerifyFailed
from pipeline.sources.mirrors import Mirrors
from tests.bundle_forge import forge
from tests.bundle_world import (
    begin_tree,
    builder_of,
    contents_of,
    flip,
    least_size,
    member_at,
    reader_of,
    repair,
    verify,
    volume,
    volumes_in,
)
from tests.fetch_world import contents


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    return begin_tree(tmp_path_factory.mktemp("tree"), tensor_bytes=64 << 10)


@pytest.fixture(scope="module")
def built(tree):
    """A bundle of several volumes with parity; tests take copies of it."""
    builder = builder_of(tree)
    wants = ("bert-v1.0.0", "bert@stable", "plain-v1.0.0")
    folder = tree.folder / "built"
    builder.build(folder, *wants, size=least_size(builder, *wants), parity=20)
    assert len(volumes_in(folder)) >= 3
    return folder


@pytest.fixture
def copy(built, tmp_path):
    return shutil.copytree(built, tmp_path / "copy")


def test_a_sound_bundle_is_proven(built, tree):
    done = verify(built, fingerprint=tree.site.fingerprint)
    assert done.trusted
    assert done.missing == []
    assert done.releases == ["bert-v1.0.0", "bert-v2.0.0", "plain-v1.0.0", "tok-v1.0.0"]
    assert not done.warnings


def test_without_a_fingerprint_the_root_is_named_to_compare(built, tree):
    done = verify(built)
    assert not done.trusted
    assert tree.site.fingerprint in done.warnings[0]


def test_another_root_is_refused(built):
    with pytest.raises(NotPinned, match="its newest root is 1"):
        verify(built, fingerprint="00" * 32)


@pytest.mark.parametrize("seed", range(12))
def test_one_flipped_bit_anywhere_is_found(copy, seed):
    chance = random.Random(seed)
    path = chance.choice(volumes_in(copy))
    flip(path, chance.randrange(path.stat().st_size), 1 << chance.randrange(8))
    with pytest.raises((VerifyFailed, UsageError)) as failed:
        verify(copy)
    assert path.name in str(failed.value)


def test_a_finding_names_the_member(copy):
    path = volumes_in(copy)[1]
    flip(path, member_at(path, "parts/")[0] + 5)
    with pytest.raises(VerifyFailed, match=rf"{path.name}: parts/"):
        verify(copy)


@pytest.mark.parametrize("cut", [1, 511, 1024, 70_000])
def test_a_truncated_volume_is_named(copy, cut):
    path = volumes_in(copy)[0]
    os.truncate(path, path.stat().st_size - cut)
    with pytest.raises(VerifyFailed, match=rf"{path.name}: it has \d+ bytes, expected"):
        verify(copy)


def test_a_longer_volume_is_named(copy):
    path = volumes_in(copy)[0]
    with path.open("ab") as file:
        file.write(b"x")
    with pytest.raises(VerifyFailed, match="bytes, expected"):
        verify(copy)


def test_a_missing_volume_is_named_unless_more_media_come(copy):
    volumes_in(copy)[1].unlink()
    with pytest.raises(VerifyFailed, match=r"volume 2 \(.*vol002.tar\) is missing"):
        verify(copy)
    assert verify(copy, all_there=False).missing == [2]


def test_names_and_order_of_volumes_do_not_matter(copy, tree):
    paths = volumes_in(copy)
    for number, path in enumerate(reversed(paths)):
        path.rename(copy / f"renamed-{number}.tar")
    assert verify(copy).missing == []
    assert open_medium([copy]).missing == []


def test_volumes_may_lie_on_several_media(copy, tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    moved = volumes_in(copy)[0]
    moved.rename(other / moved.name)
    assert verify(copy, other).missing == []


def test_the_same_volume_twice_is_no_error(copy):
    shutil.copy(volumes_in(copy)[0], copy / "again.tar")
    assert verify(copy).missing == []


def test_a_volume_of_another_bundle_is_refused_and_both_are_named(copy, tree, tmp_path):
    builder_of(tree).build(tmp_path / "foreign", "plain-v1.0.0")
    shutil.copy(volumes_in(tmp_path / "foreign")[0], copy / "zz.tar")
    with pytest.raises(UsageError, match=r"of bundle bert-v1.0.0-and-2-more .*of bundle plain-v1.0.0"):
        verify(copy)


def test_swapped_contents_are_found(copy):
    """Two volumes whose parts were exchanged, indexes left as they were."""
    one, other = volumes_in(copy)[:2]
    at, size = member_at(one, "parts/")
    at2, size2 = member_at(other, "parts/")
    part = other.read_bytes()[at2 : at2 + min(size, size2)]
    with one.open("r+b") as file:
        file.seek(at)
        file.write(part)
    with pytest.raises(VerifyFailed, match="parts/"):
        verify(copy)


def test_files_that_are_no_volumes_are_passed_by(copy):
    (copy / "holiday.tar").write_bytes(b"\0" * 2048)
    (copy / "short.tar").write_bytes(b"index.json")
    (copy / "folder.tar").mkdir()
    os.mkfifo(copy / "pipe.tar")
    (copy / "link.tar").symlink_to("/etc/passwd")
    assert verify(copy).missing == []


def test_a_folder_without_volumes_is_refused(tmp_path):
    with pytest.raises(UsageError, match="no volume"):
        verify(tmp_path)


def test_a_damaged_file_beside_the_volumes_is_named(copy):
    (copy / "install.pyz").write_bytes(b"another program")
    with pytest.raises(VerifyFailed, match=r"install\.pyz"):
        verify(copy)


def test_an_index_that_lies_about_parts_is_found_against_the_manifest(copy, tree):
    """Somebody who can write a whole volume anew with a right index, but cannot sign."""
    path = forge(volumes_in(copy)[0], copy.parent / "forged", drop_part=True)
    with pytest.raises(VerifyFailed, match="is in no volume"):
        verify(path.parent)


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


# --- what stands beside the volumes -------------------------------------------------------------


def spoil(path, how):
    if how == "gone":
        path.unlink()
    else:
        flip(path, path.stat().st_size // 2)


@pytest.mark.parametrize("how", ["gone", "altered"])
@pytest.mark.parametrize("which", [".tar.par2", ".vol", "both"])
def test_lost_parity_is_named_and_made_anew_while_the_volume_is_whole(copy, built, how, which):
    path = volumes_in(copy)[1]
    files = [one for one in copy.glob(f"{path.name}*.par2") if which == "both" or which in one.name.removeprefix(path.name[:-4])]
    files = files if which != ".tar.par2" else [path.with_name(f"{path.name}.par2")]
    assert len(files) == (2 if which == "both" else 1)
    for file in files:
        spoil(file, how)
    with pytest.raises(VerifyFailed, match=rf"without it damage to {path.name} cannot be put right"):
        verify(copy)
    done = repair(copy)
    assert (done.repaired, {file.name for file in files} <= set(done.beside)) == ([], True)
    assert verify(copy).missing == []
    subprocess.run(["sha256sum", "--quiet", "-c", "SHA256SUMS"], cwd=copy, check=True)
    assert {name: len(data) for name, data in contents_of(copy).items()} == {
        name: len(data) for name, data in contents_of(built).items()
    }
    flip(path, member_at(path, "parts/")[0] + 5)
    assert [one.parity for one in repair(copy).repaired] == [True]


def test_a_volume_is_put_right_before_parity_of_it_is_made(copy, built):
    path = volumes_in(copy)[1]
    flip(path, member_at(path, "parts/")[0] + 5)
    path.with_name(f"{path.name}.par2").unlink()
    done = repair(copy)
    assert ([one.parity for one in done.repaired], done.beside[0]) == ([True], f"{path.name}.par2")
    assert verify(copy).missing == []


def test_parity_is_never_made_of_a_volume_that_stays_damaged(copy):
    path = volumes_in(copy)[1]
    for file in copy.glob(f"{path.name}*.par2"):
        file.unlink()
    flip(path, member_at(path, "parts/")[0] + 5)
    with pytest.raises(VerifyFailed, match="whole in no copy, and there is no parity"):
        repair(copy)
    assert not list(copy.glob(f"{path.name}*.par2"))


def test_without_the_program_lost_parity_is_said_and_volumes_are_whole(copy, tmp_path, monkeypatch):
    (copy / f"{volumes_in(copy)[1].name}.par2").unlink()
    monkeypatch.setattr("bundles.parity.find_spec", lambda _: None)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(VerifyFailed, match=r"every volume here is whole; beside them: .*parity needs the program par2"):
        repair(copy)


@pytest.mark.parametrize("how", ["gone", "altered"])
@pytest.mark.parametrize("name", ["install.pyz", "wheels/some.whl"])
def test_files_beside_the_volumes_come_from_the_other_copy(tree, tmp_path, name, how):
    (tmp_path / "some.whl").write_bytes(bytes(range(200)))
    builder_of(tree).build(tmp_path / "one", "plain-v1.0.0", wheels={"some.whl": tmp_path / "some.whl"})
    other = shutil.copytree(tmp_path / "one", tmp_path / "other")
    spoil(tmp_path / "one" / name, how)
    with pytest.raises(VerifyFailed, match=name):
        verify(tmp_path / "one")
    with pytest.raises(VerifyFailed, match=f"every volume here is whole; beside them: {name}") as left:
        repair(tmp_path / "one")
    assert "--from" in left.value.hint
    assert repair(tmp_path / "one", other).beside == [name]
    assert contents_of(tmp_path / "one") == contents_of(other)


def test_the_installer_of_this_version_is_written_anew(tree, tmp_path):
    builder_of(tree).build(tmp_path / "out", "plain-v1.0.0", installer=installer_bytes())
    (tmp_path / "out" / "install.pyz").unlink()
    assert repair(tmp_path / "out").beside == ["install.pyz"]
    assert (tmp_path / "out" / "install.pyz").read_bytes() == installer_bytes()


def test_files_beside_the_volumes_may_lie_on_any_of_several_media(copy, tmp_path):
    """Each medium has SHA256SUMS of the whole, as it was copied; parity stands where its volume does."""
    other = tmp_path / "other"
    other.mkdir()
    shutil.copy(copy / "SHA256SUMS", other)
    for file in copy.glob(f"{volumes_in(copy)[0].name}*"):
        file.rename(other / file.name)
    assert verify(copy, other).missing == []
    flip(other / f"{volumes_in(other)[0].name}.par2", 100)
    with pytest.raises(VerifyFailed, match=rf"{volumes_in(other)[0].name}.par2: its sha256 is"):
        verify(copy, other)


@pytest.mark.parametrize("blocks", ["0", "2001", "99999", "9" * 5000])
def test_sums_that_ask_for_more_parity_than_there_can_be_get_none(copy, blocks):
    path = volumes_in(copy)[1]
    for file in copy.glob(f"{path.name}*.par2"):
        file.unlink()
    sums = copy / "SHA256SUMS"
    kept = [line for line in sums.read_text().splitlines() if f"{path.name}.vol" not in line]
    sums.write_text("\n".join([*kept, f"{'00' * 32}  {path.name}.vol000+{blocks}.par2"]) + "\n")
    with pytest.raises(VerifyFailed, match="does not say how much parity it had"):
        repair(copy)
    assert not list(copy.glob(f"{path.name}*.par2"))


@pytest.mark.parametrize("name", [f"{'n' * 300}.tar.par2", "n\0.tar.par2", "\N{SNOWMAN}.tar.par2"])
def test_parity_of_a_volume_that_no_file_can_be_is_passed_by(copy, name):
    with (copy / "SHA256SUMS").open("a") as sums:
        sums.write(f"{'00' * 32}  {name}\n")
    assert verify(copy).missing == []


def test_lost_sums_are_named_and_written_anew_for_what_is_proven(copy):
    before = (copy / "SHA256SUMS").read_text()
    (copy / "SHA256SUMS").unlink()
    with pytest.raises(VerifyFailed, match="SHA256SUMS: it is gone"):
        verify(copy)
    assert repair(copy).beside == ["SHA256SUMS"]
    lines = (copy / "SHA256SUMS").read_text().splitlines()
    assert [line[66:] for line in lines] == [path.name for path in volumes_in(copy)]
    assert set(lines) <= set(before.splitlines())
    assert verify(copy).missing == []


def test_wrong_digests_of_whole_volumes_are_put_right_in_sums(copy):
    right = (copy / "SHA256SUMS").read_text()
    name = volumes_in(copy)[1].name
    wrong = [f"{'00' * 32}  {name}" if line.endswith(f"  {name}") else line for line in right.splitlines()]
    (copy / "SHA256SUMS").write_text("\n".join(wrong) + "\n")
    assert repair(copy).beside == ["SHA256SUMS"]
    assert (copy / "SHA256SUMS").read_text() == right
    assert repair(copy).beside == []


def test_names_in_sums_lead_nowhere_else(copy, tmp_path):
    """Nobody signs SHA256SUMS: neither a path nor a planted link in it is written through."""
    outside = tmp_path / "outside"
    outside.mkdir()
    (copy / "wheels").symlink_to(outside)
    good = tmp_path / "good"
    (good / "wheels").mkdir(parents=True)
    for name in ("wheels/x.whl", ".hidden"):
        (good / name).write_bytes(b"x")
    digest = hashlib.sha256(b"x").hexdigest()
    with (copy / "SHA256SUMS").open("a") as sums:
        sums.write("".join(f"{digest}  {name}\n" for name in ("wheels/x.whl", "../outside/y", "/outside/z", ".hidden", "a/b")))
    with pytest.raises(VerifyFailed, match=r"wheels/x\.whl: it is gone$"):
        repair(copy, good)
    assert list(outside.iterdir()) == []
    assert not (copy / ".hidden").exists()


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


# --- as a source ---------------------------------------------------------------------------------


def test_a_document_is_taken_from_the_volume_in_which_it_is_whole(copy, built):
    first = volumes_in(copy)[0]
    flip(first, member_at(first, "metadata/timestamp.json")[0] + 9)
    good = b"".join(reader_of(built).get("metadata/timestamp.json"))
    assert b"".join(reader_of(copy).get("metadata/timestamp.json")) == good


def test_a_document_that_is_whole_nowhere_is_refused(copy):
    for path in volumes_in(copy):
        flip(path, member_at(path, "metadata/timestamp.json")[0] + 9)
    with pytest.raises(SourceLied, match="timestamp"):
        list(reader_of(copy).get("metadata/timestamp.json"))


def test_a_part_of_a_missing_volume_names_it(copy):
    gone = volumes_in(copy)[1]
    key = volume(gone).bundle.plan.volumes[1][0].key
    gone.unlink()
    with pytest.raises(ObjectMissing, match=r"volume 2 of \d+: which is not here") as missing:
        list(reader_of(copy).get(key))
    assert "--source" in missing.value.hint


def test_a_medium_that_is_not_here_is_asked_for_and_not_waited_for(copy):
    gone = volumes_in(copy)[1]
    part = volume(gone).bundle.plan.volumes[1][0]
    gone.unlink()
    waited = []
    sources = Mirrors([reader_of(copy), reader_of(copy)], sleep=waited.append)
    with pytest.raises(ObjectMissing, match="which is not here") as missing:
        sources.read_range(part.key, 0, part.size, lambda block: block)
    assert (waited, "another --source" in missing.value.hint) == ([], True)


def test_what_a_bundle_does_not_hold_names_what_it_holds(copy):
    with pytest.raises(ObjectMissing) as missing:
        list(reader_of(copy).get("parts/00/" + "00" * 32))
    assert "bert-v2.0.0" in missing.value.hint


def test_a_bundle_is_read_only(copy):
    reader = reader_of(copy)
    with pytest.raises(UsageError, match="read-only"):
        reader.put("metadata/timestamp.json", b"", sha256="00")
    with pytest.raises(UsageError, match="read-only"):
        reader.delete("metadata/timestamp.json")


def test_fetch_takes_a_release_out_of_volumes(built, tree):
    fetcher = tree.fetcher(reader_of(built))
    fetched = fetcher.fetch("bert@stable")
    assert contents(fetcher.models / fetched.release) == contents(tree.sources["bert-v2.0.0"])
    assert contents(fetcher.models / "tok-v1.0.0") == contents(tree.sources["tok-v1.0.0"])


def test_a_rotten_part_is_fetched_from_the_other_copy(copy, built, tree):
    for path in volumes_in(copy):
        flip(path, member_at(path, "parts/")[0] + 40)
    fetcher = tree.fetcher(reader_of(copy), reader_of(built))
    fetcher.fetch("bert-v2.0.0")
    assert contents(fetcher.models / "bert-v2.0.0") == contents(tree.sources["bert-v2.0.0"])


def test_a_folder_where_no_volume_is_whole_says_why(copy):
    for path in volumes_in(copy):
        os.truncate(path, 5000)
    with pytest.raises(InvalidDocument, match="no whole volume"):
        reader_of(copy)


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


def test_missing_volumes_are_named_before_files_beside_them(copy):
    volumes_in(copy)[1].unlink()
    (copy / "README.txt").unlink()
    with pytest.raises(VerifyFailed) as found:
        verify(copy)
    assert 0 < str(found.value).index("is missing") < str(found.value).index("README.txt: it is gone")


def test_where_no_folder_can_be_made_to_judge_in_verify_says_so(copy, monkeypatch):
    def no_folder(**_):
        raise FileNotFoundError(2, "No usable temporary directory found")

    monkeypatch.setattr(verifying, "TemporaryDirectory", no_folder)
    with pytest.raises(DiskError, match="No usable temporary directory") as refused:
        verify(copy)
    assert "TMPDIR" in refused.value.hint


def test_folder_of_links_to_volumes_is_told_that_links_do_not_count(copy, tmp_path):
    links = tmp_path / "links"
    links.mkdir()
    for path in volumes_in(copy):
        (links / path.name).symlink_to(path)
    with pytest.raises(UsageError) as refused:
        verify(links)
    assert "links to them do not count" in refused.value.hint
