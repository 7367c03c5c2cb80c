"""Fetch the ranges of a plan over as many connections as are worth it, and put every byte in its place.

Takes ranges, a source and a landing, gives nothing: when it returns, every chunk was verified where it stands.
A range that breaks off goes on behind its last whole chunk; bytes that are wrong are the source's fault, are told to
it and asked for again.

next: ``steps.known_tree``
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Iterable
from typing import Protocol

from pipeline.errors import DigestMismatch, Interrupted, ModelportError
from pipeline.events import Listener, Progress
from pipeline.layout import part_key
from pipeline.plan.fetching import Piece, Range, rest_of
from pipeline.plan.lanes import Lanes
from pipeline.ports import Take
from pipeline.retry import Patience, Retry
from pipeline.steps.blocks import Blocks
from pipeline.steps.landing import Landing
from pipeline.steps.receive import Decoders, Receiver
from pipeline.steps.window import Writers

# How long a number of connections is left to get going, and then watched, before it is judged: at least this, and so
# many times what a first byte takes, for new connections on a long line find their speed over several round trips.
SAMPLE_S = 0.1
SAMPLE_FIRST_BYTES = 8
# Wrong bytes may be a bad moment on the way: asked for again this often before they are an error.
WRONG_BYTES = 3
# A reader that does not notice that it was closed must not keep a person waiting.
STOP_S = 1.5
STEP = "fetch"


class RangeSource(Protocol):
    """What the ranges come from; see ``ports.TreeReader``."""

    def read_range(self, key: str, start: int, size: int, take: Take, *, total: int | None = None) -> None:
        """Hand bytes of an object to ``take``."""
        ...

    def close(self) -> None:
        """Let go of everything at once."""
        ...


class Assembly:
    """One run over the ranges of a plan."""

    def __init__(
        self,
        source: RangeSource,
        landing: Landing,
        ranges: Iterable[Range],
        *,
        listen: Listener,
        connections: int | None = None,
        patience: Patience | None = None,
    ) -> None:
        self._source = source
        self._landing = landing
        self._queue = deque(ranges)
        self._listen = listen
        self._fixed = connections is not None
        self._lanes = Lanes(connections, connections) if connections is not None else Lanes()
        self._stop = threading.Event()
        self._retry = Retry(patience or Patience(), listen=listen, sleep=self._wait)
        self._changed = threading.Condition()
        self._under_way = 0
        self._error: BaseException | None = None
        self._workers: list[threading.Thread] = []
        self._blocks = Blocks()
        self._decoders = Decoders(landing, self._blocks, self._piece_done, self._fail)
        self._writers = Writers(landing, self._blocks, self._fail)
        self._count = threading.Lock()
        self._arrived_bytes = 0
        self._first_byte_s = 0.0

    @property
    def bytes(self) -> int:
        """Bytes that came, repeated ones too."""
        return self._arrived_bytes

    def run(self) -> None:
        """Fetch everything.

        Raises:
            ModelportError: what could not be fetched, after every retry and mirror.
            KeyboardInterrupt: passed on within two seconds; what came stays in the landing.
        """
        whole = False
        try:
            self._run()
            whole = True
        finally:
            if not whole:
                self._give_up()

    def _give_up(self) -> None:
        self._end()
        self._source.close()
        deadline = time.monotonic() + STOP_S
        for worker in self._workers:
            worker.join(max(0.0, deadline - time.monotonic()))
        # Not before: a worker that ends passes on what it gathered, and would wait for ever where nobody writes it.
        self._decoders.end()
        self._writers.end()

    def _run(self) -> None:
        watched_at, watched_bytes, settling = time.monotonic(), 0, True
        while True:
            with self._changed:
                if self._error is not None:
                    break
                if not self._queue and not self._under_way:
                    break
                self._start_workers()
                self._changed.wait(SAMPLE_S)
            now = time.monotonic()
            if self._fixed or now - watched_at < max(SAMPLE_S, SAMPLE_FIRST_BYTES * self._first_byte_s):
                continue
            came = self._arrived_bytes
            # The first sample after a change still shows the connections before it.
            before = self._lanes.count
            if not settling:
                self._lanes.sample((came - watched_bytes) / (now - watched_at))
            settling = self._lanes.count != before
            watched_at, watched_bytes = now, came
        if self._error is None:
            self._end_workers()
            self._decoders.finish()
            self._writers.finish()
        if self._error is not None:
            raise self._error

    def _start_workers(self) -> None:
        wanted = min(self._lanes.count, len(self._queue) + self._under_way)
        while len(self._workers) < wanted:
            worker = threading.Thread(
                target=self._work, args=(len(self._workers),), name=f"fetch-{len(self._workers)}", daemon=True
            )
            self._workers.append(worker)
            worker.start()
        self._changed.notify_all()

    def _work(self, number: int) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._stop.is_set() or (self._queue and number < self._lanes.count))
                if self._stop.is_set():
                    return
                one = self._queue.popleft()
                self._under_way += 1
            try:
                self._fetch(one)
            except BaseException as error:  # noqa: BLE001 (carried to the thread that waits)
                self._fail(error)
            finally:
                with self._changed:
                    self._under_way -= 1
                    self._changed.notify_all()

    def _fetch(self, one: Range) -> None:
        failed = wrong = 0
        left: Range | None = one
        while left is not None:
            receiver = Receiver(
                left,
                self._landing,
                self._blocks,
                self._decoders,
                self._writers,
                arrived=self._arrived,
                finished=self._piece_done,
            )
            key = part_key(left.part)
            receiver.asked_at = time.monotonic()
            try:
                self._source.read_range(key, left.start, left.size, receiver.take, total=left.part_size)
            except DigestMismatch:
                wrong += 1
                if wrong >= WRONG_BYTES:
                    raise
                self._take_back(receiver, left)
            except ModelportError as error:
                if self._stop.is_set():
                    return
                failed = 1 if receiver.done and not receiver.crawled(time.monotonic()) else failed + 1
                self._take_back(receiver, left)
                self._retry.pause(error, failed=failed, what=key)
            finally:
                receiver.end()
            self._note_first_byte(receiver)
            left = rest_of(left, receiver.done)

    def _note_first_byte(self, receiver: Receiver) -> None:
        took = receiver.first_byte_s
        if took is not None:
            with self._count:
                # The quickest: what is beyond it is a connection being made, or a busy server.
                self._first_byte_s = min(took, self._first_byte_s or took)

    def _arrived(self, size: int) -> None:
        if self._stop.is_set():
            raise Interrupted("the fetch was stopped")
        with self._count:
            self._arrived_bytes += size
        self._listen(Progress(STEP, size))

    def _take_back(self, receiver: Receiver, one: Range) -> None:
        # What of a chunk was altered, or never held against its digest, must not be written after the right bytes.
        receiver.end()
        self._writers.drain()
        # Progress counts what need not come again.
        kept = sum(piece.chunk.stored for piece in one.pieces[: receiver.done])
        if receiver.bytes > kept:
            self._listen(Progress(STEP, kept - receiver.bytes))

    def _piece_done(self, piece: Piece) -> None:
        for target in piece.targets:
            self._landing.begin_writeback(target.file, target.at, piece.chunk.plain)

    def _wait(self, seconds: float) -> None:
        if self._stop.wait(seconds):
            raise Interrupted("the fetch was stopped")

    def _fail(self, error: BaseException) -> None:
        with self._changed:
            # One of a decoder or a writer may come when the connections have ended: it counts as any other.
            if self._error is None:
                self._error = error
            self._changed.notify_all()
        self._end()

    def _end_workers(self) -> None:
        self._stop.set()
        with self._changed:
            self._changed.notify_all()
        for worker in self._workers:
            worker.join()

    def _end(self) -> None:
        self._stop.set()
        self._blocks.stop()
        with self._changed:
            self._changed.notify_all()
