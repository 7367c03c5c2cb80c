"""``bundle.inventory``: what a site has, signed where it has a key, for the next differential bundle.

Takes a site, gives the bytes of ``inventory.json`` (docs/format.md §10).

next: ``bundles.translation``
"""

from __future__ import annotations

import io
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import msgspec

from bundles.installer.canonical import canonical_bytes
from bundles.installer.folders import Folder
from bundles.installer.layout import LOCK
from bundles.installer.receipts import inventory
from bundles.installer.sitestate import load_state
from bundles.translation import own_errors
from pipeline.errors import DiskError, UsageError
from pipeline.trust.keys import KeySecrets
from pipeline.trust.verdict import sign_bytes
from pipeline.wire import encode_document


class InventoryExported(msgspec.Struct, frozen=True, kw_only=True):
    """What ``bundle.inventory`` wrote. ``keyid`` is "" where the site has no key."""

    path: str
    releases: list[str]
    snapshot: int
    root_fingerprint: str
    keyid: str


def export_inventory(
    place: Path, to: Path, *, key: str = "", secrets: KeySecrets | None = None, dry: bool = False
) -> InventoryExported:
    """Write what the site at ``place`` has to a new file, signed by ``key`` (a key URI) where one is given.

    Raises:
        UsageError: ``place`` is no site. KeyUnusable. DiskError: the file is there already, or cannot be written.
    """
    if not (place / LOCK).is_file():
        raise UsageError(f"nothing was installed into {place}", hint="Name the folder that was installed into: --site DIR")
    with own_errors():
        site = Folder(str(place), make=False)
        try:
            signed: dict[str, Any] = inventory(site, load_state(site))
        finally:
            site.close()
    keyid, signature = sign_bytes(key, canonical_bytes(signed), secrets) if key else ("", "")
    signatures = [{"keyid": keyid, "sig": signature}] if key else []
    try:
        with nullcontext(io.BytesIO()) if dry else to.open("xb") as file:
            file.write(encode_document({"signatures": signatures, "signed": signed}))
    except OSError as error:
        raise DiskError(f"{to} cannot be written: {error.strerror}", hint="Name a new file with --to.") from error
    return InventoryExported(
        path=str(to),
        releases=[one["release"] for one in signed["releases"]],
        snapshot=signed["snapshot"],
        root_fingerprint=signed["root_fingerprint"],
        keyid=keyid,
    )
