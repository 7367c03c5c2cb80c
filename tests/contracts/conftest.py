"""Every store, fake and wrapper that the contract suite is run against, and what each cannot do."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass

import pytest

from pipeline.ports import ObjectStore
from pipeline.retry import Patience, Retry
from pipeline.stores.counting import CountingStore
from pipeline.stores.directory import DirectoryStore
from pipeline.stores.dryrun import DryRunStore
from pipeline.stores.faulty import Fault, FaultyStore
from pipeline.stores.memory import MemoryStore
from pipeline.stores.oss import OssStore
from pipeline.stores.retrying import RetryingStore
from pipeline.stores.s3 import S3Store

_COUNT = itertools.count(1)


@dataclass(frozen=True)
class Subject:
    """A store under test. ``again`` opens the same place as another client would."""

    store: ObjectStore
    again: Callable[[], ObjectStore]
    create_only: bool = True
    compare_and_swap: bool = True
    keeps_sha256: bool = True
    verifies: bool = True
    keeps_large: bool = True


def _prefix() -> str:
    return f"some where/{next(_COUNT)}"


def make_memory(request):
    store = MemoryStore()
    return Subject(store, lambda: store)


def make_directory(request):
    path = request.getfixturevalue("tmp_path") / "store"
    return Subject(DirectoryStore(path), lambda: DirectoryStore(path), keeps_sha256=False, verifies=False)


def _s3(request, server, endpoint, ca_file=None, **weaker):
    bucket, prefix = request.getfixturevalue("bucket_on")(server), _prefix()

    def again():
        return S3Store(bucket, prefix, endpoint=endpoint, region=server.region, ca_file=ca_file, open_session=server.session)

    return Subject(again(), again, **weaker)


def make_seaweedfs(request):
    server = request.getfixturevalue("seaweedfs")
    return _s3(request, server, server.endpoint)


def make_seaweedfs_tls(request):
    relay = request.getfixturevalue("seaweedfs_tls")
    return _s3(request, request.getfixturevalue("seaweedfs"), relay.endpoint, str(request.getfixturevalue("ca_file")))


def make_juicefs(request):
    server = request.getfixturevalue("juicefs")
    return _s3(request, server, server.endpoint, create_only=False, compare_and_swap=False, keeps_sha256=False)


def _oss(request, endpoint, ca_file=None):
    server = request.getfixturevalue("oss_server")
    bucket, prefix = request.getfixturevalue("bucket_on")(server), _prefix()

    def again():
        return OssStore(bucket, prefix, endpoint=endpoint, region=server.region, credentials=server, ca_file=ca_file)

    return Subject(again(), again, compare_and_swap=False, keeps_sha256=False, verifies=False)


def make_oss(request):
    return _oss(request, request.getfixturevalue("oss_server").endpoint)


def make_oss_tls(request):
    return _oss(request, request.getfixturevalue("oss_tls").endpoint, str(request.getfixturevalue("ca_file")))


def _wrapped(wrap, **weaker):
    def make(request):
        store = wrap(MemoryStore())
        return Subject(store, lambda: store, **weaker)

    return make


def _unlucky(inner):
    """A store whose every first, fourth, seventh … call of a kind is refused, under repetition."""
    every_third = [
        Fault(op, "refuse", nth=nth) for op in ("put", "get", "head", "list", "delete", "now") for nth in range(1, 400, 3)
    ]
    return RetryingStore(FaultyStore(inner, every_third), retry=Retry(Patience(attempts=20), sleep=lambda _: None))


def make_stack(request):
    path = request.getfixturevalue("tmp_path") / "store"

    def again():
        return RetryingStore(CountingStore(FaultyStore(DirectoryStore(path))))

    return Subject(again(), again, keeps_sha256=False, verifies=False)


STORES = {
    "memory": make_memory,
    "directory": make_directory,
    "seaweedfs": make_seaweedfs,
    "seaweedfs-tls": make_seaweedfs_tls,
    "juicefs": make_juicefs,
    "oss": make_oss,
    "oss-tls": make_oss_tls,
    "retrying": _wrapped(RetryingStore),
    "retrying-faulty": _wrapped(_unlucky),
    "counting": _wrapped(CountingStore),
    "dryrun": _wrapped(DryRunStore, verifies=False, keeps_large=False),
    "faulty": _wrapped(FaultyStore),
    "stack": make_stack,
}


@pytest.fixture(params=list(STORES))
def subject(request) -> Subject:
    return STORES[request.param](request)


@pytest.fixture
def store(subject) -> ObjectStore:
    return subject.store
