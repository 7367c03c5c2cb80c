"""Machines that publish into one store, may be killed at any call, and an independent reader beside them."""

from __future__ import annotations

import itertools
import json
import os
import random
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec

from pipeline.digest import sha256_of
from pipeline.errors import ObjectMissing
from pipeline.events import Event
from pipeline.layout import LEASES, PARTS, TIMESTAMP, role_version
from pipeline.order import PublishOrder
from pipeline.outcome import Published
from pipeline.place import Place
from pipeline.plan.cost import ReleasePlan
from pipeline.ports import ObjectStore, read_object
from pipeline.publish import publish_release
from pipeline.release import Channel, Release
from pipeline.retry import Patience, Retry
from pipeline.steps.lease import LeaseRecord
from pipeline.steps.ready import KeyPlace
from pipeline.stores.counting import CountingStore
from pipeline.stores.directory import DirectoryStore
from pipeline.stores.memory import MemoryStore
from pipeline.stores.oss import OssStore
from pipeline.stores.retrying import RetryingStore
from pipeline.stores.s3 import S3Store
from pipeline.trust.keyfolder import make_keys, open_keys
from pipeline.trust.publisher import Publisher, no_step
from pipeline.trust.reading import open_timestamp, read_view
from pipeline.trust.setup import init_trust
from pipeline.trust.state import TrustState
from pipeline.wire import decode_document, encode_document
from tests.servers.oss_shim import OssServer
from tests.servers.s3_servers import S3Server
from tests.trust_world import Client

_COUNT = itertools.count(1)
_MEMORIES: dict[str, MemoryStore] = {}
STABLE = Channel("stable")


class Killed(BaseException):
    """The process ends here."""


# --- models ---------------------------------------------------------------------------------------


def write_safetensors(path: Path, tensors: dict[str, bytes]) -> None:
    """Little float32 tensors, one row each."""
    header, at = {}, 0
    for name, data in tensors.items():
        header[name] = {"dtype": "F32", "shape": [len(data) // 4], "data_offsets": [at, at + len(data)]}
        at += len(data)
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(len(text).to_bytes(8, "little") + text + b"".join(tensors.values()))


def lay_out(folder: Path, *, seed: int = 1, other: int = 0, tensor_bytes: int = 64 << 10) -> Path:
    """A little model: three tensors (``other`` settles the middle one), text, noise, an empty file, one executable."""
    chance, changed = random.Random(seed), random.Random(seed * 1000 + other)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "onnx").mkdir(exist_ok=True)
    write_safetensors(
        folder / "model.safetensors",
        {
            "a": chance.randbytes(tensor_bytes),
            "b": (changed if other else chance).randbytes(tensor_bytes),
            "c": chance.randbytes(tensor_bytes),
        },
    )
    (folder / "config.json").write_text(json.dumps({"layers": 2, "seed": seed}))
    (folder / "onnx" / "noise.bin").write_bytes(random.Random(seed + 77).randbytes(32 << 10))
    (folder / "empty.txt").write_bytes(b"")
    (folder / "run.sh").write_text("#!/bin/sh\n")
    (folder / "run.sh").chmod(0o755)
    return folder


# --- stores ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Shelf:
    """Where a tree lies, in words that another process understands too."""

    kind: str
    where: str
    prefix: str = ""
    endpoint: str = ""
    region: str = ""

    def open(self) -> ObjectStore:
        """The bare adapter."""
        if self.kind == "directory":
            return DirectoryStore(self.where)
        if self.kind == "memory":
            return _MEMORIES[self.where]
        if self.kind == "s3":
            return S3Store(
                self.where,
                self.prefix,
                endpoint=self.endpoint,
                region=self.region,
                open_session=S3Server(self.endpoint, 0).session,
            )
        keys = OssServer(S3Server("", 0), self.endpoint)
        return OssStore(self.where, self.prefix, endpoint=self.endpoint, region=self.region, credentials=keys)


def directory_shelf(folder: Path) -> Shelf:
    return Shelf("directory", str(folder))


def memory_shelf() -> Shelf:
    name = f"shelf{next(_COUNT)}"
    _MEMORIES[name] = MemoryStore(name)
    return Shelf("memory", name)


def s3_shelf(server: S3Server, bucket: str, *, endpoint: str = "") -> Shelf:
    return Shelf("s3", bucket, f"t{os.getpid()}-{next(_COUNT)}", endpoint or server.endpoint, server.region)


def oss_shelf(server: OssServer, bucket: str, *, endpoint: str = "") -> Shelf:
    return Shelf("oss", bucket, f"t{os.getpid()}-{next(_COUNT)}", endpoint or server.endpoint, server.region)


class Mortal:
    """A store whose owner dies just before, or just after, its call number ``nth`` (from 1); nothing works after that."""

    def __init__(self, inner: ObjectStore, nth: int = 0, when: str = "before", die: Callable[[], object] | None = None) -> None:
        self.inner = inner
        self.calls: list[str] = []
        self._nth, self._when, self._die = nth, when, die
        self._dead = False
        self._lock = threading.Lock()

    def __getattr__(self, name: str):
        found = getattr(self.inner, name)
        if name not in {"put", "get", "head", "list", "delete", "now"}:
            return found

        def call(*args, **named):
            with self._lock:
                self._living()
                self.calls.append(name)
                hit = len(self.calls) == self._nth
            if hit and self._when == "before":
                self._end()
            try:
                return found(*args, **named)
            finally:
                if hit:
                    self._end()
                self._living()

        return call

    def _living(self) -> None:
        if self._dead:
            raise Killed("dead already")

    def _end(self) -> None:
        if self._die is not None:
            self._die()
            return
        self._dead = True
        raise Killed(f"call {self._nth}")


# --- machines -------------------------------------------------------------------------------------


@dataclass
class Machine:
    """One computer with its own state, cache, keys and clock. ``keys`` is a folder of named keys; "" makes them on first use."""

    home: Path
    shelf: Shelf
    keys: str = ""
    ahead_s: float = 0.0
    events: list[Event] = field(default_factory=list)

    def now(self) -> datetime:
        return datetime.now(UTC) + timedelta(seconds=self.ahead_s)

    @property
    def state(self) -> TrustState:
        return TrustState(self.home / "state")

    def place(
        self,
        *,
        store: ObjectStore | None = None,
        step: Callable[[str], None] = no_step,
        wrap: Callable[[ObjectStore], ObjectStore] = lambda store: store,
        patience: Patience | None = None,
    ) -> Place:
        """The store with retries and a count, ``wrap`` innermost."""
        counting = CountingStore(store or wrap(self.shelf.open()))
        retry = Retry(patience or Patience(), listen=self.events.append, sleep=lambda _: None)
        named = open_keys(Path(self.keys)) if self.keys else None
        return Place(
            store=RetryingStore(counting, retry=retry),
            state=self.state,
            keys=KeyPlace(named, self.home / "keys", first_use=not self.keys),
            cache=self.home / "cache",
            by=f"{self.home.name}@test",
            bytes_sent=lambda: counting.counts.sent,
            now=self.now,
            step=step,
        )

    def publish(
        self, release: str, source: Path, *, plan: ReleasePlan | None = None, place: Place | None = None, **flags
    ) -> Published:
        order = PublishOrder(release=Release.parse(release), source=source, **flags)
        return publish_release(order, place or self.place(), self.events.append, plan=plan)


@dataclass
class Site:
    """A shelf, its keys, as many machines as a test wants, and readers."""

    folder: Path
    shelf: Shelf
    keys: str = ""

    def machine(self, name: str = "", *, ahead_s: float = 0.0) -> Machine:
        """A machine that shares nothing but the keys; for a directory's own keys it is given a copy of their folder."""
        name = name or f"machine{next(_COUNT)}"
        machine = Machine(self.folder / name, self.shelf, self.keys, ahead_s)
        if self.keys and next(iter(self.store.list("metadata/1.root.json")), None):
            machine.state.pin(self.fingerprint)
        return machine

    def begin(self) -> Machine:
        """Begin the tree with named keys, as trust.init does."""
        self.keys = self.keys or str(make_keys(self.folder / "named"))
        machine = self.machine("first")
        publisher = Publisher(self.store, machine.state, open_keys(Path(self.keys)))
        init_trust(publisher)
        return machine

    @property
    def store(self) -> ObjectStore:
        return self.shelf.open()

    @property
    def first_root(self) -> bytes:
        return read_object(self.store, "metadata/1.root.json", cap=1 << 20)

    @property
    def fingerprint(self) -> str:
        return sha256_of(self.first_root)

    def reader(self) -> Client:
        """The reference client, with a folder of its own; like any HTTP client it asks again when a connection drops."""
        return Client(RetryingStore(self.store), self.folder / f"reader{next(_COUNT)}", self.first_root)

    def releases(self) -> list[str]:
        """What a client with a fresh pin sees."""
        state = TrustState(self.folder / f"looker{next(_COUNT)}")
        state.pin(self.fingerprint)
        view = read_view(self.store, state, now=lambda: datetime.now(UTC))
        return sorted(str(found.release) for model in view.models() for found in view.releases(model, retired=True))

    def channel(self, model: str, name: str = "stable"):
        state = TrustState(self.folder / f"looker{next(_COUNT)}")
        state.pin(self.fingerprint)
        return read_view(self.store, state, now=lambda: datetime.now(UTC)).channel(model, Channel(name))

    def leases(self) -> list[str]:
        return [info.key for info in self.store.list(LEASES)]

    def parts(self) -> dict[str, int]:
        return {info.key: info.size for info in self.store.list(PARTS)}

    def announced(self) -> int:
        try:
            return open_timestamp(read_object(self.store, TIMESTAMP, cap=1 << 20)).version
        except ObjectMissing:
            return 0

    def highest(self) -> int:
        named = filter(None, (role_version(info.key) for info in self.store.list("metadata/")))
        return max((number for role, number in named if role == "snapshot"), default=0)

    def bury(self) -> None:
        """Let every lease be one of a process that is dead by now, as a real kill would leave it."""
        nobody = int(Path("/proc/sys/kernel/pid_max").read_text()) + 1
        store = self.store
        for key in self.leases():
            record = decode_document(read_object(store, key, cap=1 << 20), LeaseRecord, what=key)
            data = encode_document(msgspec.structs.replace(record, pid=nobody))
            store.put(key, data, sha256=sha256_of(data))


def check_reader(site: Site, reader: Client | None = None) -> Client | None:
    """Let the reference client look: it must accept whatever stands there, from its first announced state on."""
    if site.announced() == 0:
        return reader
    reader = reader or site.reader()
    reader.refresh()
    return reader


def steps_until(name: str, nth: int, act: Callable[[], object]) -> Callable[[str], None]:
    """A hook that acts at the ``nth`` time that step ``name`` comes."""
    left = [nth]
    lock = threading.Lock()

    def step(found: str) -> None:
        if found != name:
            return
        with lock:
            left[0] -= 1
            hit = left[0] == 0
        if hit:
            act()

    return step


def die() -> None:
    raise Killed
