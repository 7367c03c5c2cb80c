"""Folders beside a destination that no fetch recorded: made by hand, copied from a colleague, or published from here.

Takes a verified view and places, gives folders that are named after releases of the tree, each with the manifest that
says where a chunk should lie in it. A name proves nothing: whoever copies from there hashes what was copied.

next: ``steps.bring``
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline.errors import ModelportError
from pipeline.manifest import Manifest
from pipeline.release import NameRefused, Release
from pipeline.trust.view import ReleaseTarget, View

# As many as a release may have bases; a folder of hundreds of models must not cost hundreds of manifests.
MOST = 8
# A manifest is asked for only where this many times its size is still to come.
WORTH = 16


@dataclass(frozen=True, slots=True)
class Neighbours:
    """Folders in ``places`` that are named after releases of ``view``'s tree."""

    view: View
    places: Sequence[Path]

    def near(self, manifest: Manifest, passed: Collection[Path]) -> Iterator[tuple[Path, ReleaseTarget]]:
        """Folders that may hold chunks of ``manifest``, the likeliest first: its bases, its own model's newest, others."""
        bases = {base.release for base in manifest.bases}
        found = sorted(
            ((release, folder) for folder, release in self._named() if folder not in passed),
            key=lambda one: (str(one[0]) in bases, one[0].model == manifest.model, one[0].semver, str(one[0])),
            reverse=True,
        )
        for release, folder in found[:MOST]:
            target = self._target(release)
            if target is not None:
                yield folder, target

    def manifest(self, target: ReleaseTarget, *, to_come: int) -> Manifest | None:
        """The manifest of a neighbour's release; None where it cannot be had, or is not worth asking for."""
        if target.size * WORTH > to_come:
            return None
        try:
            return self.view.manifest(target.release)
        except ModelportError:
            # Nobody asked for this release: without it there is only more to fetch.
            return None

    def _named(self) -> Iterator[tuple[Path, Release]]:
        for place in dict.fromkeys(self.places):
            try:
                with os.scandir(place) as entries:
                    names = sorted(entry.name for entry in entries if entry.is_dir(follow_symlinks=False))
            except OSError:
                continue
            for name in names:
                try:
                    yield place / name, Release.parse(name)
                except NameRefused:
                    continue

    def _target(self, release: Release) -> ReleaseTarget | None:
        try:
            return self.view.release(release)
        except ModelportError:
            return None
