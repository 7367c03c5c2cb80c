"""Spread: the tree of the first store, unchanged, into the other stores that shall hold it.

Takes the first store with what is trusted there, and the others; gives what became of each. The first one decided already
(docs/format.md §6): a copy is a mirror of it, immutable objects first, the timestamp last and never backwards, and what was
written is read back and compared before that. Those that fail are named, and stand in the first store's ledger.

next: ``pipeline.export``
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from threading import Lock
from urllib.parse import unquote, urlsplit

import msgspec

from pipeline.clocks import utc_now
from pipeline.errors import LeftInLedger, ModelportError, RollbackRefused, UsageError
from pipeline.events import Event, Listener, Warned, one_at_a_time
from pipeline.mirroring import Copied, MirrorOrder, copy_tree
from pipeline.outcome import CopyResult
from pipeline.retry import Patience
from pipeline.sources.objects import StoreReader
from pipeline.steps.copies import Target, note_behind, note_level
from pipeline.trust.view import View
from pipeline.trust.whole import SignedTree, gather_tree
from pipeline.workers import in_order, threads

UNDER_WAY = "a copy to it was begun and not finished"


class Repaired(msgspec.Struct, frozen=True, kw_only=True):
    """What ``mirror --repair`` did for the copies of a store."""

    store: str
    copies: list[CopyResult]


@dataclass(frozen=True)
class Spreading:
    """Whence, and how: ``look`` gives a fresh verified view of the first store."""

    first: Target
    look: Callable[[], View]
    order: MirrorOrder
    by: str
    now: Callable[[], datetime] = utc_now
    patience: Patience = Patience()  # noqa: RUF009 (frozen, and nothing changes it)


def check_targets(first: Target, targets: Sequence[Target], quorum: str) -> int:
    """How many stores must hold the tree, the first one counted; all, where ``quorum`` is "".

    Raises:
        UsageError: it is no such number, or a store is named twice.
    """
    places = [_where(target) for target in (first, *targets)]
    if doubled := next((place for place in places if places.count(place) > 1), None):
        raise UsageError(f"{doubled[0]} is named twice", hint="Name each store once.")
    if not quorum:
        return len(places)
    if not quorum.isascii() or not quorum.isdigit() or not 1 <= int(quorum[:9]) <= len(places):
        raise UsageError(f"--quorum {quorum} is not a number from 1 to {len(places)}", hint="It counts the first store, too.")
    return int(quorum)


def _where(target: Target) -> tuple[str, str]:
    """The place of a target; one directory is one place, by whatever path it is named."""
    parts = urlsplit(target.store.url)
    return (os.path.realpath(unquote(parts.path)), "") if parts.scheme == "file" else target.place


def spread_tree(spreading: Spreading, targets: Sequence[Target], listen: Listener) -> list[CopyResult]:
    """Copy the first store's tree to every target, all at the same time; a failure of one is no failure of the others.

    Raises:
        TrustError, IntegrityError, UnavailableError, DiskError: the first store itself, or its ledger, failed.
    """
    heard = one_at_a_time(listen)
    tree = _gather(spreading)
    for target in targets:
        # Before anything else, so that a run that is killed leaves the names of the stores it was at.
        _note_behind(spreading, target, tree, UNDER_WAY)
    found = []
    with threads(max(1, len(targets)), "store") as pool:
        for target, (result, snapshot) in zip(
            targets, in_order(pool, partial(_copy, spreading, tree, heard, Lock()), targets, ahead=len(targets)), strict=True
        ):
            found.append(result)
            if result.complete:
                note_level(spreading.first.store, target, snapshot, by=spreading.by, at=spreading.now())
            else:
                heard(Warned("store-behind", f"{result.store} fell behind: {result.why}"))
                _note_behind(spreading, target, tree, result.why)
    return found


def behind_error(done: str, copies: Sequence[CopyResult], quorum: int) -> LeftInLedger | None:
    """The error that says that too few stores hold the tree, None where enough do. ``done`` begins it."""
    holding = 1 + sum(copy.complete for copy in copies)
    if holding >= quorum:
        return None
    named = "; ".join(f"{copy.store}: {copy.why}" for copy in copies if not copy.complete)
    return LeftInLedger(
        f"{done}, but {holding} of {1 + len(copies)} stores hold it and {quorum} should: {named}",
        hint="Mend what is wrong there, then: invoke mirror --repair",
    )


def _gather(spreading: Spreading) -> SignedTree:
    return gather_tree(spreading.look(), spreading.order.names, with_live=False)


def _note_behind(spreading: Spreading, target: Target, tree: SignedTree, why: str) -> None:
    names = tuple(str(name) for name in spreading.order.names)
    note_behind(spreading.first.store, target, names, tree.timestamp.version, why, by=spreading.by, at=spreading.now())


def _copy(spreading: Spreading, tree: SignedTree, listen: Listener, looking: Lock, target: Target) -> tuple[CopyResult, int]:
    """The result, and the snapshot that the store was brought to."""

    def hear(event: Event) -> None:
        # The bars are those of the first store.
        if isinstance(event, Warned):
            listen(Warned(event.code, f"{target.store.url}: {event.message}"))

    source = StoreReader(spreading.first.store)
    try:
        try:
            done = _bring(spreading, tree, source, target, hear)
        except RollbackRefused:
            # Another publisher went on and was here before us: what the first store announces now is at least that.
            with looking:
                newer = _gather(spreading)
            if newer.timestamp.version <= tree.timestamp.version:
                raise
            tree = newer
            done = _bring(spreading, tree, source, target, hear)
    except ModelportError as error:
        return _result(target, why=str(error)), tree.timestamp.version
    finally:
        source.close()
    return _result(target, done), max(tree.timestamp.version, done.announced)


def _bring(spreading: Spreading, tree: SignedTree, source: StoreReader, target: Target, hear: Listener) -> Copied:
    order = replace(spreading.order, read_back=True)
    return copy_tree(order, tree, source, target.store, hear, patience=spreading.patience, by=spreading.by)


def _result(target: Target, done: Copied | None = None, *, why: str = "") -> CopyResult:
    return CopyResult(
        store=target.store.url,
        complete=done is not None,
        announced=done.announced if done else 0,
        objects_copied=len(done.missing.objects) if done else 0,
        bytes_copied=done.missing.bytes if done else 0,
        metadata_written=done.written if done else 0,
        why=why,
    )
