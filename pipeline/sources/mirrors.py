"""Several sources of one tree, used as one: each by what it brings, none longer than it deserves.

Takes readers, gives a ``TreeReader`` over them. A source that is dead, slow, lying or closed to us is dropped for this run
and named, as long as another is left; the last one's errors go to the caller, who decides how often to ask again.

next: ``pipeline.trust``
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import msgspec

from pipeline.errors import (
    DigestMismatch,
    DiskError,
    ModelportError,
    ObjectMissing,
    SourceLied,
    StoreUnavailable,
    UnavailableError,
)
from pipeline.events import Listener, Warned, ignore
from pipeline.layout import METADATA
from pipeline.ports import Fresh, NotModified, Take, TreeReader
from pipeline.retry import is_crawl
from pipeline.sources.http import HttpReader
from pipeline.sources.standing import DEAD_AFTER, STRIKES, Standing, choose, too_slow

T = TypeVar("T")
# What an edge says of an object that was just published may be a remembered "not there": it is asked again.
VISIBLE_S = (1.0, 2.0, 4.0, 8.0)
# A read that brought less than this for so long was slow, whatever ended it.
CRAWL_S = 5.0


class SourceUse(msgspec.Struct, kw_only=True):
    """What one source did in this run; ``dropped`` says why it is no longer used, "" when it is."""

    url: str
    bytes: int
    seconds: float
    dropped: str = ""


@dataclass(slots=True)
class _Reading:
    """One range as it is read: what came and from whom, and what went wrong in this round."""

    key: str
    start: int
    size: int
    take: Take
    total: int | None
    done: int = 0
    brought: set[int] = field(default_factory=set)
    taker: BaseException | None = None
    tried: set[int] = field(default_factory=set)
    missing: list[ObjectMissing] = field(default_factory=list)
    last: ModelportError | None = None

    def begin_round(self) -> None:
        """Forget who was asked."""
        self.tried.clear()
        self.missing.clear()
        self.last = None

    def given_up(self) -> ModelportError:
        """Say why nobody is left to ask."""
        if isinstance(self.last, StoreUnavailable):
            self.last.delivered = self.done
        if self.last is not None:
            return self.last
        if self.missing:
            settled = all(one.settled for one in self.missing)
            later = "Not yet visible at the CDN, or the source is older than the release: try again later."
            return ObjectMissing(
                "; ".join(map(str, self.missing)), hint=self.missing[0].hint if settled else later, settled=settled
            )
        return UnavailableError(f"{self.key}: no source is left", hint="Run it again, or name another with --source.")


class Mirrors:
    """A ``TreeReader`` over ``readers``, the preferred first.

    ``sleep`` waits between looks for an object that is nowhere yet; by default ``close`` ends that wait.
    """

    def __init__(
        self,
        readers: Sequence[TreeReader],
        *,
        listen: Listener = ignore,
        sleep: Callable[[float], object] | None = None,
        clock: Callable[[], float] = time.monotonic,
        visible_s: Sequence[float] = VISIBLE_S,
    ) -> None:
        if not readers:
            raise ValueError("mirrors need at least one reader")
        self._readers = list(readers)
        self._standings = [Standing(reader.url) for reader in self._readers]
        self._listen = listen
        self._closed = threading.Event()
        self._sleep = sleep or self._closed.wait
        self._clock = clock
        self._visible_s = visible_s
        self._lock = threading.Lock()

    @property
    def url(self) -> str:
        """Where the sources that are left are."""
        return ", ".join(reader.url for reader in self.readers)

    @property
    def readers(self) -> Sequence[TreeReader]:
        """The sources that are still used, the preferred first."""
        return [reader for reader, one in zip(self._readers, self._standings, strict=True) if not one.dropped]

    @property
    def requests(self) -> int:
        """Requests made so far by all of them."""
        return sum(reader.requests for reader in self._readers)

    def uses(self) -> list[SourceUse]:
        """What each source did by ranges, dropped ones too."""
        now = self._clock()
        with self._lock:
            return [
                SourceUse(
                    url=one.url,
                    bytes=one.bytes,
                    seconds=round(one.seconds + (now - one.busy_since if one.busy_since is not None else 0.0), 3),
                    dropped=one.dropped,
                )
                for one in self._standings
            ]

    def drop(self, reader: TreeReader, why: str) -> None:
        """Use ``reader`` no more in this run; the last one stays."""
        self._drop(self._readers.index(reader), why)

    def blame(self, reader: TreeReader, why: str, *, key: str = "", share: float = 1.0) -> None:
        """Say that ``reader`` brought wrong bytes of ``key``: the next ones come from elsewhere, or over another connection.

        ``share`` is its part in them, where several sources brought a piece. Twice is once too often.
        """
        place = self._readers.index(reader)
        with self._lock:
            one = self._standings[place]
            one.strikes += share
            one.avoided.add(key)
            enough = one.strikes >= STRIKES
        _forget(reader)
        if enough and self._drop(place, f"wrong bytes: {why}"):
            self._tell(place)

    def read_range(self, key: str, start: int, size: int, take: Take, *, total: int | None = None) -> None:
        """Hand exactly these bytes to ``take``, from whoever has them; see ``ports.TreeReader.read_range``.

        A ``DigestMismatch`` that ``take`` raises is blamed on who brought the bytes, and goes through with their names.

        Raises:
            ObjectMissing: nobody has it, not even after waiting for it to be seen.
            StoreUnavailable: every source broke off; ``delivered`` bytes came.
        """
        waits = iter(self._visible_s)
        reading = _Reading(key, start, size, take, total)
        while True:
            try:
                self._once(reading)
                return
            except ObjectMissing as error:
                wait_s = next(waits, None)
                if reading.taker is error or error.settled or wait_s is None or self._closed.is_set():
                    raise
                self._listen(Warned("not-visible", f"{error}; asked again in {wait_s:g} s"))
                self._sleep(wait_s)

    def _once(self, reading: _Reading) -> None:
        """Ask each source once at most (a liar twice, if it is the only one) for what is still to come."""
        reading.begin_round()
        while reading.done < reading.size:
            with self._lock:
                place = choose(self._standings, reading.key, reading.tried)
            if place is None:
                raise reading.given_up()
            reading.tried.add(place)
            begun, before = self._clock(), reading.done
            try:
                self._from(place, reading)
            except ModelportError as error:
                self._after(place, error, reading, came=reading.done - before, spent_s=self._clock() - begun)

    def _after(self, place: int, error: ModelportError, reading: _Reading, *, came: int, spent_s: float) -> None:
        """Draw the consequence of a fault; what the taker raised goes on to the caller."""
        if reading.taker is not None:
            if isinstance(error, DigestMismatch):
                for one in reading.brought:
                    self.blame(self._readers[one], str(error), key=reading.key, share=1 / len(reading.brought))
                who = ", ".join(self._readers[one].url for one in sorted(reading.brought))
                raise DigestMismatch(f"{who}: {error}", hint=error.hint) from error
            raise error
        if isinstance(error, ObjectMissing):
            reading.missing.append(error)
            return
        reading.last = error
        if self._judge(place, error, came=came, spent_s=spent_s):
            reading.tried.discard(place)

    def _from(self, place: int, reading: _Reading) -> None:
        """Read what is still to come from one source."""
        one = self._standings[place]
        begun, before = self._clock(), reading.done
        with self._lock:
            one.begin(begun)

        def counted(block: memoryview) -> memoryview | None:
            reading.brought.add(place)
            try:
                room = reading.take(block)
            except BaseException as error:
                # Kept to tell it from what the source raises: it is the taker's own, and goes on up as it is.
                reading.taker = error
                raise
            reading.done += len(block)
            self._check_speed(place, reading.done - before, self._clock() - begun)
            return room

        left = reading.size - before
        try:
            self._readers[place].read_range(reading.key, reading.start + before, left, counted, total=reading.total)
        finally:
            now = self._clock()
            with self._lock:
                one.end(now, size=reading.done - before, spent_s=now - begun)
                if reading.done > before:
                    one.failures = 0

    def _check_speed(self, place: int, size: int, spent_s: float) -> None:
        best = too_slow(self._standings, place, size=size, spent_s=spent_s)
        if best is None:
            return
        why = f"slow: {size / spent_s:.0f} bytes a second beside {best:.0f}"
        if self._drop(place, why):
            self._tell(place)
            raise StoreUnavailable(f"{self._standings[place].url}: {why}")

    def _judge(self, place: int, error: ModelportError, *, came: int, spent_s: float = 0.0) -> bool:
        """Decide what a fault means for its source; True if it shall be asked again at once."""
        with self._lock:
            one = self._standings[place]
            one.failures += 1
            failures = one.failures
        lied = isinstance(error, SourceLied)
        if lied:
            _forget(self._readers[place])
            why = f"lied: {error}"
        elif not error.retryable:
            why = str(error)
        elif spent_s >= CRAWL_S and is_crawl(came, spent_s):
            why = f"slow: {came} bytes in {spent_s:.1f} s: {error}"
        elif not came and failures >= DEAD_AFTER:
            why = f"dead: {error}"
        else:
            return False
        if self._drop(place, why):
            self._tell(place)
            return False
        # The only one left gets a second chance over another connection: it may be the way that lied.
        return lied and failures == 1

    def _drop(self, place: int, why: str) -> bool:
        with self._lock:
            others = any(not one.dropped for at, one in enumerate(self._standings) if at != place)
            if self._standings[place].dropped or not others:
                return False
            self._standings[place].dropped = why
            return True

    def _tell(self, place: int) -> None:
        one = self._standings[place]
        self._listen(Warned("source-dropped", f"{one.url} is not used any more: {one.dropped}"))

    def get(self, key: str, *, start: int = 0, size: int | None = None) -> Iterator[bytes]:
        """Yield the bytes of an object from the first source that answers; see ``ports.TreeReader.get``."""
        return self._first(key, lambda reader: reader.get(key, start=start, size=size))

    def revalidate(self, key: str, etag: str, *, cap: int) -> Fresh | NotModified:
        """Ask the first source that answers; see ``ports.TreeReader.revalidate``."""
        return self._first(key, lambda reader: reader.revalidate(key, etag, cap=cap))

    def _first(self, key: str, ask: Callable[[TreeReader], T]) -> T:
        first: ModelportError | None = None
        for place, reader in enumerate(self._readers):
            if self._standings[place].dropped:
                continue
            try:
                return ask(reader)
            except ObjectMissing as error:
                # A root that is not there is an answer; anything else may be there elsewhere.
                if key.startswith(METADATA) and isinstance(first, ObjectMissing | None):
                    raise
                first = first or error
            except (UnavailableError, SourceLied, DiskError) as error:
                first = first or error
                self._judge(place, error, came=0)
        raise first or UnavailableError(f"{key}: no source is left", hint="Run it again, or name another with --source.")

    def close(self) -> None:
        """End every read under way."""
        self._closed.set()
        for reader in self._readers:
            reader.close()


def _forget(reader: TreeReader) -> None:
    if isinstance(reader, HttpReader):
        reader.forget()
