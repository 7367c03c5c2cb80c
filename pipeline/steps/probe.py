"""Does this store honour conditional writes?

Takes a store, gives its ``Capabilities``: from its properties where its kind settles that, else by
writing one object under ``control/probes/`` twice (docs/format.md §6).

next: ``steps.lease``
"""

from __future__ import annotations

import secrets
from contextlib import suppress
from dataclasses import dataclass

from pipeline.digest import sha256_of
from pipeline.errors import ConditionFailed, ConflictError, ObjectExists, UnsafeStore
from pipeline.layout import PROBES
from pipeline.ports import ObjectStore


@dataclass(frozen=True, slots=True)
class Capabilities:
    """Which conditional writes really hold."""

    create_only: bool
    compare_and_swap: bool


def probe_store(store: ObjectStore, *, allow_unsafe: bool) -> Capabilities:
    """Find out, and refuse a store where two publishers could overwrite each other.

    Raises:
        UnsafeStore: create-only writes do not hold and ``allow_unsafe`` is not given.
    """
    properties = store.properties
    create_only, swap = properties.create_only, properties.compare_and_swap
    if create_only is None or swap is None:
        found_create_only, found_swap = _try_writes(store)
        create_only = found_create_only if create_only is None else create_only
        swap = found_swap if swap is None else swap
    if not create_only and not allow_unsafe:
        raise _refused(store)
    return Capabilities(create_only, swap)


def _try_writes(store: ObjectStore) -> tuple[bool, bool]:
    key = f"{PROBES}{secrets.token_hex(16)}.json"
    first, second = b'{"probe":1}\n', b'{"probe":2}\n'
    try:
        # Nobody else draws this key: what exists is our own, from a write whose answer was lost.
        with suppress(ObjectExists):
            store.put(key, first, sha256=sha256_of(first), if_absent=True)
    except UnsafeStore:
        return False, False
    try:
        create_only = _refuses(store, key, second, absent=True)
        return create_only, create_only and _refuses(store, key, second, absent=False)
    finally:
        store.delete(key)


def _refuses(store: ObjectStore, key: str, body: bytes, *, absent: bool) -> bool:
    try:
        if absent:
            store.put(key, body, sha256=sha256_of(body), if_absent=True)
        else:
            # No object ever had this ETag (it is that of MD5's zero), so a store that compares refuses.
            store.put(key, body, sha256=sha256_of(body), if_etag='"00000000000000000000000000000000"')
    except (ObjectExists, ConditionFailed):
        return True
    except (UnsafeStore, ConflictError):
        return False
    return False


def _refused(store: ObjectStore) -> UnsafeStore:
    return UnsafeStore(
        f"{store.url} does not honour conditional writes: an object was overwritten although the write said not to",
        hint="Use a store that does, or --allow-unsafe-store if you are the only publisher.",
    )
