"""What bases give: chunks, places where parts begin, and which of their parts are too poor to keep."""

import msgspec

from pipeline.manifest import Chunk, File, Part
from pipeline.plan.reuse import poor_parts, reuse_bases
from tests.makers.manifests import A1, A2, B1, B2, chunk, digest, manifest, raw_manifest

change = msgspec.structs.replace


def base(*chunks, sizes=(1000,), names=None, profile="default"):
    """A base of one file with ``chunks``."""
    parts = tuple(Part(blake3=digest((names or "pqr")[n]), sha256=digest(f"s{n}"), size=size) for n, size in enumerate(sizes))
    files = (File(path="f", size=sum(c.plain for c in chunks), sha256=digest("f"), chunks=chunks),)
    return manifest(parts=parts, files=files, bases=(), profile=profile)


def test_chunks_are_found_by_their_plain_digest_and_lie_in_negative_parts():
    reuse = reuse_bases([manifest()], profile="default", encoding="auto")
    assert reuse.chunks[A2.blake3] == change(A2, part=-1)
    assert reuse.chunks[B2.blake3] == change(B2, part=-2)
    assert reuse.parts[-1 - reuse.chunks[B2.blake3].part] == manifest().parts[1]
    assert reuse.starts == frozenset()


def test_of_two_bases_the_earlier_serves():
    first = base(chunk(0, 0, 10, 10, "x"), names="p")
    second = base(chunk(0, 5, 10, 10, "x"), chunk(0, 20, 5, 5, "y"), names="q")
    reuse = reuse_bases([first, second], profile="default", encoding="auto")
    assert reuse.chunks[digest("x")].part == -1
    assert reuse.chunks[digest("y")].part == -2
    assert [part.blake3 for part in reuse.parts] == [digest("p"), digest("q")]


def test_raw_publishes_take_raw_chunks_only():
    reuse = reuse_bases([manifest()], profile="default", encoding="raw")
    assert set(reuse.chunks) == {A1.blake3}


def test_bases_that_cut_one_part_in_two_ways_never_overlap():
    one_way = base(chunk(0, 100, 50, 50, "a"), chunk(0, 300, 50, 50, "b"))
    other = base(
        chunk(0, 0, 100, 100, "before"),
        chunk(0, 120, 10, 10, "inside"),
        chunk(0, 140, 20, 20, "over the end"),
        chunk(0, 160, 140, 140, "between"),
        chunk(0, 90, 300, 300, "around"),
        chunk(0, 350, 50, 50, "after"),
        chunk(0, 300, 50, 90, "the same range", "zstd"),
    )
    reuse = reuse_bases([one_way, other], profile="default", encoding="auto")
    assert set(reuse.chunks) == {digest(name) for name in ("a", "b", "before", "between", "after")}


def test_chunk_that_an_earlier_base_passed_over_is_still_found_in_the_next():
    newer = base(chunk(0, 0, 10, 10, "a"), names="p")
    older = base(chunk(0, 0, 10, 10, "a"), chunk(0, 10, 10, 10, "gone for a while"), names="p")
    reuse = reuse_bases([newer, older], profile="default", encoding="auto")
    assert digest("gone for a while") in reuse.chunks


def test_whole_file_parts_give_only_the_places_where_they_begin():
    for profile in ("raw", "web"):
        reuse = reuse_bases([raw_manifest(), manifest()], profile=profile, encoding="auto")
        assert reuse.chunks == {}
        assert reuse.starts == {digest("r0a"), digest("r1"), digest("r2"), A1.blake3}
        assert len(reuse.parts) == 5


def test_chunk_that_comes_up_again_tells_no_beginning():
    zeros = [Chunk(part, offset, 10, 10, digest("zeros"), "raw", "") for part, offset in ((0, 0), (0, 10), (1, 0), (2, 0))]
    alone = chunk(2, 10, 10, 10, "alone")
    reuse = reuse_bases([base(*zeros, alone, sizes=(20, 10, 20), profile="raw")], profile="raw", encoding="auto")
    assert reuse.starts == frozenset()


def reused(*chunks):
    return [change(c, part=-1 - c.part) for c in chunks]


def test_part_of_which_less_than_a_quarter_serves_is_poor():
    whole = base(chunk(0, 0, 249, 249, "a"), chunk(0, 249, 1, 1, "b"), chunk(1, 0, 10, 10, "c"), sizes=(1000, 10))
    reuse = reuse_bases([whole], profile="default", encoding="auto")
    a, b, c = whole.files[0].chunks
    assert poor_parts(reused(a, c), reuse) == {-1}
    assert poor_parts(reused(a, b, c), reuse) == frozenset()
    assert poor_parts([], reuse) == frozenset()


def test_bytes_used_twice_count_once():
    whole = base(chunk(0, 0, 200, 200, "a"))
    reuse = reuse_bases([whole], profile="default", encoding="auto")
    assert poor_parts(reused(*whole.files[0].chunks) * 5, reuse) == {-1}


def test_part_that_two_bases_hold_is_judged_by_what_both_give():
    first = base(chunk(0, 0, 200, 200, "a"), names="p")
    second = base(chunk(0, 200, 100, 100, "b"), names="p")
    reuse = reuse_bases([first, second], profile="default", encoding="auto")
    a, b = reuse.chunks[digest("a")], reuse.chunks[digest("b")]
    assert (a.part, b.part) == (-1, -2)
    assert poor_parts([a, b], reuse) == frozenset()
    assert poor_parts([a], reuse) == {-1}
    assert poor_parts([b], reuse) == {-2}


def test_new_chunks_are_nobodys():
    reuse = reuse_bases([manifest()], profile="default", encoding="auto")
    assert poor_parts([B1, B2], reuse) == frozenset()
