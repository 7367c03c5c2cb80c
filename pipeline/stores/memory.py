"""A store in memory: for tests, dry runs and people who try things out.

Takes bodies, keeps copies. It verifies digests and honours every condition, as the best real store does.

next: ``stores.placing``
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime

from pipeline.bodies import Body, whole
from pipeline.clocks import utc_now
from pipeline.digest import Sha256, sha256_of
from pipeline.errors import ConditionFailed, DigestMismatch, ObjectExists, ObjectMissing
from pipeline.ports import BLOCK, ObjectInfo, StoreProperties
from pipeline.stores.keys import check_key


@dataclass(frozen=True, slots=True)
class _Kept:
    body: bytes
    info: ObjectInfo


class MemoryStore:
    """An ``ObjectStore`` that forgets everything when it is dropped."""

    def __init__(self, name: str = "memory", *, now: Callable[[], datetime] = utc_now) -> None:
        self._name = name
        self._now = now
        self._objects: dict[str, _Kept] = {}
        self._writes = 0
        self._lock = threading.Lock()

    @property
    def url(self) -> str:
        return f"memory:{self._name}"

    @property
    def properties(self) -> StoreProperties:
        return StoreProperties(create_only=True, compare_and_swap=True, keeps_sha256=True)

    def put(self, key: str, body: Body, *, sha256: Sha256, if_absent: bool = False, if_etag: str | None = None) -> ObjectInfo:
        data = bytes(whole(body))
        found = sha256_of(data)
        if found != sha256:
            raise DigestMismatch(
                f"{self.url}: the body for {key} has sha256 {found}, expected {sha256}",
                hint="The bytes changed between hashing and sending: run it again.",
            )
        check_key(key)
        with self._lock:
            there = self._objects.get(key)
            if if_absent and there is not None:
                raise ObjectExists(f"{self.url}: {key} exists already")
            if if_etag is not None and (there is None or there.info.etag != if_etag):
                raise ConditionFailed(
                    f"{self.url}: {key} has ETag {there.info.etag if there else 'none'}, expected {if_etag}",
                    hint="Somebody else wrote it first: read it again.",
                )
            self._writes += 1
            info = ObjectInfo(key, len(data), self._now(), f"m{self._writes}", sha256)
            self._objects[key] = _Kept(data, info)
        return info

    def draft(self) -> None:
        return None

    def get(self, key: str, *, start: int = 0, size: int | None = None) -> Iterator[bytes]:
        body = self._there(key).body
        end = len(body) if size is None else min(len(body), start + size)
        return (body[at : min(at + BLOCK, end)] for at in range(start, end, BLOCK))

    def head(self, key: str) -> ObjectInfo:
        return self._there(key).info

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        with self._lock:
            found = [kept.info for key, kept in sorted(self._objects.items()) if key.startswith(prefix)]
        return iter(found)

    def delete(self, key: str) -> None:
        check_key(key)
        with self._lock:
            self._objects.pop(key, None)

    def now(self) -> datetime:
        return self._now()

    def _there(self, key: str) -> _Kept:
        check_key(key)
        with self._lock:
            kept = self._objects.get(key)
        if kept is None:
            raise ObjectMissing(f"{self.url}: there is no object {key}")
        return kept
