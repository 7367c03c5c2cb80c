"""An object on its way to the disk, which many read at once as far as it was verified.

Takes an open file and the ends of the pieces in which its bytes are verified; one thread writes and marks, readers in
threads or in the event loop wait for the byte that they want next. What was not marked is shown to nobody.

next: ``shelf``
"""

from __future__ import annotations

import asyncio
import os
import threading
from bisect import bisect_right
from collections.abc import Callable, Sequence

from pipeline.errors import ModelportError, StoreUnavailable

# As far as a reader is told to go at once.
STRIDE = 64


class Growing:
    """``size`` bytes, of which the pieces that end at ``ends`` are verified one by one. It closes its files when nobody uses it."""

    def __init__(self, descriptor: int, ends: Sequence[int]) -> None:
        self.size = ends[-1] if ends else 0
        self._ends = ends
        self._done = bytearray(len(ends))
        self._left = len(ends)
        self._descriptors = [descriptor]
        self._failure: ModelportError | None = None
        self._changed = threading.Condition()
        self._futures: list[asyncio.Future[None]] = []
        # The one who writes is the first user.
        self._users = 1
        # Called when nobody uses it any more.
        self.on_close: Callable[[], None] = _nothing

    @property
    def descriptor(self) -> int:
        """The file that holds the bytes now."""
        return self._descriptors[-1]

    @property
    def complete(self) -> bool:
        """Whether every piece is verified."""
        return not self._left

    @property
    def share(self) -> float:
        """How much of the pieces is verified, 0 to 1."""
        return 1 - self._left / len(self._ends) if self._ends else 1.0

    def is_done(self, piece: int) -> bool:
        """Whether this piece is verified."""
        return bool(self._done[piece])

    def piece_at(self, at: int) -> int:
        """The number of the piece that holds this byte."""
        return bisect_right(self._ends, at)

    def next_open(self, start: int, end: int) -> int | None:
        """The first piece of this range that is not verified."""
        piece = self.piece_at(start)
        while piece < len(self._ends) and (piece == 0 or self._ends[piece - 1] < end):
            if not self._done[piece]:
                return piece
            piece += 1
        return None

    def verified(self, at: int) -> int:
        """The end of the verified bytes that begin at ``at``; ``at`` itself where it is not verified."""
        piece, last = self.piece_at(at), -1
        while piece < len(self._ends) and self._done[piece] and last < STRIDE:
            at, piece, last = self._ends[piece], piece + 1, last + 1
        return at

    def mark(self, *pieces: int) -> None:
        """Show these pieces to those who wait for them."""
        with self._changed:
            for piece in pieces:
                self._left -= not self._done[piece]
                self._done[piece] = 1
            self._tell()

    def fail(self, error: ModelportError) -> None:
        """Say that no more will come. What is verified stays."""
        with self._changed:
            self._failure = self._failure or error
            self._tell()

    def move_to(self, descriptor: int) -> None:
        """Go on in another file, which holds all that was verified."""
        self._descriptors.append(descriptor)

    def use(self) -> bool:
        """Begin to use it; False where it was let go of already."""
        with self._changed:
            if not self._users or self._failure is not None:
                return False
            self._users += 1
            return True

    def close(self) -> None:
        """End a use."""
        with self._changed:
            self._users -= 1
            if self._users:
                return
        for descriptor in self._descriptors:
            os.close(descriptor)
        self.on_close()

    def wait_in_thread(self, at: int, end: int, *, timeout_s: float) -> None:
        """Wait until the bytes from ``at`` to ``end`` are verified; a while without any progress is too long.

        Raises:
            ModelportError: they will not come.
        """
        with self._changed:
            while at < end:
                upto = self.verified(at)
                if upto > at:
                    at = upto
                elif self._failure is not None:
                    raise self._failure
                elif not self._changed.wait(timeout_s):
                    raise stalled(timeout_s)

    async def wait(self, at: int, *, timeout_s: float) -> int:
        """Wait until the byte at ``at`` is verified; give the end of what is verified from there.

        Raises:
            ModelportError: it will not come.
        """
        while (upto := self.verified(at)) == at:
            future = asyncio.get_running_loop().create_future()
            with self._changed:
                if self.verified(at) > at:
                    continue
                if self._failure is not None:
                    raise self._failure
                self._futures.append(future)
            try:
                async with asyncio.timeout(timeout_s):
                    await future
            except TimeoutError:
                raise stalled(timeout_s) from None
        return upto

    def _tell(self) -> None:
        self._changed.notify_all()
        futures, self._futures = self._futures, []
        for loop in {future.get_loop() for future in futures}:
            if not loop.is_closed():
                loop.call_soon_threadsafe(_wake, [future for future in futures if future.get_loop() is loop])


def stalled(timeout_s: float) -> StoreUnavailable:
    """The error of those who waited in vain."""
    return StoreUnavailable(f"the upstream sent nothing for {timeout_s:g} s", hint="Check the line to it, then ask again.")


def _wake(futures: Sequence[asyncio.Future[None]]) -> None:
    for future in futures:
        if not future.done():
            future.set_result(None)


def _nothing() -> None:
    """Nobody asked to be told."""
