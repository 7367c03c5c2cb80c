"""What stands beside the volumes of a bundle: lost or damaged parity, sums, installer and readme, and what a repair makes of them."""

import hashlib
import shutil
import subprocess

import pytest

from bundles.zipped import installer_bytes
from pipeline.errors import VerifyFailed
from tests.bundle_world import (
    builder_of,
    contents_of,
    flip,
    member_at,
    repair,
    verify,
    volumes_in,
)

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
