"""Bytes go past the page cache in whole blocks, each to its place, whatever the ranges and reads they come in."""

import errno
import itertools
import os
import random
import threading

import pytest

from pipeline.digest import Blake3, blake3_of
from pipeline.errors import StoreUnavailable
from pipeline.events import ignore
from pipeline.manifest import Chunk
from pipeline.past_cache import ALIGN_BYTES
from pipeline.plan.fetching import Piece, Range, Target
from pipeline.retry import Patience
from pipeline.steps.assemble import Assembly
from pipeline.steps.blocks import Blocks
from pipeline.steps.direct_files import MOST_WAITING, DirectFiles
from pipeline.steps.window import SMALL_BYTES, WINDOW_BYTES, Writers

DATA = random.Random(7).randbytes(3 * WINDOW_BYTES + 1234)


class Disk:
    """A landing of one file in a folder; what went through the cache is counted."""

    def __init__(self, path, refuses=()):
        self.path, self.refuses = path, refuses
        self.cached = []
        path.write_bytes(bytes(len(DATA)))
        self.direct = DirectFiles(lambda _: os.open(path, os.O_RDWR))

    @property
    def past_cache(self):
        return self.direct.possible

    def begin_writeback(self, file, at, size):
        pass

    def write(self, file, at, view):
        self.cached.append((at, len(view)))
        with self.path.open("r+b") as target:
            target.seek(at)
            target.write(view)

    def write_past_cache(self, file, at, view):
        if at in self.refuses:
            raise OSError(errno.EIO, "broken")
        for place, piece in self.direct.write(file, at, view):
            self.write(file, place, piece)

    def write_rest(self):
        for file, place, piece in self.direct.left():
            self.write(file, place, piece)


@pytest.fixture
def disk(tmp_path):
    return Disk(tmp_path / "file")


def gather(writers, start, end, *, read, into_room):
    window = writers.begin(0, start)
    at = start
    while at < end:
        assert window.next_at == at
        room = window.room()
        size = min(read, end - at, len(room))
        if into_room:
            room[:size] = DATA[at : at + size]
            window.put(room[:size])
        else:
            window.put(memoryview(DATA)[at : at + size])
        at += size
    window.close()


@pytest.mark.parametrize("into_room", [True, False])
@pytest.mark.parametrize("read", [700_001, 4096, 333])
def test_ranges_of_any_ends_and_reads_of_any_size_end_in_the_same_file(disk, read, into_room):
    failed = []
    writers = Writers(disk, Blocks(), failed.append)
    ends = [0, 5000, 5100, WINDOW_BYTES + 17, 2 * WINDOW_BYTES, len(DATA)]
    for start, end in reversed(list(itertools.pairwise(ends))):
        gather(writers, start, end, read=read, into_room=into_room)
    writers.finish()
    assert failed == []
    assert disk.path.read_bytes() == DATA
    # Only the last block of the file is not whole, and only its end waits for nobody.
    assert disk.cached == [(len(DATA) - len(DATA) % ALIGN_BYTES, len(DATA) % ALIGN_BYTES)]


def test_a_half_block_that_comes_again_is_written_as_it_came_last(disk):
    first, second = b"x" * 100, b"y" * 100
    for piece in (first, second):
        assert disk.direct.write(0, 0, memoryview(piece)) == []
    assert disk.direct.left() == [(0, 0, second)]
    assert disk.direct.left() == []


def test_halves_whose_neighbours_do_not_come_are_not_held_for_ever(disk):
    left = [disk.direct.write(0, number * ALIGN_BYTES, memoryview(b"x")) for number in range(MOST_WAITING + 1)]
    assert left[:-1] == [[]] * MOST_WAITING
    assert left[-1] == [(MOST_WAITING * ALIGN_BYTES, b"x")]


def test_file_system_that_refuses_is_asked_once_and_nothing_is_lost(disk, monkeypatch):
    asked = []

    def refuse(fd, view, at):
        asked.append(at)
        raise OSError(errno.EINVAL, "no")

    monkeypatch.setattr("pipeline.steps.direct_files.os.pwrite", refuse)
    writers = Writers(disk, Blocks(), pytest.fail)
    gather(writers, 0, len(DATA), read=1 << 20, into_room=True)
    writers.finish()
    assert 1 <= len(asked) <= 4
    assert disk.path.read_bytes() == DATA
    assert writers.begin(0, 0) is None


def test_full_disk_behind_the_back_of_a_connection_ends_the_fetch(tmp_path):
    failed = []
    disk = Disk(tmp_path / "file", refuses=(0,))
    blocks = Blocks()
    writers = Writers(disk, blocks, failed.append)
    gather(writers, 0, WINDOW_BYTES, read=1 << 20, into_room=True)
    writers.finish()
    assert [error.errno for error in failed] == [errno.EIO]
    # Its memory is free for others again.
    blocks.give(blocks.take(32 << 20))


def test_connections_find_no_window_rather_than_wait_for_each_other(disk):
    blocks = Blocks(2 * WINDOW_BYTES)
    writers = Writers(disk, blocks, pytest.fail)
    windows = [writers.begin(0, 0) for _ in range(3)]
    assert [one is None for one in windows] == [False, False, True]


def test_many_connections_have_windows_within_one_budget(disk):
    blocks = Blocks()
    writers = Writers(disk, blocks, pytest.fail)
    assert all(writers.begin(0, 0) for _ in range(64))
    assert blocks.mapped <= 10 * WINDOW_BYTES + 54 * SMALL_BYTES


# Two chunks that share a block of the disk.
FIRST = WINDOW_BYTES + 100


def whole_range():
    pieces = []
    for at, end in itertools.pairwise((0, FIRST, len(DATA))):
        chunk = Chunk(0, at, end - at, end - at, blake3_of(DATA[at:end]), "raw", "")
        pieces.append(Piece(chunk, (Target(0, at),)))
    return Range(Blake3("0" * 64), len(DATA), tuple(pieces))


class Altering:
    """Alters the first chunk's last bytes when it is asked for the first time, and gives no more than ``until`` then."""

    def __init__(self, until):
        self.until = until
        self.asked = 0
        self.asked_again = threading.Event()

    def read_range(self, key, start, size, take, *, total=None):
        self.asked += 1
        if self.asked > 1:
            self.asked_again.set()
            take(memoryview(DATA)[start : start + size])
            return
        altered = bytearray(DATA)
        altered[FIRST - 64 : FIRST] = bytes(64)
        take(memoryview(altered)[: self.until])
        raise StoreUnavailable("it broke off")

    def close(self):
        pass


def fetch(disk, source):
    patience = Patience(attempts=3, first_wait_s=0.0, longest_wait_s=0.0)
    Assembly(source, disk, [whole_range()], listen=ignore, connections=1, patience=patience).run()


@pytest.mark.parametrize("until", [FIRST - 1, FIRST], ids=["broken off", "whole"])
def test_altered_bytes_that_wait_for_a_half_block_never_come_after_the_right_ones(disk, until):
    source = Altering(until)
    fetch(disk, source)
    assert source.asked == 2
    assert disk.path.read_bytes() == DATA


class Roomy:
    """Reads into the memory that it was given, as a socket does."""

    asked = 0

    def read_range(self, key, start, size, take, *, total=None):
        self.asked += 1
        at, room = start, take(memoryview(DATA)[start : start + 1])
        at += 1
        while at < start + size:
            if room is None:
                room = memoryview(bytearray(4096))
            came = room[: start + size - at]
            came[:] = DATA[at : at + len(came)]
            at += len(came)
            room = take(came)

    def close(self):
        pass


@pytest.mark.parametrize("files", [(0, 0, 0, 0), (0, 1, 0, 1)], ids=["end to end", "in other places"])
def test_memory_is_not_let_go_while_bytes_of_the_next_chunk_lie_in_it(tmp_path, monkeypatch, files):
    disks = [Disk(tmp_path / "0"), Disk(tmp_path / "1")]
    ends = (0, 950_000, 1_700_000, 2_800_001, len(DATA))
    pieces = []
    for file, (at, end) in zip(files, itertools.pairwise(ends), strict=True):
        pieces.append(Piece(Chunk(0, at, end - at, end - at, blake3_of(DATA[at:end]), "raw", ""), (Target(file, at),)))
    landing = Disk(tmp_path / "both")
    monkeypatch.setattr(landing, "write", lambda file, at, view: disks[file].write(0, at, view))
    monkeypatch.setattr(landing, "write_past_cache", lambda file, at, view: disks[file].write(0, at, view))

    def written_at_once(writers, file, at, view, block):
        # A quick disk, and another connection that has use for the memory.
        writers.write(file, at, view)
        block.memory[:] = bytes(len(block.memory))
        writers._blocks.give(block)

    monkeypatch.setattr(Writers, "put", written_at_once)
    one = Range(Blake3("0" * 64), len(DATA), tuple(pieces))
    source = Roomy()
    Assembly(source, landing, [one], listen=ignore, connections=1, patience=Patience(attempts=1)).run()
    assert source.asked == 1
    for file, (at, end) in zip(files, itertools.pairwise(ends), strict=True):
        assert disks[file].path.read_bytes()[at:end] == DATA[at:end]


def test_nothing_is_asked_for_again_while_altered_bytes_are_still_on_their_way_to_the_disk(disk, monkeypatch):
    source, write, early = Altering(FIRST), disk.write_past_cache, []

    def slow(file, at, view):
        if not early:
            early.append(source.asked_again.wait(0.3))
        write(file, at, view)

    monkeypatch.setattr(disk, "write_past_cache", slow)
    fetch(disk, source)
    assert early
    assert not any(early)
    assert disk.path.read_bytes() == DATA
