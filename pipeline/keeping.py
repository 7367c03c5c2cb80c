"""Keep: a signed pin that holds releases in the tree, for a reason and until a time. One commit.

Takes releases and a place, gives ``Kept``. While it holds, the release cannot be retired and nothing of it is collected;
several reasons may keep one release, and each goes alone (docs/format.md §7).

next: ``pipeline.collect``
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from functools import partial

import msgspec

from pipeline.errors import UsageError
from pipeline.events import Listener
from pipeline.place import Heard, Place
from pipeline.release import Release
from pipeline.steps.lease import TRUST, held_lease
from pipeline.steps.probe import probe_store
from pipeline.steps.ready import ready_to_sign
from pipeline.trust.changes import Change, Pin, Unpin
from pipeline.trust.commit import commit_changes
from pipeline.trust.facts import instant_text


class Kept(msgspec.Struct, kw_only=True):
    """What a commit pinned, or let go. ``until`` is "" for ever; ``changed`` is False when it was so already."""

    action: str
    reason: str
    releases: list[str] = []
    until: str = ""
    changed: bool = False
    snapshot: int = 0
    root_fingerprint: str = ""
    store: str = ""
    warnings: list[str] = []


def keep_releases(
    releases: Sequence[Release],
    place: Place,
    listen: Listener,
    *,
    reason: str,
    until: datetime | timedelta | None = None,
    allow_unsafe: bool = False,
) -> Kept:
    """Pin ``releases`` for ``reason``, in one commit; a pin of the same reason gets the new time.

    A span of time counts from now by the store's clock, as the collector measures it; None keeps them for ever.

    Raises:
        UsageError: no reason, or ``until`` is past.
        UnknownName: a release is not in the tree, or was retired.
        TrustError, UnavailableError, ConflictError
    """
    if not reason:
        raise UsageError("a pin needs a reason", hint="As in --reason 'shipped to site A': it is what names the pin.")
    now = place.store.now()
    end = now + until if isinstance(until, timedelta) else until
    if end is not None and end <= now:
        raise UsageError(
            f"{instant_text(end)} is past: {place.store.url} says {instant_text(now)}",
            hint="Give a later time, as in --until 1y.",
        )
    text = instant_text(end) if end is not None else ""
    changes = [Pin(release, reason, text) for release in releases]
    kept = Kept(action="keep", reason=reason, until=text)
    return _commit(kept, releases, changes, place, listen, allow_unsafe=allow_unsafe)


def release_pins(
    releases: Sequence[Release], place: Place, listen: Listener, *, reason: str = "", allow_unsafe: bool = False
) -> Kept:
    """Remove the pins of ``releases``, in one commit; only those with ``reason`` if one is given.

    Raises:
        UnknownName, TrustError, UnavailableError, ConflictError
    """
    changes = [Unpin(release, reason) for release in releases]
    return _commit(Kept(action="undo", reason=reason), releases, changes, place, listen, allow_unsafe=allow_unsafe)


def _commit(
    kept: Kept, releases: Sequence[Release], changes: Sequence[Change], place: Place, listen: Listener, *, allow_unsafe: bool
) -> Kept:
    heard = Heard(listen)
    view = place.view()
    for release in releases:
        view.release(release, retired=kept.action == "undo")
    probe = partial(probe_store, place.store, allow_unsafe=allow_unsafe)
    ready = ready_to_sign(place.publisher(heard.listen), place.keys, releases[0], probe=probe)
    probe()
    with held_lease(place.store, str(releases[0]) if len(releases) == 1 else TRUST, heard.listen):
        committed = commit_changes(ready.publisher, changes)
    return msgspec.structs.replace(
        kept,
        releases=[str(release) for release in releases],
        changed=committed.changed,
        snapshot=committed.snapshot,
        root_fingerprint=committed.view.fingerprint,
        store=place.store.url,
        warnings=heard.warnings,
    )
