"""A copy of a tree: is what stands there older than what is to be written, and how the timestamp moves.

Takes a gathered tree and the store that becomes its copy; writes signed metadata unchanged, the timestamp last and
never backwards. Nothing is signed here, so no key is needed (docs/format.md §6 for how a timestamp may be written).

next: ``setup``
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable

from pipeline.digest import sha256_of
from pipeline.errors import (
    AnotherPublisher,
    ConditionFailed,
    IntegrityError,
    ObjectExists,
    ObjectMissing,
    OtherContent,
    PoisonedObject,
    RollbackRefused,
)
from pipeline.layout import TIMESTAMP, role_key
from pipeline.ports import ObjectStore, read_object
from pipeline.trust.announce import ATTEMPTS, PAUSE_S
from pipeline.trust.reading import open_timestamp
from pipeline.trust.sealed import ROOT_BYTES, TARGETS_BYTES, TIMESTAMP_BYTES, is_signed
from pipeline.trust.whole import SignedTree

_DOUBT = "Do not trust this store before you know why; then: invoke mirror --repair"


def check_copy(store: ObjectStore, tree: SignedTree) -> int:
    """Give the version that ``store`` announces of this tree, 0 for none.

    Raises:
        OtherContent: another tree stands there.
        RollbackRefused: it announces a newer snapshot, or knows a newer root, than the source.
    """
    for root in reversed(tree.roots):
        there = _there(store, role_key("root", root.version), ROOT_BYTES)
        if there is None:
            continue
        if there != root.data:
            raise OtherContent(
                f"{store.url} holds another tree: root {root.version} there has sha256 {sha256_of(there)}, "
                f"in {tree.url} it has {root.sha256}",
                hint="Name an empty place with --to, or a copy of this tree.",
            )
        break
    if _there(store, role_key("root", tree.root.version + 1), ROOT_BYTES) is not None:
        raise RollbackRefused(
            f"{store.url} knows root {tree.root.version + 1}, {tree.url} only {tree.root.version}",
            hint="The source is out of date: mirror from another one. Nothing was changed.",
        )
    announced = _announced(store, tree)
    if announced > tree.timestamp.version:
        raise RollbackRefused(
            f"{store.url} announces snapshot {announced}, {tree.url} only {tree.timestamp.version}",
            hint="The source is out of date: mirror from another one. Nothing was changed.",
        )
    return announced


def write_metadata(store: ObjectStore, tree: SignedTree, *, repair: bool) -> int:
    """Write roles, the snapshot and then the roots, each only where it is missing; give how many were written.

    The roots come last: a reader that follows to a new root cannot use a timestamp that was signed before it.

    Raises:
        OtherContent: something else stands under one of these names.
    """
    written = 0
    for key, data in (*tree.metadata, *((role_key("root", root.version), root.data) for root in tree.roots)):
        there = _there(store, key, TARGETS_BYTES)
        if there == data:
            continue
        if there is not None and not repair:
            raise OtherContent(
                f"{key} in {store.url} is not what {tree.url} has: sha256 {sha256_of(there)}, expected {sha256_of(data)}",
                hint="Somebody altered the copy, or the tree was signed twice: if the source is right, use --repair.",
            )
        try:
            store.put(key, data, sha256=sha256_of(data), if_absent=there is None)
            written += 1
        except ObjectExists:
            if _there(store, key, TARGETS_BYTES) != data:
                raise
    return written


def check_documents(store: ObjectStore, tree: SignedTree) -> None:
    """Read the metadata of a copy again and compare, before the timestamp that leads to it.

    Raises:
        PoisonedObject: a document that was written does not come back as it was.
    """
    for key, data in (*tree.metadata, *((role_key("root", root.version), root.data) for root in tree.roots)):
        if _there(store, key, TARGETS_BYTES) != data:
            raise PoisonedObject(f"{key} in {store.url} does not come back as it was written", hint=_DOUBT)


def check_announced(store: ObjectStore, tree: SignedTree) -> None:
    """Read the timestamp of a copy again: it must be the tree's, or a newer one.

    Raises:
        PoisonedObject: readers of the copy see something else.
    """
    if _announced(store, tree) < tree.timestamp.version:
        raise PoisonedObject(f"{TIMESTAMP} in {store.url} does not come back as it was written", hint=_DOUBT)


def announce_copy(store: ObjectStore, tree: SignedTree, *, pause: Callable[[float], None] = time.sleep) -> tuple[int, bool]:
    """Let the timestamp of ``store`` be the tree's, unless an equal or newer one stands there.

    Returns:
        The version that is announced now, and whether it was written here.

    Raises:
        AnotherPublisher: the store refused every conditional write.
    """
    for attempt in range(ATTEMPTS):
        if attempt:
            pause(PAUSE_S * secrets.randbelow(1000) / 1000)
        # The ETag is asked for first: if the object changes before it is read, the write fails and we look again.
        try:
            etag: str | None = store.head(TIMESTAMP).etag
        except ObjectMissing:
            etag = None
        announced = _announced(store, tree)
        if announced >= tree.timestamp.version:
            return announced, False
        data = tree.timestamp.data
        condition = etag if store.properties.compare_and_swap is not False else None
        try:
            store.put(TIMESTAMP, data, sha256=sha256_of(data), if_absent=etag is None, if_etag=condition)
        except (ConditionFailed, ObjectExists):
            continue
        return tree.timestamp.version, True
    raise AnotherPublisher(
        f"{TIMESTAMP} changed before each of {ATTEMPTS} writes at {store.url}",
        hint="Nothing is lost: run it again. If nobody else writes there, the store does not honour If-Match.",
    )


def _announced(store: ObjectStore, tree: SignedTree) -> int:
    """What the store's timestamp announces, 0 where there is none that the newest root's keys signed."""
    try:
        current = open_timestamp(read_object(store, TIMESTAMP, cap=TIMESTAMP_BYTES))
    except IntegrityError:
        return 0
    if not is_signed(tree.root.signed, "timestamp", current):
        return 0
    if current.version == tree.timestamp.version and current.signed_sha256 != tree.timestamp.signed_sha256:
        raise RollbackRefused(
            f"{store.url} and {tree.url} announce version {current.version} with different content",
            hint="Two trees were signed with one key: ask the publisher before trusting either.",
        )
    return current.version


def _there(store: ObjectStore, key: str, cap: int) -> bytes | None:
    try:
        return read_object(store, key, cap=cap)
    except ObjectMissing:
        return None
