"""A published tree, bundles built of it, and hands that damage them."""

from __future__ import annotations

import itertools
import json
import subprocess
import tarfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bundles.beside import Beside
from bundles.building import Built, build_bundle
from bundles.medium import Volume, open_volume
from bundles.planning import BundleOrder, Planned, plan_bundle
from bundles.reader import BundleReader
from bundles.recipes import RecipeShelf
from bundles.repairing import Repaired, repair_bundle
from bundles.selecting import Selection
from bundles.verifying import BundleVerified, verify_bundle
from pipeline.errors import UsageError
from pipeline.events import Event
from pipeline.plan.wants import read_want
from pipeline.release import Release
from pipeline.sources.cachefolder import CacheFolder
from pipeline.sources.installed import Installs
from pipeline.sources.mirrors import Mirrors
from pipeline.supply import Supply
from pipeline.trust.publisher import no_step
from pipeline.trust.state import TrustState
from tests.fetch_world import QUICK, Reader, Tree, make_tree

_COUNT = itertools.count(1)
INSTALLER = b"#!/usr/bin/env python3\n# stands for the installer\n"


def begin_tree(folder: Path, *, tensor_bytes: int = 1 << 20) -> Tree:
    """bert-v1.0.0 and 2.0.0 (one tensor differs) on stable, tok-v1.0.0 that bert-v2.0.0 needs, and a raw release."""
    tree = make_tree(folder)
    tree.lay_out("tok-v1.0.0", seed=5, tensor_bytes=8 << 10)
    tree.lay_out("bert-v1.0.0", tensor_bytes=tensor_bytes)
    source = tree.lay_out("bert-v2.0.0", needs={"tok": "^1.0.0"}, other=1, tensor_bytes=tensor_bytes, publish=False)
    tree.publish("bert-v2.0.0", source, channel="stable")
    tree.lay_out("plain-v1.0.0", seed=8, tensor_bytes=8 << 10, profile="raw")
    return tree


@dataclass
class Builder:
    """One computer that builds bundles of a tree: its own state and cache."""

    home: Path
    tree: Tree
    events: list[Event] = field(default_factory=list)
    readers: Sequence[Reader] = ()

    def __post_init__(self) -> None:
        TrustState(self.home / "trust").pin(self.tree.site.fingerprint)

    @property
    def shelf(self) -> RecipeShelf:
        return RecipeShelf(self.home / "recipes")

    def supply(self) -> Supply:
        readers = list(self.readers) or [Reader(self.tree.store)]
        return Supply(
            sources=Mirrors(readers, listen=self.events.append, sleep=lambda _: None),
            state=TrustState(self.home / "trust"),
            cache=CacheFolder(self.home / "cache", 1 << 30),
            installs=Installs(self.home / "installed"),
            patience=QUICK,
            metadata_patience=QUICK,
        )

    def order(
        self, *wants: str, size: int | None = None, bases: Sequence[str] = (), have=None, name: str = "", **flags
    ) -> BundleOrder:
        selection = Selection(
            wants=tuple(read_want(want) for want in wants),
            name=name,
            bases=tuple(Release.parse(base) for base in bases),
            have=have,
            allow_yanked=flags.pop("allow_yanked", False),
        )
        return BundleOrder(selection=selection, volume_size=size, connections=2, **flags)

    def plan(self, *wants: str, **flags) -> Planned:
        return plan_bundle(self.order(*wants, **flags), self.supply(), self.events.append, shelf=self.shelf)

    def build(
        self,
        to: Path,
        *wants: str,
        step: Callable[[str], None] = no_step,
        installer: bytes = INSTALLER,
        wheels: dict[str, Path] | None = None,
        pin=None,
        **flags,
    ) -> Built:
        return build_bundle(
            self.order(*wants, **flags),
            self.supply(),
            to,
            self.events.append,
            shelf=self.shelf,
            beside=lambda _: Beside(installer, wheels or {}),
            pin=pin,
            step=step,
        )


def builder_of(tree: Tree, *readers: Reader) -> Builder:
    return Builder(tree.folder / f"builder{next(_COUNT)}", tree, readers=readers)


def build_with_parity(tree: Tree) -> Path:
    """A bundle of several volumes with parity; tests take copies of it."""
    builder = builder_of(tree)
    wants = ("bert-v1.0.0", "bert@stable", "plain-v1.0.0")
    folder = tree.folder / "built"
    builder.build(folder, *wants, size=least_size(builder, *wants), parity=20)
    assert len(volumes_in(folder)) >= 3
    return folder


def volumes_in(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.tar"))


def contents_of(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def volume(path: Path) -> Volume:
    found = open_volume(path)
    assert isinstance(found, Volume), found
    return found


def reader_of(*folders: Path) -> BundleReader:
    return BundleReader(folders[0])


def least_size(builder: Builder, *wants: str, **flags) -> int:
    """The smallest volume size that works."""
    try:
        builder.plan(*wants, size=1, **flags)
    except UsageError as error:
        return int(error.hint.rsplit(" ", 1)[1].rstrip("."))
    raise AssertionError("one byte was enough")


def flip(path: Path, at: int, bits: int = 1) -> None:
    with path.open("r+b") as file:
        file.seek(at)
        byte = file.read(1)[0]
        file.seek(at)
        file.write(bytes([byte ^ bits]))


def member_at(path: Path, ending: str) -> tuple[int, int]:
    """(offset, size) of the first member whose key ends so or begins so."""
    for member, at in volume(path).layout.members:
        if member.key.endswith(ending) or member.key.startswith(ending):
            return at, member.size
    raise AssertionError(f"no member {ending}")


def listed_by_tar(path: Path) -> list[str]:
    """What a stock tar says is in a volume."""
    return subprocess.run(["tar", "-tf", path], check=True, capture_output=True, text=True).stdout.split()


def index_of(path: Path) -> dict:
    """A volume's index, read without any of our code."""
    with tarfile.open(path) as tar:
        return json.load(tar.extractfile(tar.next()))


def verify(*folders: Path, **flags: Any) -> BundleVerified:
    """Verify media, telling nobody."""
    return verify_bundle(folders, lambda _: None, **flags)


def repair(folder: Path, *others: Path) -> Repaired:
    """Repair a medium, telling nobody."""
    return repair_bundle(folder, others, lambda _: None)


def keys_in(folder: Path) -> set[str]:
    """The keys of all members of the volumes there."""
    return {key for path in volumes_in(folder) for key in listed_by_tar(path)}


def part_keys(tree: Tree, *releases: str) -> set[str]:
    """The keys of the parts that the manifests of these releases name."""
    found = set[str]()
    for release in releases:
        name = Release.parse(release)
        target = next((tree.store / "targets" / name.model / name.version).glob("*.manifest.json"))
        found |= {f"parts/{one['blake3'][:2]}/{one['blake3']}" for one in json.loads(target.read_bytes())["parts"]}
    return found
