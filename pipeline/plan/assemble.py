"""From chunks in numbered parts to the files and parts of a manifest.

Takes files whose chunks point into new parts (0, 1, …) and base parts (−1, −2, …), gives parts in
order of first use and chunks renumbered to match. Parts of one name become one; where two of them
were cut in unlike ways, only one can be referred to, and ``unlike_twins`` says which have to go.

next: ``plan.cost``
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import msgspec

from pipeline.digest import Blake3, Sha256
from pipeline.manifest import Chunk, File, Part


@dataclass(frozen=True, slots=True)
class IndexedFile:
    """A file that was read: its digest, and where its chunks lie."""

    path: str
    size: int
    sha256: Sha256
    executable: bool
    chunks: Sequence[Chunk]


def assemble_files(
    files: Iterable[IndexedFile], new_parts: Sequence[Part], base_parts: Sequence[Part], *, whole_parts: bool
) -> tuple[tuple[Part, ...], tuple[File, ...]]:
    """Give the manifest's parts and files; ``whole_parts``: a file is made of whole parts (profiles raw and web)."""
    listed: list[Part] = []
    index_of: dict[Blake3, int] = {}
    twins = _Twins()
    made: list[File] = []
    same: dict[tuple[int, Sha256], tuple[Chunk, ...]] = {}
    for file in files:
        chunks = same.get((file.size, file.sha256))
        if chunks is None:
            renumbered: list[Chunk] = []
            for chunk in file.chunks:
                part = _part_of(chunk, new_parts, base_parts)
                if part.blake3 not in index_of:
                    index_of[part.blake3] = len(listed)
                    listed.append(part)
                index = index_of[part.blake3]
                renumbered.extend(twins.settle(chunk, index) if whole_parts else [msgspec.structs.replace(chunk, part=index)])
            # Two equal files may be cut differently when their names suggest different formats.
            chunks = same.setdefault((file.size, file.sha256), tuple(renumbered))
        made.append(File(path=file.path, size=file.size, sha256=file.sha256, executable=file.executable, chunks=chunks))
    return tuple(listed), tuple(made)


def unlike_twins(chunks: Iterable[Chunk], new_parts: Sequence[Part], base_parts: Sequence[Part]) -> frozenset[int]:
    """Numbers of new parts that have another part's bytes, referred to by that one's numbers, but other chunks.

    A range of a part can be described in one way only (docs/format.md §3), so the chunks of these
    parts need another place.
    """
    by_name: dict[Blake3, dict[int, set[Chunk]]] = {}
    for chunk in chunks:
        numbers = by_name.setdefault(_part_of(chunk, new_parts, base_parts).blake3, {})
        numbers.setdefault(chunk.part, set()).add(msgspec.structs.replace(chunk, part=0))
    unlike: set[int] = set()
    for numbers in by_name.values():
        if len(numbers) > 1:
            # Base parts first: theirs are the chunks that were not read for this part.
            kept: set[Chunk] = set()
            for number in sorted(numbers):
                if number >= 0 and _overlap(kept | numbers[number]):
                    unlike.add(number)
                else:
                    kept |= numbers[number]
    return frozenset(unlike)


def _overlap(chunks: set[Chunk]) -> bool:
    ordered = sorted(chunks, key=lambda chunk: (chunk.offset, chunk.stored))
    return any(before.offset + before.stored > after.offset for before, after in pairwise(ordered))


def _part_of(chunk: Chunk, new_parts: Sequence[Part], base_parts: Sequence[Part]) -> Part:
    return new_parts[chunk.part] if chunk.part >= 0 else base_parts[-1 - chunk.part]


class _Twins:
    """Two parts that came out with the same bytes are one part, described the way the first one was.

    Only where a part is one unbroken run of one file: there the first one's run serves for the second.
    """

    def __init__(self) -> None:
        self._first: dict[int, int] = {}
        self._runs: dict[int, list[Chunk]] = {}

    def settle(self, chunk: Chunk, index: int) -> Sequence[Chunk]:
        """Renumber ``chunk``; of a later twin's run, the first chunk gives the whole run and the others nothing."""
        if self._first.setdefault(index, chunk.part) == chunk.part:
            renumbered = msgspec.structs.replace(chunk, part=index)
            self._runs.setdefault(index, []).append(renumbered)
            return [renumbered]
        return self._runs[index] if chunk.offset == 0 else []
