"""Metadata at the edges: new names before anything announces them, and the one mutable object after.

Takes the store, its fronts and how a CDN is made to forget; gives nothing, or says which edge does not follow. Names of
metadata can be guessed, so an edge may remember a 404 from before they were there (docs/format.md §6).

next: ``steps.commit``
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass

from pipeline.errors import (
    AnotherPublisher,
    EdgeProofFailed,
    LeftInLedger,
    ModelportError,
    ObjectMissing,
    SourceLied,
    UnavailableError,
)
from pipeline.events import Listener, StepFinished, StepStarted, ignore
from pipeline.layout import TIMESTAMP, role_version
from pipeline.ports import Cdn, Edge, ObjectStore, read_object
from pipeline.retry import Retry
from pipeline.steps.edge_proof import Front, Waiting

# No metadata file is larger (trust.sealed holds each to its own cap when it is read).
METADATA_BYTES = 64 << 20
# What keeps a CDN from being asked, or from having been seen to forget. A run that stood still for long finds another at
# its job; after a commit no error may say that nothing was done.
NOT_REFRESHED = (UnavailableError, LeftInLedger, AnotherPublisher)
# Asks one CDN to forget what it has under these keys, and waits until it says that it did.
Refresh = Callable[[Cdn, Sequence[str]], None]


@dataclass(frozen=True, slots=True)
class Stale:
    """An edge that does not serve the store's timestamp yet, and what it serves instead."""

    edge: str
    found: str


def prove_names(
    fronts: Sequence[Front],
    store: ObjectStore,
    keys: Sequence[str],
    refresh: Refresh,
    listen: Listener = ignore,
    *,
    waiting: Waiting | None = None,
) -> None:
    """See that every edge serves the store's bytes under each of ``keys``, which nothing announces yet.

    What an edge remembers otherwise is refreshed and waited for, up to ten minutes. A root is refreshed in any case:
    clients ask for the next one before it is there, at edges that this publisher does not see.

    Raises:
        EdgeProofFailed: the commit stops here; the next one goes on from here.
        AccessDenied, StoreUnavailable, UnavailableError
    """
    if not fronts:
        return
    waiting = waiting or Waiting()
    listen(StepStarted("names", len(keys) * len(fronts)))
    bodies = {key: read_object(store, key, cap=METADATA_BYTES) for key in keys}
    for front in fronts:
        roots = [key for key in keys if (role_version(key) or ("", 0))[0] == "root"]
        if roots:
            _forget(front.cdn, roots, refresh)
        wrong = _unlike(front.edge, bodies, keys, listen, waiting)
        if wrong:
            _forget(front.cdn, list(wrong), refresh)
            for _ in waiting.until():
                wrong = _unlike(front.edge, bodies, list(wrong), listen, waiting)
                if not wrong:
                    break
        if wrong:
            key, found = next(iter(wrong.items()))
            more = f" (and {len(wrong) - 1} more)" if len(wrong) > 1 else ""
            raise EdgeProofFailed(
                f"{front.edge.url}/{key}: {found}, expected what the store has{more}; nothing announces it yet",
                hint="Readers still see what they saw before. Check how long the CDN keeps a 404, then run it again: "
                "it goes on from here.",
            )
    listen(StepFinished("names", len(keys) * len(fronts)))


def show_timestamp(
    fronts: Sequence[Front],
    store: ObjectStore,
    refresh: Refresh,
    listen: Listener = ignore,
    *,
    waiting: Waiting | None = None,
) -> tuple[Stale, ...]:
    """Refresh ``timestamp.json`` at every CDN and see that each edge serves the store's; tell those that do not.

    The commit is done by now, so that a CDN which cannot be reached is told too, and nothing is raised for it. The
    store's timestamp is read anew at every look, for another publisher may have gone further.

    Raises:
        AccessDenied, StoreUnavailable, DiskError: of the store.
    """
    if not fronts:
        return ()
    waiting = waiting or Waiting()
    listen(StepStarted("refresh", len(fronts)))
    stale = tuple(filter(None, [_shown(front, store, refresh, listen, waiting) for front in fronts]))
    listen(StepFinished("refresh", len(fronts) - len(stale)))
    return stale


def _forget(cdn: Cdn, keys: Sequence[str], refresh: Refresh) -> None:
    # What is left of it stands in the ledger; the edge shows whether it was needed.
    with suppress(LeftInLedger):
        refresh(cdn, keys)


def _shown(front: Front, store: ObjectStore, refresh: Refresh, listen: Listener, waiting: Waiting) -> Stale | None:
    try:
        refresh(front.cdn, [TIMESTAMP])
    except NOT_REFRESHED as error:
        # Our edge may show the new one all the same; of the others nobody knows.
        return Stale(front.edge.url, f"it was not asked to forget the old one: {error}")
    found = _look(front.edge, store, listen, waiting)
    if not found:
        return None
    for _ in waiting.until():
        found = _look(front.edge, store, listen, waiting)
        if not found:
            return None
    return Stale(front.edge.url, found)


def _look(edge: Edge, store: ObjectStore, listen: Listener, waiting: Waiting) -> str:
    wanted = read_object(store, TIMESTAMP, cap=METADATA_BYTES)
    try:
        return _unlike(edge, {TIMESTAMP: wanted}, [TIMESTAMP], listen, waiting).get(TIMESTAMP, "")
    except UnavailableError as error:
        return str(error)


def _unlike(edge: Edge, bodies: dict[str, bytes], keys: Sequence[str], listen: Listener, waiting: Waiting) -> dict[str, str]:
    """What the edge has instead of ``bodies``, by key."""
    retry = Retry(waiting.patience, listen=listen, sleep=waiting.sleep)
    wrong = {}
    for key in keys:
        try:
            found = retry.call(lambda key=key: _bytes_of(edge, key, len(bodies[key])), what=f"read {key}")  # type: ignore[misc]  # mypy cannot type a lambda's default
        except (ObjectMissing, SourceLied) as error:
            wrong[key] = _words(error)
            continue
        if found != bodies[key]:
            wrong[key] = f"{len(found)} other bytes came"
    return wrong


def _bytes_of(edge: Edge, key: str, size: int) -> bytes:
    found = bytearray()
    for block in edge.get(key):
        found += block
        # A longer one is another one; how long it is does not matter.
        if len(found) > size:
            break
    return bytes(found)


def _words(error: ModelportError) -> str:
    return "there is no such object" if isinstance(error, ObjectMissing) else str(error)
