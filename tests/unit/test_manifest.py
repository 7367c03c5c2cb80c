"""Every rule of the manifest, each broken once in a manifest that is otherwise right."""

import msgspec
import pytest

from pipeline.errors import InvalidDocument
from pipeline.manifest import CHUNK_BYTES, PART_BYTES, WEB_PART_BYTES, Base, Chunk, Dependency, File, Part
from tests.makers.manifests import A1, A2, B1, B2, chunk, digest, manifest, raw_manifest

change = msgspec.structs.replace


def test_whole_manifest_is_right():
    manifest().check()
    for profile in ("raw", "web"):
        raw_manifest(profile).check()
    manifest(files=(), parts=()).check()


def test_totals_and_identity():
    whole = manifest()
    assert whole.plain_bytes == 2000 + (4 << 20)
    assert whole.stored_bytes == 1007
    assert str(whole.release) == "bert-v2.1.0"
    assert whole.identity.files[2] == ("c.sh", 500, digest("a"), True)
    assert whole.identity == manifest(parts=whole.parts[::-1], bases=(), part_size=1, encoder="x").identity
    for other in (manifest(kind="wheels"), manifest(dependencies=()), manifest(files=whole.files[:3])):
        assert other.identity != whole.identity


def with_chunk(old, **fields):
    """The manifest with chunk ``old`` changed wherever it stands."""
    new = change(old, **fields)
    return manifest(files=tuple(change(f, chunks=tuple(new if c == old else c for c in f.chunks)) for f in manifest().files))


def with_file(index, **fields):
    files = list(manifest().files)
    files[index] = change(files[index], **fields)
    return manifest(files=tuple(files))


def with_part(index, **fields):
    parts = list(manifest().parts)
    parts[index] = change(parts[index], **fields)
    return manifest(parts=tuple(parts))


def with_files(*paths):
    return manifest(
        files=tuple(sorted((change(manifest().files[0], path=path) for path in paths), key=lambda f: f.path)),
        parts=manifest().parts[:1],
    )


FILES = manifest().files
UNUSED = Part(blake3=digest("x"), sha256=digest("y"), size=1)

BROKEN = {
    "a later format_version": (manifest(format_version=2), "version 2"),
    "another format": (manifest(format="modelport-plan"), "modelport-plan"),
    "a model name that is refused": (manifest(model="Bert"), "model name"),
    "a version that is refused": (manifest(version="2.1"), "version '2.1'"),
    "a dependency's name": (manifest(dependencies=(Dependency(model="../x", version="1"),)), "model name"),
    "a dependency's range": (manifest(dependencies=(Dependency(model="x", version="latest"),)), "dependency x: 'latest' is no range of versions"),
    "half a range": (manifest(dependencies=(Dependency(model="x", version="1.0 - <2"),)), "dependency x: '1.0 - <2' is no range of versions"),
    "an endless range": (manifest(dependencies=(Dependency(model="x", version=">=1 " * 100),)), "400 characters, at most 200"),
    "unsorted dependencies": (manifest(dependencies=(Dependency(model="y", version="1"), Dependency(model="x", version="1"))), "dependencies are not sorted"),
    "a dependency twice": (manifest(dependencies=(Dependency(model="x", version="1"), Dependency(model="x", version="2"))), "dependencies are not sorted"),
    "a base's name": (manifest(bases=(Base(release="bert", manifest_sha256=digest("b")),)), "not a release name"),
    "a base's digest": (manifest(bases=(Base(release="bert-v1.0.0", manifest_sha256="0"),)), "malformed digest"),
    "itself as a base": (manifest(bases=(Base(release="bert-v2.1.0", manifest_sha256=digest("b")),)), "the release itself"),
    "nine bases": (manifest(bases=tuple(Base(release=f"bert-v1.{n}.0", manifest_sha256=digest("b")) for n in range(9))), "9 bases"),
    "part_size 0": (manifest(part_size=0), "part_size 0"),
    "part_size over 256 MiB": (manifest(part_size=PART_BYTES + 1), "part_size"),
    "a part's upper-case digest": (with_part(0, blake3=digest("p0 b").upper()), "part 0 has a malformed digest"),
    "a part's short sha256": (with_part(1, sha256=digest("p1 s")[1:]), "part 1 has a malformed digest"),
    "an empty part": (with_part(1, size=0), "part 1 has 0 bytes"),
    "a part over 256 MiB": (with_part(1, size=PART_BYTES + 1), "part 1 has"),
    "a part twice": (with_part(1, blake3=digest("p0 b")), "part 1 repeats"),
    "a part nobody uses": (manifest(parts=(*manifest().parts, UNUSED)), "order of first use"),
    "parts in another order": (manifest(parts=manifest().parts[::-1], files=tuple(change(f, chunks=tuple(change(c, part=1 - c.part, offset=0 if c == B2 else c.offset) for c in f.chunks)) for f in FILES)), "order of first use"),
    "unsorted files": (manifest(files=FILES[::-1]), "files are not sorted"),
    "a file twice": (manifest(files=(FILES[0], *FILES)), "files are not sorted"),
    "a path that is refused": (with_file(3, path="nul.txt"), "Windows"),
    "a path that climbs": (with_file(0, path="../a.json"), "'..'"),
    "paths that clash": (with_files("Model.bin", "model.bin"), "clash"),
    "a path that is another's folder": (with_files("a", "a/b"), "clash"),
    "a file's digest": (with_file(0, sha256="z" * 64), "malformed size or digest"),
    "a file's negative size": (with_file(3, size=-1), "malformed size or digest"),
    "a file's size over 2^53": (with_file(0, size=2**53), "malformed size or digest"),
    "a file longer than its chunks": (with_file(0, size=501), "do not sum"),
    "a file shorter than its chunks": (with_file(0, size=499), "do not sum"),
    "an empty file with chunks": (with_file(3, chunks=(A1,)), "do not sum"),
    "a file without its chunks": (with_file(0, chunks=()), "do not sum"),
    "a part that is not there": (with_chunk(B2, part=2), "part 2 of 2"),
    "a negative part": (with_chunk(B2, part=-1), "part -1 of 2"),
    "a chunk past its part's end": (with_chunk(B2, offset=8), "reaches past part 1"),
    "a negative offset": (with_chunk(B2, offset=-1), "reaches past part 1"),
    "a chunk that stores nothing": (with_chunk(B2, stored=0), "reaches past part 1"),
    "a chunk over 4 MiB": (with_file(1, size=1001 + CHUNK_BYTES, chunks=(B1, change(B2, plain=CHUNK_BYTES + 1))), "plain bytes"),
    "a chunk of nothing": (with_file(0, size=100, chunks=(A1, change(A2, plain=0))), "plain bytes"),
    "a raw chunk of two sizes": (with_chunk(A1, stored=99), "do not fit its encoding"),
    "a raw chunk with a stored digest": (with_chunk(A1, stored_blake3=digest("s")), "do not fit its encoding"),
    "an encoded chunk without a stored digest": (with_chunk(A2, stored_blake3=""), "do not fit its encoding"),
    "an encoded chunk that grew": (with_chunk(A2, stored=400, offset=100), "do not fit its encoding"),
    "a chunk's malformed digest": (with_chunk(A2, blake3=digest("a2").upper()), "do not fit its encoding"),
    "a chunk's malformed stored digest": (with_chunk(A2, stored_blake3="0" * 63), "do not fit its encoding"),
    "two descriptions of one range": (with_file(2, chunks=(A1, change(A2, blake3=digest("other")))), "otherwise than another file"),
    "two lengths from one offset": (with_file(2, chunks=(A1, change(A2, stored=61))), "otherwise than another file"),
    "chunks that overlap": (with_chunk(A2, offset=99), "overlap in part 0"),
    "a chunk within another": (with_file(2, size=520, chunks=(A1, A2, Chunk(0, 210, 20, 20, digest("n"), "raw", ""))), "overlap in part 0"),
    "one digest of two sizes": (with_file(3, size=20, chunks=(Chunk(0, 160, 20, 20, A1.blake3, "raw", ""),)), "stands for chunks of 100 and of 20 bytes"),
}  # fmt: skip


@pytest.mark.parametrize("rule", BROKEN)
def test_manifest_that_breaks_a_rule_is_refused(rule):
    broken, why = BROKEN[rule]
    with pytest.raises(InvalidDocument) as refused:
        broken.check()
    assert why in str(refused.value)
    assert refused.value.hint


@pytest.mark.parametrize("count, what", [(10**5 + 1, "files"), (2**20 + 1, "chunks")])
def test_caps_count_before_anything_is_looked_at(count, what):
    one = FILES[0]
    files = (one,) * count if what == "files" else (change(one, chunks=(A1,) * count),)
    with pytest.raises(InvalidDocument, match=f"{count} {what}"):
        manifest(files=files).check()


def test_cap_of_parts():
    with pytest.raises(InvalidDocument, match="100001 parts"):
        manifest(parts=(UNUSED,) * (10**5 + 1)).check()


def test_gaps_in_parts_are_legal():
    assert A2.offset + A2.stored < B1.offset
    assert B2.offset > 0


def test_web_paths_have_700_bytes():
    path = "/".join(["a" * 200] * 3) + "/" + "b" * 98
    assert len(path) == 701
    with_files(path).check()
    with pytest.raises(InvalidDocument, match="701 bytes"):
        change(with_files(path), kind="web").check()


def test_web_parts_have_16_mib():
    size = WEB_PART_BYTES + 1
    chunks = [
        chunk(0, at, min(CHUNK_BYTES, size - at), min(CHUNK_BYTES, size - at), str(at)) for at in range(0, size, CHUNK_BYTES)
    ]
    part = Part(blake3=digest("b"), sha256=digest("s"), size=size)
    large = raw_manifest(parts=(part,), files=(File(path="a", size=size, sha256=digest("a"), chunks=tuple(chunks)),))
    large.check()
    with pytest.raises(InvalidDocument, match=f"part 0 has {size} bytes"):
        change(large, profile="web").check()


R0A, R0B, R1 = raw_manifest().files[0].chunks


@pytest.mark.parametrize("profile", ["raw", "web"])
@pytest.mark.parametrize("chunks", [(R0A, R1, R0B), (R0B, R0A, R1)], ids=["interleaved", "out of order"])
def test_file_that_is_no_concatenation_of_whole_parts_is_refused(profile, chunks):
    whole = raw_manifest(profile)
    with pytest.raises(InvalidDocument, match="concatenation of whole parts"):
        change(whole, files=(change(whole.files[0], chunks=chunks), *whole.files[1:])).check()


@pytest.mark.parametrize("profile", ["raw", "web"])
def test_encoded_chunk_in_a_file_of_whole_parts_is_refused(profile):
    whole = raw_manifest(profile)
    encoded = change(R1, encoding="zstd", stored=20, plain=30, stored_blake3=digest("s"))
    files = [change(f, size=f.size + 10, chunks=tuple(encoded if c == R1 else c for c in f.chunks)) for f in whole.files[:2]]
    with pytest.raises(InvalidDocument, match="concatenation of whole parts"):
        change(whole, files=tuple(files)).check()


@pytest.mark.parametrize("profile", ["raw", "web"])
def test_file_that_ends_within_a_part_is_refused(profile):
    whole = raw_manifest(profile)
    short = change(whole.files[0], size=10, chunks=(R0A,))
    with pytest.raises(InvalidDocument, match="ends within a part"):
        change(whole, files=(short, *whole.files[1:]), parts=whole.parts).check()
