"""The release stands whole at the origin, and nothing names it yet.

Takes a release whose parts are proved, gives ``Placed``: what an edge can be warmed with and what a commit will name. The
manifest is written create-only under its own digest. A release that was committed before is placed already.

next: ``steps.edge_proof``
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from pipeline.clocks import elapsed_s
from pipeline.digest import Sha256
from pipeline.errors import InvalidDocument, ObjectExists
from pipeline.events import Listener
from pipeline.layout import manifest_target, part_key, target_key
from pipeline.manifest import Manifest
from pipeline.ports import ObjectStore, read_object
from pipeline.release import Release
from pipeline.steps.prove import Proved, prove_parts
from pipeline.steps.readback import poisoned
from pipeline.trust.view import ReleaseTarget

# If warming the edge took longer than this, the origin is proved again directly before the snapshot.
PROOF_S = 600.0


@dataclass(frozen=True, slots=True)
class Placed:
    """A release whose parts and manifest stand in ``store``.

    Its parts were seen there at ``at_s`` by ``clocks.elapsed_s``; ``size`` and ``sha256`` are those of its manifest.
    ``before`` are the keys that were there before this publish: what its bases brought, or all; ``replaced`` the keys under which other bytes stood.
    """

    store: ObjectStore
    release: Release
    manifest: Manifest
    sha256: Sha256
    size: int
    at_s: float
    before: frozenset[str] = frozenset()
    replaced: tuple[str, ...] = ()

    @property
    def key(self) -> str:
        """Where its manifest lies."""
        return target_key(manifest_target(self.release), self.sha256)


def place_manifest(proved: Proved, *, repair: bool) -> Placed:
    """Write the manifest of a proved release.

    Raises:
        PoisonedObject: other bytes are there, and ``repair`` is not given.
        UnavailableError, DiskError
    """
    uploaded = proved.uploaded
    indexed, cut = uploaded.indexed, uploaded.cut
    placed = Placed(
        store=uploaded.store,
        release=cut.release,
        manifest=indexed.manifest,
        sha256=indexed.sha256,
        size=len(indexed.data),
        at_s=proved.at_s,
        before=frozenset(part_key(part.blake3) for base in cut.bases for part in base.manifest.parts),
        replaced=uploaded.replaced,
    )
    replaced = put_document(uploaded.store, placed.key, indexed.data, indexed.sha256, repair=repair)
    return replace(placed, replaced=(placed.key, *placed.replaced)) if replaced else placed


def placed_before(
    store: ObjectStore, target: ReleaseTarget, manifest: Manifest, listen: Listener, *, replaced: tuple[str, ...] = ()
) -> Placed:
    """See that every part of a release that signed metadata names is still there.

    Raises:
        VerifyFailed, PoisonedObject: as ``prove.prove_parts``.
    """
    at_s = elapsed_s()
    prove_parts(store, manifest.parts, listen)
    before = frozenset((target.key, *(part_key(part.blake3) for part in manifest.parts)))
    return Placed(store, target.release, manifest, target.sha256, target.size, at_s, before, replaced)


def proof_is_old(placed: Placed) -> bool:
    """Whether so much time passed since the proof that it must be made again."""
    return elapsed_s() - placed.at_s > PROOF_S


def prove_again(placed: Placed, listen: Listener) -> Placed:
    """See once more that every part is there.

    Raises:
        VerifyFailed, PoisonedObject: as ``prove.prove_parts``.
    """
    at_s = elapsed_s()
    prove_parts(placed.store, placed.manifest.parts, listen)
    return replace(placed, at_s=at_s)


def put_document(store: ObjectStore, key: str, data: bytes, sha256: Sha256, *, repair: bool) -> bool:
    """Write an immutable document; the same bytes already there are a lost answer, or another run's.

    Returns:
        Whether other bytes stood there, which it replaced.

    Raises:
        PoisonedObject: other bytes are there, and ``repair`` is not given.
    """
    try:
        store.put(key, data, sha256=sha256, if_absent=True)
    except ObjectExists:
        if _holds(store, key, data):
            return False
        if not repair:
            raise poisoned(key, f"its sha256 is not {sha256}") from None
        store.put(key, data, sha256=sha256)
        return True
    return False


def _holds(store: ObjectStore, key: str, data: bytes) -> bool:
    try:
        return read_object(store, key, cap=len(data)) == data
    except InvalidDocument:
        # It is longer.
        return False
