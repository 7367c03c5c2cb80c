"""The tree that a site keeps with ``--keep-parts``, so that it can serve it to others.

Takes the documents of a bundle and where its parts lie, gives the objects of the tree below the site: the parts
first, the timestamp last, and nothing that is newer there is replaced by something older (docs/format.md §2).

next: ``generations``
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress

from bundles.installer.faults import IntegrityError
from bundles.installer.folders import Folder, told
from bundles.installer.judging import TIMESTAMP
from bundles.installer.layout import PARTS, STAGING, STATE, kept_manifest, part_file
from bundles.installer.manifest import MANIFEST_BYTES, open_manifest
from bundles.installer.placing import Read, check_part
from bundles.installer.strictjson import HINT
from bundles.installer.tufrules import TIMESTAMP_BYTES, open_sealed, read_role
from bundles.installer.volumes import MediumFault
from bundles.installer.wanted import Job

DOCUMENT_BYTES = 64 << 20


def has_part(site: Folder, job_size: int, blake3: str) -> bool:
    """Whether the site keeps a part of this name and size; its bytes are proven when they are used."""
    try:
        fd = site.open(part_file(blake3), os.O_RDONLY)
    except OSError:
        return False
    try:
        return os.fstat(fd).st_size == job_size
    finally:
        os.close(fd)


@contextmanager
def kept_part(site: Folder, blake3: str) -> Iterator[Read]:
    """A reader of a part that the site keeps.

    Raises:
        DiskError; MediumFault: of a read that the disk refuses.
    """
    path = part_file(blake3)
    fd = site.open_read(path)

    def read(at: int, size: int) -> bytes:
        try:
            return os.pread(fd, size, at)
        except OSError as error:
            raise MediumFault(f"{site.shown(path)}: {error.strerror}", "Check the disk of this site.") from error

    try:
        yield read
    finally:
        os.close(fd)


def keep_part(site: Folder, job: Job, blocks: Iterator[bytes | memoryview]) -> None:
    """Keep a part, proven by its sha256, under its name.

    Raises:
        IntegrityError, DiskError
    """
    path = part_file(job.part.blake3)
    # Where the next run looks for what a killed one left.
    growing = f"{STAGING}/{job.part.blake3}"
    try:
        site.remove(growing)
        fd = site.open(growing, os.O_WRONLY | os.O_CREAT | os.O_EXCL, make=True)
        with os.fdopen(fd, "wb") as file:
            check_part(blocks, job, file.write)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise told(error, site.shown(growing), job.part.size) from error
    except IntegrityError:
        site.remove(growing)
        raise
    site.rename(growing, path)


def drop_parts(site: Folder, gone: Iterable[str], staying: Iterable[str]) -> None:
    """Remove kept parts of the manifests ``gone`` that none of those ``staying`` names; both are digests of kept manifests.

    Parts that no installation kept for a release that is removed are not looked at: somebody else may have put them there.
    """
    if site.kind(PARTS) != "folder":
        return
    try:
        needed = {part for sha256 in staying for part in _parts_of(site, sha256)}
    except IntegrityError:
        # What is still needed cannot be told, so everything stays.
        return
    for sha256 in gone:
        with suppress(IntegrityError):
            for part in _parts_of(site, sha256) - needed:
                site.remove(part_file(part))


def drop_truncated(site: Folder, sizes: Iterable[tuple[int, str]]) -> None:
    """Remove kept parts of another size than theirs; the site would serve them to others."""
    if site.kind(PARTS) != "folder":
        return
    for size, part in sizes:
        if site.kind(part_file(part)) == "file" and not has_part(site, size, part):
            site.remove(part_file(part))


def _parts_of(site: Folder, sha256: str) -> set[str]:
    data = site.read(kept_manifest(sha256), MANIFEST_BYTES) or b""
    if hashlib.sha256(data).hexdigest() != sha256:
        raise IntegrityError(f"the manifest kept as {sha256} was altered or is gone", HINT)
    return {part.blake3 for part in open_manifest(data, sha256, f"the manifest {sha256}").parts}


def keep_channels(site: Folder, documents: dict[str, bytes]) -> None:
    """Keep the documents of channels beside the state, by their keys: who serves the site looks there for what a role names."""
    for key, data in documents.items():
        if "/channels/" in key and not site.kind(f"{STATE}/{key}"):
            site.write(f"{STATE}/{key}", data)


def keep_documents(site: Folder, documents: dict[str, bytes]) -> None:
    """Lay out signed documents; the timestamp last, unless a newer one is there.

    Raises:
        IntegrityError, DiskError
    """
    for key, data in documents.items():
        if key != TIMESTAMP and site.read(key, DOCUMENT_BYTES) != data:
            site.write(key, data)
    there = site.read(TIMESTAMP, TIMESTAMP_BYTES)
    ours = documents.get(TIMESTAMP)
    if ours is None:
        raise IntegrityError("the bundle has no timestamp", HINT)
    if there is None or _version(there) < _version(ours):
        site.write(TIMESTAMP, ours)


def _version(data: bytes) -> int:
    return read_role(open_sealed(data, TIMESTAMP, TIMESTAMP_BYTES), "timestamp").version
