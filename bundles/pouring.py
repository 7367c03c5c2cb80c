"""Members of a volume from their sources onto a tape: read ahead into the tape's own blocks, verified in their order.

Takes an origin of bytes and a tape, gives the first member whose bytes are wrong; that one is written again as a whole.

next: ``bundles.filling``
"""

from __future__ import annotations

import hashlib
import mmap
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import blake3 as _blake3

from bundles import tape as tapes
from bundles.index import Member, Placed, gap_after
from bundles.runs import Run, stretches
from pipeline.errors import DigestMismatch, ModelportError
from pipeline.layout import part_name
from pipeline.retry import Retry, is_progress
from pipeline.steps.replicate import ALTERED_READS, RangeReader
from pipeline.workers import in_order, threads

# Blocks read at once, whatever --connections says.
MOST_AHEAD = 12

Step = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Origin:
    """Where bytes come from: documents that no digest names are ``given``, all else is read from ``source``."""

    source: RangeReader
    given: Mapping[str, bytes]
    retry: Retry
    connections: int


class _Laid(NamedTuple):
    """Runs in memory, one after the other; ``error`` is why there are no more."""

    memory: mmap.mmap
    runs: Sequence[Run]
    error: ModelportError | None = None

    def view(self, run: Run) -> memoryview:
        return _view(self.memory, run)


class Pouring:
    """Brings members from ``origin`` onto tapes; ``done`` hears the bytes of each as it goes there."""

    def __init__(self, origin: Origin, done: Callable[[int], None], step: Step) -> None:
        self.ahead = max(2, min(origin.connections, MOST_AHEAD))
        self._origin = origin
        self._done = done
        self._step = step
        self._digest: _blake3.blake3 | hashlib._Hash = hashlib.sha256()

    def pour(self, tape: tapes.Tape, members: Sequence[Placed]) -> Placed | None:
        """Append members; gives the first one whose bytes were wrong, and ends with it.

        Raises:
            OSError: the medium fails.
            ObjectMissing, UnavailableError, AccessDenied: a source does; what came before that is on the tape.
        """

        def lay(stretch: Sequence[Run]) -> _Laid:
            return self._lay(tape.take(), stretch)

        with threads(self.ahead, "read") as pool:
            for laid in in_order(pool, lay, stretches(members, self._origin.given, tapes.BLOCK_BYTES), ahead=self.ahead):
                wrong = next((run.placed for run in laid.runs if not self._verify(run, laid.view(run))), None)
                tape.send(laid.memory, sum(run.size for run in laid.runs))
                if wrong is not None:
                    return wrong
                if laid.error is not None:
                    raise laid.error
        return None

    def write_again(self, fd: int, placed: Placed) -> None:
        """Read a member whose bytes were wrong once more as a whole, so that its source learns that it brought them.

        Raises:
            DigestMismatch: every source gives other bytes than were signed.
            OSError, ObjectMissing, UnavailableError, AccessDenied
        """
        altered = 0
        while True:
            try:
                self._copy(fd, placed)
            except DigestMismatch:
                altered += 1
                if altered > ALTERED_READS:
                    raise
            else:
                self._done(placed.member.size)
                return

    def _copy(self, fd: int, placed: Placed) -> None:
        member, begin = placed
        digest = _digest_of(member)
        with tapes.written_in_order(fd, begin) as tape:

            def take(at: int, block: memoryview) -> None:
                digest.update(block)
                tape.write(block)
                # Raised to the source, so that it learns who brought these bytes.
                if at + len(block) == member.size and digest.hexdigest() != _expected(member):
                    raise DigestMismatch(
                        f"{member.key}: {digest.name} {digest.hexdigest()}, expected {_expected(member)}",
                        hint="The source, or something on the way, alters bytes: try another source.",
                    )

            self._bring(member, 0, member.size, take)
            tape.write(bytes(gap_after(placed)[1]))

    def _verify(self, run: Run, block: memoryview) -> bool:
        member = run.placed.member
        if run.begins:
            self._step("member")
            self._digest = _digest_of(member)
        elif run.data is None:
            self._digest.update(block)
            if run.ends and self._digest.hexdigest() != _expected(member):
                return False
        if run.ends:
            self._done(member.size)
        return True

    def _lay(self, memory: mmap.mmap, stretch: Sequence[Run]) -> _Laid:
        for number, run in enumerate(stretch):
            try:
                self._read(run, _view(memory, run))
            except ModelportError as error:
                # Kept for its turn: what comes before it is written yet, so that the next run goes on from there.
                return _Laid(memory, stretch[:number], error)
        return _Laid(memory, stretch)

    def _read(self, run: Run, room: memoryview) -> None:
        if run.data is not None:
            room[:] = run.data
            return

        def take(at: int, block: memoryview) -> memoryview | None:
            # What came where it belongs needs no copy.
            if block.obj is not room.obj:
                room[at : at + len(block)] = block
            end = at + len(block)
            return room[end:] if end < run.size else None

        self._bring(run.placed.member, run.at - run.placed.at, run.size, take)

    def _bring(self, member: Member, start: int, size: int, take: Callable[[int, memoryview], memoryview | None]) -> None:
        """Hand ``size`` bytes from ``start`` to ``take``, with the place of each block among them, wherever sources break off."""
        at = failed = 0

        def count(block: memoryview) -> memoryview | None:
            nonlocal at
            room = take(at, block)
            at += len(block)
            return room

        while at < size:
            before, asked_at = at, time.monotonic()
            try:
                self._origin.source.read_range(member.key, start + at, size - at, count, total=member.size)
            except ModelportError as error:
                failed = 1 if is_progress(at - before, time.monotonic() - asked_at) else failed + 1
                self._origin.retry.pause(error, failed=failed, what=f"get {member.key}")


def _view(memory: mmap.mmap, run: Run) -> memoryview:
    start = run.at % tapes.BLOCK_BYTES
    return memoryview(memory)[start : start + run.size]


def _digest_of(member: Member) -> _blake3.blake3 | hashlib._Hash:
    return _blake3.blake3() if part_name(member.key) else hashlib.sha256()


def _expected(member: Member) -> str:
    return part_name(member.key) or member.sha256
