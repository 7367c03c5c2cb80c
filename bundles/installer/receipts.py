"""Accounts: what was installed under a name, the receipt of a run, and the inventory of a site.

Takes the site and what a run did, gives documents that a person can carry back. None of them is believed by a
later installation, but for the digest of the manifest that a folder was installed by.

next: ``tree``
"""

from __future__ import annotations

import getpass
import hashlib
import os
import time
from collections.abc import Sequence
from typing import Any

from bundles.installer.faults import OWN_RECORD
from bundles.installer.folders import Folder
from bundles.installer.layout import INSTALLED, RECEIPTS, installed_record, kept_manifest, receipt_file, release_folder
from bundles.installer.manifest import MANIFEST_BYTES, Manifest
from bundles.installer.sitestate import SiteState
from bundles.installer.strictjson import Fields, read_json, write_json

RECORD_BYTES = 1 << 20


def record_installed(site: Folder, manifest: Manifest, *, keeps_bits: bool) -> None:
    """Note by which manifest a folder was installed, and where the file system keeps no executable bits."""
    document: dict[str, Any] = {
        "format": "modelport-site-install",
        "format_version": 1,
        "release": manifest.release,
        "kind": manifest.kind,
        "manifest_sha256": manifest.sha256,
    }
    if not keeps_bits:
        document["executable_bits"] = False
    site.write(kept_manifest(manifest.sha256), manifest.data)
    site.write(installed_record(manifest.release), write_json(document))


def kept_bytes(site: Folder, sha256: str) -> bytes | None:
    """The bytes of a manifest that the site keeps, proven by their digest; None where they were altered or are gone."""
    data = site.read(kept_manifest(sha256), MANIFEST_BYTES) or b""
    return data if hashlib.sha256(data).hexdigest() == sha256 else None


def mend_manifest(site: Folder, manifest: Manifest) -> None:
    """Write the manifest of an installed release again where the kept one was altered or is gone."""
    if installed_manifest(site, manifest.release) == manifest.sha256 and kept_bytes(site, manifest.sha256) is None:
        site.write(kept_manifest(manifest.sha256), manifest.data)


def installed_manifest(site: Folder, release: str) -> str | None:
    """The digest of the manifest that a release was installed by; None where none was."""
    fields = _record(site, release)
    if fields is None:
        return None
    # The record is written just before the folder gets its name.
    there = site.kind(release_folder(release, fields.text("kind"))) == "folder"
    return fields.digest("manifest_sha256") if there else None


def keeps_bits(site: Folder, release: str) -> bool:
    """Whether the file system kept executable bits when a release was installed."""
    fields = _record(site, release)
    return fields is None or fields.flag("executable_bits", default=True)


def _record(site: Folder, release: str) -> Fields | None:
    data = site.read(installed_record(release), RECORD_BYTES)
    what = site.shown(installed_record(release))
    return None if data is None else Fields(read_json(data, what, RECORD_BYTES, OWN_RECORD), what)


def installed_releases(site: Folder) -> list[tuple[str, str]]:
    """(release, digest of its manifest) of everything that was installed here, sorted."""
    names = [name[: -len(".json")] for name in site.names(INSTALLED) if name.endswith(".json")]
    return [(name, digest) for name in names if (digest := installed_manifest(site, name))]


def write_receipt(site: Folder, number: int, bundle: str, facts: dict[str, Any]) -> None:
    """Write the receipt of a bundle that is live with generation ``number``."""
    document = {
        "format": "modelport-receipt",
        "format_version": 1,
        "at": now(),
        "by": whoami(),
        "generation": number,
        "bundle": bundle,
        **facts,
    }
    site.write(receipt_file(number, bundle), write_json(document))


def receipted_releases(site: Folder, number: int) -> list[str]:
    """Every release that came with a generation, whether or not it is the one that is live."""
    found = []
    for name in site.names(RECEIPTS):
        data = site.read(f"{RECEIPTS}/{name}", RECORD_BYTES) if name.startswith(f"{number}.") and name.endswith(".json") else None
        if data is not None:
            fields = Fields(read_json(data, site.shown(f"{RECEIPTS}/{name}"), RECORD_BYTES, OWN_RECORD), name)
            found += [one.text("release") for one in fields.objects("releases")]
    return found


def inventory(site: Folder, state: SiteState) -> dict[str, Any]:
    """What the site has, as ``bundle.build --have`` reads it: the part that a key of the site would sign."""
    releases: Sequence[tuple[str, str]] = installed_releases(site)
    return {
        "format": "modelport-inventory",
        "format_version": 1,
        "root_fingerprint": state.root.sha256 if state.root else "",
        "snapshot": state.seen.get("snapshot", (0, ""))[0],
        "made_at": now(),
        "releases": [{"release": release, "manifest_sha256": digest} for release, digest in releases],
    }


def now() -> str:
    """The time by the clock of this machine: for people, never for a judgement."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


def whoami() -> str:
    """Who installs, and where: ``user@host``."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError, ImportError):
        user = str(os.getuid())
    return f"{user}@{os.uname().nodename}".encode(errors="replace").decode()
