"""Keeping what a bundle needs from being collected: pins, signed into the roles of its models (docs/format.md §7).

Takes a recipe and a place with keys, gives the snapshot that holds the pins. A bundle can then be written again, and a
differential on it be built, until they end.

next: ``bundles.building``
"""

from __future__ import annotations

from datetime import datetime, timedelta
from functools import partial

from bundles.index import Bundle
from pipeline.errors import KeyUnusable
from pipeline.events import Listener
from pipeline.place import Place
from pipeline.release import Release
from pipeline.steps.lease import held_lease
from pipeline.steps.probe import probe_store
from pipeline.steps.ready import ready_to_sign
from pipeline.trust.changes import Pin
from pipeline.trust.commit import commit_changes
from pipeline.trust.facts import instant_text


def pin_until(now: datetime, days: int) -> str:
    """The end of a pin: midnight UTC, so that a second run on one day changes nothing."""
    return instant_text((now + timedelta(days=days)).replace(hour=0, minute=0, second=0, microsecond=0))


def pin_bundle(bundle: Bundle, place: Place, listen: Listener, *, days: int) -> int:
    """Pin every release that the bundle holds or stands on; gives the snapshot.

    Raises:
        KeyUnusable, TrustError, UnavailableError, ConflictError, UnsafeStore
    """
    names = {one.release for one in bundle.plan.releases} | {base.release for base in bundle.plan.bases}
    releases = [Release.parse(name) for name in sorted(names)]
    if not releases:
        raise KeyUnusable("a bundle without releases has nothing to keep")
    until = pin_until(place.now(), days)
    probe = partial(probe_store, place.store, allow_unsafe=False)
    ready = ready_to_sign(place.publisher(listen), place.keys, releases[0], probe=probe)
    probe()
    with held_lease(place.store, str(releases[0]), listen):
        changes = [Pin(release, f"bundle {bundle.plan.name}", until) for release in releases]
        return commit_changes(ready.publisher, changes).snapshot
