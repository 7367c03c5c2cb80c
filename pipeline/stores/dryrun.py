"""A store that shows what would be written, and writes nothing.

Takes a store, gives one that reads from it and keeps every change to itself: whoever writes reads its own
writes, so a walk runs to its end. Bodies of more than one block are described but not kept.

next: ``stores.faulty``
"""

from __future__ import annotations

import heapq
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from pipeline.bodies import Body, whole
from pipeline.digest import Sha256
from pipeline.errors import ConditionFailed, ObjectExists, ObjectMissing
from pipeline.ports import BLOCK, ObjectInfo, ObjectStore, StoreProperties
from pipeline.stores.keys import check_key


@dataclass(frozen=True, slots=True)
class Intended:
    """One change that was not made; ``size`` is 0 for a deletion."""

    op: Literal["put", "delete"]
    key: str
    size: int


@dataclass(frozen=True, slots=True)
class _Shown:
    info: ObjectInfo
    body: bytes | None


class DryRunStore:
    """An ``ObjectStore`` around another, which it only reads; ``intended`` lists the changes in order."""

    def __init__(self, inner: ObjectStore) -> None:
        self._inner = inner
        # None: deleted here.
        self._changes: dict[str, _Shown | None] = {}
        self._lock = threading.RLock()
        self.intended: list[Intended] = []

    @property
    def url(self) -> str:
        return self._inner.url

    @property
    def properties(self) -> StoreProperties:
        """This store honours every condition itself, whatever the one beneath does."""
        return StoreProperties(create_only=True, compare_and_swap=True, keeps_sha256=self._inner.properties.keeps_sha256)

    def put(self, key: str, body: Body, *, sha256: Sha256, if_absent: bool = False, if_etag: str | None = None) -> ObjectInfo:
        view = whole(body)
        check_key(key)
        with self._lock:
            if if_absent or if_etag is not None:
                self._check(key, if_absent=if_absent, if_etag=if_etag)
            keeps = self._inner.properties.keeps_sha256
            etag = f"dry-{len(self.intended) + 1}"
            info = ObjectInfo(key, view.nbytes, self._inner.now(), etag, sha256 if keeps else None)
            self._changes[key] = _Shown(info, bytes(view) if view.nbytes <= BLOCK else None)
            self.intended.append(Intended("put", key, view.nbytes))
        return info

    def draft(self) -> None:
        return None

    def _check(self, key: str, *, if_absent: bool, if_etag: str | None) -> None:
        try:
            etag = self.head(key).etag
        except ObjectMissing:
            etag = None
        if if_absent and etag is not None:
            raise ObjectExists(f"{self.url}: {key} exists already")
        if if_etag is not None and if_etag != etag:
            raise ConditionFailed(f"{self.url}: {key} has ETag {etag or 'none'}, expected {if_etag}", hint="Read it again.")

    def get(self, key: str, *, start: int = 0, size: int | None = None) -> Iterator[bytes]:
        shown = self._shown(key)
        if shown is None:
            return self._inner.get(key, start=start, size=size)
        if shown.body is None:
            raise ObjectMissing(f"{self.url}: a dry run keeps no body of more than {BLOCK} bytes: {key}")
        body = shown.body[start : len(shown.body) if size is None else start + size]
        return iter([body] if body else [])

    def head(self, key: str) -> ObjectInfo:
        shown = self._shown(key)
        return self._inner.head(key) if shown is None else shown.info

    def _shown(self, key: str) -> _Shown | None:
        check_key(key)
        with self._lock:
            if key in self._changes:
                shown = self._changes[key]
                if shown is None:
                    raise ObjectMissing(f"{self.url}: there is no object {key}")
                return shown
        return None

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        with self._lock:
            changes = dict(self._changes)
        ours = sorted((shown.info for key, shown in changes.items() if shown and key.startswith(prefix)), key=_key_of)
        theirs = (info for info in self._inner.list(prefix) if info.key not in changes)
        return heapq.merge(ours, theirs, key=_key_of)

    def delete(self, key: str) -> None:
        check_key(key)
        with self._lock:
            self._changes[key] = None
            self.intended.append(Intended("delete", key, 0))

    def now(self) -> datetime:
        return self._inner.now()


def _key_of(info: ObjectInfo) -> str:
    return info.key
