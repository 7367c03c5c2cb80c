"""A repository that can be made wrong in every way, and the two readers that look at it: ours and ``tuf.ngclient``."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
from securesystemslib.signer import CryptoSigner
from tuf.api.exceptions import DownloadError, DownloadHTTPError, RepositoryError
from tuf.api.metadata import (
    DelegatedRole,
    Delegations,
    Metadata,
    MetaFile,
    Root,
    Snapshot,
    TargetFile,
    Targets,
    Timestamp,
)
from tuf.ngclient import Updater
from tuf.ngclient.fetcher import FetcherInterface

from pipeline.digest import sha256_of
from pipeline.errors import ModelportError, ObjectMissing
from pipeline.layout import TIMESTAMP, role_key
from pipeline.release import ModelName, Release
from pipeline.stores.memory import MemoryStore
from pipeline.trust.facts import SIGNED_AT, instant_text
from pipeline.trust.reading import read_view
from pipeline.trust.sealed import ROOT_BYTES, open_sealed, seal
from pipeline.trust.state import TrustState
from tests.trust_world import some_facts

TOP = ("root", "timestamp", "snapshot", "targets")
FAR = timedelta(days=30)


class Recorded:
    """A store that remembers what it was asked for."""

    url = "http://tree"

    def __init__(self, store: MemoryStore) -> None:
        self.store = store
        self.asked: list[str] = []

    def get(self, key: str, *, start: int = 0, size: int | None = None) -> Iterator[bytes]:
        self.asked.append(key)
        return self.store.get(key, start=start, size=size)


class Repo:
    """Signed metadata of every role, one version after another; a snapshot and the timestamp always come together."""

    def __init__(self, *, hashes: bool = True) -> None:
        self.hashes = hashes
        self.now = datetime.now(UTC).replace(microsecond=0)
        self.store = MemoryStore()
        self.signers: dict[str, dict[str, CryptoSigner]] = {role: {} for role in TOP}
        self.root = Root(expires=self.now + FAR, consistent_snapshot=True)
        self.targets = Targets(expires=self.now + FAR)
        self.snapshot = Snapshot(expires=self.now + FAR, meta={})
        self.timestamp = Timestamp(expires=self.now + FAR, snapshot_meta=MetaFile(1))
        # The first publishing makes it 1.
        self.root.version = self.targets.version = self.snapshot.version = 0
        self.models: dict[str, Targets] = {}
        for role in TOP:
            self.add_key(role)
        self.publish("root", "targets", "snapshot")

    def role(self, name: str) -> Any:
        return getattr(self, name) if name in TOP else self.models[name]

    def add_key(self, role: str, signer: CryptoSigner | None = None, *, delegator: str = "targets") -> CryptoSigner:
        signer = signer or CryptoSigner.generate_ed25519()
        names = self.root if role in TOP else self.role(delegator)
        names.add_key(signer.public_key, role)
        self.signers.setdefault(role, {})[signer.public_key.keyid] = signer
        return signer

    def rotate_keys(self, role: str) -> None:
        for keyid in list(self.signers[role]):
            self.root.revoke_key(keyid, role)
        self.signers[role].clear()
        self.add_key(role)

    def delegate(self, name: str, *, by: str = "targets", paths: Iterable[str] | None = None, terminating: bool = False) -> None:
        """Name a role; its own metadata is made with its first delegation."""
        delegator = self.role(by)
        if delegator.delegations is None:
            delegator.delegations = Delegations(keys={}, roles={})
        delegator.delegations.roles[name] = DelegatedRole(name, [], 1, terminating, list(paths or [f"{name}/*/*"]))
        if name not in self.models:
            self.models[name] = Targets(expires=self.now + FAR)
            self.models[name].version = 0
        self.add_key(name, delegator=by)

    def add_release(self, text: str, body: bytes, *, role: str = "", hashes: list[str] | None = None) -> TargetFile:
        release = Release.parse(text)
        path = f"{release.model}/{release.version}/manifest.json"
        target = TargetFile.from_data(path, body, hashes or ["sha256"])
        target.unrecognized_fields["custom"] = msgspec.to_builtins(some_facts())
        self.role(role or release.model).targets[path] = target
        self.put_target(target, body)
        return target

    def put_target(self, target: TargetFile, body: bytes) -> None:
        folder, _, name = target.path.rpartition("/")
        for digest in target.hashes.values():
            self.put(f"targets/{folder}/{digest}.{name}", body)

    def put(self, key: str, data: bytes) -> None:
        self.store.put(key, data, sha256=sha256_of(data))

    def data(self, role: str, version: int | None = None) -> bytes:
        return b"".join(self.store.get(role_key(role, version or self.role(role).version)))

    def publish(self, *roles: str, keep_versions: bool = False) -> None:
        """Sign new versions of ``roles``. A snapshot is announced by a timestamp of its own number."""
        for name in roles:
            signed = self.role(name)
            if not keep_versions:
                signed.version += 1
            if name == "snapshot":
                self.announce()
                continue
            data = seal(signed, self.signers[name].values()).data
            self.put(role_key(name, signed.version), data)
            if name not in {"root", "timestamp"}:
                self.snapshot.meta[f"{name}.json"] = self.meta(signed.version, data)

    def announce(self) -> None:
        """Sign the snapshot as it is, and a timestamp for it."""
        self.snapshot.unrecognized_fields[SIGNED_AT] = instant_text(self.now)
        data = seal(self.snapshot, self.signers["snapshot"].values()).data
        self.put(role_key("snapshot", self.snapshot.version), data)
        self.timestamp.version = self.snapshot.version
        self.timestamp.snapshot_meta = self.meta(self.snapshot.version, data)
        self.sign_timestamp()

    def sign_timestamp(self) -> None:
        self.timestamp.unrecognized_fields[SIGNED_AT] = instant_text(self.now)
        self.put(TIMESTAMP, seal(self.timestamp, self.signers["timestamp"].values()).data)

    def meta(self, version: int, data: bytes) -> MetaFile:
        return MetaFile(version, len(data), {"sha256": sha256_of(data)}) if self.hashes else MetaFile(version)


class _Fetcher(FetcherInterface):
    def __init__(self, source: Recorded) -> None:
        self.source = source

    def _fetch(self, url: str) -> Iterator[bytes]:
        try:
            return iter(list(self.source.get(url.removeprefix("http://tree/"))))
        except ObjectMissing as error:
            raise DownloadHTTPError(str(error), 404) from error


@dataclass
class Ours:
    """Our reader, with the state of one place."""

    repo: Repo
    folder: Path
    first_root: bytes
    source: Recorded = field(init=False)

    def __post_init__(self) -> None:
        self.source = Recorded(self.repo.store)
        self.state = TrustState(self.folder / "ours")
        self.state.trust_root(open_sealed(self.first_root, Root, what="the first root", cap=ROOT_BYTES), None)

    def view(self, at: datetime | None = None, source: Any = None):
        return read_view(source or self.source, self.state, now=lambda: at or self.repo.now)

    def refresh(self, at: datetime | None = None) -> str:
        try:
            self.view(at)
        except ModelportError as error:
            return type(error).__name__
        return ""

    def download(self, release: str) -> bytes | str:
        try:
            parsed = Release.parse(release)
            view = self.view()
            view.release(parsed)
            return view.manifest_bytes(parsed)
        except ModelportError as error:
            return type(error).__name__

    def versions(self) -> dict[str, int]:
        return self.versions_of(self.state)

    @staticmethod
    def versions_of(state: TrustState) -> dict[str, int]:
        document = state.read()
        return {"root": document.root} | {role: seen.version for role, seen in document.seen.items()}


@dataclass
class Theirs:
    """The unmodified reference client, with a folder of its own."""

    repo: Repo
    folder: Path
    first_root: bytes
    source: Recorded = field(init=False)

    def __post_init__(self) -> None:
        self.source = Recorded(self.repo.store)
        (self.folder / "theirs" / "files").mkdir(parents=True, exist_ok=True)

    def updater(self, at: datetime | None = None) -> Updater:
        home = self.folder / "theirs"
        made = Updater(
            str(home), "http://tree/metadata/", str(home / "files"), "http://tree/targets/", _Fetcher(self.source),
            bootstrap=self.first_root,
        )  # fmt: skip
        # It has no setting for its clock.
        made._trusted_set.reference_time = at or self.repo.now
        return made

    def refresh(self, at: datetime | None = None) -> str:
        try:
            self.updater(at).refresh()
        except (RepositoryError, DownloadError) as error:
            return type(error).__name__
        return ""

    def download(self, release: str) -> bytes | str:
        parsed = Release.parse(release)
        try:
            updater = self.updater()
            info = updater.get_targetinfo(f"{parsed.model}/{parsed.version}/manifest.json")
            if info is None:
                return "unknown"
            path = updater.find_cached_target(info) or updater.download_target(info)
        except (RepositoryError, DownloadError) as error:
            return type(error).__name__
        return Path(path).read_bytes()

    def versions(self) -> dict[str, int]:
        found = {}
        for path in (self.folder / "theirs").glob("*.json"):
            found[path.stem] = Metadata.from_file(str(path)).signed.version
        return found


@dataclass
class Pair:
    """Both readers before one repository. ``look`` demands one answer of both, and equal trust afterwards."""

    repo: Repo
    ours: Ours
    theirs: Theirs

    def look(self, *, accepted: bool, at: datetime | None = None) -> None:
        found = {"ours": self.ours.refresh(at), "theirs": self.theirs.refresh(at)}
        assert {name: not fault for name, fault in found.items()} == {"ours": accepted, "theirs": accepted}, found
        assert self.ours.versions() == self.theirs.versions()

    def get(self, release: str) -> bytes | None:
        """What both download, None if both refuse."""
        found = [self.ours.download(release), self.theirs.download(release)]
        bodies = [body if isinstance(body, bytes) else None for body in found]
        assert bodies[0] == bodies[1], found
        return bodies[0]

    @property
    def versions(self) -> dict[str, int]:
        return self.ours.versions()


_COUNT = itertools.count(1)


def pair(folder: Path, *, repo: Repo | None = None, first_root: bytes | None = None, hashes: bool = True) -> Pair:
    repo = repo or Repo(hashes=hashes)
    folder = folder / f"pair{next(_COUNT)}"
    root = first_root or repo.data("root", 1)
    return Pair(repo, Ours(repo, folder, root), Theirs(repo, folder, root))


def serving(both: Pair) -> Pair:
    """A repository with two releases of one model."""
    both.repo.delegate("bert")
    both.repo.add_release("bert-v1.0.0", b"one")
    both.repo.add_release("bert-v2.0.0", b"two")
    both.repo.publish("bert", "targets", "snapshot")
    return both


def model(name: str) -> ModelName:
    return ModelName(name)
