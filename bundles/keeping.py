"""Keeping what a bundle needs from being collected: pins, signed into the roles of its models (docs/format.md §7).

Takes a bundle and a place with keys, gives what was pinned. A bundle can then be written again, and a differential on
it be built, until they end.

next: ``bundles.building``
"""

from __future__ import annotations

from datetime import timedelta

from bundles.index import Bundle
from pipeline.events import Listener
from pipeline.keeping import Kept, keep_releases
from pipeline.place import Place
from pipeline.release import Release


def pin_bundle(bundle: Bundle, place: Place, listen: Listener, *, span: timedelta) -> Kept:
    """Pin every release that the bundle holds or stands on, for ``span`` and the rest of that day.

    To the end of the day, so that a second run on the same day changes nothing.

    Raises:
        UnknownName, TrustError, UnavailableError, ConflictError, UnsafeStore
    """
    names = {one.release for one in bundle.plan.releases} | {base.release for base in bundle.plan.bases}
    until = (place.store.now() + span).replace(hour=23, minute=59, second=59, microsecond=0)
    return keep_releases(
        [Release.parse(name) for name in sorted(names)], place, listen, reason=f"bundle {bundle.plan.name}", until=until
    )
