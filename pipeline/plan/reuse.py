"""What the bases already hold: chunks to refer to, parts to fall into again.

Takes the manifests of the bases, gives a ``Reuse`` to look chunks up in. A base part has a negative
number here, a new part a number from 0 on; ``plan.assemble`` gives them their places in the manifest.

next: ``plan.assemble``
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import msgspec

from pipeline.digest import Blake3
from pipeline.manifest import Chunk, Manifest, Part, Profile
from pipeline.plan.inputs import EncodingChoice
from pipeline.plan.pack import kept_parts


@dataclass(frozen=True, slots=True)
class Reuse:
    """``chunks`` by plain digest (profile default); ``starts``: first chunks of base parts (raw, web).

    ``parts[-1 - number]`` is the base part with that negative number.
    """

    chunks: Mapping[Blake3, Chunk]
    starts: frozenset[Blake3]
    parts: Sequence[Part]


def reuse_bases(bases: Iterable[Manifest], *, profile: Profile, encoding: EncodingChoice) -> Reuse:
    """Index what ``bases`` hold; of two that hold the same chunk, the earlier one serves.

    Where parts hold one file each, only whole parts are taken over: those that come out with the
    name of a base part, helped by cutting where one begins. A publish that asks for raw bytes takes
    raw chunks only.
    """
    chunks: dict[Blake3, Chunk] = {}
    starts: set[Blake3] = set()
    parts: list[Part] = []
    taken: dict[Blake3, list[tuple[int, int]]] = {}
    for manifest in bases:
        first = len(parts)
        parts.extend(manifest.parts)
        if profile != "default":
            starts |= _starts(manifest)
            continue
        for chunk in (chunk for file in manifest.files for chunk in file.chunks):
            if chunk.blake3 in chunks or (encoding == "raw" and chunk.encoding != "raw"):
                continue
            if _take(taken.setdefault(manifest.parts[chunk.part].blake3, []), chunk):
                chunks[chunk.blake3] = msgspec.structs.replace(chunk, part=-1 - first - chunk.part)
    return Reuse(chunks, frozenset(starts), parts)


def _starts(manifest: Manifest) -> set[Blake3]:
    """First chunks of parts, but for those that come up elsewhere too: they do not tell where a part begins."""
    places = {(chunk.part, chunk.offset): chunk for file in manifest.files for chunk in file.chunks}
    times = Counter(chunk.blake3 for chunk in places.values())
    return {
        chunk.blake3 for chunk in places.values() if chunk.offset == 0 and chunk.encoding == "raw" and times[chunk.blake3] == 1
    }


def _take(taken: list[tuple[int, int]], chunk: Chunk) -> bool:
    """Note the chunk's range of its part, unless it overlaps one that is noted: two bases may have cut one part in two ways."""
    start, end = chunk.offset, chunk.offset + chunk.stored
    at = bisect_left(taken, (start, end))
    if (at > 0 and taken[at - 1][1] > start) or (at < len(taken) and taken[at][0] < end):
        return False
    taken.insert(at, (start, end))
    return True


def poor_parts(used: Iterable[Chunk], reuse: Reuse) -> frozenset[int]:
    """Numbers of the base parts of which less than a quarter serves: their chunks are packed anew."""
    sizes: dict[str, int] = {}
    served: dict[str, int] = {}
    numbers: dict[str, set[int]] = {}
    for part, _, stored in {(chunk.part, chunk.offset, chunk.stored) for chunk in used if chunk.part < 0}:
        found = reuse.parts[-1 - part]
        sizes[found.blake3] = found.size
        served[found.blake3] = served.get(found.blake3, 0) + stored
        numbers.setdefault(found.blake3, set()).add(part)
    kept = kept_parts(sizes, served)
    return frozenset(number for name, of_name in numbers.items() if name not in kept for number in of_name)
