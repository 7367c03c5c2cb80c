"""What must come over the network, what can be copied from here, and where each byte goes.

Takes a manifest, the files that are wanted, the places that are right already and the chunks that lie
somewhere on this machine; gives a ``FetchPlan`` with its totals. Chunks that are neighbours in a part
come as one range; a chunk that several files hold comes once. Reads nothing.

next: ``plan.lanes``
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from pipeline.digest import Blake3
from pipeline.manifest import Chunk, Manifest

# One request each: long enough that asking costs nothing beside 1 Gbit/s, short enough that many connections share the end.
RANGE_BYTES = 8 << 20
LEAST_RANGE_BYTES = 1 << 20
# As many ranges as keep 64 connections busy to the end.
RANGES_WANTED = 256


@dataclass(frozen=True, slots=True, order=True)
class Target:
    """A place in the release: byte ``at`` of file number ``file``."""

    file: int
    at: int


@dataclass(frozen=True, slots=True)
class Spot:
    """Where bytes may lie on this machine: byte ``at`` of ``path`` within the holder of that number."""

    holder: int
    path: str
    at: int


@dataclass(frozen=True, slots=True)
class Piece:
    """A chunk and every place it goes to."""

    chunk: Chunk
    targets: tuple[Target, ...]


@dataclass(frozen=True, slots=True)
class Copy:
    """A piece that may be had from ``spot``."""

    spot: Spot
    piece: Piece


@dataclass(frozen=True, slots=True)
class Range:
    """Pieces that lie one behind the other in a part and are asked for at once."""

    part: Blake3
    part_size: int
    pieces: tuple[Piece, ...]

    @property
    def start(self) -> int:
        """First byte in the part."""
        return self.pieces[0].chunk.offset

    @property
    def size(self) -> int:
        """Stored bytes."""
        last = self.pieces[-1].chunk
        return last.offset + last.stored - self.start


@dataclass(frozen=True, slots=True)
class FetchPlan:
    """The work of one fetch. ``kept`` are plain bytes that were right already."""

    ranges: tuple[Range, ...]
    copies: tuple[Copy, ...]
    kept: int

    @property
    def fetch_bytes(self) -> int:
        """Stored bytes that come over the network."""
        return sum(one.size for one in self.ranges)

    @property
    def copy_bytes(self) -> int:
        """Plain bytes that are copied from this machine."""
        return sum(copy.piece.chunk.plain * len(copy.piece.targets) for copy in self.copies)


def wanted_files(manifest: Manifest, include: Sequence[str], exclude: Sequence[str]) -> tuple[int, ...]:
    """Numbers of the files that match a pattern of ``include`` (none: all) and none of ``exclude``.

    In a pattern ``*`` matches any characters, ``/`` too, so that ``*.safetensors`` finds them in every folder.
    """
    return tuple(
        index
        for index, file in enumerate(manifest.files)
        if (not include or _matches(file.path, include)) and not _matches(file.path, exclude)
    )


def places_of(manifest: Manifest, files: Iterable[int]) -> Mapping[Target, Chunk]:
    """Every place of these files and the chunk that belongs there, in file order."""
    found: dict[Target, Chunk] = {}
    for index in files:
        at = 0
        for chunk in manifest.files[index].chunks:
            found[Target(index, at)] = chunk
            at += chunk.plain
    return found


def plan_fetch(
    manifest: Manifest, places: Mapping[Target, Chunk], right: Collection[Target], held: Mapping[Blake3, Spot]
) -> FetchPlan:
    """Decide where the bytes of ``places`` come from.

    ``right`` are places that hold their bytes already; ``held`` are chunks, by plain digest, that this machine
    has elsewhere. What turns out not to be there is planned again by the caller, without it.
    """
    missing: dict[Blake3, tuple[Chunk, list[Target]]] = {}
    kept = 0
    for target, chunk in places.items():
        if target in right:
            kept += chunk.plain
        else:
            missing.setdefault(chunk.blake3, (chunk, []))[1].append(target)
    pieces = [Piece(chunk, tuple(targets)) for chunk, targets in missing.values()]
    copies = [Copy(held[piece.chunk.blake3], piece) for piece in pieces if piece.chunk.blake3 in held]
    wanted = [piece for piece in pieces if piece.chunk.blake3 not in held]
    return FetchPlan(
        ranges=join_ranges(manifest, wanted),
        copies=tuple(sorted(copies, key=lambda copy: (copy.spot.holder, copy.spot.path, copy.spot.at))),
        kept=kept,
    )


def join_ranges(manifest: Manifest, pieces: Iterable[Piece]) -> tuple[Range, ...]:
    """Join neighbours up to a length that suits the total; no byte that nobody needs is asked for."""
    ordered = sorted(pieces, key=lambda piece: (piece.chunk.part, piece.chunk.offset))
    most = range_bytes(sum(piece.chunk.stored for piece in ordered))
    found: list[Range] = []
    run: list[Piece] = []

    def close() -> None:
        if run:
            part = manifest.parts[run[0].chunk.part]
            found.append(Range(part.blake3, part.size, tuple(run)))
            run.clear()

    for piece in ordered:
        if run:
            first, last = run[0].chunk, run[-1].chunk
            touches = (last.part, last.offset + last.stored) == (piece.chunk.part, piece.chunk.offset)
            if not touches or piece.chunk.offset + piece.chunk.stored - first.offset > most:
                close()
        run.append(piece)
    close()
    return tuple(found)


def range_bytes(total: int) -> int:
    """Longest range for ``total`` bytes."""
    return min(RANGE_BYTES, max(LEAST_RANGE_BYTES, total // RANGES_WANTED))


def rest_of(one: Range, done: int) -> Range | None:
    """What is left of a range whose first ``done`` pieces have come; None when that is all."""
    return Range(one.part, one.part_size, one.pieces[done:]) if done < len(one.pieces) else None


def _matches(path: str, patterns: Iterable[str]) -> bool:
    return any(fnmatchcase(path, pattern) for pattern in patterns)
