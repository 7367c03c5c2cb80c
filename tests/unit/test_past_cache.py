"""Writes and reads past the cache: the same bytes whether the system allows it or not."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import threading
from contextlib import contextmanager

import pytest

from bundles.tape import BLOCK_BYTES, WAITING, written_in_order
from pipeline import past_cache
from pipeline.past_cache import (
    ALIGN_BYTES,
    BRING_BYTES,
    UNCACHED_BYTES,
    aligned_memory,
    bring_in,
    opened_direct,
    read_past_cache,
    write_past_cache,
)
from pipeline.sources.objects import FolderReader
from tests.bundle_world import begin_tree, builder_of


@pytest.fixture
def tmp_path(disk_path):
    return disk_path


@pytest.fixture
def opened(tmp_path):
    fd = os.open(tmp_path / "file", os.O_RDWR | os.O_CREAT)
    yield fd
    os.close(fd)


def filled(size):
    memory = aligned_memory(size)
    memory[:size] = os.urandom(size)
    return memoryview(memory)[:size]


def is_cached(fd, at):
    try:
        return os.preadv(fd, [bytearray(1)], at, os.RWF_NOWAIT) > 0
    except BlockingIOError:
        return False


@pytest.mark.parametrize("at", [0, ALIGN_BYTES, 512, 1])
@pytest.mark.parametrize("size", [1, ALIGN_BYTES, 5 * ALIGN_BYTES + 513])
def test_bytes_stand_where_they_were_sent(opened, at, size):
    view = filled(size)
    cached = write_past_cache(opened, view, at)
    assert os.pread(opened, at + size, 0) == bytes(at) + view
    assert 0 <= cached <= size
    assert not fcntl.fcntl(opened, fcntl.F_GETFL) & os.O_DIRECT


def test_whole_blocks_leave_nothing_in_the_cache(opened):
    assert write_past_cache(opened, filled(1 << 20), 0) == 0
    os.fsync(opened)
    assert not is_cached(opened, 0)


@pytest.mark.parametrize("misaligned", [True, False])
def test_where_the_system_refuses_the_cache_serves(opened, monkeypatch, misaligned):
    write = os.pwrite

    def refuse(fd, data, at):
        if fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_DIRECT:
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        return write(fd, data, at)

    view = filled(3 * ALIGN_BYTES)
    with monkeypatch.context() as patch:
        patch.setattr(os, "pwrite", refuse)
        assert write_past_cache(opened, view[1:] if misaligned else view, 0) == len(view) - misaligned
    assert os.pread(opened, len(view), 0) == bytes(view[1:] if misaligned else view)


def test_a_file_system_without_it_is_written_and_read_by_the_cache(monkeypatch):
    fd = os.memfd_create("no disk")
    try:
        monkeypatch.setattr("pipeline.past_cache._DIRECT", 0)
        view = filled(2 * ALIGN_BYTES)
        assert write_past_cache(fd, view, 0) == len(view)
        with opened_direct(fd) as direct:
            assert direct is None
        assert os.pread(fd, len(view), 0) == bytes(view)
    finally:
        os.close(fd)


def test_a_full_disk_is_told(opened, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "pwrite", full)
    with pytest.raises(OSError, match="No space"):
        write_past_cache(opened, filled(ALIGN_BYTES), 0)
    assert not fcntl.fcntl(opened, fcntl.F_GETFL) & os.O_DIRECT


@pytest.mark.parametrize(("at", "size"), [(0, 1), (512, 100_000), (4097, 4096), (99_999, 1), (90_000, 50_000), (200_000, 5)])
def test_any_stretch_is_read_past_the_cache(opened, at, size):
    data = os.urandom(100_000)
    os.pwrite(opened, data, 0)
    os.fsync(opened)
    os.posix_fadvise(opened, 0, 0, os.POSIX_FADV_DONTNEED)
    with opened_direct(opened) as direct:
        assert direct is not None
        memory = memoryview(aligned_memory(size + 2 * ALIGN_BYTES))
        assert bytes(read_past_cache(direct, memory, at, size)) == data[at : at + size]
    assert not is_cached(opened, 0)


def read_from_folder(folder, size):
    """Read a file of a tree as a taker does that has memory for it; gives the bytes."""
    memory, at = memoryview(aligned_memory(size)), 0

    def take(block):
        nonlocal at
        if block.obj is not memory.obj:
            memory[at : at + len(block)] = block
        at += len(block)
        return memory[at:size]

    FolderReader(folder).read_range("file", 0, size, take, total=size)
    return bytes(memory[:size])


@pytest.mark.parametrize("cached", [True, False])
def test_what_is_not_in_the_cache_is_read_past_it(opened, tmp_path, cached):
    data = os.urandom(4 << 20) + b"end"
    os.pwrite(opened, data, 0)
    os.fsync(opened)
    if not cached:
        os.posix_fadvise(opened, 0, 0, os.POSIX_FADV_DONTNEED)
    before = is_cached(opened, 2 << 20)
    assert read_from_folder(tmp_path, len(data)) == data
    assert is_cached(opened, 3 << 20) == before


@pytest.mark.parametrize("refused", ["cachestat", "open", "read"])
def test_a_system_that_does_not_say_or_refuses_is_read_by_the_cache(opened, tmp_path, monkeypatch, refused):
    data = os.urandom(3 << 20)
    os.pwrite(opened, data, 0)
    os.fsync(opened)
    os.posix_fadvise(opened, 0, 0, os.POSIX_FADV_DONTNEED)
    read, opening = os.preadv, os.open

    def refuse_read(fd, buffers, at):
        if fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_DIRECT:
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        return read(fd, buffers, at)

    def refuse_open(path, flags, *more, **named):
        if flags & os.O_DIRECT:
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        return opening(path, flags, *more, **named)

    with monkeypatch.context() as patch:
        if refused == "cachestat":
            patch.setattr("pipeline.past_cache._CACHESTAT", 9999)
        elif refused == "open":
            patch.setattr(os, "open", refuse_open)
        else:
            patch.setattr(os, "preadv", refuse_read)
        assert read_from_folder(tmp_path, len(data)) == data
    assert is_cached(opened, 2 << 20)


@pytest.fixture
def written(opened):
    """A file of several requests that is on the disk and not in the cache."""
    size = 5 * BRING_BYTES + 100
    os.pwrite(opened, os.urandom(size), 0)
    os.fsync(opened)
    os.posix_fadvise(opened, 0, 0, os.POSIX_FADV_DONTNEED)
    assert past_cache._cached_bytes(opened, 0, size) == 0
    return opened, size


def give_memory(monkeypatch, idle_bytes):
    monkeypatch.setattr(past_cache, "_idle_bytes", lambda: idle_bytes)


def test_a_file_is_brought_into_idle_memory_to_its_end(written, monkeypatch):
    fd, size = written
    give_memory(monkeypatch, size)
    bring_in(fd, size)
    # Their places in the cache are taken when the call returns, even where bytes are still on their way.
    assert past_cache._cached_bytes(fd, 0, size) >= size


def test_nothing_is_brought_in_where_memory_is_short(written, monkeypatch):
    fd, size = written
    give_memory(monkeypatch, size - 1)
    bring_in(fd, size)
    assert past_cache._cached_bytes(fd, 0, size) == 0


def test_a_part_of_all_memory_stays_idle(monkeypatch):
    pages = {"SC_PHYS_PAGES": 3200, "SC_AVPHYS_PAGES": 120}
    monkeypatch.setattr(os, "sysconf", pages.__getitem__)
    assert past_cache._idle_bytes() == 20 * past_cache.mmap.PAGESIZE


@pytest.mark.parametrize("how", ["few", "none", "refused"])
def test_bringing_in_is_only_a_hint(written, monkeypatch, how):
    fd, size = written
    asked = []

    def refuse(*_):
        asked.append(1)
        raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))

    give_memory(monkeypatch, size)
    with monkeypatch.context() as patch:
        patch.setattr(os, "posix_fadvise", refuse)
        if how == "none":
            patch.setattr(past_cache, "_BRINGS_IN", False)
        bring_in(fd, UNCACHED_BYTES - 1 if how == "few" else size)
    assert len(asked) == (how == "refused")


@pytest.mark.parametrize("begin", [0, 512, ALIGN_BYTES])
def test_a_tape_is_what_was_written_on_it_and_its_digest(opened, begin):
    blocks = [os.urandom(size) for size in (1, 511, BLOCK_BYTES + 3, 7, 2 * BLOCK_BYTES, 100)]
    whole = b"".join(blocks)
    with written_in_order(opened, begin, hash_to=len(whole) // 2) as tape:
        for block in blocks:
            tape.write(block)
    assert tape.at == begin + len(whole)
    assert os.pread(opened, begin + len(whole) + 1, 0) == bytes(begin) + whole
    # Whole blocks, the last of which begins in the first half; nothing of a file that another run began.
    assert tape.chain.size == (0 if begin else 2 * BLOCK_BYTES)
    assert tape.chain.digest.digest() == hashlib.sha256(whole[: tape.chain.size]).digest()


@pytest.mark.parametrize("begin", [0, 700])
def test_blocks_that_others_filled_stand_where_they_were_sent(opened, begin):
    whole = os.urandom(3 * BLOCK_BYTES + 1000)
    with written_in_order(opened, 0, filling=2, hash_to=len(whole)) as tape:
        tape.write(whole[:begin])
        tape.flush()
        while tape.at < len(whole):
            at = tape.at
            start = at % BLOCK_BYTES
            size = min(BLOCK_BYTES - start, len(whole) - at)
            memory = tape.take()
            memory[start : start + size] = whole[at : at + size]
            tape.send(memory, size)
    assert os.pread(opened, len(whole) + 1, 0) == whole
    assert tape.chain.size == len(whole)
    assert tape.chain.digest.digest() == hashlib.sha256(whole).digest()


def test_a_disk_that_pauses_does_not_stop_what_can_go_on(opened, monkeypatch):
    held, sent = threading.Event(), []

    def pause(fd, view, at):
        sent.append(at)
        assert held.wait(10)
        return write_past_cache(fd, view, at)

    monkeypatch.setattr("bundles.tape.write_past_cache", pause)
    whole = os.urandom(1 << 20) * (BLOCK_BYTES >> 20) * (WAITING + 2)
    with written_in_order(opened, 0, hash_to=len(whole)) as tape:
        tape.write(whole[: (WAITING + 1) * BLOCK_BYTES - 1])
        # Not one byte is written yet: all of it waits in memory.
        assert sent in ([], [0])
        held.set()
        tape.write(whole[(WAITING + 1) * BLOCK_BYTES - 1 :])
    assert os.pread(opened, len(whole) + 1, 0) == whole
    assert sent == sorted(sent)
    assert tape.chain.digest.digest() == hashlib.sha256(whole).digest()


def test_what_a_tape_was_given_is_in_the_file_when_the_source_fails(opened):
    with pytest.raises(ValueError, match="gone"), written_in_order(opened, 0) as tape:  # noqa: PT012 (the block is what fails)
        tape.write(b"kept")
        raise ValueError("gone")
    assert os.pread(opened, 10, 0) == b"kept"


def test_an_error_of_the_disk_comes_out_of_a_tape(opened, monkeypatch):
    def gone(*_):
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(os, "pwrite", gone)
    with pytest.raises(OSError, match="Input/output"), written_in_order(opened, 0) as tape:
        tape.write(bytes(3 * BLOCK_BYTES))


@pytest.mark.parametrize("refused", ["open", "read"])
def test_a_volume_is_read_back_by_the_cache_where_it_must_be(tmp_path, monkeypatch, refused):
    """A volume large enough for reading past the cache, on a file system that does not have it."""
    tree = begin_tree(tmp_path / "tree", tensor_bytes=3 << 20)
    readings = []

    @contextmanager
    def none(_):
        readings.append("open")
        yield None

    def refuse(*_):
        readings.append("read")
        raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))

    if refused == "open":
        monkeypatch.setattr("bundles.readback.opened_direct", none)
    else:
        monkeypatch.setattr("bundles.readback.read_past_cache", refuse)
    built = builder_of(tree).build(tmp_path / "out", "bert-v1.0.0")
    assert refused in readings
    for volume in built.volumes:
        assert volume.sha256 == hashlib.sha256((tmp_path / "out" / volume.name).read_bytes()).hexdigest()
