"""Looking after a site: what is there, which release is live, whether all is whole, and what may go.

Takes the folder of a site, gives documents. Switching writes a generation and goes over by one rename, as an
installation does; a dependency is never left open; removing needs a release that nothing names.

next: ``growing``
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import msgspec

from bundles.installer import generations
from bundles.installer.folders import Folder
from bundles.installer.layout import LOCK, generation, installed_record, kept_manifest, release_folder, staging
from bundles.installer.manifest import MANIFEST_BYTES, Manifest, open_manifest
from bundles.installer.names import split_release
from bundles.installer.ranges import serves
from bundles.installer.receipts import installed_releases
from bundles.installer.tree import drop_parts
from bundles.installer.verifying import verify_site
from bundles.site.nginx_site import refresh_view
from bundles.translation import own_errors
from pipeline.digest import sha256_of
from pipeline.errors import ConflictError, IntegrityError, UnknownName, UsageError
from pipeline.events import Listener, StepFinished, StepStarted, Warned
from pipeline.meant import suggest
from pipeline.spelling import spell_subject

STEP = "verify"


class SiteRow(msgspec.Struct, frozen=True, kw_only=True):
    """One installed release. ``bytes`` are of its files."""

    release: str
    kind: str
    live: bool
    files: int
    bytes: int
    manifest_sha256: str
    folder: str


class SiteListed(msgspec.Struct, frozen=True, kw_only=True):
    """What a site holds. ``generation`` is the live one."""

    site: str
    generation: int
    releases: list[SiteRow]


class SiteSwitched(msgspec.Struct, frozen=True, kw_only=True):
    """What ``site.use`` did. ``before`` was live of the model, "" for none."""

    site: str
    release: str
    before: str
    generation: int
    changed: bool


class SiteRemoved(msgspec.Struct, frozen=True, kw_only=True):
    """What ``site.remove`` did. ``bytes`` are those of its files."""

    site: str
    release: str
    folder: str
    bytes: int
    dry: bool


class SiteVerified(msgspec.Struct, frozen=True, kw_only=True):
    """What ``site.verify`` found: release → its files that are missing or altered."""

    site: str
    releases: list[str]
    damaged: dict[str, list[str]]


def list_site(place: Path) -> SiteListed:
    """Say what is installed and what is live.

    Raises:
        UsageError: no site. IntegrityError: a record or a manifest was altered. DiskError.
    """
    with _opened(place) as site:
        live = set(_live(site).values())
        rows = [_row(manifest, live) for manifest in _manifests(site).values()]
        return SiteListed(site=str(place), generation=generations.current_number(site), releases=rows)


def use_release(place: Path, release: str, *, dry: bool = False) -> SiteSwitched:
    """Make an installed release the live one of its model.

    Raises:
        UnknownName: it is not installed. ConflictError: a live release needs another version, or it needs what is not live.
        UsageError, IntegrityError, DiskError
    """
    with _opened(place, lock=True) as site:
        manifests = _manifests(site)
        manifest = _known(manifests, release, place)
        live = _live(site)
        before = live.get(manifest.model, "")
        folder = release_folder(release, manifest.kind)
        following = {**live, manifest.model: folder}
        _check_closure(following, manifests)
        number = generations.current_number(site)
        changed = before != folder
        if changed and not dry:
            generations.drop_unswitched(site)
            number = generations.write_generation(site, following)
            if manifest.kind == "web":
                generations.link_web(site, release)
            generations.switch(site, number)
            refresh_view(place)
        return SiteSwitched(site=str(place), release=release, before=before.partition("/")[2], generation=number, changed=changed)


def remove_release(place: Path, release: str, *, dry: bool = False) -> SiteRemoved:
    """Remove an installed release that no kept generation names.

    Raises:
        UnknownName: it is not installed. ConflictError: a generation that is kept names it.
        UsageError, IntegrityError, DiskError
    """
    with _opened(place, lock=True) as site:
        manifest = _known(_manifests(site), release, place)
        folder = release_folder(release, manifest.kind)
        naming = [
            number for number in generations.all_numbers(site) if folder in generations.live_releases(site, number).values()
        ]
        current = generations.current_number(site)
        if current in naming:
            raise ConflictError(
                f"{release} is live", hint=f"Make another release live first: invoke site.use --site {place} --model …"
            )
        if not dry:
            # Older generations that name it can no longer be gone back to.
            for number in naming:
                site.remove(generation(number))
            # By one rename, so that a killed run leaves a release whole or none; what is staged the next installation sweeps away.
            gone = staging(manifest.sha256)
            site.remove(gone)
            if site.kind(folder):
                site.rename(folder, gone)
            site.remove(installed_record(release))
            drop_parts(site, [manifest.sha256], [sha256 for _, sha256 in installed_releases(site)])
            site.remove(kept_manifest(manifest.sha256))
            site.remove(gone)
            refresh_view(place)
        return SiteRemoved(site=str(place), release=release, folder=folder, bytes=manifest.size, dry=dry)


def verify_whole(place: Path, listen: Listener) -> SiteVerified:
    """Prove every installed file by its signed digest, offline.

    Raises:
        UsageError: no site. IntegrityError: a kept manifest was altered itself. DiskError.
    """
    listen(StepStarted(STEP))
    with _opened(place) as site:
        found = verify_site(site)
    damaged = {release: paths for release, paths in found.items() if paths}
    for release, paths in damaged.items():
        listen(
            Warned(
                "verify-finding",
                f"{release}: {spell_subject(len(paths), 'file', 'are')} missing or altered, the first is {paths[0]}",
            )
        )
    listen(StepFinished(STEP, len(found)))
    return SiteVerified(site=str(place), releases=sorted(found), damaged=damaged)


@contextmanager
def _opened(place: Path, *, lock: bool = False) -> Iterator[Folder]:
    if not (place / LOCK).is_file():
        raise UsageError(f"nothing was installed into {place}", hint="Name the folder that was installed into: --site DIR")
    with own_errors(), closing(Folder(str(place), make=False)) as site:
        if lock:
            with site.lock(LOCK):
                yield site
        else:
            yield site


def _manifests(site: Folder) -> dict[str, Manifest]:
    found = {}
    for release, sha256 in installed_releases(site):
        data = site.read(kept_manifest(sha256), MANIFEST_BYTES) or b""
        if sha256_of(data) != sha256:
            raise IntegrityError(
                f"the manifest kept of {release} was altered or is gone", hint="Install it again from its medium."
            )
        found[release] = open_manifest(data, sha256, f"the manifest of {release}")
    return found


def _known(manifests: dict[str, Manifest], release: str, place: Path) -> Manifest:
    if release not in manifests:
        raise UnknownName(f"{release} is not installed in {place}", hint=suggest(release, manifests))
    return manifests[release]


def _live(site: Folder) -> dict[str, str]:
    number = generations.current_number(site)
    return generations.live_releases(site, number)


def _check_closure(live: dict[str, str], manifests: dict[str, Manifest]) -> None:
    """Every live release finds what it needs among those that are live with it."""
    for folder in live.values():
        manifest = manifests.get(folder.partition("/")[2])
        for model, wanted in manifest.dependencies if manifest else ():
            there = live.get(model, "").partition("/")[2]
            if not there or not serves(split_release(there)[1], wanted):
                raise ConflictError(
                    f"{folder.partition('/')[2]} needs {model} {wanted}; live would be {there or 'none'}",
                    hint="Switch that one first, or install a bundle with both.",
                )


def _row(manifest: Manifest, live: set[str]) -> SiteRow:
    folder = release_folder(manifest.release, manifest.kind)
    return SiteRow(
        release=manifest.release,
        kind=manifest.kind,
        live=folder in live,
        files=len(manifest.files),
        bytes=manifest.size,
        manifest_sha256=manifest.sha256,
        folder=folder,
    )
