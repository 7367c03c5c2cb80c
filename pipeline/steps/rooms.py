"""Where the bytes of a part are gathered: in memory until it is full, or in blocks on their way into a draft of the store.

Takes what begins a draft, gives a ``Room`` for each part. A draft needs little memory, and nothing of it is left to be
written when its last chunk comes; where a store has none, whole parts are gathered in memory.

next: ``steps.shipping``
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import CancelledError, Executor, Future
from contextlib import suppress
from types import TracebackType
from typing import Protocol, Self

from pipeline.arrays import np
from pipeline.bodies import Body, Draft
from pipeline.steps.buffers import Buffers

# One being filled and two on their way: with 64 MiB parts 192 MiB, half of the memory a publish may take.
PARTS_AT_ONCE = 3
# Written at a time; a disk takes no more bytes a second in larger ones.
BLOCK_BYTES = 4 << 20
# A disk may lag behind by so many; those that it does not need are never made.
BLOCKS = 16


class Room(Protocol):
    """Takes the bytes of one part, in order."""

    def append(self, data: memoryview) -> None:
        """Take a copy of the next bytes."""
        ...

    def end(self) -> None:
        """Know that nothing more comes."""
        ...

    def body(self) -> Body:
        """All of it, for the store, after ``end``."""
        ...

    def close(self) -> None:
        """Let go of it."""
        ...


class Rooms:
    """Makes rooms for parts of at most ``capacity`` bytes; ``draft`` is asked for each. Closes those that nobody shipped."""

    def __init__(self, writer: Executor, capacity: int, draft: Callable[[], Draft | None]) -> None:
        self._writer = writer
        self._draft = draft
        # Not in huge pages, docs/adr/0207.
        self._wholes = Buffers(PARTS_AT_ONCE, capacity, huge=False)
        self._blocks = Buffers(BLOCKS, BLOCK_BYTES)
        self._open: set[Room] = set()

    def take(self) -> Room:
        """Begin a part.

        Raises:
            AccessDenied, WrongStore, DiskError
        """
        draft = self._draft()
        # Parts that are there already go the one way, new ones the other: memory must not be kept for both.
        (self._blocks if draft is None else self._wholes).let_go()
        room = _Memory(*self._wholes.take()) if draft is None else _Drafted(draft, self._blocks, self._writer)
        self._open.add(room)
        return room

    def hand_over(self, room: Room) -> None:
        """Leave it to the caller to close ``room``."""
        self._open.discard(room)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if kind is not None and issubclass(kind, KeyboardInterrupt):
            # Threads may go on for a while, docs of ``workers``: a draft goes with the last that has it.
            return
        while self._open:
            self._open.pop().close()


class _Memory:
    def __init__(self, memory: memoryview, release: Callable[[], None]) -> None:
        self._memory = memory
        self._release = release
        self._size = 0

    def append(self, data: memoryview) -> None:
        _copy(data, self._memory[self._size :])
        self._size += data.nbytes

    def end(self) -> None:
        pass

    def body(self) -> Body:
        return self._memory[: self._size]

    def close(self) -> None:
        self._release()


class _Drafted:
    def __init__(self, draft: Draft, blocks: Buffers, writer: Executor) -> None:
        self._draft = draft
        self._blocks = blocks
        self._writer = writer
        self._at = 0
        self._block: tuple[memoryview, Callable[[], None]] | None = None
        self._under_way: list[Future[None]] = []

    def append(self, data: memoryview) -> None:
        while data:
            memory, _ = self._block = self._block or self._blocks.take()
            start = self._at % BLOCK_BYTES
            fits = data[: BLOCK_BYTES - start]
            _copy(fits, memory[start:])
            data = data[fits.nbytes :]
            self._at += fits.nbytes
            if start + fits.nbytes == BLOCK_BYTES:
                self._pass_on()

    def end(self) -> None:
        self._pass_on()

    def _pass_on(self) -> None:
        if self._block is not None:
            size = (self._at - 1) % BLOCK_BYTES + 1
            self._under_way.append(self._writer.submit(self._write, *self._block, self._at - size, size))
            self._block = None

    def _write(self, memory: memoryview, release: Callable[[], None], at: int, size: int) -> None:
        try:
            self._draft.write(memory[:size], at)
        finally:
            release()

    def body(self) -> Body:
        for written in self._under_way:
            written.result()
        return self._draft

    def close(self) -> None:
        for written in self._under_way:
            # After an interrupt there may be writes that never begin.
            with suppress(CancelledError):
                written.exception()
        self._draft.close()


def _copy(data: memoryview, room: memoryview) -> None:
    # By numpy, which lets other threads run meanwhile.
    np.copyto(np.frombuffer(room[: data.nbytes], np.uint8), np.frombuffer(data, np.uint8))
