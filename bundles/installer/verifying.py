"""Proving what is installed, without a medium: every file against the manifest that it was installed by.

Takes a site, gives for each release the files that are no longer as they were signed.

next: ``preflight``
"""

from __future__ import annotations

from bundles.installer.faults import IntegrityError
from bundles.installer.folders import Folder
from bundles.installer.landing import bad_files_of
from bundles.installer.layout import release_folder
from bundles.installer.manifest import open_manifest
from bundles.installer.receipts import installed_releases, keeps_bits, kept_bytes


def verify_site(site: Folder) -> dict[str, list[str]]:
    """Release → paths of its missing or altered files.

    Raises:
        IntegrityError: the manifest that the site kept was altered itself. DiskError.
    """
    found = {}
    for release, sha256 in installed_releases(site):
        data = kept_bytes(site, sha256)
        if data is None:
            raise IntegrityError(f"the manifest kept of {release} was altered or is gone", "Install it again from its medium.")
        manifest = open_manifest(data, sha256, f"the manifest of {release}")
        bad = bad_files_of(site, manifest, release_folder(release, manifest.kind), keeps_bits=keeps_bits(site, release))
        found[release] = [manifest.files[index].path for index in bad]
    return found
