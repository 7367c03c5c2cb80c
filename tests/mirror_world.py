"""A published tree to copy, and the supplies that read it."""

from __future__ import annotations

import itertools
import json
import shutil
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path

from pipeline.mirroring import Mirrored, MirrorOrder, mirror_tree
from pipeline.ports import ObjectStore
from pipeline.release import ModelName, Release
from pipeline.retry import Patience
from pipeline.sources.cachefolder import CacheFolder
from pipeline.sources.installed import Installs
from pipeline.sources.mirrors import Mirrors
from pipeline.sources.objects import StoreReader
from pipeline.supply import Supply
from pipeline.trust.state import TrustState
from tests.publish_world import Machine, Site, directory_shelf, lay_out
from tests.trust_world import Client

_COUNT = itertools.count(1)


def begin_tree(folder: Path) -> tuple[Site, Machine]:
    """A tree in a directory with bert-v1.0.0 on stable and gpt-v1.0.0."""
    site = Site(folder, directory_shelf(folder / "store"))
    machine = site.begin()
    machine.publish("bert-v1.0.0", lay_out(folder / "bert1", tensor_bytes=8 << 10), channel="stable")
    machine.publish("gpt-v1.0.0", lay_out(folder / "gpt1", seed=9, tensor_bytes=8 << 10))
    return site, machine


def publish_second(site: Site, machine: Machine) -> None:
    """bert-v2.0.0, which shares two tensors with its base, and the channel with it."""
    source = lay_out(site.folder / "bert2", other=1, tensor_bytes=8 << 10)
    machine.publish("bert-v2.0.0", source, channel="stable")


def one_release_later(site: Site, folder: Path) -> Site:
    """The same tree, one release later."""
    shutil.copytree(site.folder, folder, dirs_exist_ok=True)
    later = Site(folder, directory_shelf(folder / "store"), site.keys)
    publish_second(later, Machine(folder / "first", later.shelf, later.keys))
    return later


def client_of(site: Site, store: ObjectStore, folder: Path) -> Client:
    """The reference client, which trusts the tree of ``site``, before ``store``."""
    return Client(store, folder / f"reference{next(_COUNT)}", site.first_root)


def supply_of(*stores: ObjectStore, folder: Path, pins: Iterable[str], **more) -> Supply:
    """A client of its own, which trusts ``pins``."""
    home = folder / f"client{next(_COUNT)}"
    state = TrustState(home / "state")
    for pin in pins:
        state.pin(pin)
    return Supply(
        sources=Mirrors([StoreReader(store) for store in stores], sleep=lambda _: None),
        state=state,
        cache=CacheFolder(home / "cache", 1 << 30),
        installs=Installs(home / "installed"),
        now=lambda: datetime.now(UTC),
        patience=Patience(attempts=2, first_wait_s=0.001),
        **more,
    )


def mirrored(site: Site, target: ObjectStore, *names: str, stores: tuple[ObjectStore, ...] = (), dry=False, **flags) -> Mirrored:
    """Mirror the tree of ``site``; a name with a version is a release."""
    chosen = tuple(Release.parse(name) if "-v" in name else ModelName(name) for name in names)
    supply = supply_of(*(stores or (site.store,)), folder=site.folder, pins=[site.fingerprint])
    return mirror_tree(MirrorOrder(chosen, **flags), supply, target, lambda _: None, by="me@test", dry=dry)


def contents(store: ObjectStore, *, control: bool = False) -> dict[str, bytes]:
    """Every object but what is for publishers only."""
    return {info.key: b"".join(store.get(info.key)) for info in store.list("") if control or not info.key.startswith("control/")}


def current(store: ObjectStore) -> dict[str, bytes]:
    """The tree that a store announces, read without any of our code: no snapshot, role or channel that was replaced."""
    everything = contents(store)

    def signed(name: str) -> dict:
        return json.loads(everything[f"metadata/{name}.json"])["signed"]

    snapshot = signed("timestamp")["meta"]["snapshot.json"]["version"]
    names = [f"{meta['version']}.{role.removesuffix('.json')}" for role, meta in signed(f"{snapshot}.snapshot")["meta"].items()]
    keys = {"metadata/timestamp.json", f"metadata/{snapshot}.snapshot.json", *(f"metadata/{name}.json" for name in names)}
    keys |= {key for key in everything if key.endswith(".root.json") or key.startswith("parts/")}
    for name in names:
        for path, target in signed(name)["targets"].items():
            folder, _, file = path.rpartition("/")
            keys.add(f"targets/{folder}/{target['hashes']['sha256']}.{file}")
    return {key: everything[key] for key in keys}
