"""The bytes of one range as they come: parted into chunks, hashed, put in place.

Takes blocks from a source; a raw chunk goes straight to its places while it is hashed, an encoded one is
gathered, held against its stored digest, and handed to a decoder, which checks the plain bytes again.
What does not hash right is reported before the next byte is taken.

next: ``steps.assemble``
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

import blake3

from pipeline.digest import blake3_of
from pipeline.errors import DigestMismatch
from pipeline.manifest import CHUNK_BYTES
from pipeline.plan.fetching import Piece, Range, Target
from pipeline.processors import usable_processors
from pipeline.retry import is_crawl
from pipeline.steps.blocks import Block, Blocks
from pipeline.steps.landing import Landing
from pipeline.steps.window import WINDOW_BYTES, Window, Writers


class Decoders:
    """A thread for each core that turns stored bytes into plain ones; scratch memory is theirs alone."""

    def __init__(
        self, landing: Landing, blocks: Blocks, done: Callable[[Piece], None], failed: Callable[[BaseException], None]
    ) -> None:
        self._landing = landing
        self._blocks = blocks
        self._done = done
        self._failed = failed
        self._jobs: queue.SimpleQueue[tuple[Piece, Block] | None] = queue.SimpleQueue()
        self._threads: list[threading.Thread] = []
        self._beginning = threading.Lock()

    def put(self, piece: Piece, stored: Block) -> None:
        """Decode ``stored``, whose digest was checked; the block is given back when that is done."""
        with self._beginning:
            # Whoever fetches raw releases needs no decoder and none of its memory.
            for number in range(usable_processors() if not self._threads else 0):
                thread = threading.Thread(target=self._work, name=f"decode-{number}", daemon=True)
                self._threads.append(thread)
                thread.start()
        self._jobs.put((piece, stored))

    def end(self) -> None:
        """Let the threads end behind what they were given."""
        for _ in self._threads:
            self._jobs.put(None)

    def finish(self) -> None:
        """Wait until everything is decoded."""
        self.end()
        for thread in self._threads:
            thread.join()

    def _work(self) -> None:
        try:
            # Whoever fetches raw releases waits for no codec to be imported.
            from pipeline.encoding import decode_into

            plain = memoryview(bytearray(CHUNK_BYTES))
        except BaseException as error:  # noqa: BLE001 (carried to the thread that waits)
            self._failed(error)
            return
        while (job := self._jobs.get()) is not None:
            piece, stored = job
            try:
                out = plain[: piece.chunk.plain]
                decode_into(stored.view, piece.chunk.encoding, out)
                self._place(piece, out)
                self._done(piece)
            except BaseException as error:  # noqa: BLE001 (carried to the thread that waits)
                self._failed(error)
            finally:
                self._blocks.give(stored)

    def _place(self, piece: Piece, out: memoryview) -> None:
        chunk = piece.chunk
        if blake3_of(out) != chunk.blake3:
            raise DigestMismatch(
                f"a chunk of part {chunk.part} at {chunk.offset} decodes to bytes that its manifest does not name",
                hint="The release was published wrongly: tell its publisher.",
            )
        for target in piece.targets:
            self._landing.write(target.file, target.at, out)


class Receiver:
    """Takes the bytes of one range; ``done`` pieces of it are complete and right."""

    def __init__(
        self,
        one: Range,
        landing: Landing,
        blocks: Blocks,
        decoders: Decoders,
        writers: Writers,
        *,
        arrived: Callable[[int], None],
        finished: Callable[[Piece], None],
    ) -> None:
        self.done = 0
        self.bytes = 0
        # When the range was asked for, and how long its first byte took.
        self.asked_at = 0.0
        self.first_byte_s: float | None = None
        self._range = one
        self._landing = landing
        self._blocks = blocks
        self._decoders = decoders
        self._writers = writers
        self._arrived = arrived
        self._finished = finished
        self._at = 0
        self._hasher: Any = None
        self._stored: Block | None = None
        self._window: Window | None = None
        # The window whose memory the bytes of a ``take`` may lie in: no other may have it until all of them were looked at.
        self._lent: Window | None = None

    def take(self, block: memoryview) -> memoryview | None:
        """Take the next block; gives memory where the one after it would need no copy.

        Raises:
            DigestMismatch: a chunk is not what the manifest says.
            DiskError
        """
        if self.bytes + len(block) > self._range.size:
            raise DigestMismatch(
                f"part {self._range.part}: more came than the {self._range.size} bytes from {self._range.start}",
                hint="The source is not what it should be: try another one.",
            )
        if self.first_byte_s is None:
            self.first_byte_s = time.monotonic() - self.asked_at
        self._arrived(len(block))
        self.bytes += len(block)
        at = 0
        while at < len(block):
            piece = self._range.pieces[self.done]
            here = block[at : at + piece.chunk.stored - self._at]
            if piece.chunk.encoding == "raw":
                self._take_raw(piece, here)
            else:
                self._take_stored(piece, here)
            at += len(here)
        self._let_go()
        self._lent = self._window
        return self._window.room() if self._window else None

    def crawled(self, now: float) -> bool:
        """Tell whether what came since the range was asked for came slower than any line: that is no progress."""
        return is_crawl(self.bytes, now - self.asked_at)

    def end(self) -> None:
        """Pass on what was gathered, and give back what a half-received chunk holds."""
        self._close_window()
        self._let_go()
        if self._stored is not None:
            self._blocks.give(self._stored)
            self._stored = None

    def _take_raw(self, piece: Piece, here: memoryview) -> None:
        if self._at == 0:
            self._hasher = blake3.blake3()
        self._hasher.update(here)
        if not self._gather(piece.targets, here):
            for target in piece.targets:
                self._landing.write(target.file, target.at + self._at, here)
        self._at += len(here)
        if self._at == piece.chunk.stored:
            self._check(piece, self._hasher.hexdigest(), piece.chunk.blake3)
            self._next()
            self._finished(piece)

    def _gather(self, targets: Sequence[Target], here: memoryview) -> bool:
        """Take bytes into the window; False where each write goes its own way."""
        first = targets[0]
        window = self._window
        if window is not None and len(targets) == 1 and (window.file, window.next_at) == (first.file, first.at + self._at):
            window.put(here)
            return True
        self._close_window()
        if len(targets) > 1 or self._range.size < WINDOW_BYTES:
            return False
        self._window = self._writers.begin(first.file, first.at + self._at)
        if self._window is None:
            return False
        self._window.put(here)
        return True

    def _close_window(self) -> None:
        window, self._window = self._window, None
        if window is not None and window is not self._lent:
            window.close()

    def _let_go(self) -> None:
        lent, self._lent = self._lent, None
        if lent is not None and lent is not self._window:
            lent.close()

    def _take_stored(self, piece: Piece, here: memoryview) -> None:
        self._close_window()
        if self._stored is None:
            self._stored = self._blocks.take(piece.chunk.stored)
        self._stored.view[self._at : self._at + len(here)] = here
        self._at += len(here)
        if self._at == piece.chunk.stored:
            self._check(piece, blake3_of(self._stored.view), piece.chunk.stored_blake3)
            stored, self._stored = self._stored, None
            self._next()
            self._decoders.put(piece, stored)

    def _next(self) -> None:
        self.done += 1
        self._at = 0

    def _check(self, piece: Piece, found: str, expected: str) -> None:
        if found != expected:
            chunk = piece.chunk
            raise DigestMismatch(
                f"part {self._range.part} from byte {chunk.offset}, {chunk.stored} bytes: blake3 {found}, expected {expected}",
                hint="The source, or something on the way, alters bytes: try another source.",
            )
