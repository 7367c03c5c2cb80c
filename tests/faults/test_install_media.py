"""Media that are damaged, foreign or pulled out, places that do not take: what both installers say, and that nothing is left behind."""

import os
import shutil

import pytest

from bundles.repairing import repair_bundle
from pipeline.events import ignore
from tests.fetch_world import contents
from tests.install_world import COLUMNS, Column, make_bundle_tree, site_files
from tests.media_world import member_bytes, pack


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    return make_bundle_tree(tmp_path_factory.mktemp("tree") / "tree", tensor_bytes=512 << 10)


@pytest.fixture(scope="module")
def packed(tree):
    return pack(tree, "bert-v1.0.0", "raw-v1.0.0", volumes=2)


@pytest.fixture(params=COLUMNS)
def column(request, tmp_path):
    return Column(request.param, tmp_path)


def flipped(data: bytes, at: int) -> bytes:
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


# --- volumes: damaged, missing, foreign ------------------------------------------------------------


def test_truncated_volume_is_named_with_its_sizes(tree, packed, column, tmp_path):
    media = packed.write(tmp_path / "media", spoil=lambda number, data: data[:-5000] if number == 2 else data)
    refused = column.install(media, tmp_path / "site", tree.site.fingerprint)
    whole = len(packed.volume(2))
    assert (refused.code, f"has {whole - 5000} bytes, expected {whole}" in refused.error) == (3, True)
    assert not (tmp_path / "site" / "current").exists()


def test_more_volumes_than_files_may_be_open_are_opened_all_the_same(tree, packed, tmp_path):
    media = packed.write(tmp_path / "media")
    for number in range(100):
        shutil.copy(media / f"{packed.name}.vol001.tar", media / f"copy{number}.tar")
    words = ["--from", str(media), "--site", str(tmp_path / "site"), "--root-fingerprint", tree.site.fingerprint]
    ran = Column("install.pyz", tmp_path).run(*words, before=["prlimit", "--nofile=64:1024"])
    assert ran.returncode == 0, ran.stderr


@pytest.mark.parametrize("where", ["part", "header", "document"])
def test_bit_rot_names_the_volume_and_what_the_others_hold_is_kept(tree, packed, column, tmp_path, where):
    data = packed.volume(2)
    key = max(packed.plan["volumes"][1], key=lambda entry: entry[1])[0] if where != "document" else packed.plan["documents"][0][0]
    name = key.rpartition("/")[2].encode() if where != "document" else key.encode()
    at = data.rindex(name) if where != "document" else data.index(name + b"\0")
    at += 20 if where == "header" else 512 + 700
    media = packed.write(tmp_path / "media", spoil=lambda number, data: flipped(data, at) if number == 2 else data)
    site = tmp_path / "site"
    found = column.install(media, site, tree.site.fingerprint)
    if where == "document":
        # Every volume holds it; the other one's is good.
        assert found.code == 0, found.said
        return
    assert (found.code, "volume 2" in found.error) == (3, True), found.said
    assert not (site / "current").exists()
    done = column.install(packed.write(tmp_path / "again", only=[2]), site)
    assert done.code == 0, done.said
    assert contents(site / "models" / "bert-v1.0.0") == contents(tree.sources["bert-v1.0.0"])


def test_damaged_volume_says_what_a_site_with_python_alone_can_do(tree, packed, column, tmp_path):
    media = packed.write(tmp_path / "media")
    path = media / f"{packed.name}.vol002.tar"
    data = path.read_bytes()
    path.write_bytes(flipped(data, data.rindex(b"parts/") + 600))
    alone = column.install(media, tmp_path / "site", tree.site.fingerprint)
    assert (alone.code, f"volume 2 of {packed.name} ({path}) is damaged: part " in alone.error) == (3, True), alone.said
    assert alone.hint == "Take another copy of it, or ask the sender for this volume alone: bundle.build --only 2"
    (media / f"{path.name}.par2").touch()
    healing = column.install(media, tmp_path / "site")
    assert f"repair it as README.txt says (par2 repair {path.name}.par2)" in healing.hint


def test_part_that_rotted_at_the_site_is_taken_from_the_medium_and_put_right(tree, column, tmp_path):
    site = tmp_path / "site"
    media = pack(tree, "bert-v1.0.0").write(tmp_path / "media")
    assert column.install(media, site, tree.site.fingerprint, keep_parts=True).code == 0
    part = max((site / "parts").rglob("*/*"), key=lambda path: path.stat().st_size)
    good = part.read_bytes()
    part.write_bytes(flipped(good, len(good) // 2))
    shutil.rmtree(site / "models")
    done = column.install(media, site)
    assert done.code == 0, done.said
    assert f"{part} is damaged" in done.done["warnings"][0]
    assert contents(site / "models" / "bert-v1.0.0") == contents(tree.sources["bert-v1.0.0"])
    assert part.read_bytes() == good


def test_part_that_rotted_at_the_site_and_is_on_no_medium_is_named_and_need_not_stay(tree, column, tmp_path):
    site = tmp_path / "site"
    assert (
        column.install(pack(tree, "bert-v1.0.0").write(tmp_path / "base"), site, tree.site.fingerprint, keep_parts=True).code == 0
    )
    part = max((site / "parts").rglob("*/*"), key=lambda path: path.stat().st_size)
    part.write_bytes(bytes(part.stat().st_size))
    delta = pack(tree, "bert-v1.1.0", bases=["bert-v1.0.0"]).write(tmp_path / "delta")
    refused = column.install(delta, site)
    assert (refused.code, str(part) in refused.error) == (3, True), refused.said
    assert refused.hint.startswith("Remove what is named and run this again")
    part.unlink()
    done = column.install(delta, site)
    assert done.code == 0, done.said
    assert contents(site / "models" / "bert-v1.1.0") == contents(tree.sources["bert-v1.1.0"])


def test_all_rotten_parts_of_a_site_are_named_at_once(tree, column, tmp_path):
    site = tmp_path / "site"
    both = ("bert-v1.0.0", "raw-v1.0.0")
    assert column.install(pack(tree, *both).write(tmp_path / "base"), site, tree.site.fingerprint, keep_parts=True).code == 0
    for release in both:
        shutil.rmtree(site / "models" / release)
    rotten = sorted((site / "parts").rglob("*/*"))
    for part in rotten:
        part.write_bytes(bytes(part.stat().st_size))
    refused = column.install(pack(tree, *both, bases=both).write(tmp_path / "delta"), site)
    assert (refused.code, [part for part in rotten if str(part) not in refused.error]) == (3, []), refused.said
    assert f"(and {len(rotten) - 1} more: " in refused.error


@pytest.mark.parametrize("keep_parts", [False, True])
def test_truncated_part_at_the_site_does_not_stay_to_be_served(tree, column, tmp_path, keep_parts):
    site = tmp_path / "site"
    media = pack(tree, "bert-v1.0.0").write(tmp_path / "media")
    assert column.install(media, site, tree.site.fingerprint, keep_parts=True).code == 0
    part = max((site / "parts").rglob("*/*"), key=lambda path: path.stat().st_size)
    good = part.read_bytes()
    part.write_bytes(good[:-1])
    assert column.install(media, site, keep_parts=keep_parts).code == 0
    assert (part.read_bytes() if part.exists() else None) == (good if keep_parts else None)


def test_document_that_rotted_everywhere_is_refused(tree, packed, column, tmp_path):
    key = next(entry[0] for entry in packed.plan["documents"] if entry[0].endswith("targets.json"))

    def spoil(_, data):
        return flipped(data, data.index(key.encode() + b"\0") + 512 + 100)

    refused = column.install(packed.write(tmp_path / "media", spoil=spoil), tmp_path / "site", tree.site.fingerprint)
    assert (refused.code, key in refused.error) == (3, True), refused.said
    assert not (tmp_path / "site").exists()


def test_copies_of_one_volume_help_each_other(tree, packed, column, tmp_path):
    first, last = packed.plan["volumes"][0][0][0], packed.plan["volumes"][0][-1][0]
    folders = []
    for index, key in enumerate((first, last)):
        name = key.rpartition("/")[2].encode()
        at = packed.volume(1).rindex(name) + 512 + 50
        folders.append(packed.write(tmp_path / f"copy{index}", only=[1], spoil=lambda _, data, at=at: flipped(data, at)))
    folders.append(packed.write(tmp_path / "two", only=[2]))
    done = column.install(folders, tmp_path / "site", tree.site.fingerprint)
    assert done.code == 0, done.said
    assert any("passed over" in warning for warning in done.done["warnings"])
    assert contents(tmp_path / "site" / "models" / "bert-v1.0.0") == contents(tree.sources["bert-v1.0.0"])


def test_copies_that_are_damaged_in_the_same_part_are_said_to_be_mergeable(tree, packed, column, tmp_path):
    key, size, _ = max(packed.plan["volumes"][0], key=lambda entry: entry[1])
    begins = packed.volume(1).rindex(key.rpartition("/")[2].encode())
    begins += 512 - begins % 512
    folders = [
        packed.write(tmp_path / name, only=[1], spoil=lambda _, data, at=at: flipped(data, at))
        for name, at in (("one copy", begins + 50), ("other", begins + size - 50))
    ]
    folders.append(packed.write(tmp_path / "two", only=[2]))
    refused = column.install(folders, tmp_path / "site", tree.site.fingerprint)
    assert refused.code == 3, refused.said
    words = f"merge the copies: bundle.repair --folder '{folders[0]}' --from {folders[1]}"
    assert refused.hint.endswith(words), refused.hint
    assert str(folders[1]) in refused.error
    repair_bundle(folders[0], [folders[1]], ignore)
    assert column.install([folders[0], folders[2]], tmp_path / "site").code == 0


def test_volumes_whose_names_are_in_capitals_are_volumes(tree, packed, column, tmp_path):
    media = packed.write(tmp_path / "media")
    for path in list(media.iterdir()):
        path.rename(media / path.name.upper())
    assert column.install(media, tmp_path / "site", tree.site.fingerprint).code == 0
    damaged = media / f"{packed.name}.vol002.tar".upper()
    data = damaged.read_bytes()
    damaged.write_bytes(flipped(data, data.rindex(b"parts/") + 600))
    (media / f"{damaged.name}.PAR2").touch()
    refused = column.install(media, tmp_path / "other", tree.site.fingerprint)
    assert f"par2 repair {damaged.name}.PAR2" in refused.hint, refused.said


def test_renamed_and_swapped_volumes_are_known_by_their_index(tree, packed, column, tmp_path):
    media = packed.write(tmp_path / "media")
    one, two = sorted(media.glob("*.tar"))
    one.rename(media / "x.tar")
    two.rename(one)
    (media / "x.tar").rename(media / "vacation photos.tar")
    assert column.install(media, tmp_path / "site", tree.site.fingerprint).code == 0


def test_volumes_of_two_bundles_are_refused_naming_both(tree, packed, column, tmp_path):
    media = packed.write(tmp_path / "media")
    pack(tree, "bert-v1.1.0").write(media)
    refused = column.install(media, tmp_path / "site", tree.site.fingerprint)
    assert refused.code == 2
    assert "bert-v1.0.0" in refused.error
    assert "bert-v1.1.0" in refused.error
    assert not (tmp_path / "site").exists()


def test_volume_of_another_bundle_cannot_stand_in_for_a_missing_one(tree, packed, column, tmp_path):
    site = tmp_path / "site"
    assert column.install(packed.write(tmp_path / "one", only=[1]), site, tree.site.fingerprint).code == 7
    other = pack(tree, "bert-v1.0.0", "raw-v1.0.0", volumes=3)
    done = column.install(other.write(tmp_path / "two", only=[2]), site)
    assert (done.code, done.done["missing"] != []) == (7, True)
    assert not (site / "current").exists()


@pytest.mark.parametrize("what", ["nothing", "only a text", "folder is missing", "a foreign tar"])
def test_folder_without_volumes_is_refused(tree, column, tmp_path, what):
    media = tmp_path / "media"
    if what != "folder is missing":
        media.mkdir()
    if what == "only a text":
        (media / "README.txt").write_text("hello")
    if what == "a foreign tar":
        (media / "holiday.tar").write_bytes(member_bytes("photo.jpg", b"x" * 900) + bytes(1024))
    refused = column.install(media, tmp_path / "site", tree.site.fingerprint)
    assert refused.code == 2, refused.said
    assert not (tmp_path / "site").exists()


# --- media that fail, places that do not take -------------------------------------------------------


def test_links_and_devices_on_a_medium_are_no_volumes(tree, packed, column, tmp_path):
    real = packed.write(tmp_path / "real")
    media = tmp_path / "media"
    media.mkdir()
    for path in real.glob("*.tar"):
        (media / path.name).symlink_to(path)
    os.mkfifo(media / "pipe.tar")
    refused = column.install(media, tmp_path / "site", tree.site.fingerprint)
    assert (refused.code, "no volume" in refused.error) == (2, True)


def test_planted_links_at_the_destination_are_never_written_through(tree, packed, column, tmp_path):
    media = packed.write(tmp_path / "media")
    victim = tmp_path / "victim"
    for planted in ("models", "state", "generations", "bin", "state/staging", "state/trust"):
        site = tmp_path / f"site-{planted.replace('/', '-')}"
        victim.mkdir()
        (site / planted).parent.mkdir(parents=True)
        (site / planted).symlink_to(victim)
        refused = column.install(media, site, tree.site.fingerprint)
        assert (refused.code, "link" in refused.error) == (2, True), (planted, refused)
        assert list(victim.iterdir()) == [], planted
        shutil.rmtree(victim)


def test_planted_file_in_the_staging_folder_with_a_second_name_is_refused(tree, packed, column, tmp_path):
    site, precious = tmp_path / "site", tmp_path / "precious"
    precious.write_text("precious")
    assert column.install(packed.write(tmp_path / "one", only=[1]), site, tree.site.fingerprint).code == 7
    staged = next(path for path in (site / "state" / "staging").rglob("config.json"))
    staged.unlink()
    os.link(precious, staged)
    refused = column.install(packed.write(tmp_path / "two"), site)
    assert (refused.code, "second name" in refused.error) == (2, True), refused.said
    assert precious.read_text() == "precious"


def test_foreign_folder_under_the_name_of_a_release_is_left_alone(tree, packed, column, tmp_path):
    site = tmp_path / "site"
    (site / "models" / "bert-v1.0.0").mkdir(parents=True)
    (site / "models" / "bert-v1.0.0" / "notes.txt").write_text("mine")
    before = site_files(site)
    refused = column.install(packed.write(tmp_path / "media"), site, tree.site.fingerprint)
    assert (refused.code, "no installation put there" in refused.error) == (2, True)
    assert site_files(site) == before


def test_all_bad_files_of_a_base_are_named_at_once(tree, column, tmp_path):
    site = tmp_path / "site"
    assert column.install(pack(tree, "bert-v1.0.0").write(tmp_path / "one"), site, tree.site.fingerprint).code == 0
    base = site / "models" / "bert-v1.0.0"
    files = sorted(path for path in base.rglob("*") if path.is_file() and path.stat().st_size)
    assert len(files) > 2
    files[0].unlink()
    for path in files[1:]:
        path.write_bytes(bytes(path.stat().st_size))
    refused = column.install(pack(tree, "bert-v1.1.0", bases=["bert-v1.0.0"]).write(tmp_path / "two"), site)
    assert (refused.code, [path for path in files if str(path) not in refused.error]) == (3, []), refused.said


def test_altered_base_is_named_and_stays_as_it_is(tree, column, tmp_path):
    site = tmp_path / "site"
    assert column.install(pack(tree, "bert-v1.0.0").write(tmp_path / "one"), site, tree.site.fingerprint).code == 0
    weights = site / "models" / "bert-v1.0.0" / "weights.safetensors"
    data = flipped(weights.read_bytes(), 1_300_000)
    weights.write_bytes(data)
    refused = column.install(pack(tree, "bert-v1.1.0", bases=["bert-v1.0.0"]).write(tmp_path / "two"), site)
    assert (refused.code, "weights.safetensors was altered" in refused.error) == (3, True), refused.said
    assert weights.read_bytes() == data
    assert (site / "current").readlink().name == "1"


def test_base_with_a_file_that_is_gone_is_named(tree, column, tmp_path):
    site = tmp_path / "site"
    assert column.install(pack(tree, "bert-v1.0.0").write(tmp_path / "one"), site, tree.site.fingerprint).code == 0
    (site / "models" / "bert-v1.0.0" / "weights.safetensors").unlink()
    two = pack(tree, "bert-v1.1.0", bases=["bert-v1.0.0"]).write(tmp_path / "two")
    refused = column.install(two, site)
    assert (refused.code, "weights.safetensors is gone, and this bundle takes bytes from it" in refused.error) == (3, True)
    assert column.install(tmp_path / "one", site).code == 0
    assert column.install(two, site).code == 0
