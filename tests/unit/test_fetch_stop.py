"""A fetch that fails or is stopped lets every thread of its go, however many connections were at work."""

import threading
from types import SimpleNamespace

import pytest

from pipeline.digest import Blake3, blake3_of
from pipeline.errors import AccessDenied
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
