"""A valid manifest to break: two parts, four files, every encoding, a base and a dependency."""

import hashlib

import msgspec

from pipeline.manifest import Base, Chunk, Dependency, File, Manifest, Part


def digest(text):
    return hashlib.sha256(text.encode()).hexdigest()


def chunk(part, offset, stored, plain, name, encoding="raw"):
    return Chunk(part, offset, stored, plain, digest(name), encoding, "" if encoding == "raw" else digest(name + " stored"))


A1 = chunk(0, 0, 100, 100, "a1")
A2 = chunk(0, 100, 60, 400, "a2", "zstd")
B1 = chunk(0, 200, 300, 1000, "b1", "planes2")
B2 = chunk(1, 7, 500, 4 << 20, "b2", "planes4")


def manifest(**changes):
    whole = Manifest(
        model="bert",
        version="2.1.0",
        kind="model",
        dependencies=(Dependency(model="tokenizer", version="^1.2.0"),),
        bases=(Base(release="bert-v2.0.0", manifest_sha256=digest("base")),),
        part_size=64 << 20,
        profile="default",
        encoder="zstd-1.5.7/1",
        parts=(
            Part(blake3=digest("p0 b"), sha256=digest("p0 s"), size=500),
            Part(blake3=digest("p1 b"), sha256=digest("p1 s"), size=507),
        ),
        files=(
            File(path="a.json", size=500, sha256=digest("a"), chunks=(A1, A2)),
            File(path="b/w.bin", size=1000 + (4 << 20), sha256=digest("b"), chunks=(B1, B2)),
            File(path="c.sh", size=500, sha256=digest("a"), chunks=(A1, A2), executable=True),
            File(path="empty", size=0, sha256=digest(""), chunks=()),
        ),
    )
    return msgspec.structs.replace(whole, **changes)


def raw_manifest(profile="raw", **changes):
    """A valid manifest of a profile in which files are whole parts; both files share the second one."""
    sizes = (30, 20, 5)
    parts = tuple(Part(blake3=digest(f"r{n} b"), sha256=digest(f"r{n} s"), size=size) for n, size in enumerate(sizes))
    first = (chunk(0, 0, 10, 10, "r0a"), chunk(0, 10, 20, 20, "r0b"))
    shared = (chunk(1, 0, 20, 20, "r1"),)
    whole = manifest(
        profile=profile,
        bases=(),
        parts=parts,
        files=(
            File(path="a.bin", size=50, sha256=digest("ra"), chunks=first + shared),
            File(path="b.bin", size=25, sha256=digest("rb"), chunks=(*shared, chunk(2, 0, 5, 5, "r2"))),
            File(path="empty", size=0, sha256=digest(""), chunks=()),
        ),
    )
    return msgspec.structs.replace(whole, **changes)
