"""Every part of the release into the store, while the folder is read.

Takes a cut plan and a store, gives ``Uploaded``. A part is named, looked up, and written create-only
with the digest that the store verifies; nothing is staged on disk. An object that is there under the
part's name is believed only by a digest.

next: ``steps.prove``
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from pipeline.bodies import Body, Draft
from pipeline.digest import Blake3
from pipeline.errors import ObjectExists, ObjectMissing, StoreUnavailable
from pipeline.events import How, Listener, PartDone, StepFinished, StepStarted
from pipeline.layout import part_key
from pipeline.manifest import Part
from pipeline.ports import ObjectStore
from pipeline.steps.cut import CutPlan
from pipeline.steps.index import Indexed, index_release
from pipeline.steps.readback import fault_of, poisoned

# Between "exists" on write and "missing" on look-up somebody deletes; more often than this is no accident.
LOOK_AGAIN = 3

Check = Callable[[Blake3, How], None]


@dataclass(frozen=True, slots=True)
class Uploaded:
    """The release's index; every part it names was written or found right in ``store``."""

    cut: CutPlan
    indexed: Indexed
    store: ObjectStore
    replaced: tuple[str, ...]


def upload_release(cut: CutPlan, store: ObjectStore, *, repair: bool, listen: Listener, check: Check | None = None) -> Uploaded:
    """Index the release and put every part that is not there yet.

    ``check`` is told each part and how it came to be there, and may raise.

    Raises:
        PoisonedObject: another object stands under a part's name, and ``repair`` is not given.
        SourceError, SourceChanged, UnavailableError, DiskError
    """
    started = time.monotonic()
    listen(StepStarted("upload", len(cut.files), cut.folder.size))
    replaced: list[str] = []
    missing = True

    def draft() -> Draft | None:
        # While parts are found, as after a publish that was killed, nothing is written to be thrown away.
        return store.draft() if missing else None

    def ship(part: Part, body: Body) -> None:
        nonlocal missing
        how = put_part(store, part, body, repair=repair)
        missing = how != "present"
        if how == "replaced":
            replaced.append(part_key(part.blake3))
        listen(PartDone("upload", part.blake3, part.size, how))
        if check:
            check(part.blake3, how)

    indexed = index_release(cut, ship, listen, step="upload", draft=draft)
    listen(StepFinished("upload", indexed.parts.total, indexed.manifest.stored_bytes, time.monotonic() - started))
    return Uploaded(cut, indexed, store, tuple(sorted(replaced)))


def put_part(store: ObjectStore, part: Part, body: Body, *, repair: bool) -> How:
    """Make ``part`` stand in the store; say whether it was ``sent``, ``present`` or ``replaced``.

    Raises:
        PoisonedObject: another object is there, and ``repair`` is not given.
    """
    key = part_key(part.blake3)
    for _ in range(LOOK_AGAIN):
        try:
            fault = fault_of(store, part, store.head(key), read=True)
        except ObjectMissing:
            try:
                store.put(key, body, sha256=part.sha256, if_absent=True)
            except ObjectExists:
                continue
            return "sent"
        if fault is None:
            return "present"
        if not repair:
            raise poisoned(key, fault)
        store.put(key, body, sha256=part.sha256)
        return "replaced"
    raise StoreUnavailable(
        f"{key} is there when it is written and gone when it is read",
        hint="Wait until nobody deletes from the store, then publish again.",
    )
