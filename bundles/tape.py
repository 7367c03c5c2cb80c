"""A volume while it is written: in order, in large blocks past the system's cache, hashed beside the writing.

Takes an open file and where to begin, gives a ``Tape``: memory that others fill, each block where it will stand in the file,
while those before it are written and hashed.

next: ``bundles.pouring``
"""

from __future__ import annotations

import ctypes
import hashlib
import mmap
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Executor, Future
from contextlib import contextmanager
from queue import LifoQueue

from typing_extensions import Buffer

from bundles.hashing import Chain
from pipeline.past_cache import aligned_memory, write_past_cache
from pipeline.workers import threads

# sync_file_range(2); only Linux has it.
_SYNC_RANGE = getattr(ctypes.CDLL(None, use_errno=True), "sync_file_range", None)
_SYNC_WRITE = 2
# Enough to keep a disk busy; memory that is used again is cheaper than more of it.
BLOCK_BYTES = 4 << 20
# So many may wait for disk or hash: a disk that pauses once does not stop what fills blocks, nor the other way round.
WAITING = 3


class Tape:
    """A file that is written in order, from ``at`` on; of a file written from its beginning, ``hash_to`` bytes are hashed.

    ``filling`` blocks may be in the hands of others at once.
    """

    def __init__(self, fd: int, at: int, *, filling: int, hash_to: int, writer: Executor, hasher: Executor) -> None:
        self._fd = fd
        self._at = at
        self._writer = writer
        self._hasher = hasher
        self._hash_to = 0 if at else hash_to
        self._digest = hashlib.sha256()
        self._hashed = 0
        # Last in, first out: what was used last is still in the processor's cache, and what is never needed is never made.
        self._free: LifoQueue[mmap.mmap | None] = LifoQueue()
        for _ in range(filling + WAITING):
            self._free.put(None)
        self._filling: mmap.mmap | None = None
        self._filled = 0
        self._under_way: deque[Future[None]] = deque()

    @property
    def at(self) -> int:
        """Where the next byte goes."""
        return self._at + self._filled

    @property
    def chain(self) -> Chain:
        """The sha256 of what was hashed; everything must be flushed."""
        return Chain(self._digest, self._hashed)

    def take(self) -> mmap.mmap:
        """Memory for a block; waits until there is some."""
        return self._free.get() or aligned_memory(BLOCK_BYTES)

    def send(self, memory: mmap.mmap, size: int) -> None:
        """Append ``size`` bytes of ``memory``, where each stands at its place in the file modulo BLOCK_BYTES.

        Raises:
            OSError: of an earlier block.
        """
        self._look()
        start = self._at % BLOCK_BYTES
        view = memoryview(memory)[start : start + size]
        jobs = [self._writer.submit(self._put, view, self._at)]
        if self._at < self._hash_to:
            jobs.append(self._hasher.submit(self._digest.update, view))
            self._hashed += size
        tickets = list(range(len(jobs)))

        def give_back(_: Future[None]) -> None:
            # Whoever draws the first one is the last.
            if tickets.pop() == 0:
                self._free.put(memory)

        self._under_way += jobs
        for job in jobs:
            job.add_done_callback(give_back)
        self._at += size

    def write(self, block: Buffer) -> None:
        """Append a copy.

        Raises:
            OSError: of an earlier block.
        """
        view = memoryview(block)
        while view:
            if self._filling is None:
                self._filling = self.take()
            start = self.at % BLOCK_BYTES
            size = min(len(view), BLOCK_BYTES - start)
            self._filling[start : start + size] = view[:size]
            view, self._filled = view[size:], self._filled + size
            if start + size == BLOCK_BYTES:
                self._send_filled()

    def flush(self) -> None:
        """Bring everything to the file.

        Raises:
            OSError
        """
        self._send_filled()
        # All of them, before one raises: nobody may look at the memory any more.
        errors = [error for job in self._under_way if (error := job.exception()) is not None]
        self._under_way.clear()
        if errors:
            raise errors[0]

    def _send_filled(self) -> None:
        if self._filling is not None:
            memory, size = self._filling, self._filled
            self._filling, self._filled = None, 0
            self.send(memory, size)

    def _look(self) -> None:
        while self._under_way and self._under_way[0].done():
            self._under_way.popleft().result()

    def _put(self, view: memoryview, at: int) -> None:
        if write_past_cache(self._fd, view, at) == len(view) and _SYNC_RANGE is not None:
            # Only a hint, so that fsync has little left to wait for: what fails here fails there, where it is told.
            _SYNC_RANGE(self._fd, ctypes.c_int64(at), ctypes.c_int64(len(view)), ctypes.c_uint(_SYNC_WRITE))


@contextmanager
def written_in_order(fd: int, at: int, *, filling: int = 1, hash_to: int = 0) -> Iterator[Tape]:
    """A tape for the length of the block; what it was given stands in the file afterwards, however the block ends.

    Raises:
        OSError
    """
    with threads(1, "tape") as writer, threads(1, "tape-sha256") as hasher:
        tape = Tape(fd, at, filling=filling, hash_to=hash_to, writer=writer, hasher=hasher)
        try:
            yield tape
        finally:
            tape.flush()
