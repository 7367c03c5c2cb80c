"""Plan: what a publish of this folder would do, to the byte, without doing it.

Takes an order and a place, reads and encodes without keeping bytes, asks the store what it has, gives
a ``ReleasePlan``. It writes nothing anywhere.

next: ``pipeline.verify``
"""

from __future__ import annotations

import time

from pipeline.errors import InvalidDocument, ObjectMissing
from pipeline.events import Listener, StepFinished, StepStarted
from pipeline.layout import part_key
from pipeline.manifest import Part
from pipeline.order import PublishOrder, identity_before_reading, inputs_of
from pipeline.place import Heard, Place
from pipeline.plan.cost import PLAN_FORMAT, PlannedPart, ReleasePlan, estimate_of, total_of
from pipeline.sources.folder import scan_folder
from pipeline.steps.bases import load_bases
from pipeline.steps.cut import cut_release
from pipeline.steps.index import index_release
from pipeline.steps.readback import fault_of, poisoned
from pipeline.trust.chain import read_root
from pipeline.trust.view import View
from pipeline.wire import decode_document, encode_document

PLAN_BYTES = 64 << 20


def plan_release(order: PublishOrder, place: Place, listen: Listener) -> ReleasePlan:
    """Find out what ``publish`` would send for ``order``.

    Raises:
        UsageError, IntegrityError, TrustError, UnavailableError: as ``publish`` would.
    """
    heard = Heard(listen)
    folder = scan_folder(order.source, kind=order.kind)
    view = _view(place)
    inputs, _ = inputs_of(order, folder, view)
    cut = cut_release(order.release, order.kind, folder, inputs, load_bases(view, inputs.bases), listen=heard.listen)
    started = time.monotonic()
    heard.listen(StepStarted("plan", len(cut.files), folder.size))
    indexed = index_release(cut, None, heard.listen, step="plan")
    parts = tuple(_planned(place, part) for part in indexed.manifest.parts)
    heard.listen(StepFinished("plan", len(parts), indexed.manifest.stored_bytes, time.monotonic() - started))
    totals = total_of(parts, len(indexed.data))
    return ReleasePlan(
        release=str(order.release),
        store=place.store.url,
        channel=order.channel or "",
        source=identity_before_reading(order, folder),
        inputs=inputs,
        manifest_sha256=indexed.sha256,
        manifest_size=len(indexed.data),
        files=len(cut.files),
        plain=folder.size,
        stored=indexed.manifest.stored_bytes,
        chunks=indexed.chunks.total,
        chunks_reused=indexed.chunks.reused,
        parts=parts,
        totals=totals,
        estimate=estimate_of(totals, charged=place.store.url.partition(":")[0] in {"s3", "oss"}),
    )


def encode_plan(plan: ReleasePlan) -> bytes:
    """The bytes of a saved plan."""
    return encode_document(plan)


def decode_plan(data: bytes, what: str) -> ReleasePlan:
    """Read a saved plan.

    Raises:
        InvalidDocument
    """
    plan = decode_document(data, ReleasePlan, what=what, cap=PLAN_BYTES)
    if plan.format != PLAN_FORMAT or plan.format_version != 1:
        raise InvalidDocument(
            f"{what} is not a plan of this modelport: {plan.format!r} version {plan.format_version}",
            hint="Make it again: invoke plan",
        )
    return plan


def _view(place: Place) -> View | None:
    return None if read_root(place.store, 1) is None else place.view()


def _planned(place: Place, part: Part) -> PlannedPart:
    key = part_key(part.blake3)
    try:
        fault = fault_of(place.store, part, place.store.head(key), read=False)
    except ObjectMissing:
        return PlannedPart(blake3=part.blake3, sha256=part.sha256, size=part.size, present=False)
    if fault is not None:
        raise poisoned(key, fault)
    return PlannedPart(blake3=part.blake3, sha256=part.sha256, size=part.size, present=True)
