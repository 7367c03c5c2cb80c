"""Hold a release's stored objects against its manifest: sizes, digests, and every chunk decoded.

Takes a store, a manifest and how much to read, gives ``Finding``s: every missing, short or wrong
object by name. Nothing is raised for what is found; the walk decides.

next: ``steps.commit``
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from pipeline.digest import blake3_of, sha256_of
from pipeline.encoding import decode_chunk
from pipeline.errors import IntegrityError, InvalidDocument, ObjectMissing
from pipeline.layout import part_key
from pipeline.manifest import PART_BYTES, Chunk, Manifest, Part
from pipeline.ports import ObjectStore, read_object
from pipeline.steps.readback import fault_of
from pipeline.steps.sampling import draw_sample
from pipeline.workers import in_order, threads

LOOKS_AT_ONCE = 16
# A part in memory each, 64 MiB by default, beside its decoded chunks.
READS_AT_ONCE = 2


@dataclass(frozen=True, slots=True)
class Finding:
    """One object that is not what the signed manifest says, and how; ``absent`` where its store was never to hold it."""

    key: str
    fault: str
    absent: ObjectMissing | None = None


@dataclass(frozen=True, slots=True)
class Looked:
    """What was looked at: ``objects`` by size and the store's digest, ``read`` by their ``bytes``."""

    objects: int
    read: int
    bytes: int
    findings: tuple[Finding, ...]


def inspect_parts(store: ObjectStore, manifest: Manifest, *, sample_percent: float, done: Callable[[int], None]) -> Looked:
    """Look at every part, and read ``sample_percent`` of them (100: all; 0: none) to the last byte.

    The sample is drawn by the manifest's own digests, so that a repeated run looks at the same parts.
    ``done`` is called with the bytes of each part read.
    """
    chosen = draw_sample([part.blake3 for part in manifest.parts], sample_percent)
    chunks: dict[int, dict[int, Chunk]] = {index: {} for index in chosen}
    for file in manifest.files:
        for chunk in file.chunks:
            if chunk.part in chunks:
                chunks[chunk.part][chunk.offset] = chunk
    findings: dict[str, Finding] = {}
    with threads(LOOKS_AT_ONCE, "look") as pool:
        looks = in_order(pool, lambda part: _look(store, part), manifest.parts, ahead=2 * LOOKS_AT_ONCE)
        findings.update((finding.key, finding) for finding in looks if finding)
    readable = [index for index in chosen if part_key(manifest.parts[index].blake3) not in findings]
    total = 0
    with threads(READS_AT_ONCE, "read") as pool:
        reads = in_order(pool, lambda index: _read(store, manifest.parts[index], chunks[index]), readable, ahead=READS_AT_ONCE)
        for index, finding in zip(readable, reads, strict=True):
            total += manifest.parts[index].size
            done(manifest.parts[index].size)
            if finding:
                findings[finding.key] = finding
    return Looked(len(manifest.parts), len(readable), total, tuple(findings[key] for key in sorted(findings)))


def _look(store: ObjectStore, part: Part) -> Finding | None:
    key = part_key(part.blake3)
    try:
        fault = fault_of(store, part, store.head(key), read=False)
    except ObjectMissing as error:
        return Finding(key, "it is not here", error) if error.settled else Finding(key, "it is missing")
    return Finding(key, fault) if fault else None


def _read(store: ObjectStore, part: Part, chunks: Mapping[int, Chunk]) -> Finding | None:
    key = part_key(part.blake3)
    fault = next(_faults(store, part, key, chunks), None)
    return Finding(key, fault) if fault else None


def _faults(store: ObjectStore, part: Part, key: str, chunks: Mapping[int, Chunk]) -> Iterator[str]:
    try:
        body = read_object(store, key, cap=min(part.size, PART_BYTES))
    except ObjectMissing:
        yield "it is missing"
        return
    except InvalidDocument:
        yield f"it has more than {part.size} bytes"
        return
    if len(body) != part.size:
        yield f"it has {len(body)} bytes, expected {part.size}"
        return
    for name, found, expected in (("blake3", blake3_of(body), part.blake3), ("sha256", sha256_of(body), part.sha256)):
        if found != expected:
            yield f"it has {name} {found}, expected {expected}"
            return
    view = memoryview(body)
    for offset, chunk in sorted(chunks.items()):
        stored = view[offset : offset + chunk.stored]
        try:
            plain = stored if chunk.encoding == "raw" else decode_chunk(stored, chunk.encoding, chunk.plain)
        except IntegrityError as error:
            yield f"the chunk at {offset} does not decode: {error}"
            continue
        if (chunk.stored_blake3 and blake3_of(stored) != chunk.stored_blake3) or blake3_of(plain) != chunk.blake3:
            yield f"the chunk at {offset} is not what the manifest says"
