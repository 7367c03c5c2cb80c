"""Small manifests whose chunks are named, for plans of fetches."""

from __future__ import annotations

from collections.abc import Sequence

from pipeline.digest import blake3_of, sha256_of
from pipeline.manifest import Chunk, File, Manifest, Part


def manifest_of(files: Sequence[Sequence[tuple[str, int]]], *, paths: Sequence[str] = ()) -> Manifest:
    """One raw part; a chunk named twice is the same chunk."""
    offsets: dict[str, tuple[int, int]] = {}
    end = 0
    for name, size in (chunk for file in files for chunk in file):
        if name not in offsets:
            offsets[name] = end, size
            end += size
    made = []
    for number, chunks in enumerate(files):
        listed = tuple(Chunk(0, offsets[name][0], size, size, blake3_of(name.encode()), "raw", "") for name, size in chunks)
        path = paths[number] if paths else f"f{number:04}"
        made.append(File(path=path, size=sum(size for _, size in chunks), sha256=sha256_of(path.encode()), chunks=listed))
    return Manifest(
        model="bert",
        version="1.0.0",
        kind="model",
        dependencies=(),
        bases=(),
        part_size=64 << 20,
        profile="default",
        encoder="test/1",
        parts=(Part(blake3=blake3_of(b"part"), sha256=sha256_of(b"part"), size=max(end, 1)),) if offsets else (),
        files=tuple(made),
    )
