"""Mirror: the signed tree of a source, unchanged, into another store.

Takes what to copy, a supply and the store that becomes the copy; gives ``Mirrored``. A client's reading first; then only
what is missing, each object verified before it is written, immutable ones first and the timestamp last. No key is needed.

next: ``pipeline.export``
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import msgspec

from pipeline.errors import ObjectMissing, UnavailableError, UsageError
from pipeline.events import Listener, Progress, StepFinished, StepStarted, Warned
from pipeline.outcome import CopyResult
from pipeline.place import Heard
from pipeline.ports import ObjectStore
from pipeline.release import Release
from pipeline.resolve import resolve_dependencies
from pipeline.retry import Patience, Retry
from pipeline.sources.mirrors import SourceUse
from pipeline.steps.lease import held_lease
from pipeline.steps.probe import probe_store
from pipeline.steps.replicate import Missing, RangeReader, check_poisoned, check_read_back, copy_objects, find_missing
from pipeline.steps.sweep import Swept, plan_sweep, sweep_store
from pipeline.supply import Supply
from pipeline.trust.copying import announce_copy, check_announced, check_copy, check_documents, write_metadata
from pipeline.trust.facts import instant_text
from pipeline.trust.view import View
from pipeline.trust.whole import Name, SignedTree, chosen_releases, gather_tree

STEP = "mirror"


@dataclass(frozen=True, slots=True)
class MirrorOrder:
    """What to copy: ``names`` are models and releases, none of them all; with ``dependencies``, what they need too.

    ``delete`` looks for what the source no longer has; only with ``apply`` is anything removed. ``read_back``: what was
    written is read again and compared before the timestamp moves; with ``repair``, so is what stood there before.
    """

    names: tuple[Name, ...] = ()
    delete: bool = False
    apply: bool = False
    repair: bool = False
    allow_unsafe: bool = False
    connections: int = 8
    dependencies: bool = True
    read_back: bool = False


class Doomed(msgspec.Struct, kw_only=True):
    """An object of the copy that nothing needs; ``due_at`` is when it may go, "" until a run with --apply recorded it."""

    key: str
    size: int
    due_at: str
    deleted: bool


class Mirrored(msgspec.Struct, kw_only=True):
    """What a mirror did. ``announced`` is the snapshot that readers of the copy see; ``moved`` whether this run moved it.

    ``copies`` are the further stores that its tree was copied to.
    """

    source: str
    store: str
    root_fingerprint: str
    snapshot: int
    announced: int
    moved: bool
    models: list[str]
    releases: list[str]
    objects: int
    objects_copied: int
    bytes: int
    bytes_copied: int
    metadata_written: int
    garbage: list[Doomed]
    requests: int
    sources: list[SourceUse]
    warnings: list[str]
    seconds: float
    copies: list[CopyResult] = []


def mirror_tree(
    order: MirrorOrder, supply: Supply, store: ObjectStore, listen: Listener, *, by: str, dry: bool = False
) -> Mirrored:
    """Let ``store`` serve what the source serves. Run again after any interruption: only what is missing is copied.

    Under ``dry`` everything is looked at and nothing is written.

    Raises:
        RollbackRefused: the copy is newer than the source.
        OtherContent, PoisonedObject: something else stands in its way.
        UnknownName, TrustError, IntegrityError, UnavailableError, DiskError, UnsafeStore
        UsageError: a bundle that holds a part of the tree.
    """
    heard = Heard(listen)
    started = time.monotonic()
    sources = supply.sources
    if sources is None:
        raise UnavailableError("a mirror needs a source", hint="Run it without --offline.")
    try:
        tree, conflicts = supply.read(partial(_gather, order), heard.listen)
    except ObjectMissing as error:
        if not supply.media:
            raise
        raise UsageError(
            f"a mirror is of a tree's whole metadata, and this bundle has that of its own releases alone: {error}",
            hint="Fetch from the bundle itself, or serve a site: invoke bundle.install --keep-parts",
        ) from error
    _tell(tree, conflicts, heard.listen)
    done = copy_tree(order, tree, sources, store, heard.listen, patience=supply.patience, by=by, dry=dry)
    return Mirrored(
        source=tree.url,
        store=store.url,
        root_fingerprint=tree.root.sha256,
        snapshot=tree.timestamp.version,
        announced=done.announced,
        moved=done.moved,
        models=[str(model) for model in tree.models],
        releases=[str(release) for release in tree.releases],
        objects=len(tree.objects),
        objects_copied=len(done.missing.objects),
        bytes=sum(wanted.size for wanted in tree.objects),
        bytes_copied=done.missing.bytes,
        metadata_written=done.written,
        garbage=_doomed(done.garbage),
        requests=supply.requests,
        sources=list(sources.uses()),
        warnings=heard.warnings,
        seconds=round(time.monotonic() - started, 3),
    )


@dataclass(frozen=True, slots=True)
class Copied:
    """What copying into one store did: which objects were brought, how much metadata, and what readers see now."""

    missing: Missing
    announced: int
    moved: bool
    written: int
    garbage: Swept


def copy_tree(
    order: MirrorOrder,
    tree: SignedTree,
    source: RangeReader,
    store: ObjectStore,
    listen: Listener,
    *,
    patience: Patience,
    by: str,
    dry: bool = False,
) -> Copied:
    """Bring what ``store`` lacks of a gathered tree, the timestamp last; objects come from ``source``.

    Raises:
        As ``mirror_tree``.
    """
    announced = check_copy(store, tree)
    missing = _lacking(order, tree, store)
    moved, written, garbage = False, 0, Swept((), ())
    if dry and tree.live is not None:
        garbage = plan_sweep(store, tree.live)
    if not dry:
        probe_store(store, allow_unsafe=order.allow_unsafe)
        with held_lease(store, STEP, listen):
            # Asked again under the lease: what a collection took in between is missing by now.
            missing = _lacking(order, tree, store)
            listen(StepStarted(STEP, len(missing.objects), missing.bytes))
            begun = time.monotonic()
            retry = Retry(patience, listen=listen)
            for objects, replace in ((missing.absent, False), (missing.wrong, True)):
                copy_objects(
                    source,
                    store,
                    objects,
                    replace=replace,
                    connections=order.connections,
                    retry=retry,
                    done=lambda came: listen(Progress(STEP, came)),
                )
            written = write_metadata(store, tree, repair=order.repair)
            if order.read_back:
                check_read_back(store, missing.objects)
                check_documents(store, tree)
            announced, moved = announce_copy(store, tree)
            if order.read_back:
                check_announced(store, tree)
            listen(StepFinished(STEP, len(missing.objects), missing.bytes, time.monotonic() - begun))
        if announced > tree.timestamp.version:
            listen(
                Warned("mirror-newer", f"{store.url} announces snapshot {announced} by now, the source {tree.timestamp.version}")
            )
        elif tree.live is not None:
            garbage = sweep_store(store, tree.live, listen, by=by) if order.apply else plan_sweep(store, tree.live)
    return Copied(missing, announced, moved, written, garbage)


def _lacking(order: MirrorOrder, tree: SignedTree, store: ObjectStore) -> Missing:
    """What ``store`` lacks; what stands there with other bytes is refused, unless it is to be replaced."""
    missing = find_missing(store, tree.objects, read=order.read_back and order.repair)
    if not order.repair:
        check_poisoned(missing, store)
    return missing


def _gather(order: MirrorOrder, view: View) -> tuple[SignedTree, tuple[str, ...]]:
    """The tree with what ``order`` names and, as a fetch from the copy will resolve it, needs; and what cannot be resolved."""
    needed: set[Release] = set()
    conflicts: list[str] = []
    if order.dependencies:
        for target in chosen_releases(view, order.names) if order.names else ():
            try:
                needed.update(one.release for one in resolve_dependencies(view, target))
            except UsageError as error:
                conflicts.append(str(error))
    tree = gather_tree(view, (*order.names, *sorted(needed)), with_live=order.delete)
    return tree, tuple(conflicts)


def _tell(tree: SignedTree, conflicts: Sequence[str], listen: Listener) -> None:
    for message in tree.warnings:
        listen(Warned("trust", message))
    for message in conflicts:
        listen(Warned("dependencies-conflict", f"what it needs is not copied: {message}"))
    if tree.lost_roots:
        listen(
            Warned(
                "roots-missing",
                f"{tree.url} has no roots {tree.lost_roots[0]} to {tree.lost_roots[-1]}: who pinned one of them cannot use the copy",
            )
        )
    if tree.left_out:
        listen(
            Warned("dependencies-left-out", f"chosen releases need releases of {', '.join(tree.left_out)}, which was not chosen")
        )


def _doomed(swept: Swept) -> list[Doomed]:
    gone = {one.key for one in swept.deleted}
    return [
        Doomed(key=one.key, size=one.size, due_at=instant_text(one.due_at) if one.due_at else "", deleted=one.key in gone)
        for one in swept.garbage
    ]
