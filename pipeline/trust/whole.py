"""The signed tree of a source, as the objects it is made of, in the order in which they may be written.

Takes a verified view and the names that were chosen, gives ``SignedTree``: what must stand in a copy before its
timestamp does. Every byte of it is either here, verified, or named by a signed digest.

next: ``copying``
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from tuf.api.metadata import Root, Timestamp

from pipeline.digest import Sha256
from pipeline.errors import InvalidDocument
from pipeline.layout import channel_target, part_key, role_key, target_key
from pipeline.release import ModelName, Release
from pipeline.trust.chain import read_root
from pipeline.trust.sealed import Sealed, check_older_root
from pipeline.trust.view import ReleaseTarget, View, target_sha256

Name = ModelName | Release


@dataclass(frozen=True, slots=True, order=True)
class Named:
    """An immutable object that signed metadata names, directly or through a manifest."""

    key: str
    size: int
    sha256: Sha256


@dataclass(frozen=True)
class SignedTree:
    """One snapshot of a tree, whole or of chosen releases.

    ``objects`` are parts, then manifests and channels; ``metadata`` holds exact bytes by key, the snapshot last;
    ``roots`` the whole chain, the oldest first; ``lost_roots`` the numbers that the source no longer has.
    ``live`` are the keys that any release of the tree needs, chosen or not; None if they were not asked for.
    """

    url: str
    root: Sealed[Root]
    timestamp: Sealed[Timestamp]
    roots: tuple[Sealed[Root], ...]
    lost_roots: tuple[int, ...]
    metadata: tuple[tuple[str, bytes], ...]
    objects: tuple[Named, ...]
    models: tuple[ModelName, ...]
    releases: tuple[Release, ...]
    left_out: tuple[str, ...]
    live: frozenset[str] | None
    warnings: tuple[str, ...]


def gather_tree(view: View, chosen: Sequence[Name], *, with_live: bool) -> SignedTree:
    """Name every object of the tree, or of the ``chosen`` models and releases of it; none chosen are all.

    Metadata is always gathered whole: a snapshot whose roles are missing would be taken for a damaged one.

    Raises:
        UnknownName, TrustError, IntegrityError, UnavailableError
    """
    if view.timestamp is None:
        raise InvalidDocument(f"{view.source.url} announces nothing", hint="Publish a first release there.")
    wanted = chosen_releases(view, chosen)
    roots, lost = root_chain(view)
    metadata = [(role_key(model, view.model(model).version), view.model(model).data) for model in view.models()]
    metadata.append((role_key("targets", view.targets.version), view.targets.data))
    metadata.append((role_key("snapshot", view.snapshot.version), view.snapshot.data))
    models = tuple(sorted({target.release.model for target in wanted}))
    documents = [Named(target.key, target.size, target.sha256) for target in wanted]
    documents += [found for model in models for found in _channels(view, model)]
    parts = sorted({part for target in wanted for part in _parts(view, target)})
    live: frozenset[str] | None = None
    if with_live:
        others = [target for model in view.models() for target in view.releases(model) if target not in wanted]
        live = frozenset(
            [found.key for found in (*parts, *documents)]
            + [part.key for target in others for part in _parts(view, target)]
            + [target.key for target in others]
            + [found.key for model in view.models() for found in _channels(view, model)]
            + [key for key, _ in metadata]
        )
    return SignedTree(
        url=view.source.url,
        root=view.root,
        timestamp=view.timestamp,
        roots=roots,
        lost_roots=lost,
        metadata=tuple(metadata),
        objects=(*parts, *documents),
        models=models,
        releases=tuple(target.release for target in wanted),
        left_out=_left_out(wanted),
        live=live,
        warnings=view.warnings,
    )


def chosen_releases(view: View, chosen: Sequence[Name]) -> list[ReleaseTarget]:
    """The releases that these models and releases name, each once; none chosen are all.

    Raises:
        UnknownName, TrustError, IntegrityError, UnavailableError
    """
    found: dict[Release, ReleaseTarget] = {}
    for name in chosen or view.models():
        targets = [view.release(name)] if isinstance(name, Release) else view.releases(name)
        found.update((target.release, target) for target in targets)
    return list(found.values())


def _left_out(wanted: Sequence[ReleaseTarget]) -> tuple[str, ...]:
    """The models that chosen releases depend on and of which none was chosen."""
    here = {target.release.model for target in wanted}
    needed = {dependency.model for target in wanted for dependency in target.facts.dependencies}
    return tuple(sorted(needed - here))


def _parts(view: View, target: ReleaseTarget) -> Iterator[Named]:
    for part in view.manifest(target.release).parts:
        yield Named(part_key(part.blake3), part.size, part.sha256)


def _channels(view: View, model: ModelName) -> Iterator[Named]:
    signed = view.model(model).signed
    for channel in view.channels(model):
        path = channel_target(model, channel)
        target = signed.targets[path]
        sha256 = target_sha256(path, target)
        yield Named(target_key(path, sha256), target.length, sha256)


def root_chain(view: View) -> tuple[tuple[Sealed[Root], ...], tuple[int, ...]]:
    """Every root there is: those trusted here, and those before the pinned one, each held against its successor."""
    chain = [root for root in view.state.roots(view.root.version) if root.version <= view.root.version]
    lost: list[int] = []
    while chain[-1].version > 1 and not lost:
        version = chain[-1].version - 1
        earlier = read_root(view.source, version)
        if earlier is None:
            lost = list(range(1, version + 1))
            continue
        # A pin starts the chain here, but who pinned an earlier root must be able to follow it in the copy.
        check_older_root(earlier, chain[-1], what=role_key("root", version))
        chain.append(earlier)
    return tuple(reversed(chain)), tuple(lost)
