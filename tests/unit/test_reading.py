"""A file that changes while it is read ends the publish, in whatever way it changes."""

import os
import stat

import pytest

from pipeline.errors import SourceChanged, SourceError
from pipeline.sources import reading
from pipeline.sources.folder import scan_folder
from pipeline.sources.reading import FileStat, open_source


@pytest.fixture
def model(tmp_path):
    place = tmp_path / "model" / "weights.bin"
    place.parent.mkdir()
    place.write_bytes(bytes(range(256)) * 16)
    # Times in the past, so that a write shows in them however coarse the clock is.
    os.utime(place, ns=(10**18, 10**18))
    return place


def listed(place):
    return scan_folder(place.parent).files[0]


def rewrite_in_place(place):
    with place.open("r+b") as target:
        target.write(b"other")
    os.utime(place, ns=(10**18, 10**18))


def replace_by_rename(place):
    other = place.with_suffix(".new")
    other.write_bytes(place.read_bytes())
    os.utime(other, ns=(10**18, 10**18))
    other.rename(place)


def grow(place):
    with place.open("ab") as target:
        target.write(b"more")


def become(make):
    def change(place):
        place.unlink()
        make(place)

    return change


CHANGES = {
    "it has 4100 bytes, expected 4096": grow,
    "it has 100 bytes, expected 4096": lambda place: os.truncate(place, 100),
    "it was written to": rewrite_in_place,
    "another file has taken its name": replace_by_rename,
    "it is gone": lambda place: place.unlink(),
    "its mode changed": lambda place: place.chmod(0o755),
}


@pytest.mark.parametrize("what", CHANGES)
def test_change_before_the_end_of_reading_is_noticed(model, what):
    file = listed(model)
    with open_source(file.path, file.place, file.stat) as reader:
        assert reader.read_at(0, 4) == b"\x00\x01\x02\x03"
        reader.check_unchanged()
        CHANGES[what](model)
        with pytest.raises(SourceChanged) as error:
            reader.check_unchanged()
    assert what in str(error.value)
    assert str(error.value).startswith("weights.bin changed")
    assert error.value.exit_code == 3


@pytest.mark.parametrize("what", CHANGES)
def test_change_between_listing_and_opening_is_noticed(model, what):
    file = listed(model)
    CHANGES[what](model)
    with pytest.raises(SourceChanged) as error:
        open_source(file.path, file.place, file.stat)
    assert what in str(error.value)


def test_restored_times_do_not_hide_a_write(model):
    file = listed(model)
    rewrite_in_place(model)
    assert model.stat().st_mtime_ns == file.stat.mtime_ns
    assert model.stat().st_size == file.size
    with pytest.raises(SourceChanged, match="written to"):
        open_source(file.path, file.place, file.stat)


@pytest.mark.timeout(10)
@pytest.mark.parametrize("make", [os.mkfifo, lambda place: place.symlink_to("/etc/passwd"), lambda place: place.mkdir()])
def test_name_that_became_something_else_is_neither_followed_nor_waited_for(model, make):
    file = listed(model)
    become(make)(model)
    with pytest.raises((SourceChanged, SourceError)):
        open_source(file.path, file.place, file.stat)


def test_file_that_ends_early_is_a_change(model):
    file = listed(model)
    with open_source(file.path, file.place, file.stat) as reader:
        buffer = bytearray(4096)
        reader.read_into(0, memoryview(buffer))
        assert buffer == model.read_bytes()
        os.truncate(model, 1000)
        with pytest.raises(SourceChanged, match="it ends at 1000 bytes, expected 4096"):
            reader.read_into(500, memoryview(bytearray(1000)))
        assert len(reader.read_at(900, 500)) == 100


@pytest.mark.parametrize("call", ["pread", "preadv"])
def test_failing_disk_is_named(model, monkeypatch, call):
    file = listed(model)

    def fail(*_):
        raise OSError(5, "Input/output error")

    with open_source(file.path, file.place, file.stat) as reader:
        monkeypatch.setattr(reading.os, call, fail)
        read = reader.read_at if call == "pread" else reader.read_into
        with pytest.raises(SourceError, match=r"weights.bin cannot be read: Input/output error"):
            read(0, 10 if call == "pread" else memoryview(bytearray(10)))


def test_short_reads_are_gone_on_with(model, monkeypatch):
    file = listed(model)
    whole = os.preadv
    monkeypatch.setattr(reading.os, "preadv", lambda fd, views, at: whole(fd, [views[0][:7]], at))
    with open_source(file.path, file.place, file.stat) as reader:
        buffer = bytearray(1000)
        reader.read_into(3, memoryview(buffer))
    assert buffer == model.read_bytes()[3:1003]


def test_no_descriptor_is_left_open(model):
    file = listed(model)
    before = os.listdir("/proc/self/fd")  # noqa: PTH208  # names are compared, not paths
    for _ in range(3):
        with open_source(file.path, file.place, file.stat) as reader:
            reader.read_at(0, 1)
    grow(model)
    with pytest.raises(SourceChanged):
        open_source(file.path, file.place, file.stat)
    assert os.listdir("/proc/self/fd") == before  # noqa: PTH208  # as above


def test_file_stat_takes_the_owners_right_to_execute(model):
    model.chmod(0o654)
    assert not FileStat.of(model.stat()).executable
    model.chmod(stat.S_IXUSR)
    assert FileStat.of(model.stat()).executable
