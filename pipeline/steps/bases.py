"""Which earlier releases serve as bases, and their manifests.

Takes a verified view of the tree, gives bases by name and digest, and their manifests, verified.

next: ``steps.choose``
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from pipeline.errors import UsageError
from pipeline.manifest import MANIFEST_BASES, Base
from pipeline.release import Channel, Release
from pipeline.steps.cut import BaseRelease
from pipeline.trust.view import ReleaseTarget, View

DEFAULT_CHANNEL = Channel("stable")


def named_bases(view: View | None, release: Release, names: Sequence[str]) -> tuple[Base, ...]:
    """The bases that ``--base`` names, in that order.

    Raises:
        UsageError: the release itself, or more than eight.
        UnknownName: no such release.
    """
    wanted = list(dict.fromkeys(Release.parse(name) for name in names))
    if len(wanted) > MANIFEST_BASES:
        raise UsageError(f"{len(wanted)} bases are named, at most {MANIFEST_BASES} serve", hint="Name those that share most.")
    if release in wanted:
        raise UsageError(f"{release} cannot be its own base", hint="Name an earlier release with --base.")
    if wanted and view is None:
        raise UsageError("there is no published tree yet, so --base names nothing", hint="Leave --base out.")
    return tuple(_base(view.release(name)) for name in wanted) if view else ()


def default_bases(view: View | None, release: Release, channel: Channel | None) -> tuple[Base, ...]:
    """The release of ``channel`` (else of stable), else the newest one of the model; never ``release`` itself."""
    if view is None or release.model not in view.models():
        return ()
    known = {target.release: target for target in view.releases(release.model) if target.release != release}
    channels = view.channels(release.model)
    for name in (channel, DEFAULT_CHANNEL):
        if name is not None and name in channels:
            pointed = Release.parse(view.channel(release.model, name).release)
            if pointed in known:
                return (_base(known[pointed]),)
    newest = max(known, key=lambda name: (name.semver, name.version), default=None)
    return (_base(known[newest]),) if newest else ()


def still_signed(view: View | None, base: Base) -> bool:
    """Whether the tree still names this base with this manifest."""
    if view is None:
        return False
    name = Release.parse(base.release)
    if name.model not in view.models():
        return False
    return any(target.release == name and target.sha256 == base.manifest_sha256 for target in view.releases(name.model))


def load_bases(view: View | None, bases: Iterable[Base]) -> list[BaseRelease]:
    """Fetch and verify the manifests of ``bases``.

    Raises:
        UnknownName, ObjectMissing, InvalidDocument
    """
    if view is None:
        return []
    return [BaseRelease(base, view.manifest(Release.parse(base.release))) for base in bases]


def _base(target: ReleaseTarget) -> Base:
    return Base(release=str(target.release), manifest_sha256=target.sha256)
