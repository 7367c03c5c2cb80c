"""Show: what a tree holds: models, releases, channels, and what a release shares with its bases.

Takes a place and perhaps a name, gives a ``Shown`` tree or a ``ShownRelease``; everything in it is
verified.

next: ``pipeline.promote``
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from pipeline.errors import ObjectMissing, UnknownName
from pipeline.manifest import Chunk, Dependency, Manifest
from pipeline.place import Place
from pipeline.release import ModelName, Release
from pipeline.trust.facts import ChannelDocument, Move, ReleaseFacts
from pipeline.trust.view import ReleaseTarget, View


class ShownVersion(msgspec.Struct, kw_only=True):
    """A release in a listing; sizes in bytes."""

    release: str
    created_at: str
    kind: str
    files: int
    plain: int
    stored: int
    parts: int
    yanked: str
    retired: str


class ShownModel(msgspec.Struct, kw_only=True):
    """A model: its releases in SemVer order, where its channels point, and by which moves, the newest last."""

    model: str
    releases: list[ShownVersion]
    channels: dict[str, str]
    history: dict[str, list[Move]]


class Shown(msgspec.Struct, kw_only=True):
    """A tree."""

    store: str
    root_fingerprint: str
    snapshot: int
    expires_at: str
    models: list[ShownModel]
    warnings: list[str]


class Shared(msgspec.Struct, kw_only=True):
    """What a release has in common with one base; sizes in stored bytes."""

    base: str
    parts: int
    chunks: int
    bytes: int


class ShownFile(msgspec.Struct, kw_only=True):
    """A file of a release."""

    path: str
    size: int
    sha256: str
    chunks: int


class ShownRelease(msgspec.Struct, kw_only=True):
    """One release.

    ``ranges_per_gib``: how many stored byte ranges a reader asks for, neighbours joined, for each GiB of
    files; ``served``: bytes of the referenced parts that this release really uses.
    """

    release: str
    store: str
    root_fingerprint: str
    manifest_sha256: str
    facts: ReleaseFacts
    channels: list[str]
    history: dict[str, list[Move]]
    bases: list[Shared]
    profile: str
    encoder: str
    part_size: int
    plain: int
    stored: int
    served: int
    parts: int
    chunks: int
    ranges_per_gib: float
    dependencies: list[Dependency]
    files: list[ShownFile]
    warnings: list[str]


def show_tree(place: Place, model: ModelName | None = None) -> Shown:
    """List every model of the tree, or only ``model``.

    Raises:
        UnknownName, TrustError, IntegrityError, UnavailableError
    """
    view = place.view()
    if model is not None:
        view.model(model)
    names = [model] if model is not None else list(view.models())
    if place.media:
        # A bundle has the roles of its own models only; the others are listed in its snapshot.
        names = [name for name in names if _is_carried(view, name)]
    return Shown(
        store=place.store.url,
        root_fingerprint=view.fingerprint,
        snapshot=view.snapshot.version,
        expires_at=view.snapshot.signed.expires.strftime("%Y-%m-%dT%H:%M:%SZ"),
        models=[_model(view, name) for name in names],
        warnings=list(view.warnings),
    )


def show_release(place: Place, release: Release) -> ShownRelease:
    """Describe one release.

    Raises:
        UnknownName, TrustError, IntegrityError, UnavailableError
    """
    view = place.view()
    target = view.release(release)
    manifest = view.manifest(release)
    channels = _channels(view, release.model)
    here = [name for name, document in channels.items() if document.release == str(release)]
    chunks = {(chunk.part, chunk.offset): chunk for file in manifest.files for chunk in file.chunks}
    return ShownRelease(
        release=str(release),
        store=place.store.url,
        root_fingerprint=view.fingerprint,
        manifest_sha256=target.sha256,
        facts=target.facts,
        channels=here,
        history={name: list(channels[name].history) for name in here},
        bases=[
            _shared(view, manifest, base.release, list(chunks.values()))
            for base in manifest.bases
            if not place.media or _is_held(view, Release.parse(base.release))
        ],
        profile=manifest.profile,
        encoder=manifest.encoder,
        part_size=manifest.part_size,
        plain=manifest.plain_bytes,
        stored=manifest.stored_bytes,
        served=sum(chunk.stored for chunk in chunks.values()),
        parts=len(manifest.parts),
        chunks=len(chunks),
        ranges_per_gib=ranges_per_gib(manifest),
        dependencies=list(manifest.dependencies),
        files=[ShownFile(path=file.path, size=file.size, sha256=file.sha256, chunks=len(file.chunks)) for file in manifest.files],
        warnings=list(view.warnings),
    )


def ranges_per_gib(manifest: Manifest) -> float:
    """Stored ranges a reader of the whole release asks for, neighbours joined, per GiB of its files."""
    ranges, part, end = 0, -1, -1
    for index, offset, stored in sorted({(c.part, c.offset, c.stored) for file in manifest.files for c in file.chunks}):
        if (index, offset) != (part, end):
            ranges += 1
        part, end = index, offset + stored
    return round(ranges / max(manifest.plain_bytes / 2**30, 2**-30), 2) if manifest.plain_bytes else 0.0


def _model(view: View, model: ModelName) -> ShownModel:
    channels = _channels(view, model)
    return ShownModel(
        model=model,
        releases=[_version(target) for target in view.releases(model, retired=True)],
        channels={name: document.release for name, document in channels.items()},
        history={name: list(document.history) for name, document in channels.items()},
    )


def _is_held(view: View, release: Release) -> bool:
    """Tell whether a bundle has the manifest of a base; it is needed to say what is shared, not to install."""
    try:
        view.manifest_bytes(release)
    except (ObjectMissing, UnknownName):
        return False
    return True


def _is_carried(view: View, model: ModelName) -> bool:
    try:
        view.model(model)
    except ObjectMissing:
        return False
    return True


def _version(target: ReleaseTarget) -> ShownVersion:
    facts = target.facts
    return ShownVersion(
        release=str(target.release),
        created_at=facts.created_at,
        kind=facts.kind,
        files=facts.files,
        plain=facts.plain,
        stored=facts.stored,
        parts=facts.parts,
        yanked=facts.yanked.reason or facts.yanked.at if facts.yanked else "",
        retired=facts.retired.reason or facts.retired.at if facts.retired else "",
    )


def _channels(view: View, model: ModelName) -> dict[str, ChannelDocument]:
    return {channel: view.channel(model, channel) for channel in view.channels(model)}


def _shared(view: View, manifest: Manifest, base: str, chunks: Sequence[Chunk]) -> Shared:
    name = Release.parse(base)
    known = set()
    if name.model in view.models() and any(target.release == name for target in view.releases(name.model)):
        known = {part.blake3 for part in view.manifest(name).parts}
    common = {index for index, part in enumerate(manifest.parts) if part.blake3 in known}
    shared = [chunk for chunk in chunks if chunk.part in common]
    return Shared(base=base, parts=len(common), chunks=len(shared), bytes=sum(chunk.stored for chunk in shared))
