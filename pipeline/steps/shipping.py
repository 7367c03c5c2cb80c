"""The part being filled, and those on their way.

Takes chunks at their places, in order; gives every part's name once it is full. The digests go along
while the bytes are still in the processor's cache, one chunk after another; the bytes themselves are
kept only where somebody ships them, in ``PART_BUFFERS`` buffers that go round.

next: ``steps.index``
"""

from __future__ import annotations

import hashlib
import mmap
import queue
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, Future

import blake3

from pipeline.arrays import np
from pipeline.digest import Blake3, Sha256
from pipeline.manifest import Part
from pipeline.past_cache import aligned_memory

# One being filled and two on their way: with 64 MiB parts 192 MiB, half of the memory a publish may take.
PART_BUFFERS = 3
# So many chunks may wait to be hashed and copied.
HASHES_AHEAD = 3

Ship = Callable[[Part, memoryview], object]


class PartFiller:
    """Fills parts one after another. ``ship`` is called on a thread with each full part; None: nobody wants the bytes."""

    def __init__(self, hasher: Executor, shippers: Executor, ship: Ship | None, capacity: int) -> None:
        self._hasher = hasher
        self._shippers = shippers
        self._ship = ship
        self._capacity = capacity
        # Last in, first out: a buffer that came back is taken before one that was never made.
        self._free: queue.LifoQueue[mmap.mmap | None] = queue.LifoQueue()
        for _ in range(PART_BUFFERS):
            self._free.put(None)
        self._waiting = threading.BoundedSemaphore(HASHES_AHEAD)
        self._buffer: mmap.mmap | None = None
        self._digests: _Digests | None = None
        self._parts: list[Future[Part]] = []
        self._under_way: list[Future[Part]] = []

    @property
    def closed(self) -> int:
        """How many parts are full."""
        return len(self._parts)

    def write(self, offset: int, data: memoryview, done: Callable[[], None]) -> None:
        """Put ``data`` at ``offset`` of the part; ``done`` is called when ``data`` is no longer looked at.

        Waits while every buffer is on its way. A gap before the first chunk is filled with zeros.

        Raises:
            Whatever ``ship`` raised for an earlier part.
        """
        if self._digests is None:
            self._begin()
        digests = self._digests or _Digests()
        if offset > digests.size:
            self._take(digests, memoryview(bytes(offset - digests.size)), lambda: None)
        self._take(digests, data, done)

    def close(self) -> None:
        """Send the part being filled on its way; nothing if none is."""
        if self._digests is None:
            return
        name = self._hasher.submit(self._digests.part)
        if self._buffer is not None:
            name = self._shippers.submit(self._send, name, self._buffer)
        self._parts.append(name)
        self._under_way.append(name)
        self._buffer = self._digests = None

    def parts(self) -> Sequence[Part]:
        """Close, wait for every part, and give them in order.

        Raises:
            Whatever ``ship`` raised.
        """
        self.close()
        return [part.result() for part in self._parts]

    def _begin(self) -> None:
        if self._ship is not None:
            self._buffer = self._free.get() or aligned_memory(self._capacity, huge=False)
        for part in self._under_way:
            if part.done():
                part.result()
        self._under_way = [part for part in self._under_way if not part.done()]
        self._digests = _Digests()

    def _take(self, digests: _Digests, data: memoryview, done: Callable[[], None]) -> None:
        at, digests.size = digests.size, digests.size + data.nbytes
        room = None if self._buffer is None else memoryview(self._buffer)[at : digests.size]
        self._waiting.acquire()
        self._hasher.submit(self._take_in, digests, data, room, done)

    def _take_in(self, digests: _Digests, data: memoryview, room: memoryview | None, done: Callable[[], None]) -> None:
        try:
            digests.update(data)
            if room is not None:
                # By numpy, which lets other threads run meanwhile.
                np.copyto(np.frombuffer(room, np.uint8), np.frombuffer(data, np.uint8))
        finally:
            done()
            self._waiting.release()

    def _send(self, name: Future[Part], buffer: mmap.mmap) -> Part:
        part = name.result()
        try:
            with memoryview(buffer) as whole, whole[: part.size] as body:
                if self._ship is not None:
                    self._ship(part, body)
        finally:
            self._free.put(buffer)
        return part


class _Digests:
    """Both digests of a part, as far as it is filled."""

    def __init__(self) -> None:
        self.size = 0
        self._sha256 = hashlib.sha256()
        self._blake3 = blake3.blake3()

    def update(self, data: memoryview) -> None:
        """Take the next bytes in."""
        self._sha256.update(data)
        self._blake3.update(data)

    def part(self) -> Part:
        """The part's name; every byte must have been taken in."""
        return Part(blake3=Blake3(self._blake3.hexdigest()), sha256=Sha256(self._sha256.hexdigest()), size=self.size)
