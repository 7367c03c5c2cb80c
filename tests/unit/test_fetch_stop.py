"""A fetch that fails or is stopped lets every thread of its go, however many connections were at work."""

import sys
import threading
from types import SimpleNamespace

import pytest
import zstandard

from pipeline.digest import Blake3, blake3_of
from pipeline.errors import AccessDenied, DiskError
from pipeline.events import ignore
from pipeline.manifest import Chunk
from pipeline.plan.fetching import Piece, Range, Target
from pipeline.steps.assemble import Assembly
from pipeline.steps.window import THREADS, WAITING

CONNECTIONS = 2 * (THREADS + WAITING)
CHUNK = bytes(2 << 20)


class Source:
    """Each range has begun to come when the first one is refused; the others go on until they are stopped."""

    def __init__(self):
        self.all_begun = threading.Barrier(CONNECTIONS)
        self.closed = threading.Event()

    def read_range(self, key, start, size, take, *, total=None):
        take(memoryview(CHUNK)[: 64 << 10])
        first = self.all_begun.wait(30) == 0
        if first:
            raise AccessDenied("no")
        self.closed.wait(30)
        take(memoryview(CHUNK)[64 << 10 : 128 << 10])

    def close(self):
        self.closed.set()


def test_a_fetch_that_fails_leaves_no_connection_waiting_for_the_disk():
    landing = SimpleNamespace(past_cache=True, write_past_cache=lambda *_: None, write_rest=lambda: None)
    chunk = Chunk(0, 0, len(CHUNK), len(CHUNK), blake3_of(CHUNK), "raw", "")
    ranges = [Range(Blake3(f"{number:064x}"), len(CHUNK), (Piece(chunk, (Target(number, 0),)),)) for number in range(CONNECTIONS)]
    assembly = Assembly(Source(), landing, ranges, listen=ignore, connections=CONNECTIONS)
    before = set(threading.enumerate())
    with pytest.raises(AccessDenied):
        assembly.run()
    begun = [thread for thread in threading.enumerate() if thread not in before]
    for thread in begun:
        thread.join(5)
    assert not [thread.name for thread in begun if thread.is_alive()]


def once_nobody_reads_any_more(*_):
    """Fails as a disk that is slower than the network: everything came long ago."""
    for thread in threading.enumerate():
        if thread.name.startswith("fetch-"):
            thread.join(30)
    raise DiskError("full")


STORED = zstandard.ZstdCompressor(write_content_size=True, write_checksum=True).compress(CHUNK)
RAW = Chunk(0, 0, len(CHUNK), len(CHUNK), blake3_of(CHUNK), "raw", "")
PACKED = Chunk(0, 0, len(STORED), len(CHUNK), blake3_of(CHUNK), "zstd", blake3_of(STORED))


def give(data):
    """A source that has ``data``."""
    return SimpleNamespace(read_range=lambda key, start, size, take, total=None: take(memoryview(data)), close=lambda: None)


@pytest.mark.parametrize(("chunk", "data"), [(RAW, CHUNK), (PACKED, STORED)], ids=["raw", "packed"])
def test_what_fails_after_the_last_byte_came_ends_the_fetch(chunk, data):
    landing = SimpleNamespace(
        past_cache=True,
        write=once_nobody_reads_any_more,
        write_past_cache=once_nobody_reads_any_more,
        write_rest=lambda: None,
        begin_writeback=lambda *_: None,
    )
    one = Range(Blake3("0" * 64), len(data), (Piece(chunk, (Target(0, 0),)),))
    with pytest.raises(DiskError, match="full"):
        Assembly(give(data), landing, [one], listen=ignore, connections=1).run()


def test_a_codec_that_cannot_be_had_ends_the_fetch(monkeypatch):
    monkeypatch.setitem(sys.modules, "pipeline.encoding", None)
    landing = SimpleNamespace(past_cache=False, write_rest=lambda: None, write=pytest.fail)
    one = Range(Blake3("0" * 64), len(STORED), (Piece(PACKED, (Target(0, 0),)),))
    with pytest.raises(ImportError, match="encoding"):
        Assembly(give(STORED), landing, [one], listen=ignore, connections=1).run()
