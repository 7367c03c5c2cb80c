"""A published tree, readers of it that can lie, and machines that fetch from it."""

from __future__ import annotations

import dataclasses
import itertools
import shutil
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pipeline.events import Event
from pipeline.fetch import Fetched, FetchOrder, fetch_release
from pipeline.plan.wants import read_want
from pipeline.retry import Patience
from pipeline.sources.cachefolder import CacheFolder
from pipeline.sources.http import HttpReader
from pipeline.sources.installed import Installs
from pipeline.sources.mirrors import Mirrors
from pipeline.sources.objects import FolderReader
from pipeline.supply import Supply
from pipeline.trust.state import TrustState
from pipeline.verify_folder import FolderVerified, prove_folder
from tests.publish_world import STABLE, Site, directory_shelf, lay_out

_COUNT = itertools.count(1)
QUICK = Patience(attempts=3, first_wait_s=0.0, longest_wait_s=0.0)


# Of ``publish_four``: a few chunks.
TENSOR = 600 << 10


class Reader(FolderReader):
    """A tree in a folder that keeps a list of what it was asked, and may do something to each block of a part."""

    def __init__(self, path: Path, spoil: Callable[[str, int, memoryview], memoryview] | None = None, name: str = "") -> None:
        super().__init__(path)
        self.asked: list[tuple[str, int, int]] = []
        self._spoil = spoil
        self._name = name
        self._lock_asked = threading.Lock()

    @property
    def url(self) -> str:
        return super().url + self._name

    def get(self, key, *, start=0, size=None):
        with self._lock_asked:
            self.asked.append((key, start, -1))
        return super().get(key, start=start, size=size)

    def revalidate(self, key, etag, *, cap):
        with self._lock_asked:
            self.asked.append((key, 0, -1))
        return super().revalidate(key, etag, cap=cap)

    def read_range(self, key, start, size, take, *, total=None):
        with self._lock_asked:
            self.asked.append((key, start, size))
        at = start

        def changed(block: memoryview) -> None:
            nonlocal at
            take(self._spoil(key, at, block) if self._spoil else block)
            at += len(block)

        super().read_range(key, start, size, changed, total=total)

    @property
    def part_bytes(self) -> int:
        return sum(size for _, _, size in self.asked if size > 0)


@dataclass
class Fetcher:
    """One computer that fetches: its own state, cache and models."""

    home: Path
    readers: Sequence[Reader]
    fingerprint: str
    events: list[Event] = field(default_factory=list)
    cache_limit: int = 1 << 30

    def __post_init__(self) -> None:
        TrustState(self.home / "trust").pin(self.fingerprint)

    @property
    def models(self) -> Path:
        return self.home / "models"

    @property
    def cache(self) -> CacheFolder:
        return CacheFolder(self.home / "cache", self.cache_limit)

    def supply(self, *, offline: bool = False) -> Supply:
        return Supply(
            sources=None if offline else Mirrors(self.readers, listen=self.events.append, sleep=lambda _: None),
            state=TrustState(self.home / "trust"),
            cache=self.cache,
            installs=Installs(self.home / "installed"),
            patience=QUICK,
            metadata_patience=QUICK,
        )

    def fetch(self, want: str, *, offline: bool = False, dry: bool = False, **order) -> Fetched:
        made = FetchOrder(read_want(want), self.models, **{"connections": 2, **order})
        try:
            return fetch_release(made, self.supply(offline=offline), self.events.append, dry=dry)
        finally:
            for reader in self.readers:
                if isinstance(reader, HttpReader):
                    reader.close()

    def verify(self, folder: Path, *, offline: bool = False, **flags) -> FolderVerified:
        return prove_folder(folder, self.supply(offline=offline), self.events.append, **flags)

    def said(self, code: str) -> list[str]:
        return [event.message for event in self.events if getattr(event, "code", "") == code]


@dataclass
class Tree:
    """A site in a directory, with the folders that were published to it."""

    folder: Path
    site: Site
    sources: dict[str, Path] = field(default_factory=dict)

    @property
    def store(self) -> Path:
        return self.folder / "store"

    def publish(self, release: str, source: Path, **flags) -> None:
        self.site.machine("publisher").publish(release, source, **flags)
        self.sources[release] = source

    def lay_out(self, release: str, *, needs: dict[str, str] | None = None, publish: bool = True, profile=None, **wishes) -> Path:
        source = lay_out(self.folder / "sources" / release, **wishes)
        if needs:
            lines = "".join(f'  {model}: "{versions}"\n' for model, versions in needs.items())
            (source / "model.yaml").write_text(f"dependencies:\n{lines}")
        if publish:
            self.publish(release, source, profile=profile)
        return source

    def fetcher(self, *readers: Reader, **wishes) -> Fetcher:
        return Fetcher(self.folder / f"fetcher{next(_COUNT)}", readers or (Reader(self.store),), self.site.fingerprint, **wishes)


def make_tree(folder: Path) -> Tree:
    folder.mkdir(parents=True, exist_ok=True)
    return Tree(folder, Site(folder, directory_shelf(folder / "store")))


def copy_of(tree: Tree, folder: Path) -> Tree:
    """The same tree in a place of its own, for a test that damages it."""
    shutil.copytree(tree.folder, folder)
    site = dataclasses.replace(tree.site, folder=folder, shelf=directory_shelf(folder / "store"))
    return Tree(folder, site, dict(tree.sources))


def contents(folder: Path) -> dict[str, tuple[bytes, bool]]:
    """Every file: its bytes, and whether it may be run."""
    return {
        path.relative_to(folder).as_posix(): (path.read_bytes(), bool(path.stat().st_mode & 0o100))
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def publish_four(folder: Path) -> Tree:
    """A tree of bert 1.0.0, 1.1.0 (one tensor changed) on stable, 2.0.0-rc.1; raw 1.0.0 in profile raw."""
    tree = make_tree(folder)
    tree.lay_out("bert-v1.0.0", tensor_bytes=TENSOR)
    source = tree.lay_out("bert-v1.1.0", tensor_bytes=TENSOR, other=1, publish=False)
    tree.publish("bert-v1.1.0", source, channel=STABLE)
    tree.lay_out("bert-v2.0.0-rc.1", tensor_bytes=TENSOR, other=2)
    tree.lay_out("raw-v1.0.0", tensor_bytes=TENSOR, seed=9, profile="raw")
    return tree


def check_arrived(tree: Tree, fetcher: Fetcher, release: str, folder: Path | None = None) -> None:
    """See that the release stands there whole, and nothing of how it came."""
    folder = folder or fetcher.models / release
    assert contents(folder) == contents(tree.sources[release])
    assert [path.name for path in folder.parent.iterdir() if path.name.startswith(".")] == []
