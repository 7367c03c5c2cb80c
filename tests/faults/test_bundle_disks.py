"""Media that are full, read-only, too small for a file, that lie, or are pulled out; and a real FAT32 file system."""

import errno
import os
import resource
import shutil
import signal
import subprocess
from pathlib import Path

import pytest

from bundles import filling, hashing
from bundles.carving import FAT32_BYTES
from bundles.repairing import repair_bundle
from bundles.verifying import verify_bundle
from pipeline.errors import DiskError, VerifyFailed
from tests.bundle_world import begin_tree, builder_of, contents_of, flip, listed_by_tar, member_at, volumes_in
from tests.faults.test_disk import Disk, check_told


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    return begin_tree(tmp_path_factory.mktemp("tree"), tensor_bytes=256 << 10)


@pytest.fixture
def disk(tmp_path):
    made = Disk(tmp_path / "disk")
    yield made
    subprocess.run(["umount", "--lazy", str(made.folder)], check=True)


def test_a_medium_without_room_is_told_before_anything_is_written(tree, disk):
    builder = builder_of(tree)
    with pytest.raises(DiskError, match=r"\d+ bytes are needed, \d+ are free") as failed:
        builder.build(disk.folder / "out", "bert-v1.0.0", "bert@stable")
    check_told(failed.value)
    assert "--only" in failed.value.hint
    assert list((disk.folder / "out").iterdir()) == []


def test_a_medium_that_fills_up_is_told_and_a_larger_one_goes_on(tree, disk, monkeypatch):
    # Another writer takes the room that the look before saw.
    monkeypatch.setattr("bundles.building._check_space", lambda *_: None)
    builder = builder_of(tree)
    ballast = disk.folder / "ballast"
    ballast.write_bytes(bytes(600 << 10))
    with pytest.raises(DiskError) as failed:
        builder.build(disk.folder / "out", "bert-v1.0.0")
    check_told(failed.value)
    assert "bytes are needed" in str(failed.value)
    assert volumes_in(disk.folder / "out") == []
    ballast.unlink()
    disk.remount("size=8m")
    builder.build(disk.folder / "out", "bert-v1.0.0")
    assert verify_bundle([disk.folder / "out"], lambda _: None).missing == []


def test_a_write_protected_medium_is_told(tree, disk):
    (disk.folder / "out").mkdir()
    disk.remount("ro")
    with pytest.raises(DiskError, match="Read-only") as failed:
        builder_of(tree).build(disk.folder / "out", "plain-v1.0.0")
    check_told(failed.value)
    assert "write protection" in failed.value.hint


def test_other_volumes_stay_as_they_are_when_one_finds_no_room(tree, disk):
    disk.remount("size=1500k")
    builder = builder_of(tree)
    wants = ("bert-v1.0.0", "bert-v2.0.0")
    builder.build(disk.folder / "out", *wants, size=1 << 20, only=(1,))
    before = contents_of(disk.folder / "out")
    with pytest.raises(DiskError):
        builder.build(disk.folder / "out", *wants, size=1 << 20)
    after = contents_of(disk.folder / "out")
    assert {name: after[name] for name in before} == before


def test_a_file_system_with_small_files_names_the_volume_size(tree, tmp_path):
    """As FAT32 answers past 4 GiB: the limit of this process makes the system's own EFBIG."""
    child = os.fork()
    if child == 0:
        code = 9
        try:
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, 300_000))
            builder_of(tree).build(tmp_path / "out", "bert-v1.0.0")
        except DiskError as error:
            code = 0 if "--volume-size" in error.hint and "takes no file of" in str(error) else 8
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert volumes_in(tmp_path / "out") == []


@pytest.mark.parametrize("code", [errno.EIO, errno.ENODEV])
def test_a_medium_pulled_out_while_it_is_written_is_told(tree, tmp_path, monkeypatch, code):
    write, count = os.pwrite, [0]

    def pulled(fd, data, at):
        count[0] += 1
        if count[0] > 6:
            raise OSError(code, os.strerror(code))
        return write(fd, data, at)

    builder = builder_of(tree)
    with monkeypatch.context() as patch:
        patch.setattr("bundles.tape.BLOCK_BYTES", 16 << 10)
        patch.setattr(filling.os, "pwrite", pulled)
        with pytest.raises(DiskError, match="pulled out") as failed:
            builder.build(tmp_path / "out", "bert-v1.0.0")
    check_told(failed.value)
    assert volumes_in(tmp_path / "out") == []
    builder.build(tmp_path / "out", "bert-v1.0.0")
    assert verify_bundle([tmp_path / "out"], lambda _: None).missing == []


def test_a_place_that_cannot_be_read_is_a_finding_with_its_member(tree, tmp_path, monkeypatch):
    builder_of(tree).build(tmp_path / "out", "bert-v1.0.0")
    path = volumes_in(tmp_path / "out")[0]
    bad, _ = member_at(path, "parts/")
    read = os.preadv

    def failing(fd, buffers, at, *more):
        if at <= bad + 4096 < at + sum(map(len, buffers)):
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return read(fd, buffers, at, *more)

    monkeypatch.setattr(hashing.os, "preadv", failing)
    # A disk that cannot read fails this call, too: no such advice is known.
    monkeypatch.setattr("bundles.mapping._POPULATE_READ", 9999)
    with pytest.raises(VerifyFailed, match=r"parts/.*cannot be read: Input/output error"):
        verify_bundle([tmp_path / "out"], lambda _: None)


def test_a_medium_that_gives_back_other_bytes_is_never_called_safe(tree, tmp_path):
    """A stick that is smaller than it says: what was written first is overwritten by what came last."""

    def step(name):
        if name == "read-back":
            path = volumes_in(tmp_path / "out")[0]
            flip(path, member_at(path, "parts/")[0] + 4000)

    with pytest.raises(VerifyFailed, match="the medium gives back something else: parts/") as failed:
        builder_of(tree).build(tmp_path / "out", "bert-v1.0.0", step=step)
    assert "another medium" in failed.value.hint
    assert not (tmp_path / "out" / "SHA256SUMS").exists()


def test_nothing_of_size_is_written_once_volumes_were_read_back(tree, tmp_path):
    """Wheels and parity, too, would overwrite volumes on a stick that is smaller than it says."""
    wheel = tmp_path / "some.whl"
    wheel.write_bytes(bytes(range(256)) * 400)
    before = []

    def step(name):
        if name == "read-back":
            before.append(contents_of(tmp_path / "out"))

    builder_of(tree).build(tmp_path / "out", "bert-v1.0.0", parity=10, wheels={wheel.name: wheel}, step=step)
    after = contents_of(tmp_path / "out")
    after.pop("SHA256SUMS")
    assert before == [after]
    assert {"wheels/some.whl", "install.pyz"} < after.keys()
    assert any(name.endswith(".par2") for name in after)


@pytest.mark.parametrize("spoiled", ["install.pyz", "wheels/some.whl", "bert-v1.0.0.vol001.tar.par2"])
def test_a_medium_that_gives_back_other_bytes_beside_the_volumes_is_told(tree, tmp_path, monkeypatch, spoiled):
    wheel = tmp_path / "some.whl"
    wheel.write_bytes(bytes(range(256)) * 400)
    path = tmp_path / "out" / spoiled

    def forgetful(fd):
        if Path(f"/proc/self/fd/{fd}").readlink() == path:
            flip(path, 3)

    monkeypatch.setattr("bundles.beside.drop_cache", forgetful)
    with pytest.raises(VerifyFailed, match=f"{path.name} was written and synced, but the medium gives back something else"):
        builder_of(tree).build(tmp_path / "out", "bert-v1.0.0", parity=10, wheels={wheel.name: wheel})
    assert not (tmp_path / "out" / "SHA256SUMS").exists()


def test_room_for_wheels_is_looked_for_before_anything_is_written(tree, disk, tmp_path):
    disk.remount("size=2m")
    wheel = tmp_path / "some.whl"
    wheel.write_bytes(bytes(2040 << 10))
    with pytest.raises(DiskError, match=r"\d+ bytes are needed, \d+ are free") as failed:
        builder_of(tree).build(disk.folder / "out", "plain-v1.0.0", wheels={wheel.name: wheel})
    assert "--python" in failed.value.hint
    assert list((disk.folder / "out").iterdir()) == []


def test_parity_of_a_volume_that_is_written_anew_is_of_the_new_one(tree, tmp_path):
    """A later run finds a volume damaged when it reads it back; its parity was made before that."""
    builder = builder_of(tree)
    builder.build(tmp_path / "out", "bert-v1.0.0")
    good = contents_of(tmp_path / "out")
    path = volumes_in(tmp_path / "out")[0]
    flip(path, member_at(path, "parts/")[0] + 4000)
    builder.build(tmp_path / "out", "bert-v1.0.0", parity=10)
    assert path.read_bytes() == good[path.name]
    assert verify_bundle([tmp_path / "out"], lambda _: None).missing == []
    flip(path, member_at(path, "parts/")[0] + 5000)
    assert repair_bundle(tmp_path / "out", [], lambda _: None).repaired[0].parity
    assert path.read_bytes() == good[path.name]


def test_volumes_are_read_past_the_cache(tree, disk_path, monkeypatch):
    """Nothing of a volume is in memory when its reading begins (preadv2, RWF_NOWAIT)."""
    cached = []
    look = hashing.frame_fault

    def frame(fd, bundle, layout):
        size = os.fstat(fd).st_size
        for at in range(0, size, 64 << 10):
            try:
                cached.append(os.preadv(fd, [bytearray(1)], at, os.RWF_NOWAIT) > 0)
            except BlockingIOError:
                cached.append(False)
        return look(fd, bundle, layout)

    monkeypatch.setattr("bundles.readback.frame_fault", frame)
    builder_of(tree).build(disk_path / "out", "bert-v1.0.0")
    # A look makes the system read ahead, so the first one tells.
    assert not cached[0]


def test_everything_is_synced_before_it_has_its_name(tree, tmp_path, monkeypatch):
    done = []
    fsync, rename = os.fsync, Path.rename

    def synced(fd):
        done.append(("fsync", str(Path(f"/proc/self/fd/{fd}").readlink())))
        fsync(fd)

    def renamed(self, target):
        done.append(("rename", str(self)))
        return rename(self, target)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(Path, "rename", renamed)
    builder_of(tree).build(tmp_path / "out", "plain-v1.0.0")
    out = str(tmp_path / "out")
    for name in ("plain-v1.0.0.vol001.tar", "install.pyz", "README.txt", "SHA256SUMS"):
        partial = f"{out}/{name}.partial"
        at = done.index(("rename", partial))
        assert ("fsync", partial) in done[:at]
        assert ("fsync", out) in done[at:]


def test_a_bundle_travels_on_fat32(tree, tmp_path):
    """A real FAT32 image, filled and read by mtools: names, sizes and bytes survive."""
    builder = builder_of(tree)
    wants = ("bert-v1.0.0", "bert@stable")
    builder.build(tmp_path / "out", *wants, size=1 << 20, parity=10)
    image = tmp_path / "stick.img"
    with image.open("wb") as file:
        file.truncate(64 << 20)
    mkfs = shutil.which("mkfs.vfat", path=f"{os.environ['PATH']}:/usr/sbin:/sbin")
    subprocess.run([mkfs, "-F", "32", image], check=True, capture_output=True)
    environment = {**os.environ, "MTOOLS_SKIP_CHECK": "1"}
    subprocess.run(["mcopy", "-i", image, "-s", *(tmp_path / "out").iterdir(), "::/"], check=True, env=environment)
    (tmp_path / "read").mkdir()
    subprocess.run(["mcopy", "-i", image, "-s", "-n", "::/*", tmp_path / "read"], check=True, env=environment)
    assert contents_of(tmp_path / "read") == contents_of(tmp_path / "out")
    subprocess.run(["sha256sum", "--quiet", "-c", "SHA256SUMS"], cwd=tmp_path / "read", check=True)
    assert verify_bundle([tmp_path / "read"], lambda _: None, fingerprint=tree.site.fingerprint).trusted
    assert all(listed_by_tar(path)[0] == "index.json" for path in volumes_in(tmp_path / "read"))


def test_the_default_volume_is_a_file_that_fat32_takes():
    assert FAT32_BYTES < 2**32 - 1
