"""Memory for stored chunks on their way: taken from one budget that all connections share, and used again.

Takes a size, gives a ``Block`` of it. Chunks have many sizes and are let go by other threads than took them: freed one
by one they would leave the allocator full of holes, several times the budget. So blocks are mapped for themselves, kept
for the next chunk of about their size, and unmapped when another size needs their share.

next: ``steps.receive``
"""

from __future__ import annotations

import mmap
import threading
from dataclasses import dataclass

from pipeline.errors import Interrupted

BUDGET_BYTES = 32 << 20
# Sizes are rounded up to this, so that chunks of nearly one size share blocks.
GRAIN_BYTES = 128 << 10


class Budget:
    """Bytes in memory that all connections share."""

    def __init__(self, size: int = BUDGET_BYTES) -> None:
        self._left = size
        self._stopped = False
        self._changed = threading.Condition()

    def take(self, size: int) -> None:
        """Wait until ``size`` bytes are free, and take them.

        Raises:
            Interrupted: the fetch ends.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._stopped or self._left >= size)
            if self._stopped:
                raise Interrupted("the fetch was stopped")
            self._left -= size

    def try_take(self, size: int) -> bool:
        """Take ``size`` bytes if they are free now."""
        with self._changed:
            free = self._left >= size and not self._stopped
            if free:
                self._left -= size
            return free

    def give(self, size: int) -> None:
        """Give ``size`` bytes back."""
        with self._changed:
            self._left += size
            self._changed.notify_all()

    def stop(self) -> None:
        """Let nobody wait any more."""
        with self._changed:
            self._stopped = True
            self._changed.notify_all()


@dataclass(frozen=True, slots=True)
class Block:
    """``view`` is as long as was asked for; ``memory`` may be longer."""

    view: memoryview
    memory: mmap.mmap


class Blocks:
    """Blocks of memory, those in use and those kept together never more than ``size`` bytes."""

    def __init__(self, size: int = BUDGET_BYTES) -> None:
        self._size = size
        self._budget = Budget(size)
        self._lock = threading.Lock()
        self._kept: list[mmap.mmap] = []
        self._mapped = 0

    @property
    def mapped(self) -> int:
        """Bytes of memory that are mapped just now, kept ones too."""
        return self._mapped

    def take(self, size: int) -> Block:
        """Wait until there is room, and give a block; what it holds is rubbish.

        Raises:
            Interrupted: the fetch ends.
        """
        room = -(-size // GRAIN_BYTES) * GRAIN_BYTES
        self._budget.take(room)
        return self._block(room, size)

    def try_take(self, size: int) -> Block | None:
        """Give a block if there is room now."""
        room = -(-size // GRAIN_BYTES) * GRAIN_BYTES
        return self._block(room, size) if self._budget.try_take(room) else None

    def _block(self, room: int, size: int) -> Block:
        with self._lock:
            memory = next((one for one in self._kept if len(one) == room), None)
            if memory is not None:
                self._kept.remove(memory)
            else:
                # Those in use leave room for this one, so what is too much is among the kept.
                while self._kept and self._mapped + room > self._size:
                    self._mapped -= len(self._kept.pop(0))
                self._mapped += room
                memory = mmap.mmap(-1, room)
        return Block(memoryview(memory)[:size], memory)

    def give(self, block: Block) -> None:
        """Take a block back; nobody may look at it any more."""
        with self._lock:
            self._kept.append(block.memory)
        self._budget.give(len(block.memory))

    def stop(self) -> None:
        """Let nobody wait any more."""
        self._budget.stop()
