"""Every referenced part stands at the origin, old ones too.

Takes what was uploaded, gives ``Proved``, the only thing a commit takes. Size always counts; the
digest where the store vouches for one. (``verify --all`` reads the bytes.)

next: ``steps.commit``
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from pipeline.clocks import elapsed_s
from pipeline.errors import ObjectMissing, VerifyFailed
from pipeline.events import Listener, StepFinished, StepStarted
from pipeline.layout import part_key
from pipeline.manifest import Part
from pipeline.ports import ObjectStore
from pipeline.steps.readback import fault_of, poisoned
from pipeline.steps.upload import Uploaded
from pipeline.workers import in_order, threads

LOOKS_AT_ONCE = 16
# Some stores show a new object late: look again this often before a part counts as missing.
LATE_WAITS_S = (0.2, 0.5, 1.0, 2.0, 4.0)


@dataclass(frozen=True, slots=True)
class Proved:
    """An uploaded release whose every part was seen at the origin at ``at_s`` by ``clocks.elapsed_s``."""

    uploaded: Uploaded
    at_s: float


def prove_origin(uploaded: Uploaded, listen: Listener, *, sleep: Callable[[float], None] = time.sleep) -> Proved:
    """See that every part the release refers to is there, whole.

    Raises:
        VerifyFailed, PoisonedObject: as ``prove_parts``.
    """
    started = elapsed_s()
    prove_parts(uploaded.store, uploaded.indexed.manifest.parts, listen, sleep=sleep)
    return Proved(uploaded, started)


def prove_parts(
    store: ObjectStore, parts: Sequence[Part], listen: Listener, *, sleep: Callable[[float], None] = time.sleep
) -> None:
    """See that every one of ``parts`` is in ``store``.

    Raises:
        VerifyFailed: some are missing; the first few are named.
        PoisonedObject: one has another size or digest.
    """
    started = time.monotonic()
    listen(StepStarted("prove", len(parts)))

    missing = list(parts)
    with threads(LOOKS_AT_ONCE, "prove") as pool:
        # Waited for together, so that many parts that are gone take no longer than one.
        for wait_s in (0.0, *LATE_WAITS_S):
            if wait_s:
                sleep(wait_s)
            seen = in_order(pool, partial(_is_there, store), missing, ahead=2 * LOOKS_AT_ONCE)
            missing = [part for part, there in zip(missing, seen, strict=True) if not there]
            if not missing:
                break
    if missing:
        shown = ", ".join(part_key(part.blake3) for part in missing[:3]) + (" …" if len(missing) > 3 else "")
        raise VerifyFailed(
            f"{len(missing)} of {len(parts)} parts are not in {store.url}: {shown}",
            hint="Somebody deleted them, or the store shows new objects late: publish again with --repair to send them.",
        )
    listen(StepFinished("prove", len(parts), 0, time.monotonic() - started))


def check_there(store: ObjectStore, keys: Sequence[str]) -> None:
    """See that ``store`` has an object under every one of ``keys``, before an edge asks for them and remembers a 404.

    Raises:
        VerifyFailed: some are missing; the first few are named.
        AccessDenied, StoreUnavailable, DiskError
    """
    with threads(LOOKS_AT_ONCE, "there") as pool:
        seen = in_order(pool, partial(_has, store), keys, ahead=2 * LOOKS_AT_ONCE)
        missing = [key for key, there in zip(keys, seen, strict=True) if not there]
    if missing:
        shown = ", ".join(missing[:3]) + (" …" if len(missing) > 3 else "")
        raise VerifyFailed(
            f"{len(missing)} of {len(keys)} objects are not in {store.url}: {shown}; no CDN was asked for them, for it would "
            "remember that they are not there",
            hint="Check the paths; what a release lacks is sent again by: invoke publish --repair",
        )


def _has(store: ObjectStore, key: str) -> bool:
    try:
        store.head(key)
    except ObjectMissing:
        return False
    return True


def _is_there(store: ObjectStore, part: Part) -> bool:
    key = part_key(part.blake3)
    try:
        fault = fault_of(store, part, store.head(key), read=False)
    except ObjectMissing:
        return False
    if fault is not None:
        raise poisoned(key, fault)
    return True
