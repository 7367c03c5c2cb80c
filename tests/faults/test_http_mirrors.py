"""Several real servers as one source: one dead, one that drips, one that lies, one that corrupts, one that is good."""

from __future__ import annotations

import contextlib
import random
import threading
import time

import pytest

from pipeline.digest import sha256_of
from pipeline.errors import DigestMismatch, ObjectMissing
from pipeline.sources.http import HttpReader
from pipeline.sources.mirrors import Mirrors
from pipeline.sources.pace import Limits
from tests.servers import hostile
from tests.servers.hostile import run_hostile
from tests.servers.processes import free_port

BODY = random.Random(9).randbytes(2_000_000)
PART = "parts/aa/" + "aa" * 32
CHUNK = 50_000
QUICK = Limits(connect_s=5.0, idle_s=1.0, window_s=0.5, least_per_s=2000)


@pytest.fixture
def world():
    """Four servers of one tree, and a port where nobody is."""
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(run_hostile({PART: BODY})) for _ in range(4)]


def fetch(mirrors, threads=4):
    """Read the part in chunks as the engine does: each is verified, and asked for again when it is wrong."""
    whole = bytearray(len(BODY))
    starts = list(range(0, len(BODY), CHUNK))
    failed = []

    def work():
        while starts:
            with contextlib.suppress(IndexError):
                one(starts.pop())

    def one(start):
        for _ in range(4):
            got = bytearray()

            def take(block, got=got):
                got.extend(block)
                if len(got) == CHUNK and sha256_of(got) != sha256_of(BODY[start : start + CHUNK]):
                    raise DigestMismatch(f"chunk at {start}")

            try:
                mirrors.read_range(PART, start, CHUNK, take, total=len(BODY))
            except DigestMismatch:
                continue
            whole[start : start + CHUNK] = got
            return
        failed.append(start)

    workers = [threading.Thread(target=work) for _ in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert failed == []
    assert whole == BODY


def test_bad_sources_are_dropped_and_named_and_the_good_one_finishes(world):
    liar, corrupt, dripping, good = world
    liar.behave(hostile.earlier)
    corrupt.behave(hostile.bit_flip)
    dripping.behave(hostile.slow_body)
    events = []
    dead = f"http://127.0.0.1:{free_port()}"
    mirrors = Mirrors(
        [HttpReader(url, limits=QUICK) for url in (dead, liar.url, corrupt.url, dripping.url, good.url)], listen=events.append
    )
    begun = time.monotonic()
    fetch(mirrors)
    assert time.monotonic() - begun < 20
    uses = {use.url: use for use in mirrors.uses()}
    assert uses[liar.url].dropped.startswith("lied: ")
    # One strike is enough for this object: what four threads had asked for already is all that came.
    assert uses[corrupt.url].bytes <= 4 * CHUNK
    assert uses[good.url].dropped == ""
    assert uses[good.url].bytes >= len(BODY) * 0.9
    for event in events:
        assert any(event.message.startswith(url) for url in uses)
    mirrors.close()


def test_two_good_sources_share_the_work(world):
    one, two, *_ = world
    mirrors = Mirrors([HttpReader(one.url), HttpReader(two.url)])
    fetch(mirrors)
    assert all(use.bytes > 0 for use in mirrors.uses())
    assert sum(use.bytes for use in mirrors.uses()) == len(BODY)
    mirrors.close()


def test_bit_flip_of_the_only_source_is_asked_for_on_another_connection(world):
    one = world[0]
    mirrors = Mirrors([HttpReader(one.url)])
    one.behave(hostile.bit_flip, times=1)
    fetch(mirrors, threads=1)
    assert one.requests[0].via != one.requests[1].via
    mirrors.close()


def test_part_that_becomes_visible_is_waited_for_and_one_that_does_not_is_missing(world):
    one, two, *_ = world
    waited = []
    mirrors = Mirrors([HttpReader(one.url), HttpReader(two.url)], sleep=waited.append)
    for server in (one, two):
        server.behave(hostile.answers(404), times=2)
    fetch(mirrors, threads=1)
    assert waited == [1.0, 2.0]
    for server in (one, two):
        server.behave(hostile.answers(404))
    with pytest.raises(ObjectMissing) as missing:
        mirrors.read_range(PART, 0, 10, bytes)
    assert one.url in str(missing.value)
    assert two.url in str(missing.value)
    assert PART in str(missing.value)
    mirrors.close()
