"""Memory stores with the habits of lesser ones."""

import dataclasses
from datetime import UTC, datetime, timedelta

from pipeline.errors import ObjectExists, ObjectMissing, UnsafeStore
from pipeline.ports import StoreProperties
from pipeline.stores.memory import MemoryStore


class Clock:
    """A store's own clock, moved by hand."""

    def __init__(self):
        self.at = datetime(2026, 11, 22, 10, 0, tzinfo=UTC)

    def __call__(self):
        return self.at

    def pass_s(self, seconds):
        self.at += timedelta(seconds=seconds)


class UnknownStore(MemoryStore):
    """One that says nothing of itself: only a probe can tell."""

    @property
    def properties(self):
        return StoreProperties(create_only=None, compare_and_swap=None, keeps_sha256=True)


class IgnoringStore(UnknownStore):
    """Takes conditions and does not heed them, as old gateways do."""

    def put(self, key, body, *, sha256, if_absent=False, if_etag=None):
        return super().put(key, body, sha256=sha256)


class CreateOnlyStore(UnknownStore):
    """Heeds create-only writes, and no other condition, as OSS does."""

    def put(self, key, body, *, sha256, if_absent=False, if_etag=None):
        return super().put(key, body, sha256=sha256, if_absent=if_absent)


class RefusingStore(UnknownStore):
    """Answers a conditional write with "not implemented"."""

    def put(self, key, body, *, sha256, if_absent=False, if_etag=None):
        if if_absent or if_etag is not None:
            raise UnsafeStore("conditional writes are not implemented")
        return super().put(key, body, sha256=sha256)


class DigestlessStore(MemoryStore):
    """Vouches for no digest, and takes what it is given."""

    gets = 0

    @property
    def properties(self):
        return StoreProperties(create_only=True, compare_and_swap=True, keeps_sha256=False)

    def head(self, key):
        return dataclasses.replace(super().head(key), sha256=None)

    def get(self, key, *, start=0, size=None):
        self.gets += 1
        return super().get(key, start=start, size=size)


class FlickeringStore(MemoryStore):
    """Its objects are there when they are written and gone when they are looked at, ``times`` times."""

    def __init__(self, times):
        super().__init__()
        self.times = times

    def head(self, key):
        raise ObjectMissing(key)

    def put(self, key, body, *, sha256, if_absent=False, if_etag=None):
        self.times -= 1
        if self.times >= 0:
            raise ObjectExists(key)
        return super().put(key, body, sha256=sha256, if_absent=if_absent, if_etag=if_etag)


def plant(store, key, body):
    """Put ``body`` under ``key`` as somebody would who does not care for names."""
    from pipeline.digest import sha256_of

    return store.put(key, body, sha256=sha256_of(body))
