"""A tree, its publishers and an independent reader, all in memory: the ground of the trust tests."""

from __future__ import annotations

import copy
import itertools
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from securesystemslib.formats import encode_canonical
from securesystemslib.signer import CryptoSigner
from tuf.api.exceptions import DownloadHTTPError
from tuf.api.metadata import Metadata
from tuf.ngclient import Updater
from tuf.ngclient.fetcher import FetcherInterface

from pipeline.digest import sha256_of
from pipeline.errors import ObjectMissing
from pipeline.events import Event
from pipeline.layout import TIMESTAMP, manifest_target, role_version, target_key
from pipeline.ports import ObjectStore
from pipeline.release import Channel, Release
from pipeline.stores.memory import MemoryStore
from pipeline.trust.changes import AddRelease, MoveChannel
from pipeline.trust.commit import commit_changes
from pipeline.trust.facts import ReleaseFacts
from pipeline.trust.keys import Keyring
from pipeline.trust.publisher import Publisher
from pipeline.trust.reading import open_timestamp, read_view
from pipeline.trust.rotate import rotate_key
from pipeline.trust.sealed import seal
from pipeline.trust.setup import delegation_for, init_trust
from pipeline.trust.state import TrustState
from pipeline.trust.survey import survey_store
from pipeline.trust.view import View

# Today: the reference client judges expiry by the clock of the machine.
START = datetime.now(UTC).replace(hour=10, minute=0, second=0, microsecond=0)


class Killed(BaseException):
    """The process ends here."""


class StoreFetcher(FetcherInterface):
    """Lets the reference client read a store; ``before`` is called with each key."""

    def __init__(self, store: ObjectStore, before: Callable[[str], None]) -> None:
        self.store = store
        self.before = before

    def _fetch(self, url: str) -> Iterator[bytes]:
        self.before(url.removeprefix("http://tree/"))
        try:
            return iter(list(self.store.get(url.removeprefix("http://tree/"))))
        except ObjectMissing as error:
            raise DownloadHTTPError(str(error), 404) from error


@dataclass
class Client:
    """The unmodified reference client with a folder of its own, polling one store."""

    store: ObjectStore
    folder: Path
    first_root: bytes
    before: Callable[[str], None] = lambda key: None

    def refresh(self) -> Updater:
        self.folder.mkdir(exist_ok=True)
        updater = Updater(
            str(self.folder),
            "http://tree/metadata/",
            str(self.folder),
            "http://tree/targets/",
            StoreFetcher(self.store, self.before),
            bootstrap=self.first_root,
        )
        updater.refresh()
        return updater

    def check(self, *releases: Release) -> None:
        updater = self.refresh()
        for release in releases:
            path = manifest_target(release)
            info = updater.get_targetinfo(path)
            assert info is not None, f"{release} is not in the tree"
            updater.download_target(info)


class WatchedStore(MemoryStore):
    """Remembers every timestamp that was written, in order."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.announced: list[bytes] = []

    def put(self, key, body, **conditions):
        info = super().put(key, body, **conditions)
        if key == TIMESTAMP:
            self.announced.append(bytes(body))
        return info


@dataclass
class World:
    """One store, a clock, and as many publishers as a test wants."""

    folder: Path
    store: WatchedStore = field(default_factory=lambda: WatchedStore("world"))
    at: datetime = START
    pauses: list[float] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    _names: Iterator[int] = field(default_factory=itertools.count)

    def __post_init__(self) -> None:
        self.store._now = lambda: self.at
        self.root = CryptoSigner.generate_ed25519()
        self.targets = CryptoSigner.generate_ed25519()
        self.release = CryptoSigner.generate_ed25519()

    def keys(self, **slots: CryptoSigner) -> Keyring:
        return Keyring.made(**{"root": self.root, "targets": self.targets, "release": self.release, **slots})

    def publisher(self, *, store: ObjectStore | None = None, keys: Keyring | None = None, **hooks: Callable) -> Publisher:
        state = TrustState(self.folder / f"state{next(self._names)}")
        made = Publisher(
            store or self.store,
            state,
            keys or self.keys(),
            now=lambda: self.at,
            pause=self.pauses.append,
            listen=self.events.append,
            **hooks,
        )
        if any(self.store.list("metadata/1.root.json")):
            state.pin(self.fingerprint)
        return made

    def begin(self) -> Publisher:
        publisher = self.publisher()
        init_trust(publisher)
        return publisher

    @property
    def first_root(self) -> bytes:
        return b"".join(self.store.get("metadata/1.root.json"))

    @property
    def fingerprint(self) -> str:
        return sha256_of(self.first_root)

    def client(self) -> Client:
        return Client(self.store, self.folder / f"client{next(self._names)}", self.first_root)

    def state(self) -> TrustState:
        state = TrustState(self.folder / f"state{next(self._names)}")
        state.pin(self.fingerprint)
        return state

    def pass_time(self, **parts: float) -> None:
        self.at += timedelta(**parts)

    def release_change(self, name: str, **facts: object) -> AddRelease:
        """Put a manifest into the store and say so."""
        release = Release.parse(name)
        body = f'{{"release":"{name}"}}'.encode()
        sha256 = sha256_of(body)
        self.store.put(target_key(manifest_target(release), sha256), body, sha256=sha256)
        return AddRelease(release, sha256, len(body), some_facts(**facts))

    def publish_changes(self, publisher: Publisher, name: str, **facts: object) -> list:
        change = self.release_change(name, **facts)
        view = survey_store(publisher).view
        assert view is not None
        first = delegation_for(publisher, view, change.release.model)
        return [*([first] if first else []), change]


def some_facts(**changes: object) -> ReleaseFacts:
    return ReleaseFacts(
        **{
            "kind": "model",
            "dependencies": (),
            "files": 1,
            "plain": 2,
            "stored": 2,
            "parts": 1,
            "part_size": 64 << 20,
            "created_at": "2026-11-22T10:00:00Z",
            **changes,
        }
    )


def killing(publisher: Publisher, at: str, occurrence: int = 1) -> Publisher:
    """The same publisher, killed just before its ``occurrence``-th step of this name."""
    left = [occurrence]

    def step(name: str) -> None:
        if name == at:
            left[0] -= 1
            if left[0] == 0:
                raise Killed(name)

    return replace(publisher, step=step)


def world_with_release(folder: Path, release: Release) -> World:
    """A tree with one release, which its channel stable shows."""
    world = World(folder)
    publisher = world.begin()
    commit_changes(publisher, [*world.publish_changes(publisher, str(release)), MoveChannel(Channel("stable"), release, "me")])
    return world


def put(world: World, key: str, data: bytes) -> None:
    world.store.put(key, data, sha256=sha256_of(data))


def stored(world: World, key: str) -> bytes:
    return b"".join(world.store.get(key))


def edited(world: World, key: str, signers: Sequence[CryptoSigner], **fields: object) -> None:
    """Replace an object by the same role with other fields, signed by ``signers``."""
    signed = copy.deepcopy(Metadata.from_bytes(stored(world, key)).signed)
    for name, value in fields.items():
        setattr(signed, name, value)
    put(world, key, seal(signed, signers).data)


def rightly_signed(signed: dict, signers: Sequence[CryptoSigner]) -> bytes:
    """A document of any form, whose signatures are right."""
    message = str(encode_canonical(signed)).encode()
    return json.dumps({"signed": signed, "signatures": [signer.sign(message).to_dict() for signer in signers]}).encode()


def read(world: World, state: TrustState | None = None, **flags: bool) -> View:
    return read_view(world.store, state or world.state(), now=lambda: world.at, **flags)


def files(state: TrustState) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in state.folder.rglob("*.json")}


def highest_snapshot(world: World) -> int:
    named = (role_version(info.key) for info in world.store.list("metadata/"))
    return max(number for role, number in filter(None, named) if role == "snapshot")


def announced(world: World) -> int:
    return open_timestamp(stored(world, TIMESTAMP)).version


def releases(world: World) -> list[str]:
    view = read(world)
    return [str(found.release) for model in view.models() for found in view.releases(model)]


def world_with_rotated_root(folder: Path) -> World:
    """A tree whose root key was replaced twice."""
    world = world_with_release(folder, Release.parse("bert-v1.0.0"))
    for _ in range(2):
        new = CryptoSigner.generate_ed25519()
        rotate_key(world.publisher(), "root", [new], settle=lambda: None)
        world.root = new
    return world
