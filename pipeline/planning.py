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
from pipeline.order import PublishOrder, identity_before_reading, inputs_of, inputs_that_made
from pipeline.place import Heard, Place
from pipeline.plan.cost import PLAN_FORMAT, PlannedPart, ReleasePlan, estimate_of, total_of, total_of_adopting
from pipeline.sources.folder import scan_folder
from pipeline.steps.bases import load_bases
from pipeline.steps.cut import cut_release
from pipeline.steps.identify import check_identity, hash_files, identity_of, standing_release
from pipeline.steps.index import index_release
from pipeline.steps.readback import fault_of, poisoned
from pipeline.store_kinds import is_charged
from pipeline.trust.chain import read_root
from pipeline.trust.view import View
from pipeline.wire import decode_document, encode_document

PLAN_BYTES = 64 << 20
_AGAIN = "Make it again: invoke plan"


def plan_release(order: PublishOrder, place: Place, listen: Listener) -> ReleasePlan:
    """Find out what ``publish`` would send for ``order``.

    Raises:
        UsageError, IntegrityError, TrustError, UnavailableError: as ``publish`` would.
    """
    heard = Heard(listen)
    folder = scan_folder(order.source, kind=order.kind)
    view = _view(place)
    started = time.monotonic()
    heard.listen(StepStarted("plan", len(folder.files), folder.size))
    standing = standing_release(view, order.release) if view else None
    if view and standing:
        manifest, sha256, size = view.manifest(order.release), standing.sha256, standing.size
        check_identity(identity_of(folder, order.kind, hash_files(folder, {}, heard.listen)), manifest)
        inputs = inputs_that_made(manifest)
        reused = chunks = len({(chunk.part, chunk.offset) for file in manifest.files for chunk in file.chunks})
    else:
        inputs, _ = inputs_of(order, folder, view)
        cut = cut_release(order.release, order.kind, folder, inputs, load_bases(view, inputs.bases), listen=heard.listen)
        indexed = index_release(cut, None, heard.listen, step="plan")
        manifest, sha256, size = indexed.manifest, indexed.sha256, len(indexed.data)
        chunks, reused = indexed.chunks.total, indexed.chunks.reused
    parts = tuple(_planned(place, part) for part in manifest.parts)
    heard.listen(StepFinished("plan", len(parts), manifest.stored_bytes, time.monotonic() - started))
    totals = total_of_adopting(parts, moves=order.channel is not None) if standing else total_of(parts, size)
    return ReleasePlan(
        release=str(order.release),
        store=place.store.url,
        channel=order.channel or "",
        source=identity_before_reading(order, folder),
        inputs=inputs,
        manifest_sha256=sha256,
        manifest_size=size,
        files=len(manifest.files),
        plain=folder.size,
        stored=manifest.stored_bytes,
        chunks=chunks,
        chunks_reused=reused,
        parts=parts,
        totals=totals,
        estimate=estimate_of(totals, charged=is_charged(place.store.url)),
        already_published=standing is not None,
    )


def encode_plan(plan: ReleasePlan) -> bytes:
    """The bytes of a saved plan."""
    return encode_document(plan)


def decode_plan(data: bytes, what: str) -> ReleasePlan:
    """Read a saved plan.

    Raises:
        InvalidDocument
    """
    plan = decode_document(data, ReleasePlan, what=what, cap=PLAN_BYTES, hint=_AGAIN)
    if plan.format != PLAN_FORMAT or plan.format_version != 1:
        raise InvalidDocument(
            f"{what} is not a plan of this modelport: {plan.format!r} version {plan.format_version}",
            hint=_AGAIN,
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
