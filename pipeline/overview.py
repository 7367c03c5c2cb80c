"""Overview: all there is to know of one release, in one place: for a page that is handed on, or a program.

Takes a place and a release, gives an ``Overview``: what it is and shares, where its bytes came from, who signs
it until when, where its channels and its CDN work stand, and how it is fetched. Everything in it is verified.

next: ``pipeline.connect``
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet

import msgspec

from pipeline.cdn_status import JobShown, read_status
from pipeline.digest import Blake3
from pipeline.errors import ObjectMissing, UnknownName
from pipeline.manifest import Chunk, Dependency, File, Manifest
from pipeline.place import Place
from pipeline.release import Release
from pipeline.show import ShownPin, channels_of, pins_of
from pipeline.trust.facts import Move, ReleaseFacts
from pipeline.trust.signers import RoleShown, describe_signers
from pipeline.trust.view import View

NEW = ""
REPEAT = "repeat"


class Shared(msgspec.Struct, kw_only=True):
    """What a release has in common with one base; sizes in stored bytes."""

    base: str
    parts: int
    chunks: int
    bytes: int


class Span(msgspec.Struct, frozen=True, array_like=True):
    """Neighbouring bytes of a file that came from one place.

    ``origin`` is a base's name, "" for what is new in this release, ``repeat`` for what stands in it already.
    """

    bytes: int
    origin: str


class ShownFile(msgspec.Struct, kw_only=True):
    """A file of a release; ``spans`` say where its bytes came from, from its first to its last."""

    path: str
    size: int
    sha256: str
    chunks: int
    spans: list[Span]


class PartShown(msgspec.Struct, frozen=True, kw_only=True):
    """A stored part: its bytes, how many of them this release reads, in how many chunks; ``origin`` as in ``Span``."""

    blake3: Blake3
    size: int
    used: int
    chunks: int
    origin: str


class Overview(msgspec.Struct, kw_only=True):
    """One release, whole; sizes in bytes.

    ``ranges_per_gib``: how many stored byte ranges a reader asks for, neighbours joined, for each GiB of files.
    ``served``: bytes of the referenced parts that this release really uses; ``added``: of the parts that no base has;
    ``repeated``: bytes of files that stand in the release once already. ``cdns`` are the edges before the store,
    ``jobs`` the ledger's for this release. ``fetch``: what somebody types who wants it.
    """

    release: str
    store: str
    root_fingerprint: str
    manifest_sha256: str
    facts: ReleaseFacts
    channels: list[str]
    history: dict[str, list[Move]]
    pins: list[ShownPin]
    bases: list[Shared]
    profile: str
    encoder: str
    part_size: int
    plain: int
    stored: int
    served: int
    added: int
    repeated: int
    parts: int
    chunks: int
    ranges_per_gib: float
    dependencies: list[Dependency]
    files: list[ShownFile]
    part_list: list[PartShown]
    roles: list[RoleShown]
    cdns: list[str]
    jobs: list[JobShown]
    fetch: list[str]
    warnings: list[str]


def describe_release(place: Place, release: Release) -> Overview:
    """Gather what is known of one release.

    Raises:
        UnknownName, TrustError, IntegrityError, UnavailableError
    """
    view = place.view()
    target = view.release(release)
    manifest = view.manifest(release)
    points = channels_of(view, release.model)
    here = [name for name, document in points.items() if document.release == str(release)]
    chunks = {(chunk.part, chunk.offset): chunk for file in manifest.files for chunk in file.chunks}
    bases = _parts_of_bases(place, view, manifest)
    origins = [origin_of(part.blake3, bases) for part in manifest.parts]
    seen = set[Blake3]()
    files = [
        ShownFile(
            path=file.path,
            size=file.size,
            sha256=file.sha256,
            chunks=len(file.chunks),
            spans=list(join_spans(spans_of(file, origins, seen))),
        )
        for file in manifest.files
    ]
    parts = list(_parts(manifest, chunks.values(), origins))
    edges = [front.cdn.base_url for front in place.delivery.fronts]
    # A bundle has no ledger: what a CDN does is known at the publisher alone.
    jobs = [] if place.media else read_status(place.store, (), all_jobs=True, ask=False).jobs
    return Overview(
        release=str(release),
        store=place.store.url,
        root_fingerprint=view.fingerprint,
        manifest_sha256=target.sha256,
        facts=target.facts,
        channels=here,
        history={name: list(points[name].history) for name in here},
        pins=[pin for pin in pins_of(view, release.model) if pin.release == str(release)],
        bases=[_shared(manifest, base, known, list(chunks.values())) for base, known in bases.items()],
        profile=manifest.profile,
        encoder=manifest.encoder,
        part_size=manifest.part_size,
        plain=manifest.plain_bytes,
        stored=manifest.stored_bytes,
        served=sum(chunk.stored for chunk in chunks.values()),
        added=sum(part.size for part in parts if part.origin == NEW),
        repeated=manifest.plain_bytes - sum(chunk.plain for chunk in chunks.values()),
        parts=len(manifest.parts),
        chunks=len(chunks),
        ranges_per_gib=ranges_per_gib(manifest),
        dependencies=list(manifest.dependencies),
        files=files,
        part_list=parts,
        roles=list(describe_signers(view, release.model)),
        cdns=edges,
        jobs=[job for job in jobs if job.release == str(release)],
        fetch=list(_commands(release, view.fingerprint, edges[0] if edges else place.store.url)),
        warnings=list(view.warnings),
    )


def origin_of(part: Blake3, bases: Mapping[str, AbstractSet[Blake3]]) -> str:
    """The first base that has the part; "" where none has."""
    return next((base for base, known in bases.items() if part in known), NEW)


def spans_of(file: File, origins: Sequence[str], seen: set[Blake3]) -> Iterator[Span]:
    """One span a chunk, in the file's order; ``seen`` are the chunks before it, and gains those of the file."""
    for chunk in file.chunks:
        origin = origins[chunk.part]
        yield Span(chunk.plain, REPEAT if chunk.blake3 in seen and origin == NEW else origin)
        seen.add(chunk.blake3)


def join_spans(spans: Iterator[Span]) -> Iterator[Span]:
    """Join neighbours of one origin."""
    last: Span | None = None
    for span in spans:
        if last is not None and last.origin == span.origin:
            last = Span(last.bytes + span.bytes, span.origin)
            continue
        if last is not None:
            yield last
        last = span
    if last is not None:
        yield last


def _parts(manifest: Manifest, chunks: Iterable[Chunk], origins: Sequence[str]) -> Iterator[PartShown]:
    used, counts = [0] * len(manifest.parts), [0] * len(manifest.parts)
    for chunk in chunks:
        used[chunk.part] += chunk.stored
        counts[chunk.part] += 1
    for part, bytes_used, count, origin in zip(manifest.parts, used, counts, origins, strict=True):
        yield PartShown(blake3=part.blake3, size=part.size, used=bytes_used, chunks=count, origin=origin)


def _commands(release: Release, fingerprint: str, url: str) -> Iterator[str]:
    yield f"modelport trust.pin --source {url} --fingerprint {fingerprint}"
    yield f"modelport fetch --source {url} --model {release}"


def ranges_per_gib(manifest: Manifest) -> float:
    """Stored ranges a reader of the whole release asks for, neighbours joined, per GiB of its files."""
    ranges, part, end = 0, -1, -1
    for index, offset, stored in sorted({(c.part, c.offset, c.stored) for file in manifest.files for c in file.chunks}):
        if (index, offset) != (part, end):
            ranges += 1
        part, end = index, offset + stored
    return round(ranges / max(manifest.plain_bytes / 2**30, 2**-30), 2) if manifest.plain_bytes else 0.0


def _parts_of_bases(place: Place, view: View, manifest: Manifest) -> dict[str, set[Blake3]]:
    """The parts of each base that can be looked into here; of one that was retired, none."""
    found = {}
    for name in (Release.parse(base.release) for base in manifest.bases):
        if place.media and not _is_held(view, name):
            continue
        listed = name.model in view.models() and any(target.release == name for target in view.releases(name.model))
        found[str(name)] = {part.blake3 for part in view.manifest(name).parts} if listed else set()
    return found


def _is_held(view: View, release: Release) -> bool:
    """Tell whether a bundle has the manifest of a base; it is needed to say what is shared, not to install."""
    try:
        view.manifest_bytes(release)
    except (ObjectMissing, UnknownName):
        return False
    return True


def _shared(manifest: Manifest, base: str, known: AbstractSet[Blake3], chunks: Sequence[Chunk]) -> Shared:
    common = {index for index, part in enumerate(manifest.parts) if part.blake3 in known}
    shared = [chunk for chunk in chunks if chunk.part in common]
    return Shared(base=base, parts=len(common), chunks=len(shared), bytes=sum(chunk.stored for chunk in shared))
