"""Hold the files of a folder against a manifest: which places hold their bytes, what is altered, missing or extra.

Takes an open folder, gives a ``Proof``; every byte is read and hashed, on all cores. Nothing is raised for what is
found: the walk decides.

next: ``steps.holdings``
"""

from __future__ import annotations

import errno
import hashlib
import os
import stat
import threading
from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from dataclasses import dataclass, field

import blake3

from pipeline.digest import Blake3, Sha256
from pipeline.manifest import Chunk, Manifest
from pipeline.plan.fetching import Target, places_of
from pipeline.processors import usable_processors
from pipeline.steps.folders import open_file, walk_files
from pipeline.steps.modes import has_modes
from pipeline.workers import in_order, threads

BLOCK = 1 << 20
# A batch is one task: long enough to be worth handing over, short enough to share one large file.
BATCH_BYTES = 32 << 20
# What tools of others keep at the top of a folder, and no release ever holds (docs/format.md §3).
FOREIGN = (".git/", ".cache/huggingface/")


@dataclass(slots=True)
class Proof:
    """What was found: places that are right, and by file number what is wrong with a file."""

    right: set[Target] = field(default_factory=set)
    missing: list[int] = field(default_factory=list)
    altered: dict[int, str] = field(default_factory=dict)

    @property
    def whole(self) -> bool:
        """Every file is as the manifest says."""
        return not self.missing and not self.altered


class _Buffer(threading.local):
    def __init__(self) -> None:
        self.block = memoryview(bytearray(BLOCK))


_buffer = _Buffer()


def read_proof(
    folder_fd: int,
    manifest: Manifest,
    files: Sequence[int],
    *,
    sparse: bool = False,
    bits: bool = True,
    done: Callable[[int], None] = lambda _: None,
) -> Proof:
    """Hash these files of the folder.

    ``sparse``: stretches that were never written are passed over. ``bits``: whether a file is executable
    counts, unless its file system cannot hold that. ``done`` is told the bytes of each batch.
    """
    proof = Proof()
    bits = bits and has_modes(folder_fd)
    held: set[int] = set()

    def hash_batch(batch: _Batch) -> tuple[_Batch, list[bool]]:
        try:
            return batch, [hash_at(batch.fd, target.at, chunk.plain) == chunk.blake3 for target, chunk in batch.places]
        finally:
            held.remove(batch.fd)
            os.close(batch.fd)

    wrong: dict[int, int] = {}
    cores = usable_processors()
    try:
        with (
            threads(cores, "proofread") as pool,
            closing(_batches(folder_fd, manifest, files, proof, held, sparse=sparse, bits=bits)) as batches,
        ):
            for batch, results in in_order(pool, hash_batch, batches, ahead=2 * cores):
                proof.right.update(target for (target, _), right in zip(batch.places, results, strict=True) if right)
                if not all(results):
                    wrong[batch.file] = wrong.get(batch.file, 0) + results.count(False)
                done(sum(chunk.plain for _, chunk in batch.places))
    except OSError:
        # Nobody is at work any more, and these batches never began.
        for fd in held:
            os.close(fd)
        raise
    for index, count in wrong.items():
        proof.altered.setdefault(index, _differs(count, len(manifest.files[index].chunks)))
    return proof


@dataclass(frozen=True, slots=True)
class _Batch:
    """Places of one file; the descriptor is this batch's own."""

    file: int
    fd: int
    places: list[tuple[Target, Chunk]]


def _batches(
    folder_fd: int, manifest: Manifest, files: Sequence[int], proof: Proof, held: set[int], *, sparse: bool, bits: bool
) -> Generator[_Batch, None, None]:
    def batch(index: int, fd: int, places: list[tuple[Target, Chunk]]) -> _Batch:
        own = os.dup(fd)
        held.add(own)
        return _Batch(index, own, places)

    for index in files:
        fd = _open(folder_fd, manifest, index, proof, bits=bits)
        if fd is None:
            continue
        try:
            places: list[tuple[Target, Chunk]] = []
            size = 0
            all_of_it = list(places_of(manifest, [index]).items())
            for target, chunk in _touched(all_of_it, _written(fd, manifest.files[index].size)) if sparse else all_of_it:
                places.append((target, chunk))
                size += chunk.plain
                if size >= BATCH_BYTES:
                    yield batch(index, fd, places)
                    places, size = [], 0
            if places:
                yield batch(index, fd, places)
        finally:
            os.close(fd)


def extra_files(folder_fd: int, known: set[str]) -> list[str]:
    """Files of the folder that no release put there; what tools keep in ``.git`` and ``.cache/huggingface`` is left out."""
    return [path for path, _ in walk_files(folder_fd) if path not in known and not path.startswith(FOREIGN)]


def is_file_of(folder_fd: int, path: str, sha256: Sha256 | None) -> bool:
    """Tell whether a file that is none of the release's has this digest; no digest is that of none."""
    if sha256 is None:
        return False
    try:
        with os.fdopen(open_file(folder_fd, path), "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest() == sha256
    except OSError:
        # A link, or what cannot be read, is no file of anybody's.
        return False


def hash_at(fd: int, at: int, size: int) -> Blake3 | None:
    """BLAKE3 of ``size`` bytes of a file from ``at``, or None where the file ends before."""
    hasher = blake3.blake3()
    block = _buffer.block
    end = at + size
    while at < end:
        got = os.preadv(fd, [block[: min(BLOCK, end - at)]], at)
        if not got:
            return None
        hasher.update(block[:got])
        at += got
    return Blake3(hasher.hexdigest())


def _written(fd: int, size: int) -> list[tuple[int, int]]:
    """Stretches of a file that hold data, in order: one walk, for asking chunk by chunk is quadratic on some systems."""
    found = []
    at = 0
    try:
        while at < size:
            start = os.lseek(fd, at, os.SEEK_DATA)
            at = os.lseek(fd, start, os.SEEK_HOLE)
            found.append((start, at))
    except OSError as error:
        if error.errno == errno.EINVAL:
            # A file system that does not tell: all of it may be data.
            return [(0, size)]
        if error.errno != errno.ENXIO:
            raise
    return found


def _touched(places: list[tuple[Target, Chunk]], written: list[tuple[int, int]]) -> list[tuple[Target, Chunk]]:
    """The places that lie in written stretches at least in part; both lists are in order."""
    found = []
    stretch = 0
    for target, chunk in places:
        while stretch < len(written) and written[stretch][1] <= target.at:
            stretch += 1
        if stretch < len(written) and written[stretch][0] < target.at + chunk.plain:
            found.append((target, chunk))
    return found


def _open(folder_fd: int, manifest: Manifest, index: int, proof: Proof, *, bits: bool) -> int | None:
    file = manifest.files[index]
    try:
        fd = open_file(folder_fd, file.path)
    except FileNotFoundError:
        proof.missing.append(index)
        return None
    except OSError as error:
        if error.errno not in {errno.ELOOP, errno.EINVAL, errno.ENXIO, errno.ENOTDIR, errno.EACCES}:
            raise
        proof.altered[index] = f"it cannot be read as a file: {error.strerror}"
        return None
    found = os.fstat(fd)
    if found.st_size != file.size:
        proof.altered[index] = f"it has {found.st_size} bytes, expected {file.size}"
    elif bits and bool(found.st_mode & stat.S_IXUSR) != file.executable:
        proof.altered[index] = "it is not executable" if file.executable else "it is executable"
    return fd


def _differs(count: int, chunks: int) -> str:
    return (
        "it has other bytes" if chunks == 1 else f"{count} of its {chunks} chunks {'has' if count == 1 else 'have'} other bytes"
    )
