"""Reading a tree as a client does: the root chain, the timestamp, and what it announces.

Takes a source, the state of this place and a clock; gives a ``View``, or one clear refusal. After
each verified step the state is kept, so that a failure later on loses nothing (TUF specification
§5; docs/format.md §8 for clock and rollback).

next: ``publisher``
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from tuf.api.metadata import MetaFile, Root, Snapshot, Targets, Timestamp

from pipeline.errors import BadSignature, InvalidDocument, RollbackRefused
from pipeline.layout import TIMESTAMP, role_key
from pipeline.ports import TreeSource, read_object
from pipeline.trust.chain import follow_roots
from pipeline.trust.facts import instant, signed_at
from pipeline.trust.judge import Judge, Place, judge_for
from pipeline.trust.roles import meta_versions
from pipeline.trust.sealed import (
    SNAPSHOT_BYTES,
    TARGETS_BYTES,
    TIMESTAMP_BYTES,
    Envelope,
    R,
    Sealed,
    check_meta,
    check_signed,
    is_signed,
    open_envelope,
    open_signed,
    read_role,
)
from pipeline.trust.state import StateDocument, TrustState
from pipeline.trust.view import View, load_targets

_HINT = "The tree was not written by modelport, or it was altered: try another source."


def read_view(
    source: TreeSource,
    state: TrustState,
    *,
    now: Callable[[], datetime],
    offline: bool = False,
    require_fresh: bool = False,
    allow_downgrade: bool = False,
) -> View:
    """Verify what the tree announces.

    ``offline`` is for media and sites with no network: the time is the highest signed one, what is
    expired is a warning unless ``require_fresh``, and an older tree than was seen is read as one.

    Raises:
        NotPinned, BadSignature, MetadataExpired, RollbackRefused, InvalidDocument, DigestMismatch, ObjectMissing
    """
    place: Place = "offline" if offline else "online"
    # One time for the whole reading; the chain comes first, for a new root may forget the signed time.
    start = now()
    root, envelope, baseline = _root_and_timestamp(source, state)
    judge = judge_for(place, start, instant(baseline.signed_at) if baseline.signed_at else None, require_fresh=require_fresh)
    if offline:
        judge.record = lambda message: state.note(message, judge.at)
    judge.check_fresh(root.signed, role_key("root", root.version))
    timestamp, older = _vouched(state, root, envelope, judge, baseline, name="timestamp", what=TIMESTAMP, read=_read_timestamp)
    signed = None if older else _signed_time(timestamp, judge)
    judge.check_fresh(timestamp.signed, TIMESTAMP)
    if not older:
        state.record({"timestamp": timestamp}, signed_at=signed)
    meta = timestamp.signed.snapshot_meta
    what = role_key("snapshot", meta.version)
    envelope = _snapshot_envelope(source, meta)
    snapshot, behind = _vouched(
        state, root, envelope, judge, baseline, name="snapshot", what=what, read=lambda found: _read_snapshot(found, meta)
    )
    older = older or behind
    if not older:
        try:
            state.check_claims(meta_versions(snapshot.signed), baseline, what=what)
        except RollbackRefused as error:
            older = _as_older(judge, error)
    judge.check_fresh(snapshot.signed, what)
    if older:
        delegator = targets = _newest_targets(state, root)
    else:
        state.record({"snapshot": snapshot}, claims=meta_versions(snapshot.signed))
        targets = load_targets(source, snapshot.signed, "targets", root.signed, state)
        state.check("targets", targets, baseline, what=role_key("targets", targets.version))
        delegator = targets
    judge.check_fresh(targets.signed, role_key("targets", targets.version))
    if not older:
        state.record({"targets": targets})
    return View(
        source,
        state,
        judge,
        root,
        timestamp,
        snapshot,
        targets,
        delegator.signed,
        baseline,
        older=older,
        allow_downgrade=allow_downgrade,
    )


def open_timestamp(data: bytes) -> Sealed[Timestamp]:
    """Read ``timestamp.json`` without judging its signatures.

    Raises:
        InvalidDocument
    """
    return _read_timestamp(open_envelope(data, what=TIMESTAMP, cap=TIMESTAMP_BYTES))


def load_snapshot(source: TreeSource, timestamp: Timestamp) -> Sealed[Snapshot]:
    """Fetch the snapshot that ``timestamp`` announces: size, digest, version; not yet its signature.

    Raises:
        InvalidDocument, DigestMismatch, ObjectMissing
    """
    return _read_snapshot(_snapshot_envelope(source, timestamp.snapshot_meta), timestamp.snapshot_meta)


def _read_timestamp(envelope: Envelope) -> Sealed[Timestamp]:
    timestamp = read_role(envelope, Timestamp, what=TIMESTAMP)
    if timestamp.signed.snapshot_meta.version != timestamp.version:
        raise InvalidDocument(
            f"{TIMESTAMP} has version {timestamp.version} and announces snapshot {timestamp.signed.snapshot_meta.version}",
            hint=_HINT,
        )
    return timestamp


def _snapshot_envelope(source: TreeSource, meta: MetaFile) -> Envelope:
    key = role_key("snapshot", meta.version)
    cap = SNAPSHOT_BYTES if meta.length is None else meta.length
    if cap > SNAPSHOT_BYTES:
        raise InvalidDocument(f"{key}: {cap} bytes are announced, at most {SNAPSHOT_BYTES} are allowed", hint=_HINT)
    data = read_object(source, key, cap=cap)
    check_meta(data, meta, what=key)
    return open_envelope(data, what=key, cap=cap)


def _read_snapshot(envelope: Envelope, meta: MetaFile) -> Sealed[Snapshot]:
    key = role_key("snapshot", meta.version)
    snapshot = read_role(envelope, Snapshot, what=key)
    if snapshot.version != meta.version:
        raise InvalidDocument(f"{key} says it is version {snapshot.version}", hint=_HINT)
    return snapshot


def _root_and_timestamp(source: TreeSource, state: TrustState) -> tuple[Sealed[Root], Envelope, StateDocument]:
    root = follow_roots(source, state)
    while True:
        baseline = state.read()
        envelope = open_envelope(read_object(source, TIMESTAMP, cap=TIMESTAMP_BYTES), what=TIMESTAMP, cap=TIMESTAMP_BYTES)
        if is_signed(root.signed, "timestamp", envelope):
            return root, envelope, baseline
        # A rotation may have passed between asking for roots and reading the timestamp.
        newest = follow_roots(source, state)
        if newest.version == root.version:
            return root, envelope, baseline
        root = newest


def _vouched(
    state: TrustState,
    root: Sealed[Root],
    envelope: Envelope,
    judge: Judge,
    seen: StateDocument,
    *,
    name: str,
    what: str,
    read: Callable[[Envelope], Sealed[R]],
) -> tuple[Sealed[R], bool]:
    """Signature, then form, then rollback; True when it is older than what was seen and that is allowed here."""
    if judge.place == "offline" and not is_signed(root.signed, name, envelope):
        # A medium made before a rotation is signed by keys that were right then.
        before = next((past for past in state.roots() if is_signed(past.signed, name, envelope)), None)
        if before is not None:
            role = read(envelope)
            message = f"{what} is signed by keys of root {before.version}, the newest one here is {root.version}"
            return role, _as_older(judge, RollbackRefused(message))
    check_signed(root.signed, name, envelope, what=what)
    role = read(envelope)
    try:
        state.check(name, role, seen, what=what)
    except RollbackRefused as error:
        known = seen.seen.get(name)
        if known is not None and role.version == known.version:
            raise
        return role, _as_older(judge, error)
    return role, False


def _as_older(judge: Judge, error: RollbackRefused) -> bool:
    if judge.place != "offline":
        raise error
    judge.warn(f"an older tree is read: {error}")
    return True


def _newest_targets(state: TrustState, root: Sealed[Root]) -> Sealed[Targets]:
    kept = state.copy("targets")
    if kept is None:
        raise BadSignature("an older tree cannot be judged: no targets role was seen here", hint="Read a newer medium first.")
    what = "the newest targets role seen here"
    return open_signed(kept, Targets, root.signed, "targets", what=what, cap=TARGETS_BYTES)


def _signed_time(timestamp: Sealed[Timestamp], judge: Judge) -> datetime:
    at = signed_at(timestamp.signed.unrecognized_fields, TIMESTAMP)
    if judge.place == "offline":
        judge.at = max(judge.at, at)
    return at
