"""A stretch of one file on its way from the socket to the disk, past the system's page cache.

Takes a file of a landing and a place in it, gives the memory into which the next bytes shall be read, and writes what was
gathered there in whole blocks, behind the back of the connection. A copy in the page cache costs more than the
hash of the same bytes, and it saves no waiting, for what was fetched is synced before it gets its name (docs/adr/0153).

next: ``steps.receive``
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable

from pipeline.past_cache import ALIGN_BYTES
from pipeline.steps.blocks import Block, Blocks
from pipeline.steps.landing import Landing

# What a connection gathers, and from when on it is written: a disk wants large writes, the hash wants small reads.
WINDOW_BYTES = 1 << 20
READ_BYTES = 512 << 10
# Where less than this is left, a window is full.
LEAST_ROOM_BYTES = 128 << 10
# The budget must do for every connection there may be: the windows of more than a few are small.
MANY = 10
SMALL_BYTES = 256 << 10
# So many writes at once keep a disk busy; so many more may wait, for all memory would be theirs where the disk is slow.
THREADS = 4
WAITING = 8


class Writers:
    """Threads that write what was gathered and give its memory back; an error goes to ``failed``."""

    def __init__(self, landing: Landing, blocks: Blocks, failed: Callable[[BaseException], None]) -> None:
        self._landing = landing
        self._blocks = blocks
        self._failed = failed
        self._jobs: queue.SimpleQueue[tuple[int, int, memoryview, Block] | None] = queue.SimpleQueue()
        self._threads: list[threading.Thread] = []
        self._lock = threading.Lock()
        self._open = 0
        self._places = threading.Semaphore(THREADS + WAITING)
        self._draining = threading.Lock()

    def begin(self, file: int, at: int) -> Window | None:
        """A window on a file; None where bytes do not go past the cache, or no memory is free."""
        if not self._landing.past_cache:
            return None
        block = self.another()
        if block is None:
            return None
        with self._lock:
            self._open += 1
        return Window(self, block, file, at)

    def another(self) -> Block | None:
        """Memory to go on with; None where none is free."""
        # Whoever waited here could wait for itself.
        return self._blocks.try_take(WINDOW_BYTES if self._open < MANY else SMALL_BYTES)

    def close(self) -> None:
        """Count a window as closed."""
        with self._lock:
            self._open -= 1

    def write(self, file: int, at: int, view: memoryview) -> None:
        """Write now.

        Raises:
            DiskError
        """
        self._landing.write_past_cache(file, at, view)

    def put(self, file: int, at: int, view: memoryview, block: Block) -> None:
        """Have ``view``, a part of ``block``, written soon; then give the block back."""
        with self._lock:
            for number in range(THREADS if not self._threads else 0):
                thread = threading.Thread(target=self._work, name=f"write-{number}", daemon=True)
                self._threads.append(thread)
                thread.start()
        # Only the disk is waited for.
        self._places.acquire()
        self._jobs.put((file, at, view, block))

    def drain(self) -> None:
        """Wait until all that came so far is in its file, halves of blocks too: what comes again for its places comes after it.

        Raises:
            DiskError
        """
        # One at a time: two that wait, each with a part of the places, would wait for ever.
        with self._draining:
            for _ in range(THREADS + WAITING):
                self._places.acquire()
            self._places.release(THREADS + WAITING)
            self._landing.write_rest()

    def end(self) -> None:
        """Let the threads end behind what they were given."""
        for _ in self._threads:
            self._jobs.put(None)

    def finish(self) -> None:
        """Wait until everything is written."""
        self.end()
        for thread in self._threads:
            thread.join()
        self._landing.write_rest()

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            file, at, view, block = job
            try:
                self.write(file, at, view)
            except BaseException as error:  # noqa: BLE001 (carried to the thread that waits)
                self._failed(error)
            finally:
                self._blocks.give(block)
                self._places.release()


class Window:
    """Bytes of ``file`` from ``at`` on, in the order in which they come."""

    def __init__(self, writers: Writers, block: Block, file: int, at: int) -> None:
        self.file = file
        self._writers = writers
        self._block = block
        # A disk reads from memory that is aligned as the place in the file is.
        self._begin = self._end = at % ALIGN_BYTES
        self._at = at

    @property
    def next_at(self) -> int:
        """The place in the file of the byte that comes next."""
        return self._at + self._end - self._begin

    def room(self) -> memoryview:
        """Give the memory where the next bytes shall come, so that they need not be copied.

        What it gave before is looked at no more: it may be on its way to the disk, and then to others.
        """
        self._pass_on_if_full()
        return self._block.view[self._end : self._end + READ_BYTES]

    def put(self, came: memoryview) -> None:
        """Take the next bytes: those at the beginning of ``room``, behind which more may lie, or any others.

        Raises:
            DiskError
        """
        if came.obj is self._block.memory:
            self._end += len(came)
            return
        while came:
            size = min(len(came), len(self._block.view) - self._end)
            self._block.view[self._end : self._end + size] = came[:size]
            self._end += size
            came = came[size:]
            self._pass_on_if_full()

    def close(self) -> None:
        """Have the rest written; nothing comes after this."""
        self._writers.put(self.file, self._at, self._block.view[self._begin : self._end], self._block)
        self._writers.close()

    def _pass_on_if_full(self) -> None:
        if len(self._block.view) - self._end >= LEAST_ROOM_BYTES:
            return
        whole = self._end - self._end % ALIGN_BYTES
        full, left = self._block, self._end - whole
        ready = full.view[self._begin : whole]
        other = self._writers.another()
        if other is None:
            self._writers.write(self.file, self._at, ready)
        else:
            self._block = other
        # What does not fill a block goes to the front, aligned as before.
        self._block.view[:left] = full.view[whole : self._end]
        if other is not None:
            self._writers.put(self.file, self._at, ready, full)
        self._at += whole - self._begin
        self._begin, self._end = 0, left
