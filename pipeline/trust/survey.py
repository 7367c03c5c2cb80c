"""What a publisher finds before it signs: the truth of the store, announced or not.

Takes a publisher; gives the newest root, the highest valid snapshot found by listing, and which
numbers are taken. A snapshot that is there but not valid (torn, signed by other keys than the newest
root's, naming an object that is missing on a second look) spends its number and is never built upon
(docs/format.md §6).

next: ``draft``
"""

from __future__ import annotations

from dataclasses import dataclass

from tuf.api.metadata import MetaFile, Root, Snapshot, Targets, Timestamp

from pipeline.errors import BadSignature, IntegrityError, InvalidDocument, ObjectMissing, TrustError
from pipeline.layout import METADATA, TIMESTAMP, role_key, role_version, target_key
from pipeline.ports import read_object
from pipeline.trust.chain import check_same_tree, follow_roots
from pipeline.trust.facts import signed_at
from pipeline.trust.publisher import Publisher
from pipeline.trust.reading import load_snapshot, open_timestamp
from pipeline.trust.roles import meta_versions
from pipeline.trust.sealed import (
    SNAPSHOT_BYTES,
    TARGETS_BYTES,
    TIMESTAMP_BYTES,
    Sealed,
    check_meta,
    is_signed,
    open_sealed,
    open_signed,
)
from pipeline.trust.state import StateDocument
from pipeline.trust.view import View, load_targets, target_sha256

# A store may show a snapshot a moment before the files it names.
SECOND_LOOK_S = 0.5
# More missing numbers than this between two listed ones are no race of a listing.
GAP = 100


@dataclass(frozen=True)
class Survey:
    """The store as it was when it was listed.

    ``view`` is the highest valid snapshot, None where there is none yet; ``announced`` the version of
    the timestamp, 0 where it is missing or does not verify under the newest root; ``numbers`` the
    highest number that each role's files ever took; ``spent`` the snapshots that are not valid.
    ``inherited`` says that only an earlier root names the keys that signed the view: the old key was
    lost.
    """

    root: Sealed[Root]
    view: View | None
    announced: int
    numbers: dict[str, int]
    spent: tuple[int, ...]
    inherited: bool = False

    @property
    def is_announced(self) -> bool:
        """Whether readers already see the view."""
        return self.view is None or self.inherited or self.announced >= self.view.snapshot.version

    @property
    def predecessor(self) -> Snapshot | None:
        """The snapshot that the next one follows."""
        return self.view.snapshot.signed if self.view else None

    def next_number(self, role: str) -> int:
        """The lowest number of ``role`` that is free above all that were ever taken."""
        return self.numbers.get(role, 0) + 1


@dataclass(frozen=True, slots=True)
class _Basis:
    """By which roots a snapshot and what it names are judged."""

    root: Sealed[Root]
    snapshot_root: Sealed[Root]
    targets_root: Sealed[Root]
    baseline: StateDocument
    timestamp: Sealed[Timestamp] | None = None
    announced: int = 0


def survey_store(publisher: Publisher) -> Survey:
    """Find the truth of the store.

    Raises:
        NotPinned, BadSignature: the root chain does not verify from this place's pin.
        RollbackRefused: the store is older than this publisher has seen.
        InvalidDocument: the timestamp announces a snapshot that is gone or torn.
    """
    store, state = publisher.store, publisher.state
    root = follow_roots(store, state)
    while True:
        baseline = state.read()
        numbers = _numbers(publisher)
        # Asked again after the list: a snapshot in it was made under a root that is there by now.
        newest = follow_roots(store, state)
        if newest.version == root.version:
            break
        root = newest
    check_same_tree(store, root)
    timestamp, exists = _timestamp(publisher, root)
    announced = timestamp.version if timestamp else 0
    listed = {number for number in numbers.get("snapshot", ()) if number >= announced} | ({announced} - {0})
    spent: list[int] = []
    view: View | None = None
    basis = _Basis(root, root, root, baseline, timestamp, announced)
    for version in sorted(listed | _gaps(listed), reverse=True):
        view = _valid_view(publisher, basis, version, looks=2 if version in listed else 1)
        if view is not None:
            break
        spent.append(version)
    inherited = False
    if view is None:
        view = _inherited_view(publisher, root, baseline, sorted(listed, reverse=True))
        inherited = view is not None
    if view is None and exists:
        raise InvalidDocument(
            f"{store.url}: {TIMESTAMP} is there, but no snapshot at or above the one it announces is valid",
            hint="Objects of the tree were lost or altered: restore metadata/ from a mirror before publishing.",
        )
    _check_not_older(publisher, view, baseline)
    highest = {role: max(taken) for role, taken in numbers.items()}
    highest["snapshot"] = max(highest.get("snapshot", 0), announced)
    # The timestamp may be newer than the list that was read before it.
    for role, version in (meta_versions(view.snapshot.signed) if view else {}).items():
        highest[role] = max(highest.get(role, 0), version)
    return Survey(root, view, announced, highest, tuple(spent), inherited)


def higher_snapshot(publisher: Publisher, root: Sealed[Root], above: int) -> View | None:
    """The highest valid snapshot above number ``above``, or None."""
    basis = _Basis(root, root, root, publisher.state.read(), announced=above)
    for version in sorted((number for number in _numbers(publisher).get("snapshot", ()) if number > above), reverse=True):
        view = _valid_view(publisher, basis, version)
        if view is not None:
            return view
    return None


def _numbers(publisher: Publisher) -> dict[str, set[int]]:
    numbers: dict[str, set[int]] = {}
    for info in publisher.store.list(METADATA):
        named = role_version(info.key)
        if named is not None:
            numbers.setdefault(named[0], set()).add(named[1])
    return numbers


def _gaps(listed: set[int]) -> set[int]:
    # A folder that is written to while it is listed may show a later file and not an earlier one.
    if not listed or max(listed) - min(listed) > GAP:
        return set()
    return set(range(min(listed), max(listed))) - listed


def _timestamp(publisher: Publisher, root: Sealed[Root]) -> tuple[Sealed[Timestamp] | None, bool]:
    try:
        timestamp = open_timestamp(read_object(publisher.store, TIMESTAMP, cap=TIMESTAMP_BYTES))
    except ObjectMissing:
        return None, False
    except IntegrityError:
        return None, True
    return (timestamp if is_signed(root.signed, "timestamp", timestamp) else None), True


def _valid_view(publisher: Publisher, basis: _Basis, version: int, *, looks: int = 2) -> View | None:
    for look in range(1, looks + 1):
        try:
            return _open_view(publisher, basis, version)
        except ObjectMissing:
            if look < looks:
                publisher.pause(SECOND_LOOK_S)
        except (IntegrityError, TrustError):
            return None
    return None


def _open_view(publisher: Publisher, basis: _Basis, version: int) -> View:
    store, state = publisher.store, publisher.state
    key = role_key("snapshot", version)
    data = read_object(store, key, cap=SNAPSHOT_BYTES)
    snapshot = open_signed(data, Snapshot, basis.snapshot_root.signed, "snapshot", what=key, cap=SNAPSHOT_BYTES)
    if snapshot.version != version:
        raise BadSignature(f"{key} says it is version {snapshot.version}")
    signed_at(snapshot.signed.unrecognized_fields, key)
    timestamp = basis.timestamp
    if timestamp is not None and timestamp.version == version and timestamp.signed.snapshot_meta != snapshot.meta:
        raise BadSignature(f"{key} is not the snapshot that the timestamp announces")
    targets = load_targets(store, snapshot.signed, "targets", basis.targets_root.signed, state)
    view = View(store, state, publisher.judge(), basis.root, timestamp, snapshot, targets, targets.signed, basis.baseline)
    if version > basis.announced:
        _check_named(publisher, view)
    return view


def _check_named(publisher: Publisher, view: View) -> None:
    # Nobody has announced this snapshot, so nobody has verified it: all that it brings must be there.
    before = _announced_meta(view)
    for model in view.models():
        name = f"{model}.json"
        if name in before and before[name] == view.snapshot.signed.meta[name]:
            continue
        known = _targets_before(view, model, before[name]) if name in before else {}
        for path, target in view.model(model).signed.targets.items():
            retired = isinstance(target.custom, dict) and "retired" in target.custom
            if not retired and known.get(path) != target.hashes:
                publisher.store.head(target_key(path, target_sha256(path, target)))


def _announced_meta(view: View) -> dict[str, MetaFile]:
    if view.timestamp is None:
        return {}
    try:
        return load_snapshot(view.source, view.timestamp.signed).signed.meta
    except IntegrityError:
        return {}


def _targets_before(view: View, model: str, meta: MetaFile) -> dict[str, dict[str, str]]:
    key = role_key(model, meta.version)
    try:
        data = read_object(view.source, key, cap=TARGETS_BYTES)
        check_meta(data, meta, what=key)
        role = open_sealed(data, Targets, what=key, cap=TARGETS_BYTES)
    except IntegrityError:
        return {}
    return {path: target.hashes for path, target in role.signed.targets.items()}


def _inherited_view(publisher: Publisher, root: Sealed[Root], baseline: StateDocument, listed: list[int]) -> View | None:
    # The newest root names keys that have signed nothing yet: what stood before it is continued, judged
    # by the root that was right then. Versions seen here still hold, so this cannot go back in time.
    for past in list(publisher.state.roots())[1:]:
        for version in listed:
            for targets_root in (root, past):
                view = _valid_view(publisher, _Basis(root, past, targets_root, baseline, announced=version), version, looks=1)
                if view is not None:
                    return view
    return None


def _check_not_older(publisher: Publisher, view: View | None, baseline: StateDocument) -> None:
    state = publisher.state
    if view is None:
        if "snapshot" in baseline.seen:
            state.check_claims({}, baseline, what=f"{publisher.store.url} shows no valid snapshot, which")
        return
    what = role_key("snapshot", view.snapshot.version)
    state.check("snapshot", view.snapshot, baseline, what=what)
    state.check_claims(meta_versions(view.snapshot.signed), baseline, what=what)
    state.check("targets", view.targets, baseline, what=role_key("targets", view.targets.version))
