"""What a store must keep, and for whom: releases, channels, pins, live leases, the web view, and the signed roles themselves.

Takes verified views of a tree, the live leases and the store's time, gives ``Needed``. Docs/format.md §7, §9 and §11.

next: ``steps.audit``
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from pipeline.digest import Sha256, sha256_of
from pipeline.errors import IntegrityError
from pipeline.layout import channel_target, is_hashed_web_file, manifest_target, part_key, role_key, target_key, web_key
from pipeline.manifest import MANIFEST_BYTES, Base, Manifest
from pipeline.ports import ObjectStore, read_object
from pipeline.release import ModelName, NameRefused, Release
from pipeline.steps.lease import FoundLease
from pipeline.trust.view import ReleaseTarget, View, target_sha256
from pipeline.wire import decode_manifest

# How many live releases of a web model keep their hashed files in the web view (docs/format.md §9).
WEB_RELEASES = 5


@dataclass(frozen=True, slots=True)
class Keeper:
    """A release that stays, and ``why``. ``size`` is what its manifest and parts take, ``alone`` what nobody else needs of it."""

    release: str
    why: tuple[str, ...]
    objects: int
    size: int
    alone: int


@dataclass(frozen=True, slots=True)
class Needed:
    """All keys that something needs, and the releases among the reasons."""

    keys: frozenset[str]
    keepers: tuple[Keeper, ...]


@dataclass
class _Kept:
    """A release, why it stays, and its objects with their bytes."""

    why: dict[str, None] = field(default_factory=dict)
    objects: dict[str, int] = field(default_factory=dict)


def find_needed(views: Sequence[View], store: ObjectStore, leases: Iterable[FoundLease], now: datetime) -> Needed:
    """Name every key that must stay. ``views`` are what readers see and, where it differs, what the next commit builds on.

    Raises:
        ObjectMissing: a release lacks its manifest, so that nobody can say which parts are its own.
        TrustError, IntegrityError, UnavailableError
    """
    keys: set[str] = set()
    kept: dict[Release, _Kept] = {}
    manifests: dict[str, Manifest] = {}
    for view in views:
        keys.update(_roles(view))
        for model in view.models():
            keys.update(_channels(view, model))
            reasons = _reasons(view, model, now)
            targets = [one for one in view.releases(model, retired=True) if one.facts.retired is None or one.release in reasons]
            for target in targets:
                manifest = manifests.get(target.key) or _manifest(view, target)
                manifests[target.key] = manifest
                one = kept.setdefault(target.release, _Kept())
                one.why.update(dict.fromkeys(reasons.get(target.release, ())))
                one.objects.update(_objects(target.key, target.size, manifest))
            keys.update(_web_files(targets, manifests, reasons))
    for lease, base in _leased(leases):
        found = _base_manifest(store, base)
        if found is not None:
            key, size, manifest = found
            one = kept.setdefault(manifest.release, _Kept())
            one.why[f"base of {lease.record.release}, which {lease.record.host or 'somebody'} publishes"] = None
            one.objects.update(_objects(key, size, manifest))
    keys.update(key for one in kept.values() for key in one.objects)
    return Needed(frozenset(keys), _keepers(kept))


def _keepers(kept: dict[Release, _Kept]) -> tuple[Keeper, ...]:
    users = Counter(key for one in kept.values() for key in one.objects)
    ordered = sorted(kept.items(), key=lambda pair: (pair[0].model, pair[0].semver, pair[0].version))
    return tuple(
        Keeper(
            str(release),
            tuple(one.why) or ("published",),
            len(one.objects),
            sum(one.objects.values()),
            sum(size for key, size in one.objects.items() if users[key] == 1),
        )
        for release, one in ordered
    )


def _roles(view: View) -> Iterator[str]:
    yield role_key("snapshot", view.snapshot.version)
    for name, meta in view.snapshot.signed.meta.items():
        yield role_key(name.removesuffix(".json"), meta.version)


def _channels(view: View, model: ModelName) -> Iterator[str]:
    signed = view.model(model).signed
    for channel in view.channels(model):
        path = channel_target(model, channel)
        yield target_key(path, target_sha256(path, signed.targets[path]))


def _reasons(view: View, model: ModelName, now: datetime) -> dict[Release, list[str]]:
    """What names a release besides the role that lists it."""
    reasons: dict[Release, list[str]] = {}
    for channel in view.channels(model):
        document = view.channel(model, channel)
        reasons.setdefault(Release.parse(document.release), []).append(f"channel {channel}")
    for pin in view.pins(model):
        if pin.holds(now):
            until = f" until {pin.until}" if pin.until else ""
            reasons.setdefault(Release.parse(pin.release), []).append(f"pinned{until}: {pin.reason}")
    return reasons


def _manifest(view: View, target: ReleaseTarget) -> Manifest:
    try:
        data = view.manifest_bytes(target.release)
        return decode_manifest(data, what=f"the manifest of {target.release}")
    except IntegrityError as error:
        raise type(error)(
            f"which parts {target.release} needs cannot be told, so nothing is collected: {error}",
            hint=f"Send it again: invoke publish --model {target.release} --repair; or retire the release.",
        ) from error


def _objects(key: str, size: int, manifest: Manifest) -> Iterator[tuple[str, int]]:
    yield key, size
    for part in manifest.parts:
        yield part_key(part.blake3), part.size


def _web_files(
    targets: Sequence[ReleaseTarget], manifests: dict[str, Manifest], reasons: dict[Release, list[str]]
) -> Iterator[str]:
    """Hashed files of the last live releases of a web model, by when they were published and by version, and of named ones."""
    pages = [target for target in targets if target.facts.kind == "web"]
    by_version = pages[-WEB_RELEASES:]
    by_time = sorted(pages, key=lambda target: target.facts.created_at)[-WEB_RELEASES:]
    named = [page for page in pages if page.release in reasons]
    for target in {page.release: page for page in (*by_version, *by_time, *named)}.values():
        for file in manifests[target.key].files:
            key = web_key(target.release.model, file.path)
            if is_hashed_web_file(key):
                yield key


def _leased(leases: Iterable[FoundLease]) -> Iterator[tuple[FoundLease, Base]]:
    for lease in leases:
        if lease.live and lease.record.inputs is not None:
            for base in lease.record.inputs.bases:
                yield lease, base


def _base_manifest(store: ObjectStore, base: Base) -> tuple[str, int, Manifest] | None:
    """The manifest of a base that a lease names; None where it is gone or is not what it was: then nobody can use it."""
    try:
        key = target_key(manifest_target(Release.parse(base.release)), Sha256(base.manifest_sha256))
        data = read_object(store, key, cap=MANIFEST_BYTES)
        if sha256_of(data) != base.manifest_sha256:
            return None
        return key, len(data), decode_manifest(data, what=key)
    except (NameRefused, IntegrityError):
        return None
