"""Objects of a tree from its sources into a store: only those that are missing, each verified before it is written.

Takes sources and the names, sizes and digests that signed metadata gives; gives what was there and what was brought.
Objects are immutable and named by their content, so a run that was interrupted goes on where it stopped.

next: ``steps.sweep``
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from pipeline.digest import Sha256, sha256_of
from pipeline.errors import DigestMismatch, ModelportError, ObjectExists, ObjectMissing, PoisonedObject
from pipeline.manifest import PART_BYTES
from pipeline.ports import ObjectStore, Take
from pipeline.retry import Retry, is_progress
from pipeline.trust.whole import Named
from pipeline.workers import in_order, threads

LOOKS_AT_ONCE = 16
# Objects travel whole through memory, for a store verifies a digest over the whole.
MEMORY_BYTES = PART_BYTES
# Wrong bytes may be the way's fault, not every source's: so often an object is read again.
ALTERED_READS = 2


class RangeReader(Protocol):
    """As much of ``ports.TreeReader`` as copying takes."""

    def read_range(self, key: str, start: int, size: int, take: Take, *, total: int | None = None) -> None:
        """See ``ports.TreeReader.read_range``."""
        ...


@dataclass(frozen=True, slots=True)
class Missing:
    """What a store lacks of a tree; ``poisoned`` objects stand there with other bytes."""

    absent: tuple[Named, ...]
    poisoned: tuple[tuple[Named, str], ...]

    @property
    def wrong(self) -> tuple[Named, ...]:
        """What stands there with other bytes."""
        return tuple(wanted for wanted, _ in self.poisoned)

    @property
    def objects(self) -> tuple[Named, ...]:
        """What is to be brought."""
        return (*self.absent, *self.wrong)

    @property
    def bytes(self) -> int:
        """Bytes to be brought."""
        return sum(wanted.size for wanted in self.objects)


def find_missing(store: ObjectStore, objects: Sequence[Named], *, read: bool = False) -> Missing:
    """Ask the store for every object: its size, and its digest where the store vouches for one; with ``read``, read it whole."""
    absent: list[Named] = []
    poisoned: list[tuple[Named, str]] = []
    with threads(LOOKS_AT_ONCE, "look") as pool:
        looks = in_order(pool, lambda wanted: _fault(store, wanted, read=read), objects, ahead=2 * LOOKS_AT_ONCE)
        for wanted, fault in zip(objects, looks, strict=True):
            if fault is None:
                absent.append(wanted)
            elif fault:
                poisoned.append((wanted, fault))
    return Missing(tuple(absent), tuple(poisoned))


def check_read_back(store: ObjectStore, objects: Sequence[Named]) -> None:
    """Read again what was written, and compare: a store that took bytes need not give the same ones.

    Raises:
        PoisonedObject: the first that is not what was written, or is gone.
    """
    found = find_missing(store, objects, read=True)
    check_poisoned(Missing((), (*found.poisoned, *((wanted, "it is gone again") for wanted in found.absent))), store)


def _fault(store: ObjectStore, wanted: Named, *, read: bool = False) -> str | None:
    """None: it is not there. "": it is there and as it must be."""
    try:
        info = store.head(wanted.key)
    except ObjectMissing:
        return None
    if info.size != wanted.size:
        return f"it has {info.size} bytes, expected {wanted.size}"
    found = info.sha256
    if read:
        state = hashlib.sha256()
        for block in store.get(wanted.key):
            state.update(block)
        found = Sha256(state.hexdigest())
    if found is not None and found != wanted.sha256:
        return f"it has sha256 {found}, expected {wanted.sha256}"
    return ""


def check_poisoned(missing: Missing, store: ObjectStore) -> None:
    """Refuse a store in which objects stand with other bytes than their names say.

    Raises:
        PoisonedObject: the first one, and how many there are.
    """
    if missing.poisoned:
        wanted, fault = missing.poisoned[0]
        more = f" (and {len(missing.poisoned) - 1} more)" if len(missing.poisoned) > 1 else ""
        raise PoisonedObject(
            f"{wanted.key} in {store.url} is not what its name says: {fault}{more}",
            hint="Find out who wrote it; then run it again with --repair to replace it.",
        )


def copy_objects(
    source: RangeReader,
    store: ObjectStore,
    objects: Sequence[Named],
    *,
    replace: bool,
    connections: int,
    retry: Retry,
    done: Callable[[int], None],
) -> int:
    """Bring ``objects`` into ``store``, parts before the manifests that name them; give the bytes brought.

    ``done`` is called with the bytes of each object that stands in the store.

    Raises:
        DigestMismatch: every source gives other bytes than were signed.
        ObjectMissing, UnavailableError, AccessDenied, DiskError
    """
    largest = max((wanted.size for wanted in objects), default=1)
    at_once = max(1, min(connections, MEMORY_BYTES // max(largest, 1)))
    total = 0
    with threads(at_once, "copy") as pool:

        def copy(wanted: Named) -> int:
            body = read_named(source, wanted, retry)
            try:
                store.put(wanted.key, body, sha256=wanted.sha256, if_absent=not replace)
            except ObjectExists:
                fault = _fault(store, wanted)
                if fault:
                    check_poisoned(Missing((), ((wanted, fault),)), store)
            return len(body)

        # None ahead: each one under way is a whole object in memory.
        for size in in_order(pool, copy, objects, ahead=at_once):
            total += size
            done(size)
    return total


def read_named(source: RangeReader, wanted: Named, retry: Retry) -> memoryview:
    """Read one object whole and hold it against its signed digest, again from elsewhere if it is not right.

    Raises:
        DigestMismatch: it is other bytes every time.
        ObjectMissing, UnavailableError, AccessDenied, DiskError
    """
    body = memoryview(bytearray(wanted.size))
    at = altered = failed = 0

    def take(block: memoryview) -> None:
        nonlocal at
        body[at : at + len(block)] = block
        at += len(block)
        # Raised to the source, so that it learns who brought these bytes.
        if at == wanted.size and (found := sha256_of(body)) != wanted.sha256:
            raise DigestMismatch(
                f"{wanted.key}: sha256 {found}, expected {wanted.sha256}",
                hint="The source, or something on the way, alters bytes: try another source.",
            )

    while at < wanted.size:
        before, asked_at = at, time.monotonic()
        try:
            source.read_range(wanted.key, at, wanted.size - at, take, total=wanted.size)
        except DigestMismatch:
            altered += 1
            at = 0
            if altered > ALTERED_READS:
                raise
        except ModelportError as error:
            failed = 1 if is_progress(at - before, time.monotonic() - asked_at) else failed + 1
            retry.pause(error, failed=failed, what=f"get {wanted.key}")
    return body
