"""Recipes: all it takes to write a bundle's volumes again to the byte, though the tree has moved on since.

Takes a bundle and the metadata in it, keeps both below the state folder; finds them again by the bundle's id, or in any
whole volume. Parts, manifests and channels need not be kept: their names say what they are.

next: ``bundles.planning``
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from bundles.index import Bundle, decode_index
from bundles.medium import Volume, opened
from pipeline.digest import sha256_of
from pipeline.errors import InvalidDocument
from pipeline.layout import object_kind

KEPT = 20
_NAMELESS = frozenset({"root", "role", "timestamp"})


@dataclass(frozen=True, slots=True)
class Recipe:
    """A bundle, and the bytes of those of its documents that no digest names."""

    bundle: Bundle
    metadata: Mapping[str, bytes]


class RecipeShelf:
    """Recipes of the bundles that this machine built, the newest few."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def keep(self, recipe: Recipe) -> None:
        """Write a recipe down; it is there whole or not at all."""
        self._folder.mkdir(parents=True, exist_ok=True)
        final = self._folder / f"{recipe.bundle.id}.recipe"
        if not final.exists():
            index = recipe.bundle.index(1)
            data = b"%d\n" % len(index) + index
            data += b"".join(recipe.metadata[one.key] for one in recipe.bundle.plan.documents if one.key in recipe.metadata)
            partial = final.with_suffix(f".{os.getpid()}")
            partial.write_bytes(data)
            partial.replace(final)
        os.utime(final)
        for old in self._newest()[KEPT:]:
            old.unlink(missing_ok=True)

    def find(self, bundle_id: str) -> Recipe | None:
        """The recipe of the bundle whose id begins so."""
        return next((recipe for recipe in self.all() if recipe.bundle.id.startswith(bundle_id)), None)

    def all(self) -> Iterator[Recipe]:
        """Every recipe, the newest first."""
        for path in self._newest():
            try:
                yield _read(path.read_bytes(), str(path))
            except (OSError, InvalidDocument):
                # A damaged note of our own is as good as none.
                continue

    def _newest(self) -> list[Path]:
        return sorted(self._folder.glob("*.recipe"), key=lambda path: (-path.stat().st_mtime_ns, path.name))


def recipe_of(volume: Volume) -> Recipe | None:
    """The recipe that a volume holds in its documents, None where one of them is damaged."""
    metadata = {}
    with opened(volume.path) as (fd, _):
        for member, at in volume.layout.members:
            if object_kind(member.key) in _NAMELESS:
                data = os.pread(fd, member.size, at)
                if sha256_of(data) != member.sha256:
                    return None
                metadata[member.key] = data
    return Recipe(volume.bundle, metadata)


def _read(data: bytes, what: str) -> Recipe:
    digits, newline, rest = data.partition(b"\n")
    if not newline or not digits.isdigit() or len(digits) > 9:
        raise InvalidDocument(f"{what} is no recipe")
    size = int(digits)
    bundle, _ = decode_index(rest[:size], what=what)
    metadata, at = {}, size
    for member in bundle.plan.documents:
        if object_kind(member.key) in _NAMELESS:
            found = rest[at : at + member.size]
            if sha256_of(found) != member.sha256:
                raise InvalidDocument(f"{what}: {member.key} is damaged")
            metadata[member.key] = found
            at += member.size
    return Recipe(bundle, metadata)
