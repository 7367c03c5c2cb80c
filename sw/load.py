"""Assets from a folder: read once, hashed, scanned for what they refer to.

Takes a folder, gives ``Assets``: what naming needs of each file. Files that can refer to others are kept in memory, the
rest is hashed as it streams by.

next: ``sw.output``
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from pipeline.digest import Sha256
from pipeline.errors import SourceError
from pipeline.events import Listener, StepFinished, StepStarted, Warned
from pipeline.sources.folder import SourceFile, scan_folder
from pipeline.sources.reading import open_source
from pipeline.workers import in_order, threads
from sw.links import Dangling, links_of
from sw.manifest import OURS, PART_BYTES
from sw.naming import Loaded
from sw.scan.kinds import has_references, scan

BLOCK = 1 << 20


@dataclass(frozen=True, slots=True)
class Asset:
    """A file as it was read; ``parts`` are the sha256 of each 8 MiB of a large one."""

    file: SourceFile
    loaded: Loaded
    parts: tuple[Sha256, ...] = ()


@dataclass(frozen=True, slots=True)
class Assets:
    """All assets by path. ``keep`` are scripts whose names browsers remember."""

    by_path: Mapping[str, Asset]
    dangling: tuple[Dangling, ...]
    keep: frozenset[str]


def load_assets(place: Path, listen: Listener) -> Assets:
    """Read the assets of ``place``.

    Raises:
        SourceError: as ``scan_folder``; or an asset has the name of what the build writes.
        SourceChanged: a file changed while it was read.
    """
    folder = scan_folder(place, kind="web")
    taken = next((file.path for file in folder.files if file.path in OURS), None)
    if taken is not None:
        raise SourceError(
            f"{taken} in {place} has the name of a file that the build writes", hint="Rename it, or take it out of the assets."
        )
    listen(StepStarted("read assets", len(folder.files), folder.size))
    with threads(2, "assets") as pool:
        read = list(in_order(pool, _read, folder.files, ahead=64))
    paths = {asset.file.path for asset in read} | set(OURS)
    found: dict[str, Asset] = {}
    dangling: list[Dangling] = []
    keep: set[str] = set()
    for asset in read:
        linked, gone = _linked(asset, paths, listen)
        found[asset.file.path] = linked
        dangling += gone
        keep |= {link.target for link in linked.loaded.links if link.reference.how == "keep"}
    listen(StepFinished("read assets", len(folder.files), folder.size))
    return Assets(found, tuple(dangling), frozenset(keep))


def _read(file: SourceFile) -> Asset:
    with open_source(file.path, file.place, file.stat) as reader:
        if has_references(file.path):
            data = reader.read_at(0, file.size)
            reader.check_unchanged()
            return Asset(file, Loaded(file.path, file.size, Sha256(hashlib.sha256(data).hexdigest()), data))
        whole = hashlib.sha256()
        parts: list[Sha256] = []
        for start in range(0, file.size, PART_BYTES):
            part = hashlib.sha256()
            for at in range(start, min(start + PART_BYTES, file.size), BLOCK):
                block = reader.read_at(at, min(BLOCK, start + PART_BYTES - at, file.size - at))
                whole.update(block)
                if file.size > PART_BYTES:
                    part.update(block)
            if file.size > PART_BYTES:
                parts.append(Sha256(part.hexdigest()))
        reader.check_unchanged()
        return Asset(file, Loaded(file.path, file.size, Sha256(whole.hexdigest()), None), tuple(parts))


def _linked(asset: Asset, paths: Collection[str], listen: Listener) -> tuple[Asset, list[Dangling]]:
    data = asset.loaded.data
    if data is None:
        return asset, []
    path = asset.file.path
    scanned = scan(path, data)
    if scanned.fault:
        listen(Warned("web-unread", f"{path}: {scanned.fault}"))
    links, dangling = links_of(path, data, scanned, paths)
    # What the build adds keeps its name, so nothing changes where it is referred to.
    own = [link for link in links if link.target not in OURS]
    return replace(asset, loaded=replace(asset.loaded, links=tuple(own))), dangling
