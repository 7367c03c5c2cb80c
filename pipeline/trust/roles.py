"""Pure decisions about role metadata: what the next version of each role says.

Takes roles and times, gives new role values, unsigned; docs/format.md §6 and §8. Expiry: root five
years, targets and model roles two, snapshot and timestamp ninety days (two years in a directory
store whose keys were made on first use).

next: ``state``
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta

from securesystemslib.signer import Key
from tuf.api.metadata import (
    TOP_LEVEL_ROLE_NAMES,
    DelegatedRole,
    Delegations,
    MetaFile,
    Role,
    Root,
    Snapshot,
    Targets,
    Timestamp,
)

from pipeline.errors import InvalidDocument, UsageError
from pipeline.layout import model_paths
from pipeline.release import ModelName, NameRefused, check_model
from pipeline.spelling import spell_subject
from pipeline.trust.facts import SIGNED_AT, instant_text, signed_at
from pipeline.trust.sealed import Sealed

# Written out, not taken from the library: two publishers with different libraries announce the same bytes.
SPEC_VERSION = "1.0.31"
YEAR = timedelta(days=365)
ROOT_LIFE = 5 * YEAR
TARGETS_LIFE = 2 * YEAR
SNAPSHOT_LIFE = timedelta(days=90)
EMBEDDED_SNAPSHOT_LIFE = 2 * YEAR


def first_root(keys: Mapping[str, Sequence[Key]], at: datetime) -> Root:
    """Root version 1: ``keys`` by top-level role, every threshold 1."""
    root = Root(version=1, spec_version=SPEC_VERSION, expires=_whole(at) + ROOT_LIFE, consistent_snapshot=True)
    for role in sorted(TOP_LEVEL_ROLE_NAMES):
        for key in keys[role]:
            root.add_key(_bare(key), role)
    return root


def next_root(
    root: Root, at: datetime, keys: Mapping[str, Sequence[Key]] | None = None, thresholds: Mapping[str, int] | None = None
) -> Root:
    """The root after ``root``: the same, but for the roles in ``keys`` and ``thresholds``.

    Raises:
        UsageError: a role's keys could never meet its threshold.
    """
    following = copy.deepcopy(root)
    following.version += 1
    following.expires = _whole(at) + ROOT_LIFE
    for role, wanted in (keys or {}).items():
        for keyid in list(following.roles[role].keyids):
            following.revoke_key(keyid, role)
        for key in wanted:
            following.add_key(_bare(key), role)
    for role, threshold in (thresholds or {}).items():
        following.roles[role] = Role(following.roles[role].keyids, threshold)
    for role, found in following.roles.items():
        check_threshold(role, len(found.keyids), found.threshold)
    return following


def check_threshold(role: str, keys: int, threshold: int) -> None:
    """Refuse a role that nobody could ever sign again.

    Raises:
        UsageError: it has fewer keys than must sign.
    """
    if threshold > keys:
        raise UsageError(
            f"{role}: {spell_subject(keys, 'key', 'are')} too few for a threshold of {threshold}",
            hint=f"Choose 1 to {keys}, or name more keys.",
        )


def empty_targets(at: datetime) -> Targets:
    """A targets or model role that names nothing yet; its version is settled when it is signed."""
    return Targets(version=1, spec_version=SPEC_VERSION, expires=_whole(at) + TARGETS_LIFE)


def edited_targets(targets: Targets, at: datetime) -> Targets:
    """A copy of a targets or model role to change: its life begins anew."""
    edited = copy.deepcopy(targets)
    edited.expires = _whole(at) + TARGETS_LIFE
    return edited


def delegate(targets: Targets, model: ModelName, keys: Sequence[Key], threshold: int) -> None:
    """Name ``keys`` as those that sign ``model``, instead of any earlier ones, in place.

    Raises:
        UsageError: they could never meet ``threshold``.
    """
    check_threshold(model, len(keys), threshold)
    if targets.delegations is None:
        targets.delegations = Delegations(keys={}, roles={})
    delegations = targets.delegations
    roles = {} if delegations.roles is None else delegations.roles
    for key in keys:
        delegations.keys[key.keyid] = _bare(key)
    roles[model] = DelegatedRole(
        name=model, keyids=[key.keyid for key in keys], threshold=threshold, terminating=True, paths=[model_paths(model)]
    )
    # A key that signs nothing any more must not linger where a later edit could pick it up.
    used = {keyid for role in roles.values() for keyid in role.keyids}
    delegations.keys = {keyid: key for keyid, key in sorted(delegations.keys.items()) if keyid in used}
    delegations.roles = dict(sorted(roles.items()))


def delegated_models(targets: Targets) -> tuple[ModelName, ...]:
    """The models that ``targets`` delegates, sorted. A role whose name is no model's is none of ours."""
    if targets.delegations is None or targets.delegations.roles is None:
        return ()
    return tuple(ModelName(name) for name in sorted(targets.delegations.roles) if _is_model(name))


def role_keys(delegator: Root | Targets, role: str) -> tuple[Key, ...]:
    """The keys that ``delegator`` names for ``role``; none if it does not know the role."""
    try:
        keyids = delegator.get_delegated_role(role).keyids
    except ValueError:
        return ()
    return tuple(delegator.get_key(keyid) for keyid in keyids)


def check_paths(targets: Targets, model: ModelName) -> None:
    """Refuse a delegation of ``model`` for other paths than its own: a role is believed for what was given to it alone.

    Raises:
        InvalidDocument
    """
    roles = (targets.delegations.roles if targets.delegations else None) or {}
    paths = tuple(roles[model].paths or ()) if model in roles else ()
    if paths != (model_paths(model),):
        raise InvalidDocument(
            f"targets {targets.version} delegates {', '.join(paths) or 'no path'} to {model}, expected {model_paths(model)}",
            hint="The tree was not written by modelport, or it was altered: try another source.",
        )


def next_snapshot(
    version: int,
    roles: Iterable[tuple[str, MetaFile]],
    at: datetime,
    predecessor: Snapshot | None,
    *,
    life: timedelta | None = None,
) -> Snapshot:
    """A snapshot of ``roles``, signed at ``at``; it lives as long as its predecessor did, unless ``life`` is given."""
    if life is None:
        life = snapshot_life(predecessor) if predecessor else SNAPSHOT_LIFE
    when = _whole(at)
    return Snapshot(
        version=version,
        spec_version=SPEC_VERSION,
        expires=when + life,
        meta={f"{role}.json": meta for role, meta in sorted(roles)},
        unrecognized_fields={SIGNED_AT: instant_text(when)},
    )


def timestamp_of(snapshot: Sealed[Snapshot]) -> Timestamp:
    """The timestamp that announces ``snapshot``: a pure function of it, so that whoever announces writes the same."""
    return Timestamp(
        version=snapshot.version,
        spec_version=snapshot.signed.spec_version,
        expires=snapshot.signed.expires,
        snapshot_meta=snapshot.meta,
        unrecognized_fields={SIGNED_AT: snapshot.signed.unrecognized_fields[SIGNED_AT]},
    )


def snapshot_life(snapshot: Snapshot) -> timedelta:
    """How long a snapshot was meant to live."""
    life: timedelta = snapshot.expires - signed_at(snapshot.unrecognized_fields, "snapshot")
    return life


def meta_versions(snapshot: Snapshot) -> dict[str, int]:
    """Role → version, as a snapshot names them."""
    return {name.removesuffix(".json"): meta.version for name, meta in snapshot.meta.items()}


def _is_model(name: str) -> bool:
    # A name becomes a key and a file: "../x" must never get that far.
    try:
        check_model(name)
    except NameRefused:
        return False
    return True


def _whole(at: datetime) -> datetime:
    return at.astimezone(UTC).replace(microsecond=0)


def _bare(key: Key) -> Key:
    # A key's unrecognized fields may name where its private half lies: never publish that.
    return Key.from_dict(key.keyid, {"keytype": key.keytype, "scheme": key.scheme, "keyval": dict(key.keyval)})
