"""From chunks in numbered parts to the files and parts of a manifest.

Takes files whose chunks point into new parts (0, 1, …) and base parts (−1, −2, …), gives parts in
order of first use and chunks renumbered to match. Parts of one name become one.

next: ``pipeline.workers``
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

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
    files: Iterable[IndexedFile], new_parts: Sequence[Part], base_parts: Sequence[Part]
) -> tuple[tuple[Part, ...], tuple[File, ...]]:
    """Give the manifest's parts and files."""
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
                part = new_parts[chunk.part] if chunk.part >= 0 else base_parts[-1 - chunk.part]
                if part.blake3 not in index_of:
                    index_of[part.blake3] = len(listed)
                    listed.append(part)
                renumbered.extend(twins.settle(chunk, index_of[part.blake3]))
            # Two equal files may be cut differently when their names suggest different formats.
            chunks = same.setdefault((file.size, file.sha256), tuple(renumbered))
        made.append(File(path=file.path, size=file.size, sha256=file.sha256, executable=file.executable, chunks=chunks))
    return tuple(listed), tuple(made)


class _Twins:
    """Two parts that came out with the same bytes are one part, described the way the first one was.

    Only profiles raw and web can make such twins, and there a part is one unbroken run of one file.
    """

    def __init__(self) -> None:
        self._first: dict[int, int] = {}
        self._runs: dict[int, list[Chunk]] = {}

    def settle(self, chunk: Chunk, index: int) -> Sequence[Chunk]:
        """Renumber ``chunk``; of a later twin's run, the first chunk gives the whole run and the others nothing."""
        first = self._first.setdefault(index, chunk.part)
        if first == chunk.part or chunk.part < 0:
            renumbered = msgspec.structs.replace(chunk, part=index)
            self._runs.setdefault(index, []).append(renumbered)
            return [renumbered]
        return self._runs[index] if chunk.offset == 0 else []
