"""Memory that goes round: making it anew for every piece would cost as much as hashing it.

Takes how many and how large, gives each with what gives it back.

next: ``steps.pieces``
"""

from __future__ import annotations

import mmap
import queue
from collections.abc import Callable
from contextlib import suppress
from functools import partial

from pipeline.past_cache import aligned_memory


class Buffers:
    """``count`` buffers of ``size`` bytes, each made when it is first needed; ``huge`` as for ``aligned_memory``."""

    def __init__(self, count: int, size: int, *, huge: bool = True) -> None:
        self._size = size
        self._huge = huge
        # Last in, first out: what was used last is still in the processor's cache, and taken before one that was never made.
        self._free: queue.LifoQueue[mmap.mmap | None] = queue.LifoQueue()
        for _ in range(count):
            self._free.put(None)

    def take(self) -> tuple[memoryview, Callable[[], None]]:
        """Memory, and what gives it back; waits until there is some."""
        buffer = self._free.get() or aligned_memory(self._size, huge=self._huge)
        return memoryview(buffer), partial(self._free.put, buffer)

    def let_go(self) -> None:
        """Give those that nobody uses back to the system; they are made anew when they are needed."""
        idle = 0
        with suppress(queue.Empty):
            while True:
                self._free.get_nowait()
                idle += 1
        for _ in range(idle):
            self._free.put(None)
