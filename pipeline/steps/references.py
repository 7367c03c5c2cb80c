"""What objects that nothing needs still refer to: a superseded role to targets, an abandoned manifest to parts.

Takes a store and a key, gives keys. Nothing here is trusted: a lie could only let garbage wait.

next: ``steps.audit``
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from pipeline.digest import Sha256, is_hex64, sha256_of
from pipeline.errors import InvalidDocument, ObjectMissing
from pipeline.layout import part_key, target_key
from pipeline.manifest import MANIFEST_BYTES
from pipeline.ports import ObjectStore, read_object
from pipeline.trust.sealed import TARGETS_BYTES
from pipeline.wire import decode_document, decode_manifest

MANIFEST = ".manifest.json"


class _Custom(msgspec.Struct, frozen=True):
    retired: object = None


class _Target(msgspec.Struct, frozen=True):
    hashes: dict[str, str]
    custom: _Custom = _Custom()


class _Signed(msgspec.Struct, frozen=True):
    targets: dict[str, _Target]


class _Role(msgspec.Struct, frozen=True):
    signed: _Signed


def parts_of(store: ObjectStore, manifest_key: str) -> Iterable[str]:
    """The parts that a manifest names; none where it is not what its name says, for then nobody can follow it.

    Raises:
        AccessDenied, StoreUnavailable, DiskError
    """
    digest = manifest_key.rpartition("/")[2].removesuffix(MANIFEST)
    try:
        data = read_object(store, manifest_key, cap=MANIFEST_BYTES)
        if not is_hex64(digest) or sha256_of(data) != digest:
            return ()
        return [part_key(part.blake3) for part in decode_manifest(data, what=manifest_key).parts]
    except (ObjectMissing, InvalidDocument):
        return ()


def targets_of(store: ObjectStore, role_file: str) -> Iterable[str]:
    """The manifests and channels' documents that a model's role names, but for those of retired releases.

    Raises:
        AccessDenied, StoreUnavailable, DiskError
    """
    try:
        data = read_object(store, role_file, cap=TARGETS_BYTES)
        targets = decode_document(data, _Role, what=role_file, cap=TARGETS_BYTES).signed.targets
    except (ObjectMissing, InvalidDocument):
        return ()
    return [
        target_key(path, Sha256(target.hashes["sha256"]))
        for path, target in targets.items()
        if target.custom.retired is None and "sha256" in target.hashes
    ]
