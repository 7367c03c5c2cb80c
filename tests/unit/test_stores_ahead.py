"""Reading ahead of what was written: only by a disk that waits, only of what is large."""

from __future__ import annotations

import errno
import os
import threading

import pytest

from pipeline import past_cache
from pipeline.digest import sha256_of
from pipeline.past_cache import UNCACHED_BYTES
from pipeline.stores import ahead
from pipeline.stores.directory import DirectoryStore


@pytest.fixture
def brought(monkeypatch):
    """What was asked for, as (file, size)."""
    asked = []
    monkeypatch.setattr(ahead, "bring_in", lambda fd, size: asked.append((os.fstat(fd).st_ino, size)))
    return asked


def settled():
    """Wait until nothing is asked for any more."""
    for thread in threading.enumerate():
        if thread.name == "read-ahead":
            thread.join()


@pytest.fixture
def clock(monkeypatch):
    """A clock that stands where it is set."""

    class Clock:
        at_s = 100.0

        def monotonic(self):
            return self.at_s

    clock = Clock()
    monkeypatch.setattr(ahead, "time", clock)
    return clock


@pytest.fixture
def fd(tmp_path):
    fd = os.open(tmp_path / "object", os.O_RDWR | os.O_CREAT)
    yield fd
    os.close(fd)


def write(reads, fd, clock, *, idle_s, took_s, size=UNCACHED_BYTES):
    clock.at_s += idle_s + took_s
    reads.written(fd, size, took_s)
    settled()


def test_a_disk_that_waits_for_us_reads_what_it_wrote(brought, clock, fd):
    reads = ahead.ReadAhead()
    write(reads, fd, clock, idle_s=0.1, took_s=0.1)
    write(reads, fd, clock, idle_s=0.3, took_s=0.1)
    assert len(brought) == 2


def test_a_disk_that_we_wait_for_reads_nothing(brought, clock, fd):
    reads = ahead.ReadAhead()
    for _ in range(3):
        write(reads, fd, clock, idle_s=0.1, took_s=0.2)
    assert brought == []


def test_two_objects_at_a_time_leave_a_disk_no_time(brought, clock, fd):
    reads = ahead.ReadAhead()
    write(reads, fd, clock, idle_s=1, took_s=0.2)
    # Begun before the other one was over.
    write(reads, fd, clock, idle_s=-0.1, took_s=0.2)
    assert len(brought) == 1


def test_small_objects_say_nothing_about_a_disk(brought, clock, fd):
    reads = ahead.ReadAhead()
    write(reads, fd, clock, idle_s=0.1, took_s=0, size=UNCACHED_BYTES - 1)
    write(reads, fd, clock, idle_s=0.1, took_s=0.15)
    assert [size for _, size in brought] == [UNCACHED_BYTES]


def test_a_store_asks_for_what_it_wrote_once_it_has_its_name(brought, tmp_path, monkeypatch):
    store = DirectoryStore(tmp_path / "store")
    body = os.urandom(UNCACHED_BYTES)
    monkeypatch.setattr(store._ahead, "_over_s", float("-inf"))
    named = []
    monkeypatch.setattr(ahead, "bring_in", lambda fd, size: named.append((os.fstat(fd).st_nlink, os.pread(fd, size, 0) == body)))
    store.put("parts/x", body, sha256=sha256_of(body), if_absent=True)
    settled()
    assert named == [(1, True)]


@pytest.mark.parametrize("idle", [True, False])
def test_what_a_store_wrote_is_in_memory_where_some_lies_idle(disk_path, monkeypatch, idle):
    store = DirectoryStore(disk_path / "store")
    body = os.urandom(3 * UNCACHED_BYTES)
    monkeypatch.setattr(store._ahead, "_over_s", float("-inf"))
    monkeypatch.setattr(past_cache, "_idle_bytes", lambda: len(body) if idle else 0)
    # As parts are: where a disk can take them without a copy.
    with memoryview(past_cache.aligned_memory(len(body))) as memory:
        memory[:] = body
        store.put("parts/x", memory, sha256=sha256_of(body), if_absent=True)
    settled()
    with (store.path / "parts/x").open("rb") as file:
        assert past_cache._cached_bytes(file.fileno(), 0, len(body)) == (len(body) if idle else 0)


def test_nobody_waits_for_what_is_asked_and_its_file_is_closed_after_it(monkeypatch, fd, clock):
    asked, go_on, seen = threading.Event(), threading.Event(), []

    def slow(own, _):
        seen.append(own)
        asked.set()
        go_on.wait(30)

    monkeypatch.setattr(ahead, "bring_in", slow)
    ahead.ReadAhead().written(fd, UNCACHED_BYTES, 0)
    assert asked.wait(30)
    assert os.fstat(seen[0]).st_ino == os.fstat(fd).st_ino
    assert seen[0] != fd, "it may be closed meanwhile"
    go_on.set()
    settled()
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(seen[0])


def test_without_a_descriptor_nothing_is_asked(brought, monkeypatch, fd, clock):
    def refuse(_):
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    monkeypatch.setattr(ahead.os, "dup", refuse)
    write(ahead.ReadAhead(), fd, clock, idle_s=1, took_s=0)
    assert brought == []
