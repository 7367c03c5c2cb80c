"""Bytes go past the page cache in whole blocks, each to its place, whatever the ranges and reads they come in."""

import errno
import itertools
import os
import random

import pytest

from pipeline.past_cache import ALIGN_BYTES
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
