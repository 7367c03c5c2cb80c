"""Read stored objects again and hold them against what they must be.

Takes a store and a part, gives nothing or the error that names the object. A digest that the store
itself verified saves the reading; a name, a size or an ETag never does.

next: ``steps.prove``
"""

from __future__ import annotations

import hashlib

from pipeline.errors import PoisonedObject
from pipeline.layout import part_key
from pipeline.manifest import Part
from pipeline.ports import ObjectInfo, ObjectStore


def fault_of(store: ObjectStore, part: Part, info: ObjectInfo, *, read: bool) -> str | None:
    """Say how the object that ``info`` describes differs from ``part``, or None.

    ``read``: where the store vouches for no digest, read the object and hash it; else its size decides.
    """
    if info.size != part.size:
        return f"it has {info.size} bytes, expected {part.size}"
    found = info.sha256
    if found is None and read:
        state = hashlib.sha256()
        for block in store.get(part_key(part.blake3)):
            state.update(block)
        found = state.hexdigest()  # type: ignore[assignment]  # a digest by construction
    if found is not None and found != part.sha256:
        return f"it has sha256 {found}, expected {part.sha256}"
    return None


def poisoned(key: str, fault: str) -> PoisonedObject:
    """The error for an object that stands under its content name with other bytes."""
    return PoisonedObject(
        f"{key} in the store is not what its name says: {fault}",
        hint="Find out who wrote it; then publish again with --repair to replace it.",
    )
