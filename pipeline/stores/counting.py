"""A store that counts what goes through it.

Takes a store, gives a store and ``Counts``. It stands innermost, below repetition, so that a body sent twice
counts twice: ``bytes_uploaded`` of a publish is ``sent``.

next: ``stores.dryrun``
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime

from pipeline.bodies import Body, Draft, size_of
from pipeline.digest import Sha256
from pipeline.ports import ObjectInfo, ObjectStore, StoreProperties


@dataclass(slots=True)
class Counts:
    """Bytes of all bodies sent and received, and calls by their name. Consistent when nothing is under way."""

    sent: int = 0
    received: int = 0
    calls: Counter[str] = field(default_factory=Counter)

    @property
    def requests(self) -> int:
        """All calls together; a listing counts once."""
        return self.calls.total()


class CountingStore:
    """An ``ObjectStore`` around another; ``counts`` grows with every call."""

    def __init__(self, inner: ObjectStore) -> None:
        self._inner = inner
        self._lock = threading.Lock()
        self.counts = Counts()

    @property
    def url(self) -> str:
        return self._inner.url

    @property
    def properties(self) -> StoreProperties:
        return self._inner.properties

    def put(self, key: str, body: Body, *, sha256: Sha256, if_absent: bool = False, if_etag: str | None = None) -> ObjectInfo:
        self._count("put", sent=size_of(body))
        return self._inner.put(key, body, sha256=sha256, if_absent=if_absent, if_etag=if_etag)

    def draft(self) -> Draft | None:
        return self._inner.draft()

    def get(self, key: str, *, start: int = 0, size: int | None = None) -> Iterator[bytes]:
        self._count("get")
        return self._counted(self._inner.get(key, start=start, size=size))

    def _counted(self, blocks: Iterator[bytes]) -> Iterator[bytes]:
        for block in blocks:
            self._count("", received=len(block))
            yield block

    def head(self, key: str) -> ObjectInfo:
        self._count("head")
        return self._inner.head(key)

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        self._count("list")
        return self._inner.list(prefix)

    def delete(self, key: str) -> None:
        self._count("delete")
        self._inner.delete(key)

    def now(self) -> datetime:
        self._count("now")
        return self._inner.now()

    def _count(self, call: str, *, sent: int = 0, received: int = 0) -> None:
        with self._lock:
            self.counts.sent += sent
            self.counts.received += received
            if call:
                self.counts.calls[call] += 1
