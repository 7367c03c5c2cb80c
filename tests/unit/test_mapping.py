"""Bytes looked at in the system's cache: the same as when they are read, and never a signal where an error can be told."""

from __future__ import annotations

import mmap
import os
import subprocess
import sys

import blake3
import pytest

from bundles import hashing, mapping
from bundles.hashing import MAPPED_BYTES, member_fault
from bundles.index import Member, Placed
from bundles.mapping import WINDOW_BYTES, mapped
from bundles.ustar import BLOCK, header_for

SIZES = (MAPPED_BYTES, WINDOW_BYTES + MAPPED_BYTES - 1, 2 * WINDOW_BYTES + 700)


def lay_member(path, size):
    data = os.urandom(size)
    name = blake3.blake3(data).hexdigest()
    member = Member(f"parts/{name[:2]}/{name}", size, "0" * 64)
    path.write_bytes(header_for(member.key, size) + data + bytes(-size % BLOCK))
    return Placed(member, BLOCK)


@pytest.fixture
def opened(tmp_path):
    path = tmp_path / "volume"
    path.touch()
    fd = os.open(path, os.O_RDONLY)
    yield path, fd
    os.close(fd)


@pytest.mark.parametrize("advice", [mapping._POPULATE_READ, 9999], ids=["mapped", "read"])
@pytest.mark.parametrize("size", SIZES)
def test_a_member_is_proven_and_every_altered_byte_found(opened, monkeypatch, size, advice):
    monkeypatch.setattr(mapping, "_POPULATE_READ", advice)
    path, fd = opened
    placed = lay_member(path, size)
    assert member_fault(fd, placed) == ""
    for at in (0, size // 2, size - 1):
        with path.open("r+b") as file:
            file.seek(BLOCK + at)
            byte = file.read(1)
            file.seek(BLOCK + at)
            file.write(bytes([byte[0] ^ 1]))
        assert "expected" in member_fault(fd, placed)
        with path.open("r+b") as file:
            file.seek(BLOCK + at)
            file.write(byte)
    assert member_fault(fd, placed) == ""


def test_large_members_are_not_copied(opened, monkeypatch):
    path, fd = opened
    placed = lay_member(path, 2 * WINDOW_BYTES)
    read = []
    real = hashing._blocks
    monkeypatch.setattr(hashing, "_blocks", lambda fd, at, size: (read.append(size), real(fd, at, size))[1])
    assert member_fault(fd, placed) == ""
    assert sum(read) <= 2 * BLOCK


def test_a_view_is_of_the_bytes_that_were_asked_for_and_ends_with_the_block(opened):
    path, fd = opened
    data = os.urandom(3 * 4096 + 17)
    path.write_bytes(data)
    with mapped(fd, 4000, 5000) as view:
        assert bytes(view) == data[4000:9000]
    with pytest.raises(ValueError, match="released"):
        view[0]


def test_what_cannot_be_mapped_is_left_to_reading(opened):
    path, fd = opened
    path.write_bytes(bytes(5000))
    with mapped(fd, 0, 5001) as view:
        assert view is None
    written = os.open(path, os.O_WRONLY)
    try:
        with mapped(written, 0, 5000) as view:
            assert view is None
    finally:
        os.close(written)


def test_a_volume_cut_short_under_the_reader_is_a_fault_and_no_signal(opened):
    path, fd = opened
    placed = lay_member(path, 2 * WINDOW_BYTES)
    os.truncate(path, WINDOW_BYTES)
    assert "expected" in member_fault(fd, placed)


def test_pages_that_can_no_longer_be_brought_in_are_an_error_and_no_signal(opened, monkeypatch):
    path, fd = opened
    placed = lay_member(path, 2 * WINDOW_BYTES)
    real = mmap.mmap

    def cut(*given, **named):
        pages = real(*given, **named)
        os.truncate(path, WINDOW_BYTES)
        return pages

    monkeypatch.setattr(mapping.mmap, "mmap", cut)
    assert "expected" in member_fault(fd, placed)


def test_arrays_come_without_threads_and_leave_the_environment_as_it_was():
    code = "import os, pipeline.encoding; print(len(os.listdir('/proc/self/task')), os.environ.get('OPENBLAS_NUM_THREADS'))"
    environment = {name: value for name, value in os.environ.items() if name != "OPENBLAS_NUM_THREADS"}
    for given, expected in (({}, "1 None"), ({"OPENBLAS_NUM_THREADS": "1"}, "1 1")):
        done = subprocess.run([sys.executable, "-c", code], env=environment | given, check=True, capture_output=True, text=True)
        assert done.stdout.strip() == expected
