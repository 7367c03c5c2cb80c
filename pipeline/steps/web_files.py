"""Whole files of a release, read from its parts: what the web view lays down.

Takes a store, a manifest and one of its files; gives the file's bytes, verified before and after they are decoded.

next: ``steps.commit``
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from pipeline.digest import blake3_of, sha256_of
from pipeline.encoding import decode_chunk
from pipeline.errors import DigestMismatch, ModelportError, ObjectMissing, VerifyFailed
from pipeline.layout import part_key
from pipeline.manifest import Chunk, File, Manifest
from pipeline.ports import ObjectStore


def read_whole(store: ObjectStore, manifest: Manifest, file: File) -> bytes:
    """Read one file of a release into memory.

    Raises:
        VerifyFailed: a part is missing, or its bytes are not what the manifest says.
        InvalidDocument: a chunk does not decode.
        AccessDenied, WrongStore, StoreUnavailable, DiskError
    """
    made = bytearray()
    for run in _runs(file.chunks):
        part = manifest.parts[run[0].part]
        key = part_key(part.blake3)
        size = sum(chunk.stored for chunk in run)
        try:
            body = memoryview(b"".join(store.get(key, start=run[0].offset, size=size)))
        except ObjectMissing:
            raise _wrong(manifest, file, f"{key} is missing") from None
        if len(body) != size:
            raise _wrong(manifest, file, f"{key} has {run[0].offset + len(body)} bytes, expected {part.size}")
        at = 0
        for chunk in run:
            try:
                made += _plain(body[at : at + chunk.stored], chunk)
            except DigestMismatch as error:
                raise _wrong(manifest, file, f"{key}: {error}") from None
            at += chunk.stored
    if len(made) != file.size or sha256_of(made) != file.sha256:
        raise _wrong(manifest, file, "its chunks make other bytes than it has")
    return bytes(made)


def _runs(chunks: Sequence[Chunk]) -> Iterator[list[Chunk]]:
    """Divide a file's chunks into runs that lie end to end in one part."""
    run: list[Chunk] = []
    for chunk in chunks:
        if run and (chunk.part != run[-1].part or chunk.offset != run[-1].offset + run[-1].stored):
            yield run
            run = []
        run.append(chunk)
    if run:
        yield run


def _plain(stored: memoryview, chunk: Chunk) -> bytes | memoryview:
    if chunk.stored_blake3 and blake3_of(stored) != chunk.stored_blake3:
        raise DigestMismatch(f"the chunk at {chunk.offset} has other bytes than the manifest says")
    plain = stored if chunk.encoding == "raw" else decode_chunk(stored, chunk.encoding, chunk.plain)
    if blake3_of(plain) != chunk.blake3:
        raise DigestMismatch(f"the chunk at {chunk.offset} has other bytes than the manifest says")
    return plain


def _wrong(manifest: Manifest, file: File, why: str) -> ModelportError:
    return VerifyFailed(f"{file.path} of {manifest.release}: {why}", hint=f"Look: invoke verify --model {manifest.release} --all")
