"""Files of a landing opened a second time, for writes past the page cache.

Takes a file number and bytes, writes the whole blocks among them, and gives back what has to go through the cache after all.
A write through the cache waits until no other is under way in its file, and lets none begin. So of a block
that two ranges share, each half waits for the other one, and the block goes past the cache too.

next: ``steps.landing``
"""

from __future__ import annotations

import errno
import mmap
import os
import threading
from collections.abc import Callable

from pipeline.past_cache import ALIGN_BYTES
from pipeline.steps.open_files import OpenFiles

# open(2); not every system has it.
O_DIRECT = getattr(os, "O_DIRECT", 0)
# Blocks that wait for their other half: the ranges under way and their neighbours, unless something went wrong.
MOST_WAITING = 256


class DirectFiles:
    """Descriptors by which whole blocks go past the cache; ``open_one`` opens a file with ``O_DIRECT``."""

    def __init__(self, open_one: Callable[[int], int]) -> None:
        self.possible = bool(O_DIRECT)
        self._files = OpenFiles(open_one)
        self._lock = threading.Lock()
        # By file and place of the block: where in it each piece begins.
        self._waiting: dict[tuple[int, int], dict[int, bytes]] = {}

    def write(self, file: int, at: int, view: memoryview) -> list[tuple[int, memoryview]]:
        """Write ``view``, which lies in memory as it shall lie in the file; gives what is left, and its places.

        Raises:
            OSError
        """
        head = min(-at % ALIGN_BYTES, len(view))
        end = max(head, len(view) - (at + len(view)) % ALIGN_BYTES)
        if not self.possible:
            return [(at, view)]
        done = self._write(file, at, view, head, end)
        if done < end:
            return [(at, view[:head]), (at + done, view[done:])]
        pieces = ((at, view[:head]), (at + end, view[end:]))
        return [rest for place, piece in pieces if piece for rest in self._write_half(file, place, piece)]

    def left(self) -> list[tuple[int, int, bytes]]:
        """What still waits for another half, by file and place; nothing waits any more."""
        with self._lock:
            waiting, self._waiting = self._waiting, {}
        return [(file, at + begin, piece) for (file, at), pieces in waiting.items() for begin, piece in pieces.items()]

    def close(self, *, for_good: bool = False) -> None:
        """Close what nobody uses; ``for_good``: nothing is opened any more."""
        self._files.close(for_good=for_good)

    def _write(self, file: int, at: int, view: memoryview, begin: int, end: int) -> int:
        """Write what lies between ``begin`` and ``end``; gives how far that went."""
        done = begin
        try:
            with self._files.using(file) as fd:
                while done < end and (done - begin) % ALIGN_BYTES == 0:
                    done += os.pwrite(fd, view[done:end], at + done)
        except OSError as error:
            if error.errno != errno.EINVAL:
                raise
            self.possible = False
        return done

    def _write_half(self, file: int, at: int, piece: memoryview) -> list[tuple[int, memoryview]]:
        block_at = at - at % ALIGN_BYTES
        with self._lock:
            pieces = self._waiting.setdefault((file, block_at), {})
            pieces[at - block_at] = bytes(piece)
            whole = _whole(pieces)
            if whole is None and len(self._waiting) <= MOST_WAITING:
                return []
            del self._waiting[file, block_at]
        if whole is None:
            return [(block_at + begin, memoryview(one)) for begin, one in pieces.items()]
        memory = mmap.mmap(-1, ALIGN_BYTES)
        memory[:] = whole
        done = self._write(file, block_at, memoryview(memory), 0, ALIGN_BYTES)
        return [] if done == ALIGN_BYTES else [(block_at, memoryview(whole))]


def _whole(pieces: dict[int, bytes]) -> bytes | None:
    """The block that the pieces make; None as long as one is missing."""
    block = bytearray()
    for begin, piece in sorted(pieces.items()):
        if begin > len(block):
            return None
        block[begin:] = piece + block[begin + len(piece) :]
    return bytes(block) if len(block) == ALIGN_BYTES else None
