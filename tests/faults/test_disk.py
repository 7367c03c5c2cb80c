"""Disks that are full or read-only, under the store, the state, the keys and the cache."""

import os
import subprocess
from pathlib import Path

import pytest

from pipeline.errors import DiskError
from tests.publish_calm import finish
from tests.publish_world import STABLE, lay_out

KEPT_IN_TEMP = {"lock"}


class Disk:
    """A file system in memory whose size and mode a test can change."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m,mode=0755", "modelport-test", str(folder)], check=True)

    def remount(self, options: str) -> None:
        subprocess.run(["mount", "-o", f"remount,{options}", str(self.folder)], check=True)

    def fill(self) -> Path:
        """Leave not a byte."""
        ballast = self.folder / "ballast"
        with ballast.open("wb", buffering=0) as file:
            for size in (1 << 16, 1):
                try:
                    while file.write(b"x" * size):
                        pass
                except OSError:
                    continue
        return ballast


@pytest.fixture
def disk(tmp_path):
    made = Disk(tmp_path / "disk")
    yield made
    subprocess.run(["umount", "--lazy", str(made.folder)], check=True)


def check_told(error):
    assert error.exit_code == 6
    assert error.hint
    assert "\n" not in f"{error} {error.hint}"


def temporary_files(store: Path) -> set[str]:
    temp = store / ".tmp"
    return {path.name for path in temp.iterdir()} - KEPT_IN_TEMP if temp.exists() else set()


def test_full_store_ends_with_6_and_the_bytes_needed_and_leaves_nothing_torn(make_site, disk, tmp_path):
    source = lay_out(tmp_path / "model", tensor_bytes=700 << 10)
    site = make_site("directory")
    store = disk.folder / "store"
    store.mkdir()
    Path(site.shelf.where).symlink_to(store)
    machine = site.machine()
    with pytest.raises(DiskError, match="bytes are needed") as raised:
        machine.publish("bert-v1.0.0", source, profile="raw")
    check_told(raised.value)
    assert str((source / "model.safetensors").stat().st_size) in str(raised.value)
    assert temporary_files(store) == set()
    assert site.releases() == []
    sizes = set(site.parts().values())
    assert (source / "model.safetensors").stat().st_size not in sizes
    disk.remount("size=16m")
    assert not machine.publish("bert-v1.0.0", source, profile="raw").already_published
    assert site.releases() == ["bert-v1.0.0"]


@pytest.mark.parametrize("room", [0, 3, 8, 20, 60])
def test_store_that_fills_up_anywhere_is_finished_once_there_is_room(calm, make_site, disk, room):
    site = make_site("directory")
    store = disk.folder / "store"
    store.mkdir()
    Path(site.shelf.where).symlink_to(store)
    machine = site.machine()
    ballast = disk.fill()
    os.truncate(ballast, ballast.stat().st_size - room * 4096)
    with pytest.raises(DiskError, match=r"needed|written|space") as raised:
        machine.publish(calm.release(0), calm.sources[0], profile="raw", channel=STABLE)
    check_told(raised.value)
    assert temporary_files(store) == set()
    ballast.unlink()
    site.bury()
    finish(calm, site, 0, machine, None)


def test_read_only_store_ends_with_6_before_anything_is_read(calm, make_site, disk):
    site = make_site("directory")
    store = disk.folder / "store"
    store.mkdir()
    Path(site.shelf.where).symlink_to(store)
    machine = site.machine()
    disk.remount("ro")
    with pytest.raises(DiskError, match=r"[Rr]ead-only") as raised:
        machine.publish(calm.release(0), calm.sources[0], profile="raw")
    check_told(raised.value)
    disk.remount("rw")
    finish(calm, site, 0, machine, None)


@pytest.mark.parametrize("what", ["state", "keys"])
@pytest.mark.parametrize("how", ["full", "read-only"])
def test_no_room_for_state_or_keys_ends_with_6_and_the_next_run_finishes(calm, make_site, disk, what, how):
    site = make_site("directory")
    machine = site.machine()
    machine.home.mkdir()
    place = disk.folder / what
    place.mkdir(mode=0o700)
    (machine.home / what).symlink_to(place)
    ballast = disk.fill() if how == "full" else None
    if ballast is None:
        disk.remount("ro")
    with pytest.raises(DiskError, match=what) as raised:
        machine.publish(calm.release(0), calm.sources[0], profile="raw", channel=STABLE)
    check_told(raised.value)
    assert [path for path in place.rglob("*") if path.is_file() and path.stat().st_size == 0 and path.name != "lock"] == []
    if ballast is not None:
        ballast.unlink()
    else:
        disk.remount("rw")
    finish(calm, site, 0, machine, None)


def test_no_room_for_the_cache_costs_only_time(calm, make_site, disk):
    site = make_site("directory")
    machine = site.machine()
    machine.home.mkdir()
    (machine.home / "cache").symlink_to(disk.folder)
    disk.fill()
    done = machine.publish(calm.release(0), calm.sources[0], profile="raw", channel=STABLE)
    assert done.manifest == calm.manifests[0]
    assert {path.name for path in disk.folder.rglob("*") if path.is_file()} == {"ballast"}
    finish(calm, site, 0, machine, None)
