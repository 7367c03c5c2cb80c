"""Chunks that this machine already has: in the cache, in folders installed before, in the one that is to be replaced.

Takes places where chunks may lie, copies them into a landing folder, and believes only what hashes right
afterwards where it was written: the original may change at any moment, the copy is ours.

next: ``steps.receive``
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from pipeline.digest import Blake3
from pipeline.manifest import Manifest
from pipeline.plan.fetching import Copy, Piece, Spot
from pipeline.processors import usable_processors
from pipeline.sources.cachefolder import CacheFolder
from pipeline.steps.folders import open_file
from pipeline.steps.landing import Landing
from pipeline.steps.proofread import hash_at
from pipeline.workers import in_order, threads

# A multiple of every block size, so that a file system that can share blocks goes on sharing them.
STEP_BYTES = 64 << 20


@dataclass(frozen=True, slots=True)
class Holder:
    """A folder that may hold chunks; ``rotten`` is told the path of a file whose bytes are not what they were."""

    folder: Path
    rotten: Callable[[str], None] = lambda _: None
    used: Callable[[str], None] = lambda _: None


@dataclass(slots=True)
class Holdings:
    """Every place where a wanted chunk may lie; the first one that is named counts."""

    wanted: Collection[Blake3]
    holders: list[Holder] = field(default_factory=list)
    spots: dict[Blake3, Spot] = field(default_factory=dict)

    @property
    def complete(self) -> bool:
        """Every wanted chunk has a place where it may lie."""
        return len(self.spots) == len(self.wanted)

    def add_cache(self, cache: CacheFolder, rotten: Callable[[str], None]) -> None:
        """Look into the cache; an entry that proves rotten is dropped from it."""

        def drop(path: str) -> None:
            cache.drop(path)
            rotten(f"{cache.place / path}")

        number = len(self.holders)
        found = cache.spots(self._open(), number)
        self.holders.append(Holder(cache.place, drop, cache.used))
        self._take(found)

    def add_folder(self, folder: Path, manifest: Manifest) -> None:
        """Look into a folder that should hold the release of ``manifest``; where it does not, that is its owner's business."""
        wanted = self._open()
        number = len(self.holders)
        found: dict[Blake3, Spot] = {}
        for file in manifest.files:
            at = 0
            for chunk in file.chunks:
                if chunk.blake3 in wanted:
                    found.setdefault(chunk.blake3, Spot(number, file.path, at))
                at += chunk.plain
        self.holders.append(Holder(folder))
        self._take(found)

    def _open(self) -> set[Blake3]:
        return set(self.wanted) - self.spots.keys()

    def _take(self, found: dict[Blake3, Spot]) -> None:
        for digest, spot in found.items():
            self.spots.setdefault(digest, spot)


def copy_held(landing: Landing, holders: Sequence[Holder], copies: Iterable[Copy]) -> tuple[tuple[Piece, ...], int]:
    """Copy what is held into the landing.

    Returns:
        (the pieces that were not there after all, plain bytes that were).

    Raises:
        OSError: the landing's disk failed.
    """
    failed: list[Piece] = []
    copied = 0
    used: set[Spot] = set()
    rotten: set[Spot] = set()

    def work(run: list[Copy]) -> list[tuple[Copy, bool]]:
        return _copy_run(landing, holders[run[0].spot.holder], run)

    cores = usable_processors()
    with threads(cores, "copy") as pool:
        for results in in_order(pool, work, _runs(copies), ahead=2 * cores):
            for copy, right in results:
                holder, file = holders[copy.spot.holder], replace(copy.spot, at=0)
                if right:
                    copied += copy.piece.chunk.plain * len(copy.piece.targets)
                else:
                    failed.append(copy.piece)
                if not right and file not in rotten:
                    rotten.add(file)
                    holder.rotten(file.path)
                elif right and file not in used and file not in rotten:
                    used.add(file)
                    holder.used(file.path)
    return tuple(failed), copied


def _runs(copies: Iterable[Copy]) -> Iterator[list[Copy]]:
    """Copies that lie one behind the other in one file and go one behind the other into one file."""
    run: list[Copy] = []
    for copy in copies:
        if run and not _follows(run[-1], copy):
            yield run
            run = []
        run.append(copy)
    if run:
        yield run


def _follows(before: Copy, copy: Copy) -> bool:
    size = before.piece.chunk.plain
    a, b, source, target = before.spot, copy.spot, before.piece.targets[0], copy.piece.targets[0]
    return (a.holder, a.path, a.at + size) == (b.holder, b.path, b.at) and (source.file, source.at + size) == (
        target.file,
        target.at,
    )


def _copy_run(landing: Landing, holder: Holder, run: list[Copy]) -> list[tuple[Copy, bool]]:
    first = run[0]
    target = first.piece.targets[0]
    size = sum(copy.piece.chunk.plain for copy in run)
    try:
        # Links on the way are this machine's own affair: what is copied is believed only once it was hashed.
        folder_fd = os.open(holder.folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            source_fd = open_file(folder_fd, first.spot.path)
        finally:
            os.close(folder_fd)
    except OSError:
        return [(copy, False) for copy in run]
    try:
        with landing.using(target.file) as fd:
            _copy_bytes(source_fd, first.spot.at, fd, target.at, size)
            return [(copy, _check_and_spread(landing, fd, copy)) for copy in run]
    finally:
        os.close(source_fd)


def _check_and_spread(landing: Landing, fd: int, copy: Copy) -> bool:
    first, *others = copy.piece.targets
    chunk = copy.piece.chunk
    if hash_at(fd, first.at, chunk.plain) != chunk.blake3:
        return False
    if others:
        data = os.pread(fd, chunk.plain, first.at)
        for target in others:
            landing.write(target.file, target.at, data)
    return True


def _copy_bytes(source_fd: int, source_at: int, fd: int, at: int, size: int) -> None:
    end = source_at + size
    while source_at < end:
        step = min(STEP_BYTES, end - source_at)
        try:
            got = os.copy_file_range(source_fd, fd, step, source_at, at)
        except OSError:
            # Not every system copies like this, and none tells which of two disks failed.
            data = _read(source_fd, min(step, 1 << 20), source_at)
            got = os.pwrite(fd, data, at) if data else 0
        if not got:
            # The file ends early, or cannot be read; what was not written does not hash right.
            return
        source_at, at = source_at + got, at + got


def _read(source_fd: int, size: int, at: int) -> bytes:
    try:
        return os.pread(source_fd, size, at)
    except OSError:
        return b""
