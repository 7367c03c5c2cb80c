"""Power fails: what goes live was on the disk before, file by file and folder by folder (ext4's promises are not relied on)."""

import os
import stat
from pathlib import Path

import pytest

from bundles.installer.preflight import Order
from bundles.installer.tools import Tools
from bundles.installer.walk import install
from bundles.installing import install_bundle
from pipeline.events import ignore
from tests.install_world import COLUMNS, make_bundle_tree
from tests.media_world import pack


class Disk:
    """Knows which inodes have bytes or names that no fsync has brought to the disk; looks at each switch."""

    def __init__(self, site, monkeypatch) -> None:
        self.site, self.bytes, self.names, self.switches = site, set(), set(), 0
        self._real = {
            name: getattr(os, name)
            for name in ("pwrite", "write", "fsync", "mkdir", "open", "rename", "replace", "symlink", "unlink")
        }
        for name in self._real:
            monkeypatch.setattr(os, name, getattr(self, name))

    def pwrite(self, fd, *rest):
        self.bytes.add(os.fstat(fd).st_ino)
        return self._real["pwrite"](fd, *rest)

    def write(self, fd, *rest):
        self.bytes.add(os.fstat(fd).st_ino)
        return self._real["write"](fd, *rest)

    def fsync(self, fd):
        self._real["fsync"](fd)
        self.bytes.discard(os.fstat(fd).st_ino)
        self.names.discard(os.fstat(fd).st_ino)

    def mkdir(self, path, mode=0o777, *, dir_fd=None):
        self._real["mkdir"](path, mode, dir_fd=dir_fd)
        self._named(dir_fd)

    def open(self, path, flags, mode=0o777, *, dir_fd=None):
        fd = self._real["open"](path, flags, mode, dir_fd=dir_fd)
        if flags & os.O_CREAT:
            self._named(dir_fd)
        return fd

    def symlink(self, target, path, *, dir_fd=None):
        self._real["symlink"](target, path, dir_fd=dir_fd)
        self._named(dir_fd)

    def unlink(self, path, *, dir_fd=None):
        self._real["unlink"](path, dir_fd=dir_fd)
        self._named(dir_fd)

    def rename(self, old, new, *, src_dir_fd=None, dst_dir_fd=None):
        self._move("rename", old, new, src_dir_fd, dst_dir_fd)

    def replace(self, old, new, *, src_dir_fd=None, dst_dir_fd=None):
        self._move("replace", old, new, src_dir_fd, dst_dir_fd)

    def _move(self, call, old, new, here, there):
        if new == "current":
            self.switches += 1
            self.look()
        self._real[call](old, new, src_dir_fd=here, dst_dir_fd=there)
        self._named(here)
        self._named(there)

    def _named(self, dir_fd) -> None:
        if dir_fd is not None:
            self.names.add(os.fstat(dir_fd).st_ino)

    def look(self) -> None:
        for top in ("models", "generations", "wheels"):
            for folder, _, files in os.walk(self.site / top):
                assert Path(folder).stat().st_ino not in self.names, f"names in {folder} are not on the disk"
                for name in files:
                    found = Path(folder, name).lstat()
                    assert not stat.S_ISREG(found.st_mode) or found.st_ino not in self.bytes, f"{folder}/{name}"


@pytest.mark.parametrize("column", COLUMNS)
def test_everything_is_on_the_disk_before_it_goes_live(column, tmp_path, monkeypatch):
    tree = make_bundle_tree(tmp_path / "tree")
    first = pack(tree, "bert-v1.0.0", "raw-v1.0.0", volumes=2).write(tmp_path / "one")
    second = pack(tree, "bert-v1.1.0", bases=["bert-v1.0.0"]).write(tmp_path / "two")
    site = tmp_path / "site"
    disk = Disk(site, monkeypatch)
    for media in (first, second):
        order = Order((str(media),), str(site), tree.site.fingerprint)
        install_bundle(order, ignore) if column == "bundle.install" else install(order, Tools())
    assert disk.switches == 2
    monkeypatch.undo()


def test_a_disk_that_does_not_sync_is_noticed(tmp_path, monkeypatch):
    # The watch above must be able to fail.
    tree = make_bundle_tree(tmp_path / "tree")
    media = pack(tree, "bert-v1.0.0").write(tmp_path / "one")
    disk = Disk(tmp_path / "site", monkeypatch)
    monkeypatch.setattr(os, "fsync", lambda fd: None)
    with pytest.raises(AssertionError, match=r"not on the disk|models"):
        install(Order((str(media),), str(tmp_path / "site"), tree.site.fingerprint), Tools())
    assert disk.switches == 1
