"""What an interrupted installation had already brought to the disk, so that a medium need not be put in twice.

Takes the site, gives and takes the names of parts that were placed for a manifest. It is written after the bytes
are safe. It is never believed for the result: every file of an installation that used it is proven by its sha256.

next: ``receipts``
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress

from bundles.installer.faults import IntegrityError
from bundles.installer.folders import Folder
from bundles.installer.layout import PROGRESS
from bundles.installer.strictjson import Fields, read_json, write_json

PROGRESS_BYTES = 64 << 20


class Progress:
    """Manifest → names of the parts that were placed for it."""

    def __init__(self, site: Folder) -> None:
        self._site = site
        self._parts: dict[str, set[str]] = {}
        data = site.read(PROGRESS, PROGRESS_BYTES)
        # A note that was damaged is as good as none: everything is placed again.
        with suppress(IntegrityError):
            fields = Fields(read_json(data or b"{}", PROGRESS, PROGRESS_BYTES), PROGRESS)
            self._parts = {manifest: set(fields.texts(manifest)) for manifest in fields.value}

    def parts(self, manifest: str) -> set[str]:
        """The parts that were placed for a manifest."""
        return self._parts.get(manifest, set())

    def add(self, manifests: Iterable[str], parts: Iterable[str]) -> None:
        """Note parts that are safe on the disk for these manifests."""
        names = set(parts)
        for manifest in manifests:
            self._parts.setdefault(manifest, set()).update(names)
        self._write()

    def forget(self, manifest: str) -> None:
        """Its files were begun anew."""
        if self._parts.pop(manifest, None) is not None:
            self._write()

    def _write(self) -> None:
        self._site.write(PROGRESS, write_json({manifest: sorted(parts) for manifest, parts in self._parts.items()}))
