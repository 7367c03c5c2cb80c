"""The one mutable object: how ``timestamp.json`` comes to announce the highest valid snapshot.

Takes a publisher and a signed snapshot; gives the version that readers see. Docs/format.md §6: the
timestamp is read immediately before it is written, an equal or higher one is left alone, the write
is conditional where the store can, and after it one looks for a higher snapshot until there is none.

next: ``signing``
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence

from securesystemslib.signer import Signer
from tuf.api.metadata import Root, Snapshot, Timestamp

from pipeline.digest import sha256_of
from pipeline.errors import (
    AnotherPublisher,
    ConditionFailed,
    IntegrityError,
    KeyUnusable,
    ObjectExists,
    ObjectMissing,
    RollbackRefused,
)
from pipeline.layout import TIMESTAMP, role_key
from pipeline.ports import read_object
from pipeline.trust.chain import read_root
from pipeline.trust.publisher import Publisher
from pipeline.trust.reading import open_timestamp
from pipeline.trust.roles import role_keys, timestamp_of
from pipeline.trust.sealed import TIMESTAMP_BYTES, Sealed, is_signed, seal
from pipeline.trust.survey import higher_snapshot
from pipeline.trust.view import View

# Each lost write is another publisher's announcement; a store that never lets us write is broken.
ATTEMPTS = 100
PAUSE_S = 0.05


class RootMoved(Exception):
    """A newer root stands in the store than the one this commit was signed under: it starts again."""


def signers_for(publisher: Publisher, role: str, roots: Sequence[Root]) -> tuple[Signer, ...]:
    """The signers of a top-level role, enough for each of ``roots``.

    Raises:
        KeyUnusable: too few of the keys that one of them names are at hand.
    """
    keyids = {key.keyid for root in roots for key in role_keys(root, role)}
    found = publisher.keys.signers(role, keyids)
    at_hand = {signer.public_key.keyid for signer in found}
    for root in roots:
        wanted = root.roles[role]
        check_enough(role, wanted.keyids, wanted.threshold, at_hand, f"root {root.version}")
    return found


def check_enough(role: str, keyids: Sequence[str], threshold: int, at_hand: set[str], where: str) -> None:
    """Refuse before anything is written if a role cannot be signed with the keys at hand.

    Raises:
        KeyUnusable
    """
    if len(at_hand & set(keyids)) >= threshold:
        return
    slot = role if role in {"root", "targets"} else "release"
    raise KeyUnusable(
        f"{role} needs {threshold} of the keys {', '.join(sorted(keyid[:16] for keyid in keyids))} that {where} names, "
        f"{len(at_hand & set(keyids))} of them are at hand",
        hint=f"Run it where the {slot} key is, name the key in the setting keys.{slot}, or carry the change there with "
        "`invoke trust.stage`.",
    )


def announce_snapshot(
    publisher: Publisher,
    root: Sealed[Root],
    snapshot: Sealed[Snapshot],
    *,
    next_root: Root | None = None,
) -> int:
    """Let the timestamp name ``snapshot``, or whatever valid snapshot is higher.

    Returns:
        The version that is announced now.

    Raises:
        RootMoved: a newer root appeared; readers that know it may refuse what was signed under this one.
        RollbackRefused: this version is announced with other content.
        AnotherPublisher: the store refused every conditional write.
        KeyUnusable, StoreUnavailable, …
    """
    store = publisher.store
    signers = signers_for(publisher, "timestamp", [root.signed, *([next_root] if next_root else [])])
    for attempt in range(ATTEMPTS):
        if attempt:
            publisher.pause(PAUSE_S * secrets.randbelow(1000) / 1000)
        publisher.step("commit.timestamp")
        etag, current = _read_timestamp(publisher)
        if read_root(store, root.version + 1) is not None:
            raise RootMoved
        wanted = seal(timestamp_of(snapshot), signers)
        if current is not None and is_signed(root.signed, "timestamp", current):
            if current.version == wanted.version and current.signed_sha256 != wanted.signed_sha256:
                publisher.state.note(f"timestamp {current.version} announces two snapshots")
                raise RollbackRefused(
                    f"{TIMESTAMP} announces version {current.version} with other content than its snapshot has",
                    hint="Two trees were signed with one key: compare them before publishing.",
                )
            if current.version >= wanted.version:
                return current.version
        publisher.step("commit.swap")
        if not _swap(publisher, wanted, etag):
            continue
        publisher.step("commit.look")
        if read_root(store, root.version + 1) is not None:
            raise RootMoved
        higher = higher_snapshot(publisher, root, snapshot.version)
        if higher is None:
            return snapshot.version
        publisher.prove_names(new_names(higher, snapshot.signed))
        snapshot = higher.snapshot
    raise AnotherPublisher(
        f"{TIMESTAMP} changed before each of {ATTEMPTS} writes at {store.url}; snapshot {snapshot.version} stands unannounced",
        hint="Nothing is lost: run it again. If nobody else publishes, the store does not honour If-Match.",
    )


def new_names(view: View, previous: Snapshot | None) -> tuple[str, ...]:
    """Keys of the metadata files that a snapshot brought, the snapshot last."""
    before = previous.meta if previous else {}
    metas = [(name, meta) for name, meta in view.snapshot.signed.meta.items() if before.get(name) != meta]
    return (
        *(role_key(name.removesuffix(".json"), meta.version) for name, meta in metas),
        role_key("snapshot", view.snapshot.version),
    )


def _read_timestamp(publisher: Publisher) -> tuple[str | None, Sealed[Timestamp] | None]:
    # The ETag is asked for first: if the object changes before it is read, the write fails and we look again.
    try:
        etag = publisher.store.head(TIMESTAMP).etag
        data = read_object(publisher.store, TIMESTAMP, cap=TIMESTAMP_BYTES)
    except ObjectMissing:
        return None, None
    except IntegrityError:
        return publisher.store.head(TIMESTAMP).etag, None
    try:
        return etag, open_timestamp(data)
    except IntegrityError:
        return etag, None


def _swap(publisher: Publisher, wanted: Sealed[Timestamp], etag: str | None) -> bool:
    # A store that cannot compare is told nothing of ETags; the documents say what that costs.
    condition = etag if publisher.store.properties.compare_and_swap is not False else None
    try:
        publisher.store.put(TIMESTAMP, wanted.data, sha256=sha256_of(wanted.data), if_absent=etag is None, if_etag=condition)
    except (ConditionFailed, ObjectExists):
        return False
    return True
