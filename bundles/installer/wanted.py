"""What is still to be placed, and where its bytes come from: a pure decision.

Takes manifests with the files to be written, what the volumes and the site hold, and the base releases that are
installed; gives a ``Work``: for each part the chunks to take out of it, and for the rest the files of bases. What
can come from nowhere is named before anything is written.

next: ``placing``
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from bundles.installer.manifest import Chunk, Manifest, Part


class Target(NamedTuple):
    """Where plain bytes belong: which landing, which file of its manifest, at which byte."""

    landing: int
    file: int
    at: int


class Origin(NamedTuple):
    """Where a base has a chunk: which base, which file of its manifest, at which byte."""

    base: int
    file: int
    at: int


@dataclass
class Job:
    """A part, and what is to be taken out of it."""

    part: Part
    chunks: dict[Chunk, list[Target]] = field(default_factory=dict)

    def in_order(self) -> list[tuple[Chunk, list[Target]]]:
        """The chunks by their place in the part."""
        return sorted(self.chunks.items(), key=lambda item: item[0].offset)


@dataclass
class Work:
    """``jobs`` by the part's name; ``copies`` from bases; ``lost``: parts that nobody has."""

    jobs: dict[str, Job] = field(default_factory=dict)
    copies: dict[Origin, list[tuple[Chunk, Target]]] = field(default_factory=dict)
    lost: dict[str, Part] = field(default_factory=dict)

    @property
    def framed(self) -> bool:
        """Whether a decoder is needed."""
        return any(chunk.encoding != "raw" for job in self.jobs.values() for chunk in job.chunks)


def plan_work(
    releases: Sequence[tuple[Manifest, Sequence[int]]],
    have: Collection[str],
    bases: Sequence[Manifest],
) -> Work:
    """Decide where every chunk comes from.

    ``have`` are the names of parts in the bundle's plan, and of those that the site keeps.
    """
    origins: dict[tuple[str, int], Origin] = {}
    for number, base in enumerate(bases):
        for place in base.places():
            origins.setdefault((place.chunk.blake3, place.chunk.plain), Origin(number, place.file, place.at))
    work = Work()
    for landing, (manifest, files) in enumerate(releases):
        chosen = set(files)
        for place in manifest.places():
            if place.file not in chosen:
                continue
            part, target = manifest.parts[place.chunk.part], Target(landing, place.file, place.at)
            # The number of a part is its manifest's own; between manifests only its name counts.
            chunk = place.chunk._replace(part=0)
            origin = origins.get((chunk.blake3, chunk.plain))
            if part.blake3 in have:
                work.jobs.setdefault(part.blake3, Job(part)).chunks.setdefault(chunk, []).append(target)
            elif origin is not None:
                work.copies.setdefault(origin, []).append((chunk, target))
            else:
                work.lost[part.blake3] = part
    return work
