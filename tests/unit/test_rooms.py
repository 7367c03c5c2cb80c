"""Where parts are gathered: the same bytes in memory and in a draft, however they come; nothing open at the end."""

from __future__ import annotations

import random
import threading
import weakref
from concurrent.futures import CancelledError
from contextlib import suppress

import pytest

from pipeline.bodies import Draft
from pipeline.steps import buffers
from pipeline.steps import rooms as rooms_module
from pipeline.steps.rooms import PARTS_AT_ONCE, Rooms
from pipeline.workers import threads

BLOCK = 4096


class Heap(Draft):
    """A draft in memory; ``slow`` is waited for before each write."""

    def __init__(self, slow=None):
        self.data = bytearray()
        self.size = 0
        self.closed = False
        self.writes = []
        self.slow = slow

    def write(self, view, at):
        if self.slow is not None:
            assert self.slow.wait(30)
        assert not self.closed
        assert at == len(self.data), "one after another"
        self.writes.append(len(view))
        self.data += view
        self.size = len(self.data)

    def close(self):
        self.closed = True


@pytest.fixture(autouse=True)
def _small(monkeypatch):
    monkeypatch.setattr(rooms_module, "BLOCK_BYTES", BLOCK)


def pieces_of(data, chance):
    at = 0
    while at < len(data):
        size = chance.choice([1, 7, BLOCK - 1, BLOCK, BLOCK + 1, 3 * BLOCK])
        yield memoryview(data)[at : at + size]
        at += size


@pytest.mark.parametrize("size", [0, 1, BLOCK - 1, BLOCK, BLOCK + 1, 20 * BLOCK, 20 * BLOCK + 5])
@pytest.mark.parametrize("drafted", [True, False])
def test_what_came_in_pieces_is_the_body(size, drafted):
    data = random.Random(size).randbytes(size)
    draft = Heap() if drafted else None
    with threads(1, "write") as writer, Rooms(writer, max(size, 1), lambda: draft) as rooms:
        room = rooms.take()
        for piece in pieces_of(data, random.Random(1)):
            room.append(piece)
        room.end()
        body = room.body()
        assert bytes(body.data if drafted else body) == data
        if drafted:
            assert body is draft
            assert [count for count in draft.writes[:-1] if count != BLOCK] == []
        room.close()
    assert draft is None or draft.closed


def test_a_disk_that_lags_behind_makes_whoever_fills_wait_and_gets_every_byte():
    go_on = threading.Event()
    draft = Heap(slow=go_on)
    data = bytes(BLOCK) * (rooms_module.BLOCKS + 3)
    with threads(1, "write") as writer, Rooms(writer, len(data), lambda: draft) as rooms:
        room = rooms.take()
        filler = threading.Thread(target=room.append, args=(memoryview(data),))
        filler.start()
        filler.join(0.05)
        assert filler.is_alive(), "it must wait for a block"
        go_on.set()
        filler.join(30)
        room.end()
        assert room.body().data == data
        room.close()


def test_rooms_that_nobody_shipped_are_closed_after_their_last_write():
    drafts = [Heap() for _ in range(PARTS_AT_ONCE)]
    waiting = iter(drafts)
    with threads(1, "write") as writer, suppress(ZeroDivisionError), Rooms(writer, BLOCK, lambda: next(waiting)) as rooms:
        for _ in drafts:
            rooms.take().append(memoryview(bytes(3 * BLOCK)))
        raise ZeroDivisionError
    assert [draft.closed for draft in drafts] == [True] * PARTS_AT_ONCE


def test_a_room_that_was_handed_over_is_left_to_whoever_has_it():
    draft = Heap()
    with threads(1, "write") as writer, Rooms(writer, BLOCK, lambda: draft) as rooms:
        room = rooms.take()
        rooms.hand_over(room)
    assert not draft.closed
    room.close()
    assert draft.closed


def test_an_interrupt_waits_for_no_disk():
    go_on = threading.Event()
    draft = Heap(slow=go_on)
    with threads(1, "write") as writer:
        with suppress(KeyboardInterrupt), Rooms(writer, BLOCK, lambda: draft) as rooms:
            rooms.take().append(memoryview(bytes(BLOCK)))
            raise KeyboardInterrupt
        assert not draft.closed
        go_on.set()


def test_after_an_interrupt_nobody_waits_for_a_write_that_never_begins():
    """Neither whoever fills a part, for a block, nor whoever has it, for its end: each would keep a program from ending."""
    go_on, held = threading.Event(), threading.Event()
    lagging, whole = Heap(slow=go_on), Heap(slow=go_on)
    waiting = iter([whole, lagging])
    ended = []

    def fill(room):
        with suppress(CancelledError, RuntimeError):
            room.append(memoryview(bytes(BLOCK * (rooms_module.BLOCKS + 3))))
        ended.append("filled")

    def ship(room):
        room.end()
        held.set()
        with suppress(CancelledError):
            try:
                room.body()
            finally:
                room.close()
        ended.append("shipped")

    with suppress(KeyboardInterrupt), threads(1, "write") as writer, Rooms(writer, BLOCK, lambda: next(waiting)) as rooms:
        first, second = rooms.take(), rooms.take()
        first.append(memoryview(bytes(2 * BLOCK)))
        rooms.hand_over(first)
        shipper = threading.Thread(target=ship, args=(first,), daemon=True)
        filler = threading.Thread(target=fill, args=(second,), daemon=True)
        shipper.start()
        assert held.wait(30)
        filler.start()
        filler.join(0.05)
        raise KeyboardInterrupt
    go_on.set()
    for thread in (shipper, filler):
        thread.join(10)
    assert sorted(ended) == ["filled", "shipped"]
    assert whole.closed


def test_parts_in_turns_in_memory_and_in_drafts_keep_no_memory_for_both(monkeypatch):
    """As behind a publish that was killed: some parts are there, others are not."""
    real, alive = buffers.aligned_memory, weakref.WeakSet()

    def made(size, **how):
        memory = real(size, **how)
        alive.add(memory)
        return memory

    monkeypatch.setattr(buffers, "aligned_memory", made)
    part, most = 16 * BLOCK, 0
    # Blocks of a draft that lags behind, then whole parts, and again.
    waiting = iter([Heap(), *[None] * PARTS_AT_ONCE, Heap(), *[None] * PARTS_AT_ONCE])
    with threads(1, "write") as writer, Rooms(writer, part, lambda: next(waiting)) as rooms:
        for parts in (1, PARTS_AT_ONCE, 1, PARTS_AT_ONCE):
            taken = [rooms.take() for _ in range(parts)]
            for room in taken:
                room.append(memoryview(bytes(part)))
            most = max(most, sum(len(memory) for memory in alive))
            for room in taken:
                rooms.hand_over(room)
                room.close()
    assert most == PARTS_AT_ONCE * part
