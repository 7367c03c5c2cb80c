"""A volume while it is written: in order, in large blocks past the system's cache, hashed beside the writing.

Takes an open file and where to begin, gives a ``Tape``; one block is filled while those before it are written and hashed.

next: ``bundles.filling``
"""

from __future__ import annotations

import ctypes
import hashlib
import mmap
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Executor, Future
from contextlib import contextmanager
from typing import Literal

from typing_extensions import Buffer

from pipeline.digest import Sha256
from pipeline.past_cache import WRITE_BYTES, aligned_memory, write_past_cache
from pipeline.workers import threads

# sync_file_range(2); only Linux has it.
_SYNC_RANGE = getattr(ctypes.CDLL(None, use_errno=True), "sync_file_range", None)
_SYNC_WRITE = 2
# One is filled, the others wait for disk or hash: a disk that pauses once does not stop the hash, nor the other way round.
BLOCKS = 4


class Tape:
    """A file that is written in order, from ``at`` on."""

    def __init__(self, fd: int, at: int, *, writer: Executor, hasher: Executor) -> None:
        self._fd = fd
        self._at = self._sent = at
        self._writer = writer
        self._hasher = hasher
        self._digest = None if at else hashlib.sha256()
        # Each stands for the same stretch of the file modulo its length, so that blocks begin where a disk likes it.
        self._free = [aligned_memory(WRITE_BYTES) for _ in range(BLOCKS)]
        self._filling = self._free.pop()
        self._under_way: deque[tuple[mmap.mmap, list[Future[None]]]] = deque()

    @property
    def at(self) -> int:
        """Where the next byte goes."""
        return self._at

    @property
    def sha256(self) -> Sha256 | Literal[""]:
        """Of the whole file; "" if it was not written from the beginning to the end in one go."""
        return Sha256(self._digest.hexdigest()) if self._digest else ""

    def write(self, block: Buffer) -> None:
        """Append.

        Raises:
            OSError: of this block or an earlier one.
        """
        view = memoryview(block)
        while view:
            start = self._at % WRITE_BYTES
            size = min(len(view), WRITE_BYTES - start)
            self._filling[start : start + size] = view[:size]
            view, self._at = view[size:], self._at + size
            if start + size == WRITE_BYTES:
                self._send()

    def go_back(self, at: int) -> None:
        """Write again from ``at`` on.

        Raises:
            OSError
        """
        self.flush()
        self._at = self._sent = at
        self._digest = None

    def flush(self) -> None:
        """Bring everything to the file.

        Raises:
            OSError
        """
        self._send()
        while self._under_way:
            self._wait()

    def _send(self) -> None:
        size, start = self._at - self._sent, self._sent % WRITE_BYTES
        if not size:
            return
        view = memoryview(self._filling)[start : start + size]
        waiting = [self._writer.submit(self._put, view, self._sent)]
        if self._digest:
            waiting.append(self._hasher.submit(self._digest.update, view))
        self._under_way.append((self._filling, waiting))
        self._sent = self._at
        if not self._free:
            self._wait()
        self._filling = self._free.pop()

    def _wait(self) -> None:
        """Until the oldest block is written and hashed."""
        memory, waiting = self._under_way.popleft()
        # All of them, before one raises: nobody may look at the memory any more.
        errors = [error for future in waiting if (error := future.exception()) is not None]
        self._free.append(memory)
        if errors:
            raise errors[0]

    def _put(self, view: memoryview, at: int) -> None:
        if write_past_cache(self._fd, view, at) == len(view) and _SYNC_RANGE is not None:
            # Only a hint, so that fsync has little left to wait for: what fails here fails there, where it is told.
            _SYNC_RANGE(self._fd, ctypes.c_int64(at), ctypes.c_int64(len(view)), ctypes.c_uint(_SYNC_WRITE))


@contextmanager
def written_in_order(fd: int, at: int) -> Iterator[Tape]:
    """A tape for the length of the block; what it was given stands in the file afterwards, however the block ends.

    Raises:
        OSError
    """
    with threads(1, "tape") as writer, threads(1, "tape-sha256") as hasher:
        tape = Tape(fd, at, writer=writer, hasher=hasher)
        try:
            yield tape
        finally:
            tape.flush()
