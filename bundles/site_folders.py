"""What a site knows of its own folders, whichever installer filled it: for ``verify --folder`` without a source.

Takes a folder, gives the release's own folder that it leads to, and the record and manifest by which it was installed.

next: ``bundles.site_inventory``
"""

from __future__ import annotations

from pathlib import Path

from bundles.installer.folders import Folder
from bundles.installer.generations import current_number, live_releases
from bundles.installer.layout import GENERATIONS, LOCK, kept_manifest, release_folder
from bundles.installer.manifest import MANIFEST_BYTES, open_manifest
from bundles.installer.receipts import installed_manifest, keeps_bits
from bundles.installer.views import simple_pages
from bundles.translation import own_errors
from pipeline.digest import Sha256, sha256_of
from pipeline.errors import IntegrityError
from pipeline.sources.installed import InstallRecord


def settled_folder(folder: Path) -> Path:
    """The folder of the release that ``SITE/current/bert`` leads to, by link or pointer file; every other folder is itself.

    Raises:
        UsageError, DiskError
    """
    above = folder.parent
    place = above.parent.parent if above.parent.name == GENERATIONS else above.parent
    is_number = above.parent.name == GENERATIONS and above.name.isascii() and above.name.isdigit()
    if not (is_number or above.name in {"current", "web"}) or not (place / LOCK).is_file():
        return folder
    with own_errors():
        site = Folder(str(place), make=False)
        try:
            leads = live_releases(site, int(above.name[:9]) if is_number else current_number(site)).get(folder.name)
        finally:
            site.close()
    return place / leads if leads else folder


def installed_at_site(folder: Path) -> tuple[InstallRecord, bytes] | None:
    """By what a release's folder at a site was installed; None where no installer put it there.

    Raises:
        IntegrityError: the manifest that the site kept was altered. DiskError.
    """
    place = folder.parent.parent
    if folder.parent.name not in {"models", "wheels"} or not (place / LOCK).is_file():
        return None
    with own_errors():
        site = Folder(str(place), make=False)
        try:
            sha256 = installed_manifest(site, folder.name)
            if sha256 is None:
                return None
            data = site.read(kept_manifest(sha256), MANIFEST_BYTES) or b""
            bits = keeps_bits(site, folder.name)
        finally:
            site.close()
        if sha256_of(data) != sha256:
            raise IntegrityError(
                f"the manifest that {place} kept of {folder.name} was altered or is gone",
                hint="Install it again from its medium.",
            )
        manifest = open_manifest(data, sha256, f"the manifest of {folder.name}")
    if release_folder(manifest.release, manifest.kind) != f"{folder.parent.name}/{folder.name}":
        return None
    pages = simple_pages(manifest.files) if manifest.kind == "wheels" else {}
    record = InstallRecord(
        folder=str(folder),
        release=manifest.release,
        manifest_sha256=Sha256(sha256),
        source=f"site {place}",
        beside={path: sha256_of(page) for path, page in pages.items()},
        executable_bits=bits,
    )
    return record, data
