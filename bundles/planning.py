"""The plan of a bundle: what would be in it, on how many media, and which bytes would have to be written.

Takes an order and a supply, gives ``Planned``: the recipe that a build follows, and ``BundlePlan`` for people and programs.
Parts are not read: their sizes and digests are signed.

next: ``bundles.wheels``
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import msgspec

from bundles.beside import refuse_others
from bundles.carving import Contents, carve_volumes
from bundles.index import Bundle, Member, bundle_of
from bundles.medium import ENDING, PARTIAL, Volume, is_volume_name, open_volume, read_bundle
from bundles.recipes import Recipe, RecipeShelf, recipe_of
from bundles.selecting import Selected, Selection, select_contents
from pipeline.errors import OtherContent, UnknownName, UsageError
from pipeline.events import Listener, Warned
from pipeline.supply import Supply


@dataclass(frozen=True, slots=True)
class BundleOrder:
    """What to pack and how. ``volume_size`` None makes one volume; ``only`` names volumes, none of them all.

    ``bundle`` begins the id of a bundle that was built here before and is to be written again.
    """

    selection: Selection
    volume_size: int | None
    medium: str = ""
    parity: int = 0
    only: tuple[int, ...] = ()
    bundle: str = ""
    connections: int = 8


class PlannedVolume(msgspec.Struct, kw_only=True):
    """One volume; sizes in bytes, ``parity`` about."""

    volume: int
    name: str
    size: int
    parts: int
    parity: int


class PlannedRelease(msgspec.Struct, kw_only=True):
    """A release in the bundle."""

    release: str
    kind: str
    files: int
    plain: int
    stored: int
    chosen: bool


class BundlePlan(msgspec.Struct, kw_only=True):
    """What a build would write. ``left_out`` are bytes of parts that the site makes from what it has."""

    name: str
    bundle: str
    source: str
    root_fingerprint: str
    snapshot: int
    releases: list[PlannedRelease]
    bases: list[str]
    documents: int
    documents_bytes: int
    volumes: list[PlannedVolume]
    bytes: int
    parity_bytes: int
    left_out: int
    volume_size: int
    medium: str
    media: int
    warnings: list[str]


@dataclass(frozen=True, slots=True)
class Planned:
    """A recipe to follow, and what was learned on the way to it."""

    recipe: Recipe
    selected: Selected
    document: BundlePlan


def plan_bundle(
    order: BundleOrder, supply: Supply, listen: Listener, *, shelf: RecipeShelf | None = None, to: Path | None = None
) -> Planned:
    """Say what goes into which volume. In a folder ``to`` that holds a bundle begun earlier, go on with that one.

    Raises:
        UsageError: a volume size that cannot work, the least that does is named; a volume that is none of the plan's.
        OtherContent: ``to`` holds another bundle, or a file of somebody else that would be written over.
        UnknownName, TrustError, IntegrityError, UnavailableError
    """
    selected = supply.read(partial(select_contents, order.selection, supply.channel), listen)
    fresh = Recipe(bundle_of(carve_volumes(selected.contents, order.volume_size)), selected.metadata)
    recipe = _begun(fresh, order, shelf, to)
    warnings = list(selected.warnings)
    if recipe.bundle.id != fresh.bundle.id:
        warnings.append(
            f"goes on with bundle {recipe.bundle.id[:12]} of snapshot {recipe.bundle.plan.snapshot}; "
            f"{selected.url} announces {fresh.bundle.plan.snapshot} by now"
        )
    for message in warnings:
        listen(Warned("bundle", message))
    numbers = numbers_of(recipe.bundle, order.only)
    return Planned(recipe, selected, _document(order, recipe.bundle, numbers, selected, warnings))


def numbers_of(bundle: Bundle, only: Sequence[int]) -> list[int]:
    """The volumes to write.

    Raises:
        UsageError: one of ``only`` is none of the bundle's.
    """
    for number in only:
        if number not in bundle.numbers():
            raise UsageError(
                f"--only {number}: the bundle has volumes 1 to {len(bundle.plan.volumes)}", hint="invoke bundle.plan shows them."
            )
    return sorted(set(only)) if only else list(bundle.numbers())


def _begun(fresh: Recipe, order: BundleOrder, shelf: RecipeShelf | None, to: Path | None) -> Recipe:
    """The recipe to follow: of what ``to`` holds already, of the bundle that was asked for again, or the fresh one."""
    found = _in_folder(to) if to else None
    if found and order.bundle and not found[0].id.startswith(order.bundle):
        raise OtherContent(
            f"{to} holds bundle {found[0].plan.name} ({found[0].id[:12]}), ordered is --bundle {order.bundle}",
            hint="Choose an empty folder with --to, or leave --bundle out.",
        )
    if found is None and order.bundle:
        kept = shelf.find(order.bundle) if shelf else None
        if kept is None:
            raise UnknownName(
                f"no bundle {order.bundle} was built on this machine",
                hint="Leave --bundle out to build from the tree as it is now.",
            )
        if not _serves(kept.bundle, fresh, order):
            raise UsageError(
                f"bundle {kept.bundle.id[:12]} is {kept.bundle.plan.name}, which is not what was ordered",
                hint="Give the flags that it was built with.",
            )
        return kept
    if found is None and order.only and shelf:
        # Volume 3 alone is of use only beside the others, which were built before.
        return next((kept for kept in shelf.all() if _serves(kept.bundle, fresh, order)), fresh)
    if found is None:
        return fresh
    bundle, volume = found
    if bundle.id == fresh.bundle.id:
        return fresh
    kept = (shelf.find(bundle.id) if shelf else None) or (recipe_of(volume) if volume else None)
    if kept is not None and _serves(bundle, fresh, order):
        return kept
    if volume is None and bundle.plan.name == fresh.bundle.plan.name:
        # Only a part of a volume, and nothing here knows how it went on: it is written anew.
        return fresh
    raise OtherContent(
        f"{to} holds bundle {bundle.plan.name} ({bundle.id[:12]}), ordered is {fresh.bundle.plan.name} ({fresh.bundle.id[:12]})",
        hint="Choose an empty folder with --to, or remove the other bundle.",
    )


def _in_folder(to: Path) -> tuple[Bundle, Volume | None] | None:
    """The bundle that ``to`` holds volumes of, or was about to; whole volumes speak first."""
    begun: Bundle | None = None
    for path in sorted(to.iterdir()) if to.is_dir() else ():
        if not path.is_file() or path.is_symlink():
            continue
        if is_volume_name(path.name):
            volume = open_volume(path)
            if isinstance(volume, Volume):
                return volume.bundle, volume
        elif path.name.endswith(ENDING + PARTIAL):
            begun = read_bundle(path) or begun
    if begun is None:
        refuse_others(to)
    return (begun, None) if begun else None


def _serves(bundle: Bundle, fresh: Recipe, order: BundleOrder) -> bool:
    """Tell whether a bundle is what was ordered, but for the snapshot that proves it."""
    plan, wanted = bundle.plan, fresh.bundle.plan
    if (plan.name, plan.releases, plan.bases) != (wanted.name, wanted.releases, wanted.bases):
        return False
    parts: tuple[Member, ...] = tuple(part for volume in plan.volumes for part in volume)
    contents = Contents(plan.name, plan.root_fingerprint, plan.snapshot, plan.releases, plan.bases, plan.documents, parts)
    return bundle_of(carve_volumes(contents, order.volume_size)).id == bundle.id


def _document(order: BundleOrder, bundle: Bundle, numbers: Sequence[int], selected: Selected, warnings: list[str]) -> BundlePlan:
    plan = bundle.plan
    volumes = []
    for number in numbers:
        size = bundle.layout(number).size
        volumes.append(
            PlannedVolume(
                volume=number,
                name=bundle.file_name(number),
                size=size,
                parts=len(plan.volumes[number - 1]),
                parity=size * order.parity // 100,
            )
        )
    return BundlePlan(
        name=plan.name,
        bundle=bundle.id,
        source=selected.url,
        root_fingerprint=plan.root_fingerprint,
        snapshot=plan.snapshot,
        releases=[
            PlannedRelease(
                release=one.release, kind=one.kind, files=one.files, plain=one.plain, stored=one.stored, chosen=one.chosen
            )
            for one in plan.releases
        ],
        bases=[one.release for one in plan.bases],
        documents=len(plan.documents),
        documents_bytes=sum(document.size for document in plan.documents),
        volumes=volumes,
        bytes=sum(volume.size for volume in volumes),
        parity_bytes=sum(volume.parity for volume in volumes),
        left_out=selected.left_out_bytes,
        volume_size=order.volume_size or 0,
        medium=order.medium,
        media=len(volumes),
        warnings=warnings,
    )
