"""An edge in memory before a store, with the vices that real ones have, for tests that open no socket."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass, field

from pipeline.errors import ObjectMissing, RedirectRefused, SourceLied, StoreUnavailable
from pipeline.layout import TIMESTAMP, headers_for
from pipeline.ports import Cached, EdgeAnswer, ObjectStore, read_object
from pipeline.steps.edge_proof import Waiting


@dataclass
class MemoryEdge:
    """Pulls from ``store`` what it is asked for and keeps it, 404s too, until it is told to ``forget``.

    ``vices``: key -> gzip | whole | html | redirect | short | down | other | rule; "*" is every key.
    """

    store: ObjectStore
    url: str = "http://edge.test/tree"
    vices: dict[str, str] = field(default_factory=dict)
    tells: bool = True
    keeps_timestamp: bool = False
    kept: dict[str, bytes | None] = field(default_factory=dict)
    requests: int = 0
    asked: list[str] = field(default_factory=list)
    forgotten: list[str] = field(default_factory=list)
    closed: bool = False
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def forget(self, keys) -> None:
        """What a refresh does."""
        self.forgotten += keys
        for key in keys:
            self.kept.pop(key, None)

    def warm(self, keys) -> None:
        """What a prefetch does."""
        for key in keys:
            self._pull(key)

    def look(self, key: str, *, at: int, size: int | None) -> EdgeAnswer:
        vice, body, cached = self._ask(key)
        if vice == "short":
            body = body[:-1]
        if size is not None and len(body) != size:
            raise SourceLied(f"{self.url}: byte {at} of {key}: an object of {len(body)} bytes came, expected {size}")
        rule = "max-age=60" if vice == "rule" else headers_for(key).cache_control
        return EdgeAnswer(vice != "whole", rule, cached if self.tells else "unknown")

    def get(self, key: str) -> Iterator[bytes]:
        vice, body, _ = self._ask(key)
        yield body[:-1] + bytes([body[-1] ^ 1]) if vice == "other" else body

    def close(self) -> None:
        self.closed = True

    def _ask(self, key: str) -> tuple[str, bytes, Cached]:
        with self._lock:
            self.requests += 1
            self.asked.append(key)
            vice = self.vices.get(key, self.vices.get("*", ""))
            if vice == "down":
                raise StoreUnavailable(f"{self.url}: byte 0 of {key}: HTTP 503")
            if vice == "html":
                raise SourceLied(f"{self.url}: byte 0 of {key}: a web page came, expected an object of the tree")
            if vice == "gzip":
                raise SourceLied(f"{self.url}: byte 0 of {key}: the answer is encoded as 'gzip', expected the bytes as they are")
            if vice == "redirect":
                raise RedirectRefused(f"{self.url}: byte 0 of {key}: HTTP 302 to http://other.test/, expected the object itself")
            cached: Cached = "hit" if key in self.kept else "miss"
            body = self._pull(key)
        if body is None:
            raise ObjectMissing(f"{self.url}: get {key}: HTTP 404, there is no such object")
        return vice, body, cached

    def _pull(self, key: str) -> bytes | None:
        if key not in self.kept:
            try:
                found = read_object(self.store, key, cap=1 << 30)
            except ObjectMissing:
                found = None
            if key == TIMESTAMP and not self.keeps_timestamp:
                return found
            self.kept[key] = found
        return self.kept[key]


class Clock:
    """Time that passes only while somebody sleeps."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def sleep(self, seconds: float) -> None:
        self.now_s += seconds

    def __call__(self) -> float:
        return self.now_s

    def waiting(self, **more) -> Waiting:
        return Waiting(sleep=self.sleep, clock=self, **more)
