"""The commit: changes become signed metadata, in an order that a kill at any point leaves whole.

Takes a publisher and changes; gives ``Committed``. Documents and role files first, then the snapshot
(creating its number is the moment of truth: one publisher wins it, the others rebase), then the
timestamp that announces it; docs/format.md §6. Whoever comes next completes what was left::

    survey → complete what nobody announced → documents → roles → snapshot → names → timestamp → look

next: ``setup``
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from tuf.api.metadata import Root, Snapshot

from pipeline.errors import AnotherPublisher, BadSignature, IntegrityError, ModelportError
from pipeline.trust.announce import RootMoved, announce_snapshot, new_names
from pipeline.trust.changes import Change
from pipeline.trust.draft import Draft
from pipeline.trust.facts import instant_text, signed_at
from pipeline.trust.publisher import Publisher
from pipeline.trust.reading import load_snapshot
from pipeline.trust.roles import meta_versions, timestamp_of
from pipeline.trust.sealed import Sealed, is_signed, seal
from pipeline.trust.signing import Signing
from pipeline.trust.survey import Survey, survey_store
from pipeline.trust.view import View

STEPS = (
    "commit.survey",
    "commit.complete",
    "commit.documents",
    "commit.roles",
    "commit.snapshot",
    "commit.names",
    "commit.timestamp",
    "commit.swap",
    "commit.look",
    "commit.record",
)
# A publisher that loses this often is starved by others, or the store lies about what exists.
ATTEMPTS = 200
WARN_WITHIN = timedelta(days=30)
BACKOFF_S = 0.01
BACKOFF_MOST_S = 1.0


@dataclass(frozen=True)
class Committed:
    """What a commit did.

    ``snapshot`` is the version of ours, or of the state that already said all of it when ``changed``
    is False; ``announced`` the version readers see. ``refused`` are changes that did not hold without
    stopping the rest, such as ``ChannelMoved``; ``completed`` other publishers' snapshots we announced.
    """

    snapshot: int
    announced: int
    changed: bool
    view: View
    refused: tuple[ModelportError, ...]
    completed: tuple[int, ...]
    files: tuple[str, ...]


def commit_changes(
    publisher: Publisher,
    changes: Sequence[Change],
    *,
    next_root: Root | None = None,
    life: timedelta | None = None,
) -> Committed:
    """Sign and announce ``changes`` as one commit.

    ``next_root`` is a root that will follow: what is signed then verifies under both. ``life`` is how
    long the snapshot lives; without it, as long as its predecessor.

    Raises:
        KeyUnusable, NotDelegated: before anything is written.
        ClockSkew, RollbackRefused, BadSignature: the store or this machine cannot be signed upon.
        ConflictError, UnknownName: a change does not hold on the newest state.
        AnotherPublisher: other publishers won every one of many attempts.
    """
    completed: list[int] = []
    ours: Sealed[Snapshot] | None = None
    files: tuple[str, ...] = ()
    for attempt in range(ATTEMPTS):
        publisher.step("commit.survey")
        found = survey_store(publisher)
        try:
            if not found.is_announced and found.view is not None:
                completed.append(_complete(publisher, found, found.view, next_root))
            draft = _drafted(publisher, found, changes)
            if not draft.changed:
                if found.view is None:
                    raise BadSignature(f"{publisher.store.url} has no snapshot yet", hint="Run: invoke trust.init")
                publisher.step("commit.record")
                _record(publisher, found.view)
                last = ours.version if ours else found.view.snapshot.version
                announced = max(found.announced, found.view.snapshot.version)
                return Committed(last, announced, ours is not None, found.view, tuple(draft.refused), tuple(completed), files)
            written = Signing(publisher, found, draft, next_root, life).write()
            if written is not None:
                ours, files = written.snapshot, new_names(written, found.predecessor)
                publisher.step("commit.names")
                publisher.prove_names(files)
                announced = announce_snapshot(publisher, found.root, written.snapshot, next_root=next_root)
                publisher.step("commit.record")
                _record(publisher, written)
                _warn_of_expiry(publisher, written)
                return Committed(ours.version, announced, True, written, tuple(draft.refused), tuple(completed), files)
        except RootMoved:
            continue
        publisher.pause(min(BACKOFF_MOST_S, BACKOFF_S * 2**attempt) * secrets.randbelow(1000) / 1000)
    raise AnotherPublisher(
        f"other publishers committed first {ATTEMPTS} times in a row at {publisher.store.url}",
        hint="Nothing is lost: run it again when fewer publish at once.",
    )


def _complete(publisher: Publisher, found: Survey, view: View, next_root: Root | None) -> int:
    publisher.step("commit.complete")
    publisher.prove_names(new_names(view, _announced_snapshot(publisher, view)))
    announce_snapshot(publisher, found.root, view.snapshot, next_root=next_root)
    return view.snapshot.version


def _announced_snapshot(publisher: Publisher, view: View) -> Snapshot | None:
    if view.timestamp is None:
        return None
    try:
        return load_snapshot(publisher.store, view.timestamp.signed).signed
    except IntegrityError:
        return None


def _drafted(publisher: Publisher, found: Survey, changes: Sequence[Change]) -> Draft:
    predecessor = found.predecessor
    # A snapshot that only an earlier root's keys signed binds no time: signed-at starts again there.
    bound = found.view is not None and is_signed(found.root.signed, "snapshot", found.view.snapshot)
    before = signed_at(predecessor.unrecognized_fields, "snapshot") if predecessor and bound else None
    draft = Draft(found.root.signed, found.view, publisher.signing_time(before))
    if found.view is None:
        draft.edit_top()
    if found.inherited:
        draft.touch()
    for change in changes:
        change.apply(draft)
    return draft


def _warn_of_expiry(publisher: Publisher, view: View) -> None:
    # A commit renews what it signs; of root and targets it may not hold the keys.
    for role, signed in (("root", view.root.signed), ("targets", view.targets.signed)):
        if signed.expires - publisher.now() < WARN_WITHIN:
            publisher.warn(
                "expires-soon",
                f"{role} version {signed.version} expires at {instant_text(signed.expires)}: renew it with its key",
            )


def _record(publisher: Publisher, view: View) -> None:
    timestamp = seal(timestamp_of(view.snapshot), ())
    publisher.state.record(
        {"timestamp": timestamp, "snapshot": view.snapshot, "targets": view.targets, **view.loaded()},
        claims=meta_versions(view.snapshot.signed),
        signed_at=signed_at(view.snapshot.signed.unrecognized_fields, "snapshot"),
    )
