"""Parts from an upstream onto a shelf: in runs of pieces, verified, once; and a file in memory when the disk is full."""

import errno
import itertools
import os
import random
import threading
import time

import blake3
import pytest

from bundles.site.growing import Growing
from bundles.site.hauling import Hauler
from bundles.site.shelf import Shelf
from bundles.site.transfer import Shape, segments
from pipeline.errors import DigestMismatch, DiskError, ObjectMissing, StoreUnavailable
from pipeline.layout import part_key
from pipeline.retry import Patience

DATA = random.Random(1).randbytes(24 << 20)
NAME = blake3.blake3(DATA).hexdigest()
KEY = part_key(NAME)
CUTS = [5 << 20, 6 << 20, 13 << 20, 19 << 20, 24 << 20]


def shape_of(data=DATA, gap=1):
    starts = [0, *CUTS[:-1]]
    digests = [blake3.blake3(data[a:b]).hexdigest() for a, b in zip(starts, CUTS, strict=True)]
    return Shape(
        len(data), tuple((end, "" if at == gap else digest) for at, (end, digest) in enumerate(zip(CUTS, digests, strict=True)))
    )


class Reader:
    """An upstream in memory that notes what it is asked, and spoils an answer."""

    url = "memory:upstream"
    requests = 0

    def __init__(self, data=DATA, spoil=None):
        self.data = data
        self.asked = []
        self.spoil = spoil or (lambda number, at, block: block)

    def read_range(self, key, start, size, take, *, total=None):
        if key != KEY:
            raise ObjectMissing(key)
        self.asked.append((start, size))
        number = len(self.asked)
        for at in range(start, start + size, 1 << 20):
            take(memoryview(self.spoil(number, at, self.data[at : min(at + (1 << 20), start + size)])))

    def get(self, key, *, start=0, size=None):
        if key != KEY:
            raise ObjectMissing(key)
        self.asked.append((0, None))
        yield self.data

    def close(self):
        pass


@pytest.fixture
def said():
    return []


@pytest.fixture
def shelf(tmp_path, said):
    return Shelf(tmp_path / "shelf", 1 << 30, said.append)


def hauler_of(reader, shelf, said, shape=None):
    return Hauler(reader, shelf, lambda name: shape, said.append, timeout_s=10, patience=Patience(2, 0.0, 0.0))


def whole(source):
    try:
        if source.growing:
            source.growing.wait_in_thread(0, source.size, timeout_s=10)
        return os.pread(source.descriptor, source.size, 0)
    finally:
        source.close()


def wait_for(condition):
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        threading.Event().wait(0.01)


def test_long_part_comes_in_runs_and_every_byte_once(shelf, said):
    reader = Reader()
    hauler = hauler_of(reader, shelf, said, shape_of())
    assert whole(hauler.part(NAME)) == DATA
    wait_for(lambda: shelf.has("parts", NAME))
    assert sorted(reader.asked) == [(0, 6 << 20), (6 << 20, 7 << 20), (13 << 20, 6 << 20), (19 << 20, 5 << 20)]
    assert hauler.tally.bytes == len(DATA)
    assert whole(hauler.part(NAME)) == DATA
    assert len(reader.asked) == 4
    hauler.close()


def test_run_with_wrong_bytes_is_asked_for_once_more(shelf, said):
    spoiled = []
    reader = Reader(
        spoil=lambda number, at, block: b"x" + block[1:] if at == 0 and len(spoiled) < 1 and not spoiled.append(at) else block
    )
    hauler = hauler_of(reader, shelf, said, shape_of())
    assert whole(hauler.part(NAME)) == DATA
    assert len(reader.asked) == 5
    hauler.close()


def test_wrong_bytes_in_a_gap_are_found_by_the_name(shelf, said):
    reader = Reader(spoil=lambda number, at, block: b"x" + block[1:] if at == 5 << 20 else block)
    hauler = hauler_of(reader, shelf, said, shape_of())
    source = hauler.part(NAME)
    with pytest.raises(DigestMismatch, match="has blake3"):
        source.growing.wait_in_thread(0, source.size, timeout_s=10)
    # What came around the gap is verified by itself; the gap is shown to nobody.
    assert source.growing.verified(0) == 5 << 20
    assert source.growing.verified(5 << 20) == 5 << 20
    source.close()
    assert not shelf.has("parts", NAME)
    hauler.close()


def test_part_that_no_manifest_names_is_proven_by_its_name(shelf, said):
    reader = Reader()
    hauler = hauler_of(reader, shelf, said)
    assert whole(hauler.part(NAME)) == DATA
    with pytest.raises(ObjectMissing):
        hauler.part("0" * 64)
    hauler.close()
    other = hauler_of(Reader(data=DATA[:-1] + b"?"), Shelf(shelf.place / "other", 1 << 30, said.append), said)
    with pytest.raises(DigestMismatch):
        other.part(NAME)
    other.close()


@pytest.mark.parametrize("after", [0, 9 << 20])
def test_part_that_the_disk_does_not_take_is_served_from_memory(shelf, said, monkeypatch, after):
    import bundles.site.transfer as module

    honest, refused = module.write_all, []

    def write_all(descriptor, view, at):
        if at >= after and not refused:
            refused.append(at)
            raise OSError(errno.ENOSPC, "No space left on device")
        honest(descriptor, view, at)

    monkeypatch.setattr(module, "write_all", write_all)
    hauler = hauler_of(Reader(), shelf, said, shape_of())
    assert whole(hauler.part(NAME)) == DATA
    assert shelf.is_full
    assert [event.code for event in said] == ["cache-full"]
    assert not shelf.has("parts", NAME)
    wait_for(lambda: hauler._in_memory == 0)
    hauler.close()


def test_runs_cover_all_pieces_in_order():
    chance = random.Random(3)
    for _ in range(200):
        at, ends = 0, []
        for _ in range(chance.randint(1, 60)):
            at += chance.randint(1, 4 << 20)
            ends.append((at, "x"))
        runs = segments(Shape(at, tuple(ends)), 4)
        assert runs[0][0] == 0
        assert runs[-1][1] == len(ends)
        assert all(before[1] == after[0] for before, after in itertools.pairwise(runs))
        assert all(first < end for first, end in runs)


def test_what_is_read_is_not_evicted_and_the_rest_goes_by_last_use(tmp_path, said):
    shelf = Shelf(tmp_path / "shelf", 250, said.append)

    def put(data):
        name = blake3.blake3(data).hexdigest()
        descriptor, temporary = shelf.begin()
        os.write(descriptor, data)
        shelf.keep(descriptor, temporary, "parts", name)
        os.close(descriptor)
        return name

    first, second = put(b"1" * 100), put(b"2" * 100)
    reading = shelf.open("parts", first)
    third = put(b"3" * 100)
    assert [shelf.has("parts", name) for name in (first, second, third)] == [True, False, True]
    os.close(reading)
    again = Shelf(tmp_path / "shelf", 150, said.append)
    assert again.bytes == 100


def test_waiting_ends_with_the_fault_and_without_progress_with_one_of_its_own(tmp_path):
    growing = Growing(os.open(tmp_path, os.O_RDONLY), [10, 20])
    growing.mark(0)
    growing.wait_in_thread(0, 10, timeout_s=0.01)
    with pytest.raises(StoreUnavailable, match="nothing for"):
        growing.wait_in_thread(0, 20, timeout_s=0.01)
    growing.fail(ObjectMissing("gone"))
    with pytest.raises(ObjectMissing):
        growing.wait_in_thread(0, 20, timeout_s=10)
    assert not growing.use()
    growing.close()


def test_kept_file_that_cannot_be_opened_is_a_fault_of_the_disk(shelf, said):
    reader = Reader()
    hauler = hauler_of(reader, shelf, said, shape_of())
    path = shelf.place / "parts" / NAME[:2] / NAME
    path.parent.mkdir(parents=True)
    # A link is opened by nobody, and is there all the same.
    path.symlink_to(__file__)
    with pytest.raises(DiskError):
        hauler.part(NAME)
    assert reader.asked == []
    hauler.close()
