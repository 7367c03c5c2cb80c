"""Parts from the upstream: each fetched once however many ask for it, verified before anybody sees a byte of it.

Takes a reader of the upstream's tree and a shelf, gives a ``Growing`` or a descriptor. Where a signed manifest tells the
chunks of a part, its readers follow chunk by chunk; what no manifest here names is shown when its whole is proven by
its name. A transfer goes on to its end though everybody left. Where the disk is full, memory holds the part as long
as it is read, and no longer.

next: ``assembling``
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import blake3

from bundles.site.growing import Growing, stalled
from bundles.site.shelf import Shelf, is_disk_full, memory_file
from bundles.site.transfer import Landing, Shape, Tally, Transfer, segments, write_all, wrong_name
from pipeline.digest import Blake3
from pipeline.errors import (
    DigestMismatch,
    IntegrityError,
    ModelportError,
    ObjectMissing,
    SourceLied,
    StoreUnavailable,
    UnavailableError,
)
from pipeline.events import Listener, Warned
from pipeline.layout import part_key
from pipeline.manifest import PART_BYTES
from pipeline.ports import TreeReader
from pipeline.retry import Patience, Retry, is_progress
from pipeline.sources.http import HttpReader

# Transfers at the same time: one that hangs takes the place of one other, for a while.
TRANSFERS = 32
# Requests for one long part at the same time: more where a connection brings little, for lines are often limited by
# the connection; few where the processor is what limits.
SEGMENTS, FEW_SEGMENTS = 8, 2
QUICK_PER_S = 150e6
# "Not there" is believed for so long, and for so many names.
MISSING_S = 10.0
MISSING_NAMES = 10_000
# Memory for parts that the disk does not take.
MEMORY_BYTES = 512 << 20
# Wrong bytes once may be the way; twice it is the upstream.
WRONG = 2


@dataclass(frozen=True)
class Source:
    """Bytes to read by a descriptor: all of them, or, while they come, as far as ``growing`` says."""

    size: int
    growing: Growing | None = None
    kept: int = -1

    @property
    def descriptor(self) -> int:
        """Where they are now."""
        return self.growing.descriptor if self.growing else self.kept

    def close(self) -> None:
        """End the use."""
        if self.growing:
            self.growing.close()
        else:
            os.close(self.kept)


@dataclass
class Hauler:
    """Every part of the upstream. ``timeout_s``: how long a reader waits without progress."""

    reader: TreeReader
    shelf: Shelf
    shape_of: Callable[[str], Shape | None]
    listen: Listener
    timeout_s: float = 60.0
    patience: Patience = field(default_factory=lambda: Patience(attempts=2, longest_wait_s=5.0))
    tally: Tally = field(default_factory=Tally)

    def __post_init__(self) -> None:
        self._lock = threading.Lock()
        self._coming: dict[str, Growing] = {}
        self._unnamed: dict[str, _Whole] = {}
        self._missing: dict[str, float] = {}
        # Transfers that leave a full disk count side by side, and without the other lock.
        self._counting = threading.Lock()
        self._in_memory = 0
        # What one connection brought last, in bytes a second.
        self._per_s = 0.0
        self._closed = False
        self._pool = ThreadPoolExecutor(TRANSFERS, "haul")
        self._runs = ThreadPoolExecutor(2 * TRANSFERS, "haul-run")

    def close(self) -> None:
        """End the transfers. The reader's connections are cut, so that nobody waits for one that hangs."""
        self._closed = True
        self.reader.close()
        self._pool.shutdown(cancel_futures=True)
        self._runs.shutdown(cancel_futures=True)

    def part(self, name: str) -> Source:
        """Open a part: what is kept, or what comes.

        Raises:
            ObjectMissing: the upstream has none.
            IntegrityError, UnavailableError, DiskError
        """
        source = self.part_at_once(name)
        return source if source is not None else self._unnamed_part(name)

    def part_at_once(self, name: str) -> Source | None:
        """Open a part without waiting for the upstream; None where nobody knows its size before all of it came.

        Raises:
            ObjectMissing: the upstream had none a moment ago.
            StoreUnavailable, DiskError
        """
        source = self._kept_or_coming(name)
        if source is not None:
            return source
        asked = self._missing.get(name)
        if asked is not None and time.monotonic() - asked < MISSING_S:
            raise ObjectMissing(f"part {name} is not at the upstream")
        shape = self.shape_of(name)
        # What began to come before a manifest named it comes to its end.
        if shape is None or name in self._unnamed:
            return None
        with self._lock:
            growing = self._coming.get(name)
            if growing is not None and growing.use():
                return Source(growing.size, growing)
            if not self.shelf.has("parts", name) and name not in self._unnamed:
                descriptor, temporary = self._place(shape.size)
                growing = Growing(descriptor, [end for end, _ in shape.pieces])
                growing.use()
                growing.on_close = partial(self._forget, name, growing)
                self._coming[name] = growing
                self._pool.submit(self._haul, name, shape, growing, temporary)
                return Source(growing.size, growing)
        # It came between two looks.
        return self.part_at_once(name)

    def _kept_or_coming(self, name: str) -> Source | None:
        with self._lock:
            growing = self._coming.get(name)
            if growing is not None and growing.use():
                return Source(growing.size, growing)
        kept = self.shelf.open("parts", name)
        return Source(os.fstat(kept).st_size, None, kept) if kept is not None else None

    def _unnamed_part(self, name: str) -> Source:
        """A part whose size nobody knows: brought to its end, then opened."""
        with self._lock:
            whole = self._unnamed.get(name)
            if whole is None and name not in self._coming and not self.shelf.has("parts", name):
                whole = self._unnamed[name] = _Whole()
                self._pool.submit(self._haul_unnamed, name, whole)
        if whole is None:
            # It came between two looks.
            return self.part(name)
        if not whole.done.wait(max(self.timeout_s, 1.0)):
            raise stalled(self.timeout_s)
        if whole.failure is not None:
            raise whole.failure
        kept = self.shelf.open("parts", name)
        if kept is None:
            raise UnavailableError(f"part {name} could not be kept", hint="The disk of this mirror is full.")
        return Source(os.fstat(kept).st_size, None, kept)

    def _place(self, size: int) -> tuple[int, Path | None]:
        """A file for ``size`` bytes: on the disk, or in memory where that is full."""
        try:
            descriptor, temporary = self.shelf.begin()
        except OSError as error:
            if not is_disk_full(error):
                raise
            self.shelf.tell_full(error)
            return self.memory(size), None
        return descriptor, temporary

    def memory(self, size: int) -> int:
        """A file in memory for a part of so many bytes, as long as there is memory for it."""
        with self._counting:
            if self._in_memory + size > MEMORY_BYTES:
                raise StoreUnavailable(
                    "the disk is full, and memory holds as many parts as it may", hint="Ask again in a moment."
                )
            self._in_memory += size
        return memory_file()

    def _haul_unnamed(self, name: str, whole: _Whole) -> None:
        temporary: Path | None = None
        try:
            descriptor, temporary = self.shelf.begin()
            try:
                hasher, came = blake3.blake3(), 0
                for block in self.reader.get(part_key(Blake3(name))):
                    came += len(block)
                    if came > PART_BYTES:
                        raise SourceLied(f"part {name} has more than {PART_BYTES} bytes", hint="The upstream lies.")
                    hasher.update(block)
                    write_all(descriptor, memoryview(block), came - len(block))
                self.tally.transfers += 1
                self.tally.bytes += came
                if hasher.hexdigest() != name:
                    raise wrong_name(name, hasher.hexdigest())
                self.shelf.keep(descriptor, temporary, "parts", name)
            finally:
                os.close(descriptor)
        except OSError as error:
            self.shelf.tell_full(error)
            whole.failure = StoreUnavailable(f"part {name}: {error.strerror}", hint="The disk of this mirror is full.")
        except ModelportError as error:
            self._note(name, error)
            whole.failure = error
        finally:
            if temporary is not None:
                temporary.unlink(missing_ok=True)
            with self._lock:
                self._unnamed.pop(name, None)
            whole.done.set()

    def _haul(self, name: str, shape: Shape, growing: Growing, temporary: Path | None) -> None:
        landing = Landing(self, name, shape, growing, temporary)
        try:
            self._bring(landing)
            self.tally.transfers += 1
            landing.keep()
        except ModelportError as error:
            self._note(name, error)
            growing.fail(error)
        except OSError as error:
            growing.fail(StoreUnavailable(f"part {name}: {error.strerror}", hint="Look at the disk of this mirror."))
        finally:
            if landing.temporary is not None or not landing.is_proven:
                self._forget(name, growing)
            # What is in memory alone serves whoever comes while somebody reads it.
            growing.on_close = partial(self._forget, name, growing, landing.in_memory)
            landing.close()
            growing.close()

    def _bring(self, landing: Landing) -> None:
        """All runs of a part's pieces side by side, then the whole; in one run once more if that is wrong."""
        ranged = not (isinstance(self.reader, HttpReader) and self.reader.honours_ranges is False)
        for attempt in range(1, WRONG + 1):
            wanted = FEW_SEGMENTS if self._per_s > QUICK_PER_S else SEGMENTS
            runs = segments(landing.shape, wanted if ranged and attempt == 1 else 1)
            others = [self._runs.submit(self._run, landing, Transfer(landing, *run)) for run in runs[1:]]
            try:
                self._run(landing, Transfer(landing, *runs[0]))
            finally:
                # None may write any more when this is over.
                wait(others)
            for other in others:
                other.result()
            try:
                landing.prove()
                return
            except DigestMismatch:
                if attempt == WRONG:
                    raise

    def _run(self, landing: Landing, run: Transfer) -> None:
        """One run of pieces, again where it broke off, and from its beginning where it was wrong."""
        retry = Retry(self.patience, sleep=self._sleep)
        key = part_key(Blake3(landing.name))
        failed = wrong = 0
        began = time.monotonic()
        while run.at < run.end:
            before, asked_at = run.at, time.monotonic()
            try:
                self.reader.read_range(key, run.at, run.end - run.at, run.take, total=landing.shape.size)
            except IntegrityError as error:
                wrong += 1
                if isinstance(error, ObjectMissing) or wrong >= WRONG or self._closed:
                    raise
                run.begin_again()
            except StoreUnavailable as error:
                failed = 1 if is_progress(run.at - before, time.monotonic() - asked_at) else failed + 1
                if self._closed:
                    raise
                retry.pause(error, failed=failed, what=f"part {landing.name}")
        self._per_s = (run.end - run.start) / max(time.monotonic() - began, 1e-3)

    def _forget(self, name: str, growing: Growing, in_memory: int = 0) -> None:
        with self._counting:
            self._in_memory -= in_memory
        with self._lock:
            if self._coming.get(name) is growing:
                del self._coming[name]

    def _sleep(self, seconds: float) -> None:
        if not self._closed:
            time.sleep(seconds)

    def _note(self, name: str, error: ModelportError) -> None:
        if isinstance(error, ObjectMissing):
            if len(self._missing) >= MISSING_NAMES:
                self._missing.clear()
            self._missing[name] = time.monotonic()
            return
        self.listen(Warned("upstream", f"part {name}: {error}"))


@dataclass
class _Whole:
    done: threading.Event = field(default_factory=threading.Event)
    failure: ModelportError | None = None
