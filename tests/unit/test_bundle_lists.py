"""SHA256SUMS, README.txt and names of media: what they say, what of it is proven, and capitals that other systems write."""

import random
import shutil
import subprocess

import msgspec
import pytest

from bundles.index import bundle_of
from bundles.installer.wheel_pins import PINS
from bundles.medium import open_medium
from bundles.side_files import readme_text
from bundles.zipped import installer_bytes
from pipeline.errors import VerifyFailed
from tests.bundle_world import begin_tree, builder_of, contents_of, flip, least_size, member_at, repair, verify, volumes_in

WHEEL = min(PINS)


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    return begin_tree(tmp_path_factory.mktemp("tree"), tensor_bytes=64 << 10)


@pytest.fixture(scope="module")
def built(tree):
    builder = builder_of(tree)
    folder = tree.folder / "built"
    size = least_size(builder, "bert@stable", "plain-v1.0.0")
    builder.build(folder, "bert@stable", "plain-v1.0.0", size=size, parity=20, installer=installer_bytes())
    assert len(volumes_in(folder)) >= 2
    return folder


@pytest.fixture
def copy(built, tmp_path):
    return shutil.copytree(built, tmp_path / "copy")


def lines_of(folder):
    return (folder / "SHA256SUMS").read_text().splitlines()


def without_lines(folder, *endings):
    """SHA256SUMS without the lines of these names."""
    kept = [line for line in lines_of(folder) if not line.endswith(endings)]
    (folder / "SHA256SUMS").write_text("".join(f"{line}\n" for line in kept))


def with_digest(folder, name, digest="00" * 32):
    """SHA256SUMS that says something else of ``name``."""
    lines = [f"{digest}  {name}" if line.endswith(f"  {name}") else line for line in lines_of(folder)]
    (folder / "SHA256SUMS").write_text("".join(f"{line}\n" for line in lines))


# --- what the list says of volumes ----------------------------------------------------------------


def test_a_wrong_digest_of_a_volume_is_found_with_sums_and_put_right(copy, built):
    name = volumes_in(copy)[1].name
    with_digest(copy, name)
    assert verify(copy).sums is False
    with pytest.raises(VerifyFailed, match=rf"{name}: its sha256 is \w{{64}}, SHA256SUMS says 0+; the volume is whole"):
        verify(copy, sums=True)
    assert repair(copy).beside == ["SHA256SUMS"]
    assert verify(copy, sums=True).sums
    assert lines_of(copy) == lines_of(built)


def test_a_volume_that_the_list_does_not_name_is_found_with_sums(copy):
    name = volumes_in(copy)[0].name
    without_lines(copy, f"  {name}")
    with pytest.raises(VerifyFailed, match=f"{name}: SHA256SUMS does not name it"):
        verify(copy, sums=True)


def test_volumes_that_were_copied_alone_pass_with_sums(copy):
    for path in copy.iterdir():
        if path.suffix != ".tar":
            path.unlink()
    assert verify(copy, sums=True).sums


def test_a_damaged_volume_is_told_once_with_sums(copy):
    path = volumes_in(copy)[0]
    flip(path, member_at(path, "parts/")[0] + 5)
    with pytest.raises(VerifyFailed) as failed:
        verify(copy, sums=True)
    assert str(failed.value).count(path.name) == 1


def test_lists_of_two_media_that_contradict_each_other_are_told_without_hashing_volumes(copy, built):
    name = volumes_in(copy)[0].name
    with_digest(copy, name)
    with pytest.raises(VerifyFailed, match=rf"SHA256SUMS: it says that {name} has sha256 0+, that of .*built says"):
        verify(built, copy)


def test_a_readme_that_names_another_installer_or_root_is_told(copy, tree):
    readme = copy / "README.txt"
    text = readme.read_text()
    without_lines(copy, "  README.txt")
    readme.write_text(text.replace(tree.site.fingerprint, "00" * 32))
    with pytest.raises(VerifyFailed, match=rf"README.txt: it names another fingerprint of the root .*{tree.site.fingerprint}"):
        verify(copy)
    (copy / "install.pyz").write_bytes(b"another")
    without_lines(copy, "  install.pyz")
    readme.write_text(text)
    with pytest.raises(VerifyFailed, match=r"README.txt: it names another sha256 of the installer than install.pyz has"):
        verify(copy)
    with pytest.raises(VerifyFailed, match=r"beside them: README.txt: it names another sha256"):
        repair(copy)


def test_a_list_that_gives_a_wheel_another_digest_than_the_installer_takes_is_told(tree, tmp_path):
    (tmp_path / WHEEL).write_bytes(b"another wheel")
    builder_of(tree).build(tmp_path / "out", "plain-v1.0.0", wheels={WHEEL: tmp_path / WHEEL})
    with pytest.raises(VerifyFailed, match=f"the installer takes only {PINS[WHEEL]}"):
        verify(tmp_path / "out")


# --- lines that were lost --------------------------------------------------------------------------


def test_lines_that_the_medium_itself_proves_come_back(copy, built):
    """The installer is this modelport's, and what a README says follows from the bundle."""
    without_lines(copy, "  install.pyz", "  README.txt", ".tar")
    done = verify(copy)
    assert [warning for warning in done.warnings if "does not name it" in warning] == [
        "README.txt: SHA256SUMS does not name it",
        "install.pyz: SHA256SUMS does not name it",
    ]
    assert repair(copy).beside == ["SHA256SUMS"]
    assert lines_of(copy) == lines_of(built)


def test_a_line_of_what_was_altered_does_not_come_back(copy):
    without_lines(copy, "  install.pyz", "  README.txt")
    (copy / "README.txt").write_text((copy / "README.txt").read_text() + "Call this number first.\n")
    done = repair(copy)
    assert "README.txt: SHA256SUMS does not name it, and nothing here proves it" in done.warnings
    assert not any(line.endswith("  README.txt") for line in lines_of(copy))
    assert any(line.endswith("  install.pyz") for line in lines_of(copy))


def test_lines_of_parity_come_from_the_list_of_another_copy_alone(copy, built):
    without_lines(copy, ".par2")
    parity = sorted(path.name for path in copy.glob("*.par2"))
    alone = repair(copy)
    assert alone.beside == []
    assert [warning.partition(":")[0] for warning in alone.warnings] == parity
    assert repair(copy, built).beside == ["SHA256SUMS"]
    assert lines_of(copy) == lines_of(built)


def test_a_lost_list_is_written_anew_for_all_that_is_proven(copy, built):
    (copy / "SHA256SUMS").unlink()
    done = repair(copy)
    assert done.beside == ["SHA256SUMS"]
    assert lines_of(copy) == [line for line in lines_of(built) if not line.endswith(".par2")]
    assert all("does not name it" in warning for warning in done.warnings)


@pytest.mark.parametrize("how", ["gone", "altered"])
def test_a_lost_readme_is_written_anew_as_it_was(copy, built, how):
    (copy / "README.txt").unlink()
    if how == "altered":
        (copy / "README.txt").write_text("Stop.\n")
    assert repair(copy).beside == ["README.txt"]
    assert contents_of(copy) == contents_of(built)


# --- the README of a build over parity -------------------------------------------------------------


def test_readme_keeps_its_words_of_parity_that_stands_there(tree, tmp_path):
    builder = builder_of(tree)
    builder.build(tmp_path / "out", "plain-v1.0.0", parity=20)
    before = contents_of(tmp_path / "out")
    assert b"par2 repair" in before["README.txt"]
    builder.build(tmp_path / "out", "plain-v1.0.0")
    assert contents_of(tmp_path / "out") == before


# --- capitals ---------------------------------------------------------------------------------------


def in_capitals(folder):
    """Names as tools of other systems write them."""
    for path in [*folder.rglob("*")]:
        if path.is_file():
            path.rename(path.with_name(path.name.upper()))
    return folder


def test_names_in_capitals_are_the_same_files(copy, built, tree):
    in_capitals(copy)
    done = verify(copy, fingerprint=tree.site.fingerprint, sums=True)
    assert done.missing == []
    assert done.files_beside == len(list(built.iterdir())) - len(volumes_in(built)) - 1
    assert done.warnings == []
    assert repair(copy).beside == []
    assert {name.upper() for name in contents_of(built)} == set(contents_of(copy))


def test_damage_under_names_in_capitals_is_put_right(copy, built):
    in_capitals(copy)
    volumes = sorted(copy.glob("*.TAR"))
    flip(volumes[0], member_at(volumes[0], "parts/")[0] + 5)
    (copy / "README.TXT").write_text("Stop.\n")
    with_digest(copy, volumes[1].name.lower())
    done = repair(copy)
    assert [one.name for one in done.repaired] == [volumes[0].name]
    assert sorted(done.beside) == ["README.txt", "SHA256SUMS"]
    assert {name.upper(): data for name, data in contents_of(built).items()} == contents_of(copy)


def test_parity_in_capitals_that_was_lost_is_made_anew(copy):
    in_capitals(copy)
    volume = min(copy.glob("*.TAR"))
    chance = random.Random(1)
    for path in copy.glob(f"{volume.name}.*PAR2"):
        flip(path, chance.randrange(path.stat().st_size))
    assert repair(copy).beside
    flip(volume, member_at(volume, "parts/")[0] + 5)
    assert [one.parity for one in repair(copy).repaired] == [True]
    verify(copy, sums=True)


def test_a_list_in_small_letters_passes_coreutils_after_repair(copy):
    """A line keeps the name that it has: there are never two of one file."""
    path = volumes_in(copy)[0]
    path.rename(path.with_name(path.name.upper()))
    repair(copy)
    path.with_name(path.name.upper()).rename(path)
    ran = subprocess.run(["sha256sum", "-c", "--quiet", "SHA256SUMS"], cwd=copy, capture_output=True, text=True, check=False)
    assert (ran.returncode, ran.stdout) == (0, "")


def test_two_files_that_differ_in_capitals_alone_are_two_copies(copy):
    path = volumes_in(copy)[0]
    twin = path.with_name(path.name.upper())
    shutil.copy(path, twin)
    flip(path, member_at(path, "parts/")[0] + 5)
    assert next(len(copies) for copies in open_medium([copy]).volumes.values()) == 2
    with pytest.raises(VerifyFailed, match=path.name):
        verify(copy)


@pytest.mark.parametrize(
    ("kind", "place", "noun"),
    [
        ("web", "SITE/web/NAME", "web applications"),
        ("wheels", "--find-links SITE/wheels/RELEASE", "Python packages"),
        ("model", "", "AI models"),
    ],
)
def test_readme_says_what_it_is_of_and_where_each_kind_is_found(built, kind, place, noun):
    bundle = next(iter(open_medium([built]).volumes.values()))[0].bundle
    releases = tuple(msgspec.structs.replace(one, kind=kind) for one in bundle.plan.releases)
    plan = msgspec.structs.replace(bundle.plan, releases=releases)
    text = readme_text(bundle_of(plan), installer_sha256="ab" * 32, needs_codec=True, wheels=True, parity=True)
    assert [words for words in ("SITE/web/NAME", "--find-links SITE/wheels/RELEASE") if words in text] == (
        [place] if place else []
    )
    assert f"a bundle of {noun} for a place without a network" in text
    assert ("model" in text) == (kind == "model")
