"""From settings and flags to the stores that shall hold copies of a tree.

Takes settings, gives targets and how to spread; opens stores, asks nobody.

next: ``source_orders``
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import replace

from pipeline.cli.orders import name_of
from pipeline.connect import open_target
from pipeline.events import Listener
from pipeline.mirroring import MirrorOrder
from pipeline.outcome import CopyResult
from pipeline.plan.records import Behind
from pipeline.ports import ObjectStore
from pipeline.release import ModelName, Release
from pipeline.settings import Settings
from pipeline.spreading import Spreading, spread_tree
from pipeline.steps.copies import Target, list_behind
from pipeline.trust.view import View

Name = ModelName | Release


def first_of(settings: Settings, store: ObjectStore, *, endpoint: str = "", region: str = "") -> Target:
    """The store that decides."""
    return Target(store, endpoint or settings.endpoint, region or settings.region)


def open_copies(settings: Settings, listen: Listener) -> list[Target]:
    """The stores that the settings name besides the first.

    Raises:
        SettingsError: a URL with an unknown scheme, or without its bucket.
    """
    return [
        open_copy(settings, one["url"], listen, endpoint=one.get("endpoint", ""), region=one.get("region", ""))
        for one in settings.copies
    ]


def open_copy(settings: Settings, url: str, listen: Listener, *, endpoint: str = "", region: str = "") -> Target:
    """One further store; endpoint and region are those of the settings where they are not given.

    Raises:
        SettingsError: as ``open_copies``.
    """
    store = open_target(settings, url, endpoint=endpoint, region=region, listen=listen)
    return Target(store, endpoint or settings.endpoint, region or settings.region)


def repair_copies(
    settings: Settings, first: Target, look: Callable[[], View], order: MirrorOrder, listen: Listener, *, by: str
) -> list[CopyResult]:
    """Bring every store level that the ledger says is behind, or that the settings name; read whole and put right.

    Raises:
        As ``spread_tree``; InvalidDocument: a record of the ledger is damaged.
    """
    behind = list_behind(first.store)
    every: tuple[Name, ...] = ()
    targets = {target.place: (target, every) for target in open_copies(settings, listen)}
    targets |= {target.place: (target, names) for target, names in _listed(settings, behind, listen)}
    groups: dict[tuple[Name, ...], list[Target]] = defaultdict(list)
    for target, names in targets.values():
        groups[names].append(target)
    found: list[CopyResult] = []
    for names, group in groups.items():
        spreading = Spreading(first, look, replace(order, names=names, repair=True), by)
        found += spread_tree(spreading, group, listen)
    return found


def _listed(settings: Settings, behind: Iterable[Behind], listen: Listener) -> Iterable[tuple[Target, tuple[Name, ...]]]:
    for one in behind:
        names = tuple(name for text in one.names if (name := name_of(text)) is not None)
        yield open_copy(settings, one.store, listen, endpoint=one.endpoint, region=one.region), names
