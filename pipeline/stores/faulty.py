"""A store that fails on purpose, by plan: for tests of everything above a store.

Takes a store and ``Fault`` values, gives a store. Each fault names a call by its operation and how many such
calls came before it; what it does is the answer to "what if exactly this call …".

next: ``connect``
"""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, TypeVar

from pipeline.bodies import Body, Draft, whole
from pipeline.digest import Sha256
from pipeline.errors import ObjectMissing, StoreUnavailable
from pipeline.ports import ObjectInfo, ObjectStore, StoreProperties

T = TypeVar("T")
Operation = Literal["put", "get", "head", "list", "delete", "now"]
How = Literal["refuse", "lose answer", "cut short", "flip bit", "not there yet", "hold"]


def _unavailable() -> Exception:
    return StoreUnavailable("planned: the store is unavailable")


@dataclass(frozen=True, slots=True)
class Fault:
    """What happens to calls number ``nth`` to ``nth + times - 1`` (from 1) of ``op`` whose key contains ``key``.

    * ``refuse``: ``error`` is raised and nothing is done.
    * ``lose answer``: it is done, then ``error`` is raised.
    * ``cut short``: a get yields the first half of its first block, then ``error`` is raised.
    * ``flip bit``: one bit of a get's first block, or of a put's body, is another.
    * ``not there yet``: the object is missing, though it is there.
    * ``hold``: ``meanwhile`` is called first (it may wait, write, or look around), then it is done.
    """

    op: Operation
    how: How
    nth: int = 1
    times: int = 1
    key: str = ""
    error: Callable[[], Exception] = _unavailable
    meanwhile: Callable[[], object] = lambda: None


class FaultyStore:
    """An ``ObjectStore`` around another. ``seed`` settles which bit is flipped; show it when a test fails."""

    def __init__(self, inner: ObjectStore, faults: Sequence[Fault] = (), *, seed: int = 0) -> None:
        self._inner = inner
        self._faults = tuple(faults)
        self._seen = [0] * len(self._faults)
        self._rng = random.Random(seed)  # noqa: S311 (a seeded test needs the same bit again)
        self._lock = threading.Lock()
        self.seed = seed
        self.calls: list[tuple[Operation, str]] = []

    @property
    def url(self) -> str:
        return self._inner.url

    @property
    def properties(self) -> StoreProperties:
        return self._inner.properties

    def put(self, key: str, body: Body, *, sha256: Sha256, if_absent: bool = False, if_etag: str | None = None) -> ObjectInfo:
        fault = self._next("put", key)
        sent = self._flipped(bytes(whole(body))) if fault is not None and fault.how == "flip bit" else body
        return self._through(fault, key, lambda: self._inner.put(key, sent, sha256=sha256, if_absent=if_absent, if_etag=if_etag))

    def draft(self) -> Draft | None:
        # A body in which a bit is to be flipped must pass here.
        return None if any(fault.how == "flip bit" for fault in self._faults) else self._inner.draft()

    def get(self, key: str, *, start: int = 0, size: int | None = None) -> Iterator[bytes]:
        fault = self._next("get", key)
        blocks = self._through(fault, key, lambda: self._inner.get(key, start=start, size=size))
        if fault is None or fault.how not in {"cut short", "flip bit"}:
            return blocks
        return self._spoiled(fault, blocks)

    def head(self, key: str) -> ObjectInfo:
        return self._through(self._next("head", key), key, lambda: self._inner.head(key))

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        fault = self._next("list", prefix)
        found = self._through(fault, prefix, lambda: self._inner.list(prefix))
        return found if fault is None or fault.how != "cut short" else self._cut_list(fault, found)

    def delete(self, key: str) -> None:
        self._through(self._next("delete", key), key, lambda: self._inner.delete(key))

    def now(self) -> datetime:
        return self._through(self._next("now", ""), "", self._inner.now)

    def _next(self, op: Operation, key: str) -> Fault | None:
        with self._lock:
            self.calls.append((op, key))
            hit = None
            for at, fault in enumerate(self._faults):
                if fault.op == op and fault.key in key:
                    self._seen[at] += 1
                    if hit is None and fault.nth <= self._seen[at] < fault.nth + fault.times:
                        hit = fault
            return hit

    def _through(self, fault: Fault | None, key: str, make: Callable[[], T]) -> T:
        how = "" if fault is None else fault.how
        if fault is None or how in {"cut short", "flip bit"}:
            return make()
        if how == "not there yet":
            raise ObjectMissing(f"planned: {key} is not there yet")
        if how == "hold":
            fault.meanwhile()
            return make()
        if how == "lose answer":
            make()
        raise fault.error()

    def _spoiled(self, fault: Fault, blocks: Iterator[bytes]) -> Iterator[bytes]:
        first = next(blocks, b"")
        if fault.how == "cut short":
            yield first[: len(first) // 2]
            raise fault.error()
        yield self._flipped(first)
        yield from blocks

    def _cut_list(self, fault: Fault, found: Iterator[ObjectInfo]) -> Iterator[ObjectInfo]:
        yield from (info for info, _ in zip(found, range(1), strict=False))
        raise fault.error()

    def _flipped(self, data: bytes) -> bytes:
        if not data:
            return data
        with self._lock:
            bit = self._rng.randrange(len(data) * 8)
        spoiled = bytearray(data)
        spoiled[bit // 8] ^= 1 << bit % 8
        return bytes(spoiled)
