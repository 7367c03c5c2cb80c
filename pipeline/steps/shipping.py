"""The part being filled, and those on their way.

Takes chunks at their places, in order; gives every part's name once it is full. The digests go along
while the bytes are still in the processor's cache, one chunk after another; the bytes themselves are
kept only where somebody ships them, in ``Rooms``.

next: ``steps.index``
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, Future

import blake3

from pipeline.bodies import Body
from pipeline.digest import Blake3, Sha256
from pipeline.manifest import Part
from pipeline.steps.rooms import PARTS_AT_ONCE, Room, Rooms

# So many chunks may wait to be hashed and copied.
HASHES_AHEAD = 3

Ship = Callable[[Part, Body], object]


class PartFiller:
    """Fills parts one after another. ``ship`` is called on a thread with each full part; None: nobody wants the bytes."""

    def __init__(self, hasher: Executor, shippers: Executor, ship: Ship | None, rooms: Rooms) -> None:
        self._hasher = hasher
        self._shippers = shippers
        self._ship = ship
        self._rooms = rooms
        self._places = threading.BoundedSemaphore(PARTS_AT_ONCE)
        self._waiting = threading.BoundedSemaphore(HASHES_AHEAD)
        self._room: Room | None = None
        self._digests: _Digests | None = None
        self._parts: list[Future[Part]] = []
        self._under_way: list[Future[Part]] = []

    @property
    def closed(self) -> int:
        """How many parts are full."""
        return len(self._parts)

    def write(self, offset: int, data: memoryview, done: Callable[[], None]) -> None:
        """Put ``data`` at ``offset`` of the part; ``done`` is called when ``data`` is no longer looked at.

        Waits while too many parts are on their way. A gap before the first chunk is filled with zeros.

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
        name = self._hasher.submit(self._end, self._digests, self._room)
        if self._room is not None:
            name = self._shippers.submit(self._send, name, self._room)
        self._parts.append(name)
        self._under_way.append(name)
        self._room = self._digests = None

    def parts(self) -> Sequence[Part]:
        """Close, wait for every part, and give them in order.

        Raises:
            Whatever ``ship`` raised.
        """
        self.close()
        return [part.result() for part in self._parts]

    def _begin(self) -> None:
        if self._ship is not None:
            self._places.acquire()
            self._room = self._rooms.take()
        for part in self._under_way:
            if part.done():
                part.result()
        self._under_way = [part for part in self._under_way if not part.done()]
        self._digests = _Digests()

    def _take(self, digests: _Digests, data: memoryview, done: Callable[[], None]) -> None:
        digests.size += data.nbytes
        self._waiting.acquire()
        digests.takes.append(self._hasher.submit(self._take_in, digests, data, self._room, done))

    def _take_in(self, digests: _Digests, data: memoryview, room: Room | None, done: Callable[[], None]) -> None:
        try:
            digests.update(data)
            if room is not None:
                room.append(data)
        finally:
            done()
            self._waiting.release()

    def _end(self, digests: _Digests, room: Room | None) -> Part:
        for taken in digests.takes:
            # Done by now, for the hasher does one after the other: a part that lacks a byte must not be shipped.
            taken.result()
        if room is not None:
            room.end()
        return digests.part()

    def _send(self, name: Future[Part], room: Room) -> Part:
        self._rooms.hand_over(room)
        try:
            part = name.result()
            if self._ship is not None:
                self._ship(part, room.body())
        finally:
            room.close()
            self._places.release()
        return part


class _Digests:
    """Both digests of a part, as far as it is filled."""

    def __init__(self) -> None:
        self.size = 0
        self.takes: list[Future[None]] = []
        self._sha256 = hashlib.sha256()
        self._blake3 = blake3.blake3()

    def update(self, data: memoryview) -> None:
        """Take the next bytes in."""
        self._sha256.update(data)
        self._blake3.update(data)

    def part(self) -> Part:
        """The part's name; every byte must have been taken in."""
        return Part(blake3=Blake3(self._blake3.hexdigest()), sha256=Sha256(self._sha256.hexdigest()), size=self.size)
