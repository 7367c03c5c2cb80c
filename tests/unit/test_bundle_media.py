"""Media that are damaged, swapped or mixed, and what verify and a source make of them."""

import os
import random
import shutil

import pytest

from bundles import verifying
from bundles.medium import open_medium
from pipeline.errors import DiskError, InvalidDocument, NotPinned, ObjectMissing, SourceLied, UsageError, VerifyFailed
from pipeline.sources.mirrors import Mirrors
from tests.bundle_forge import forge
from tests.bundle_world import (
    builder_of,
    flip,
    member_at,
    reader_of,
    verify,
    volume,
    volumes_in,
)
from tests.fetch_world import contents


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


def test_another_root_is_refused_whatever_else_is_wrong_with_it(copy, tree):
    forged = forge(volumes_in(copy)[0], copy.parent / "forged", bodies={"metadata/1.root.json": b"{}"})
    with pytest.raises(NotPinned, match="no root of this bundle has the fingerprint"):
        verify(forged.parent, fingerprint=tree.site.fingerprint)


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
