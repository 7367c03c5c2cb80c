"""A tree whose store lets days pass, people who publish and retire there, and the collector."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

from pipeline.collect import Collected, CollectOrder, collect_garbage
from pipeline.layout import AUDIT, PARTS, TARGETS, part_key, role_version
from pipeline.outcome import Published
from pipeline.ports import ObjectInfo, ObjectStore
from pipeline.release import Release
from pipeline.stores.memory import MemoryStore
from pipeline.trust.keyfolder import open_keys
from pipeline.trust.publisher import Publisher, no_step
from pipeline.verify import verify_release
from pipeline.withdraw import retire_release
from tests.publish_world import Machine, Shelf, Site, lay_out, memory_shelf


class Aging:
    """A store in which days pass when a test says so, for what stands there and for its own clock."""

    def __init__(self, inner: ObjectStore) -> None:
        self.inner = inner
        self.passed = timedelta()
        self._at: dict[str, timedelta] = {}

    def __getattr__(self, name: str):
        return getattr(self.inner, name)

    def now(self) -> datetime:
        return self.inner.now() + self.passed

    def put(self, key: str, body, **conditions) -> ObjectInfo:
        info = self.inner.put(key, body, **conditions)
        self._at[key] = self.passed
        return self._aged(info)

    def head(self, key: str) -> ObjectInfo:
        return self._aged(self.inner.head(key))

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        return map(self._aged, self.inner.list(prefix))

    def _aged(self, info: ObjectInfo) -> ObjectInfo:
        return replace(info, modified_at=info.modified_at + self._at.get(info.key, timedelta()))

    def copy(self) -> Aging:
        """The same in memory, to be changed alone."""
        other = Aging(MemoryStore("copy"))
        other.inner._objects = dict(self.inner._objects)
        other.passed, other._at = self.passed, dict(self._at)
        return other


class Garden:
    """One tree with bert-v1.0.0, bert-v1.1.0 on stable, and gpt-v1.0.0, which is retired; what is fallen is collected."""

    def __init__(self, folder: Path, shelf: Shelf | None = None) -> None:
        self.folder = folder
        self.site = Site(folder, shelf or memory_shelf())
        self.machine = self.site.begin()
        self.store = Aging(self.site.store)

    def plant(self) -> Garden:
        """Publish all of it, and retire gpt-v1.0.0."""
        self.publish("bert-v1.0.0", self.source("bert", 0), channel="stable")
        self.publish("bert-v1.1.0", self.source("bert", 1), channel="stable")
        self.publish("gpt-v1.0.0", self.source("gpt", 0))
        self.retire("gpt-v1.0.0")
        return self

    def copy(self, folder: Path) -> Garden:
        """The same garden, in memory, with a machine whose state is its own."""
        other = object.__new__(Garden)
        shutil.copytree(self.machine.home, folder / "first")
        other.folder = self.folder
        other.site = self.site
        other.machine = Machine(folder / "first", self.machine.shelf, self.machine.keys, self.machine.ahead_s)
        other.store = self.store.copy()
        return other

    def source(self, model: str, number: int) -> Path:
        folder = self.folder / "sources" / f"{model}{number}"
        return folder if folder.exists() else lay_out(folder, seed=len(model), other=number, tensor_bytes=4 << 10)

    def place(self, *, store=None, step: Callable[[str], None] = no_step):
        return self.machine.place(store=store or self.store, step=step)

    def publish(self, release: str, source: Path, *, place=None, **flags) -> Published:
        return self.machine.publish(release, source, place=place or self.place(), **flags)

    def retire(self, release: str):
        return retire_release(Release.parse(release), self.place(), self.machine.events.append, reason="old")

    def pass_days(self, days: float) -> None:
        self.store.passed += timedelta(days=days)
        self.machine.ahead_s += days * 86400

    def collect(self, *, apply: bool = True, place=None, **order) -> Collected:
        return collect_garbage(CollectOrder(apply=apply, **order), place or self.place(), self.machine.events.append)

    def tree(self) -> set[str]:
        """Everything but what is for publishers only."""
        return {info.key for info in self.store.list("") if not info.key.startswith("control/")}

    def records(self) -> list[dict]:
        """What collections recorded, the oldest first."""
        found = sorted(self.store.list(AUDIT), key=lambda info: info.modified_at)
        return [json.loads(b"".join(self.store.get(info.key))) for info in found]

    def whole(self, *releases: str) -> None:
        """Read every object of these releases, to the last byte."""
        for release in releases:
            verify_release(Release.parse(release), self.place(), self.machine.events.append, sample_percent=100)

    def objects(self, release: str) -> set[str]:
        """The manifest of a release that is there, and its parts."""
        view, named = self.place().view(), Release.parse(release)
        return {view.release(named).key, *(part_key(part.blake3) for part in view.manifest(named).parts)}

    def dangling(self) -> set[str]:
        """What a snapshot or a manifest that stands there names and is missing: there must be none at any moment."""
        there = self.tree()
        named: set[str] = set()
        for key in there:
            data = b"" if key.startswith("parts/") else b"".join(self.store.get(key))
            if key.endswith(".snapshot.json"):
                meta = json.loads(data)["signed"]["meta"]
                named |= {f"metadata/{one['version']}.{role}" for role, one in meta.items()}
            elif key.endswith(".manifest.json"):
                named |= {f"parts/{part['blake3'][:2]}/{part['blake3']}" for part in json.loads(data)["parts"]}
        return named - there

    def reader(self):
        reader = self.site.reader()
        reader.store = self.store
        return reader


def garbage_of(done: Collected) -> set[str]:
    return {one.key for one in done.garbage}


def deleted_of(done: Collected) -> set[str]:
    return {one.key for one in done.garbage if one.deleted}


ORPHAN = f"{PARTS}ab/{'ab' * 32}"


def of_model(keys: Iterable[str], model: str) -> set[str]:
    """The manifests of a model among these keys."""
    return {key for key in keys if key.startswith(f"{TARGETS}{model}/") and "manifest" in key}


def parts(keys: Iterable[str]) -> set[str]:
    """The parts among these keys."""
    return {key for key in keys if key.startswith(PARTS)}


def roles(keys: Iterable[str], role: str) -> list[int]:
    """The versions of a role among these keys, in order."""
    return sorted(found[1] for key in keys if (found := role_version(key)) and found[0] == role)


def replace_keys(publisher: Publisher, garden: Garden) -> Publisher:
    """The publisher with the keys that the garden's machine made."""
    return replace(publisher, keys=open_keys(Path(garden.machine.keys)))
