"""Every referenced part stands at the origin, old ones too.

Takes what was uploaded, gives ``Proved``, the only thing a commit takes. Size always counts; the
digest where the store vouches for one. (``verify --all`` reads the bytes.)

next: ``steps.commit``
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

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
    """An uploaded release whose every part was seen at the origin at ``at_s`` on the monotonic clock."""

    uploaded: Uploaded
    at_s: float


def prove_origin(uploaded: Uploaded, listen: Listener, *, sleep: Callable[[float], None] = time.sleep) -> Proved:
    """See that every part the release refers to is there, whole.

    Raises:
        VerifyFailed, PoisonedObject: as ``prove_parts``.
    """
    started = time.monotonic()
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

    def look(part: Part) -> str | None:
        return _missing(store, part, sleep)

    with threads(LOOKS_AT_ONCE, "prove") as pool:
        missing = [key for key in in_order(pool, look, parts, ahead=2 * LOOKS_AT_ONCE) if key is not None]
    if missing:
        shown = ", ".join(missing[:3]) + (" …" if len(missing) > 3 else "")
        raise VerifyFailed(
            f"{len(missing)} of {len(parts)} parts are not in {store.url}: {shown}",
            hint="Somebody deleted them, or the store shows new objects late: publish again with --repair to send them.",
        )
    listen(StepFinished("prove", len(parts), 0, time.monotonic() - started))


def _missing(store: ObjectStore, part: Part, sleep: Callable[[float], None]) -> str | None:
    key = part_key(part.blake3)
    for wait_s in (*LATE_WAITS_S, None):
        try:
            fault = fault_of(store, part, store.head(key), read=False)
        except ObjectMissing:
            if wait_s is None:
                return key
            sleep(wait_s)
            continue
        if fault is not None:
            raise poisoned(key, fault)
        return None
    return key
