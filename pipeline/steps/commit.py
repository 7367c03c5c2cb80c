"""The release becomes true: its manifest into the store, then signed metadata that names it.

Takes a release whose parts are proved, gives ``Committed``. The manifest is written create-only
under its own digest before anything names it; the rest is ``trust.commit``.

next: ``pipeline.publish``
"""

from __future__ import annotations

import time

from pipeline.digest import Sha256
from pipeline.errors import ObjectExists
from pipeline.layout import manifest_target, target_key
from pipeline.ports import ObjectStore, read_object
from pipeline.release import Channel, Release
from pipeline.steps.prove import Proved
from pipeline.steps.readback import poisoned
from pipeline.steps.ready import Ready
from pipeline.trust.changes import AddRelease, Change, MoveChannel
from pipeline.trust.commit import Committed, commit_changes
from pipeline.trust.facts import facts_of
from pipeline.trust.view import View

# If warming the edge took longer than this, the origin is proved again directly before the snapshot.
PROOF_S = 600.0


def commit_release(proved: Proved, ready: Ready, *, channel: Channel | None, by: str, repair: bool) -> Committed:
    """Write the manifest and commit the release, moving ``channel`` to it in the same snapshot.

    The first release of a model brings the model's role with it.

    Raises:
        OtherContent, NotDelegated, KeyUnusable, ClockSkew, UnavailableError
    """
    indexed, publisher = proved.uploaded.indexed, ready.publisher
    release = proved.uploaded.cut.release
    key = target_key(manifest_target(release), indexed.sha256)
    put_document(publisher.store, key, indexed.data, indexed.sha256, repair=repair)
    facts = facts_of(indexed.manifest, publisher.now())
    changes: list[Change] = [ready.delegation] if ready.delegation else []
    changes.append(AddRelease(release, indexed.sha256, len(indexed.data), facts))
    if channel is not None:
        changes.append(channel_move(ready.view, release, channel, by))
    return commit_changes(publisher, changes)


def channel_move(view: View, release: Release, channel: Channel, by: str) -> MoveChannel:
    """Move ``channel`` to ``release`` if it still points where ``view`` shows it when that is committed."""
    known = release.model in view.models() and channel in view.channels(release.model)
    seen = Release.parse(view.channel(release.model, channel).release) if known else None
    return MoveChannel(channel, release, by, expected=seen)


def proof_is_old(proved: Proved) -> bool:
    """Whether so much time passed since the proof that it must be made again."""
    return time.monotonic() - proved.at_s > PROOF_S


def put_document(store: ObjectStore, key: str, data: bytes, sha256: Sha256, *, repair: bool) -> None:
    """Write an immutable document; the same bytes already there are a lost answer, or another run's.

    Raises:
        PoisonedObject: other bytes are there, and ``repair`` is not given.
    """
    try:
        store.put(key, data, sha256=sha256, if_absent=True)
    except ObjectExists:
        if read_object(store, key, cap=2 * len(data)) == data:
            return
        if not repair:
            raise poisoned(key, f"its sha256 is not {sha256}") from None
        store.put(key, data, sha256=sha256)
