"""The stat cache: believed only when nothing can have changed unseen, and never in the way."""

import os
import time

import msgspec
import pytest

from pipeline.digest import sha256_of
from pipeline.sources.folder import scan_folder
from pipeline.sources.stat_cache import SETTLED_NS, StatCache


@pytest.fixture
def model(tmp_path):
    place = tmp_path / "model"
    (place / "sub").mkdir(parents=True)
    (place / "a").write_bytes(b"one")
    while (place / "sub" / "b").write_bytes(b"two") and (place / "sub" / "b").stat().st_ctime_ns <= (
        place / "a"
    ).stat().st_ctime_ns:
        pass
    return place


def digests_of(folder):
    return {file.path: sha256_of(file.place.read_bytes()) for file in folder.files}


def later(folder):
    """A moment at which every file of the folder has long settled."""
    return max(max(file.stat.mtime_ns, file.stat.ctime_ns) for file in folder.files) + SETTLED_NS


def remembered(tmp_path, model, *, read_at_ns=None):
    folder = scan_folder(model)
    cache = StatCache(tmp_path / "cache", folder.place)
    cache.remember(folder, digests_of(folder), read_at_ns=later(folder) if read_at_ns is None else read_at_ns)
    return cache


def test_settled_files_are_known_again(tmp_path, model):
    remembered(tmp_path, model)
    folder = scan_folder(model)
    assert StatCache(tmp_path / "cache", folder.place).known(folder) == digests_of(folder)


def test_file_read_within_a_clock_tick_of_its_change_is_not_believed(tmp_path, model):
    (one, other) = scan_folder(model).files
    settled_at = max(one.stat.mtime_ns, one.stat.ctime_ns) + SETTLED_NS
    assert other.stat.ctime_ns + SETTLED_NS > settled_at
    assert list(remembered(tmp_path, model, read_at_ns=settled_at).known(scan_folder(model))) == ["a"]
    assert remembered(tmp_path, model, read_at_ns=settled_at - 1).known(scan_folder(model)) == {}
    assert remembered(tmp_path, model, read_at_ns=time.time_ns()).known(scan_folder(model)) == {}


def test_file_dated_into_the_future_is_not_believed(tmp_path, model):
    os.utime(model / "a", ns=(4 * 10**18, 4 * 10**18))
    folder = scan_folder(model)
    cache = StatCache(tmp_path / "cache", folder.place)
    cache.remember(folder, digests_of(folder), read_at_ns=folder.files[1].stat.ctime_ns + SETTLED_NS)
    assert list(cache.known(scan_folder(model))) == ["sub/b"]


def rewrite_keeping_mtime(place):
    times = place.stat()
    place.write_bytes(b"ONE")
    os.utime(place, ns=(times.st_atime_ns, times.st_mtime_ns))


def replace(place):
    times = place.stat()
    other = place.with_name("other")
    other.write_bytes(b"ONE")
    os.utime(other, ns=(times.st_atime_ns, times.st_mtime_ns))
    other.rename(place)


@pytest.mark.parametrize(
    "change",
    [lambda place: place.write_bytes(b"longer"), rewrite_keeping_mtime, replace, lambda place: os.utime(place, ns=(1, 1))],
    ids=["size", "mtime restored", "renamed over", "touched"],
)
def test_changed_file_is_forgotten_and_the_others_are_not(tmp_path, model, change):
    cache = remembered(tmp_path, model)
    change(model / "a")
    assert list(cache.known(scan_folder(model))) == ["sub/b"]


def test_folders_do_not_share_a_cache(tmp_path, model):
    remembered(tmp_path, model)
    other = tmp_path / "other"
    model.rename(other)
    folder = scan_folder(other)
    assert StatCache(tmp_path / "cache", folder.place).known(folder) == {}


@pytest.mark.parametrize(
    "damage",
    [
        b"",
        b"{",
        b"[]",
        b"\xff\xfe",
        b'{"a":1}',
        b'{"a":[1,2]}',
        b'{"a":' + b"[" * 100_000,
        b'{"a":[1,1,3,1,1,9999999999999999999,"x"]}',
    ],
)
def test_damaged_cache_is_an_empty_one(tmp_path, model, damage):
    cache = remembered(tmp_path, model)
    (written,) = (tmp_path / "cache" / "stat").iterdir()
    written.write_bytes(damage)
    assert cache.known(scan_folder(model)) == {}
    folder = scan_folder(model)
    cache.remember(folder, digests_of(folder), read_at_ns=later(folder))
    assert len(cache.known(folder)) == 2


def test_entry_without_a_digest_is_not_believed(tmp_path, model):
    cache = remembered(tmp_path, model)
    (written,) = (tmp_path / "cache" / "stat").iterdir()
    entries = msgspec.json.decode(written.read_bytes())
    entries["a"][-1] = "not a digest"
    written.write_bytes(msgspec.json.encode(entries))
    assert list(cache.known(scan_folder(model))) == ["sub/b"]


def test_place_that_cannot_be_written_is_no_error(tmp_path, model):
    (tmp_path / "cache").write_bytes(b"a file where a folder should be")
    assert remembered(tmp_path, model).known(scan_folder(model)) == {}


def test_full_disk_is_no_error_and_leaves_nothing_behind(tmp_path, model, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(msgspec.json, "encode", full)
    cache = remembered(tmp_path, model)
    assert list((tmp_path / "cache" / "stat").iterdir()) == []
    assert cache.known(scan_folder(model)) == {}


def test_nothing_but_the_cache_itself_is_left(tmp_path, model):
    remembered(tmp_path, model)
    remembered(tmp_path, model)
    assert len(list((tmp_path / "cache" / "stat").iterdir())) == 1
