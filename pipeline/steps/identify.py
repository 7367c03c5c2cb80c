"""Is this folder the release that exists? Its identity, without cutting or encoding anything.

Takes a folder and what the stat cache knows, gives the sha256 of every file; only files the cache
does not know are read, each once, several at a time.

next: ``steps.cut``
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

from pipeline.digest import Sha256
from pipeline.errors import OtherContent
from pipeline.events import Listener, Progress
from pipeline.manifest import CHUNK_BYTES, Identity, Kind, Manifest
from pipeline.processors import usable_processors
from pipeline.release import Release
from pipeline.sources.folder import Folder, SourceFile
from pipeline.sources.reading import open_source
from pipeline.trust.changes import retired
from pipeline.trust.view import ReleaseTarget, View
from pipeline.workers import in_order, threads


def hash_files(folder: Folder, known: Mapping[str, Sha256], listen: Listener) -> Mapping[str, Sha256]:
    """Complete ``known`` (sha256 by path) for every file of ``folder``.

    Raises:
        SourceError, SourceChanged
    """
    digests = dict(known)
    unknown = [file for file in folder.files if file.path not in digests]
    with threads(usable_processors(), "identify") as pool:
        for file, digest in zip(unknown, in_order(pool, _hash_file, unknown, ahead=16), strict=True):
            digests[file.path] = digest
            listen(Progress("identify", file.size))
    return digests


def identity_of(folder: Folder, kind: Kind, digests: Mapping[str, Sha256]) -> Identity:
    """The identity that a release made of ``folder`` has."""
    return Identity(
        kind=kind,
        dependencies=folder.about.as_dependencies(),
        files=tuple((file.path, file.size, digests[file.path], file.executable) for file in folder.files),
    )


def check_identity(found: Identity, manifest: Manifest) -> None:
    """Refuse a folder that is not the release that stands under its name.

    Raises:
        OtherContent: naming the first difference.
    """
    if found != manifest.identity:
        raise OtherContent(
            f"{manifest.release} is already published with other content: {first_difference(found, manifest.identity)}",
            hint="A release never changes: publish this folder under a new version.",
        )


def standing_release(view: View, release: Release) -> ReleaseTarget | None:
    """The release as it stands in the tree already, or None.

    Raises:
        OtherContent: it was retired.
    """
    if release.model not in view.models():
        return None
    found = next((target for target in view.releases(release.model, retired=True) if target.release == release), None)
    if found is not None and found.facts.retired is not None:
        raise retired(release, found.facts.retired)
    return found


def first_difference(found: Identity, existing: Identity) -> str:
    """Say in words how two identities differ."""
    if found.kind != existing.kind:
        return f"its kind is {existing.kind}, here it is {found.kind}"
    if found.dependencies != existing.dependencies:
        return "its dependencies are others"
    ours = {path: rest for path, *rest in found.files}
    theirs = {path: rest for path, *rest in existing.files}
    for path in sorted(ours.keys() | theirs.keys()):
        if path not in theirs:
            return f"{path} is new"
        if path not in ours:
            return f"{path} is missing here"
        if ours[path] != theirs[path]:
            return f"{path} differs"
    return "nothing differs"


def _hash_file(file: SourceFile) -> Sha256:
    state = hashlib.sha256()
    buffer = memoryview(bytearray(min(CHUNK_BYTES, max(file.size, 1))))
    with open_source(file.path, file.place, file.stat) as reader:
        at = 0
        while at < file.size:
            block = buffer[: min(len(buffer), file.size - at)]
            reader.read_into(at, block)
            state.update(block)
            at += len(block)
        reader.check_unchanged()
    return Sha256(state.hexdigest())
