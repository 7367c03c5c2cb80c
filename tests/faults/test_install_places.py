"""Where installations must not go wrong: full and read-only targets, media that fail, big parts in little memory."""

import errno
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from blake3 import blake3

from bundles.installer import faults, volumes
from bundles.installer.folders import Folder
from bundles.installer.layout import LOCK
from bundles.installer.preflight import Order
from bundles.installer.tools import Tools
from bundles.installer.volumes import MediumFault
from bundles.installer.walk import install
from bundles.installing import fast_tools, install_bundle
from pipeline.errors import DiskError
from pipeline.events import ignore
from tests.fetch_world import contents, make_tree
from tests.install_world import COLUMNS, Column, make_bundle_tree, site_files
from tests.media_world import pack


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    return make_bundle_tree(tmp_path_factory.mktemp("tree") / "tree")


@pytest.fixture(params=COLUMNS)
def column(request, tmp_path):
    return Column(request.param, tmp_path)


@pytest.fixture
def disk(tmp_path):
    folder = tmp_path / "disk"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=9m,mode=0755", "modelport-test", str(folder)], check=True)
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def test_target_without_room_is_refused_naming_the_bytes_and_the_old_stays(tree, column, disk, tmp_path):
    site = disk / "site"
    assert column.install(pack(tree, "top-v1.0.0", "bert-v1.0.0").write(tmp_path / "one"), site, tree.site.fingerprint).code == 0
    before = {key: data for key, data in site_files(site).items() if not key.startswith("state/")}
    refused = column.install(pack(tree, "raw-v1.0.0").write(tmp_path / "two"), site)
    assert refused.code == 6, refused.said
    assert "bytes are needed" in refused.error
    after = {key: data for key, data in site_files(site).items() if not key.startswith("state/")}
    assert after == before
    subprocess.run(["mount", "-o", "remount,size=64m", str(disk)], check=True)
    assert column.install(tmp_path / "two", site).code == 0


@pytest.mark.parametrize("column", COLUMNS)
def test_disk_that_fills_up_on_the_way_ends_with_6_and_goes_on_later(tree, disk, tmp_path, monkeypatch, column):
    site = disk / "site"
    media = pack(tree, "bert-v1.0.0", "raw-v1.0.0").write(tmp_path / "media")
    order = Order((str(media),), str(site), tree.site.fingerprint)

    def run():
        return install_bundle(order, ignore) if column == "bundle.install" else install(order, Tools())

    # What the system says is free is not always to be had: quotas, other writers.
    monkeypatch.setattr(Folder, "check_room", lambda self, size: None)
    with pytest.raises((DiskError, faults.DiskError), match="No space left") as caught:
        run()
    assert caught.value.exit_code == 6
    assert not (site / "current").exists()
    monkeypatch.undo()
    subprocess.run(["mount", "-o", "remount,size=64m", str(disk)], check=True)
    assert run().missing == []
    assert contents(site / "models" / "raw-v1.0.0") == contents(tree.sources["raw-v1.0.0"])


def test_check_looks_at_a_site_that_is_mounted_read_only(tree, column, disk, tmp_path):
    subprocess.run(["mount", "-o", "remount,size=64m", str(disk)], check=True)
    site, media = disk / "site", pack(tree, "bert-v1.0.0").write(tmp_path / "media")
    assert column.install(media, site, tree.site.fingerprint).code == 0
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
    looked = column.install(media, site, check=True)
    assert (looked.code, looked.done.get("missing")) == (0, []), looked.said
    refused = column.install(media, site)
    assert (refused.code, "mounted read-only" in refused.hint) == (6, True), refused.said


@pytest.mark.parametrize("what", ["file", "link to nowhere"])
def test_site_that_is_no_folder_is_refused(tree, column, tmp_path, what):
    place = tmp_path / "site"
    place.write_text("mine") if what == "file" else place.symlink_to(tmp_path / "nowhere")
    media = pack(tree, "bert-v1.0.0").write(tmp_path / "media")
    for check in (True, False):
        refused = column.install(media, place, tree.site.fingerprint, check=check)
        assert (refused.code, f"{place} is no folder" in refused.error) == (2, True), refused.said
    assert not (tmp_path / "nowhere").exists()


def test_read_only_target_ends_with_6_and_nothing_is_removed(tree, column, disk, tmp_path):
    site = disk / "site"
    assert column.install(pack(tree, "bert-v1.0.0").write(tmp_path / "one"), site, tree.site.fingerprint).code == 0
    before = site_files(site)
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
    refused = column.install(pack(tree, "bert-v1.1.0").write(tmp_path / "two"), site, keep=1)
    assert (refused.code, "Read-only" in refused.error) == (6, True), refused.said
    assert site_files(site) == before
    fresh = column.install(tmp_path / "two", disk / "fresh", tree.site.fingerprint)
    assert fresh.code == 6
    subprocess.run(["mount", "-o", "remount,rw,size=64m", str(disk)], check=True)
    assert column.install(tmp_path / "two", site, keep=1).code == 0


@pytest.mark.parametrize("error", [errno.EIO, errno.ENODEV])
def test_medium_that_is_pulled_out_is_named_and_the_rest_is_kept(tree, tmp_path, monkeypatch, error):
    packed = pack(tree, "bert-v1.0.0", "raw-v1.0.0", volumes=2)
    media, site = packed.write(tmp_path / "media"), tmp_path / "site"
    real, pulled = os.pread, []

    def pread(fd, size, offset):
        path = str(Path(f"/proc/self/fd/{fd}").readlink())
        if path.endswith("vol002.tar") and offset > len(packed.volume(2)) // 2:
            pulled.append(path)
            raise OSError(error, os.strerror(error))
        return real(fd, size, offset)

    # The end of each volume is looked at first: there the medium is still in.
    monkeypatch.setattr(volumes, "_check_end", lambda *_: None)
    monkeypatch.setattr(os, "pread", pread)
    with pytest.raises(MediumFault, match="vol002") as caught:
        install(Order((str(media),), str(site), tree.site.fingerprint), Tools())
    assert caught.value.exit_code == 6
    assert "medium" in caught.value.hint
    assert pulled
    monkeypatch.undo()
    assert install(Order((str(media),), str(site)), Tools()).missing == []
    assert contents(site / "models" / "raw-v1.0.0") == contents(tree.sources["raw-v1.0.0"])


def test_volume_that_cannot_even_be_opened_is_named_and_the_rest_is_kept(tree, tmp_path, monkeypatch):
    packed = pack(tree, "bert-v1.0.0", "raw-v1.0.0", volumes=2)
    media, site = packed.write(tmp_path / "media"), tmp_path / "site"
    real = os.pread

    def pread(fd, size, offset):
        if str(Path(f"/proc/self/fd/{fd}").readlink()).endswith("vol001.tar"):
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return real(fd, size, offset)

    monkeypatch.setattr(os, "pread", pread)
    with pytest.raises(MediumFault, match="vol001"):
        install(Order((str(media),), str(site), tree.site.fingerprint), Tools())
    monkeypatch.undo()
    alone = packed.write(tmp_path / "alone", only=[1])
    assert install(Order((str(alone),), str(site)), Tools()).missing == []
    assert contents(site / "models" / "bert-v1.0.0") == contents(tree.sources["bert-v1.0.0"])


def damaged_site(tree, tmp_path, column, media):
    """A site with kept parts, one of which rotted, and with a release of which a file is gone."""
    site = tmp_path / "site"
    assert column.install(media, site, tree.site.fingerprint, keep_parts=True).code == 0
    for part in (site / "parts").glob("??/*"):
        data = bytearray(part.read_bytes())
        data[len(data) // 2] ^= 1
        part.write_bytes(data)
    for file in (site / "models" / "bert-v1.0.0").glob("*.safetensors"):
        file.unlink()
    return site


def test_kept_part_that_rotted_is_taken_from_the_bundle_and_kept_anew(tree, column, tmp_path):
    media = pack(tree, "bert-v1.0.0").write(tmp_path / "media")
    site = damaged_site(tree, tmp_path, column, media)
    done = column.install(media, site, keep_parts=True)
    assert done.code == 0, done.said
    assert contents(site / "models" / "bert-v1.0.0") == contents(tree.sources["bert-v1.0.0"])
    used = [part for part in (site / "parts").glob("??/*") if blake3(part.read_bytes()).hexdigest() == part.name]
    assert used
    assert any("a copy was passed over" in warning and "/parts/" in warning for warning in done.done["warnings"])


@pytest.mark.parametrize("tools", [Tools(), fast_tools()], ids=COLUMNS)
def test_kept_part_that_the_disk_cannot_read_is_taken_from_the_bundle(tree, tmp_path, monkeypatch, tools):
    media = pack(tree, "bert-v1.0.0").write(tmp_path / "media")
    site = damaged_site(tree, tmp_path, Column("bundle.install", tmp_path), media)
    real = os.pread
    bad = set()

    def wear_out():
        bad.update(part.stat().st_ino for part in (site / "parts").glob("??/*"))

    def pread(fd, size, offset):
        if os.fstat(fd).st_ino in bad and "/parts/" in str(Path(f"/proc/self/fd/{fd}").readlink()):
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return real(fd, size, offset)

    monkeypatch.setattr(os, "pread", pread)
    wear_out()
    assert install(Order((str(media),), str(site)), tools).missing == []
    assert contents(site / "models" / "bert-v1.0.0") == contents(tree.sources["bert-v1.0.0"])
    shutil.rmtree(site / "models" / "bert-v1.0.0")
    shutil.rmtree(tmp_path / "media")
    other = pack(tree, "bert-v1.0.0", volumes=2).write(tmp_path / "other", only=[2])
    wear_out()
    with pytest.raises(MediumFault, match="parts/") as caught:
        install(Order((str(other),), str(site)), tools)
    assert caught.value.exit_code == 6


def test_note_of_what_was_placed_that_was_damaged_is_as_good_as_none(tree, column, tmp_path):
    packed = pack(tree, "bert-v1.0.0", "raw-v1.0.0", volumes=2)
    site = tmp_path / "site"
    assert column.install(packed.write(tmp_path / "one", only=[1]), site, tree.site.fingerprint).code == 7
    note = site / "state" / "staging" / "progress.json"
    note.write_bytes(note.read_bytes()[:-9])
    done = column.install(packed.write(tmp_path / "both"), site)
    assert done.code == 0, done.said
    assert contents(site / "models" / "raw-v1.0.0") == contents(tree.sources["raw-v1.0.0"])


def test_files_are_made_where_the_system_cannot_reserve_room(tree, tmp_path, monkeypatch):
    """Not every C library writes zeros where a file system cannot allocate: musl says so."""

    def refused(fd, offset, size):
        raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))

    monkeypatch.setattr(os, "posix_fallocate", refused)
    media = pack(tree, "bert-v1.0.0").write(tmp_path / "media")
    assert install(Order((str(media),), str(tmp_path / "site"), tree.site.fingerprint), Tools()).missing == []
    assert contents(tmp_path / "site" / "models" / "bert-v1.0.0") == contents(tree.sources["bert-v1.0.0"])


def test_second_installation_at_once_is_refused(tree, column, tmp_path):
    site = tmp_path / "site"
    media = pack(tree, "raw-v1.0.0").write(tmp_path / "media")
    assert column.install(media, site, tree.site.fingerprint).code == 0
    holder = Folder(str(site), make=False)
    with holder.lock(LOCK):
        refused = column.install(media, site)
        assert (refused.code, "another installation" in refused.error) == (2, True)
    holder.close()
    assert column.install(media, site).code == 0


PEAK = """
import resource, subprocess, sys
code = subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL).returncode
print(code, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss >> 10)
"""
OURS = """
import sys
from pathlib import Path
from bundles.installer.preflight import Order
from bundles.installing import install_bundle
install_bundle(Order((sys.argv[1],), sys.argv[2], sys.argv[3]), lambda event: None)
"""


def test_parts_larger_than_memory_should_hold_do_not_fill_it(tmp_path):
    tree = make_tree(tmp_path / "tree")
    source = tmp_path / "source"
    source.mkdir()
    for name in "abc":
        (source / f"{name}.bin").write_bytes(os.urandom(80 << 20))
    tree.publish("big-v1.0.0", source, profile="raw", part_size=256 << 20)
    media = pack(tree, "big-v1.0.0").write(tmp_path / "media")
    column = Column("install.pyz", tmp_path)
    column.run("--help")
    fingerprint = tree.site.fingerprint
    alone = [sys.executable, "-I", "-S", tmp_path / "install.pyz", "--from", media, "--site", tmp_path / "alone"]
    ours = [sys.executable, "-c", OURS, media, tmp_path / "ours", fingerprint]
    for words in ([*alone, "--root-fingerprint", fingerprint], ours):
        ran = subprocess.run(
            [sys.executable, "-c", PEAK, *words],
            cwd=Path(__file__).resolve().parents[2], capture_output=True, text=True, timeout=120, check=True,
        )  # fmt: skip
        code, peak = map(int, ran.stdout.split())
        assert code == 0, ran.stderr
        assert peak < 200, f"{peak} MiB for parts of 80 MiB"
    assert (tmp_path / "alone" / "models" / "big-v1.0.0" / "c.bin").read_bytes() == (source / "c.bin").read_bytes()


def test_site_without_a_name_is_not_the_folder_one_stands_in(tree, column, tmp_path, monkeypatch):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    media = pack(tree, "bert-v1.0.0").write(tmp_path / "media")
    refused = column.install(media, "", tree.site.fingerprint)
    assert (refused.code, "an empty name is no folder" in refused.error) == (2, True), refused.said
    assert list((tmp_path / "here").iterdir()) == []
    assert {path.name for path in tmp_path.iterdir()} <= {"here", "media", "install.pyz"}


def test_site_that_was_copied_with_its_links_followed_is_left_as_it_is(tree, column, tmp_path):
    site, copy = tmp_path / "site", tmp_path / "copy"
    assert column.install(pack(tree, "bert-v1.0.0").write(tmp_path / "one"), site, tree.site.fingerprint).code == 0
    shutil.copytree(site, copy)
    before = site_files(copy)
    for check in (True, False):
        refused = column.install(pack(tree, "raw-v1.0.0").write(tmp_path / "two"), copy, check=check)
        assert (refused.code, "current is a folder, expected a link" in refused.error) == (2, True), refused.said
    assert site_files(copy) == before


def test_medium_whose_name_is_no_text_does_not_spoil_the_receipt(tree, column, tmp_path):
    site, packed = tmp_path / "site", pack(tree, "bert-v1.0.0")
    bad = packed.write(Path(os.fsdecode(os.fsencode(tmp_path) + b"/bad-\xff")))
    volume = next(bad.glob("*.tar"))
    with volume.open("r+b") as file:
        file.seek(volume.stat().st_size - 4096)
        file.write(b"rot" * 300)
    order = Order((str(bad), str(packed.write(tmp_path / "good"))), str(site), tree.site.fingerprint)
    tools = fast_tools() if column.name == "bundle.install" else Tools()
    warnings = install(order, tools).warnings
    assert "a copy was passed over" in warnings[0]
    done = column.install(pack(tree, "raw-v1.0.0").write(tmp_path / "two"), site, keep=1)
    assert done.code == 0, done.said


@pytest.mark.parametrize("record", ["trust/state.json", "installed/bert-v1.0.0.json"])
def test_own_record_that_was_altered_is_not_blamed_on_the_medium(tree, column, tmp_path, record):
    site = tmp_path / "site"
    media = pack(tree, "bert-v1.0.0").write(tmp_path / "media")
    assert column.install(media, site, tree.site.fingerprint).code == 0
    (site / "state" / record).write_text("{")
    refused = column.install(media, site)
    assert (refused.code, f"state/{record} is not strict JSON" in refused.error) == (3, True), refused.said
    assert "move it away and run this again" in refused.hint
    (site / "state" / record).unlink()
    done = column.install(media, site, tree.site.fingerprint)
    assert done.code == 0, done.said
