"""From numbered parts to a manifest's: first use decides the order, twins become one."""

from pipeline.manifest import Chunk, Part
from pipeline.plan.assemble import IndexedFile, assemble_files, unlike_twins
from tests.makers.manifests import digest


def part(name, size=100):
    return Part(blake3=digest(name), sha256=digest(name + " s"), size=size)


def at(number, offset=0, size=100, name=""):
    return Chunk(number, offset, size, size, digest(name or f"{number}/{offset}"), "raw", "")


def file(path, *chunks, content=None):
    return IndexedFile(path, sum(c.plain for c in chunks), digest(content or path), executable=path == "run", chunks=chunks)


def put_together(files, new_parts, base_parts, *, whole_parts=False):
    return assemble_files(files, new_parts, base_parts, whole_parts=whole_parts)


def numbers(files):
    return [[chunk.part for chunk in made.chunks] for made in files]


def test_parts_stand_in_order_of_first_use_new_and_old_mixed():
    parts, files = put_together(
        [file("a", at(1), at(-2)), file("run", at(-1), at(0), at(1, name="again")), file("z")],
        [part("new 0"), part("new 1")],
        [part("old 0"), part("old 1")],
    )
    assert [found.blake3 for found in parts] == [digest(name) for name in ("new 1", "old 1", "old 0", "new 0")]
    assert numbers(files) == [[0, 1], [2, 3, 0], []]
    assert [made.executable for made in files] == [False, True, False]
    assert files[2].chunks == ()


def test_base_parts_that_nobody_uses_are_not_listed():
    parts, _ = put_together([file("a", at(-3))], [], [part("x"), part("y"), part("z")])
    assert [found.blake3 for found in parts] == [digest("z")]


def test_new_part_that_is_a_base_part_is_listed_once():
    parts, files = put_together([file("a", at(0)), file("b", at(-1))], [part("same")], [part("same")])
    assert len(parts) == 1
    assert numbers(files) == [[0], [0]]


def test_one_part_in_two_bases_is_listed_once():
    parts, files = put_together([file("a", at(-1), at(-2, offset=50))], [], [part("same"), part("same")])
    assert len(parts) == 1
    assert numbers(files) == [[0, 0]]


def test_later_twin_is_described_as_the_first_one():
    twin = [part("twin"), part("other"), part("twin")]
    whole = file("a", at(0, 0, 60), at(0, 60, 40))
    cut_otherwise = file("b", at(1), at(2, 0, 30), at(2, 30, 70))
    parts, files = put_together([whole, cut_otherwise], twin, [], whole_parts=True)
    assert [found.blake3 for found in parts] == [digest("twin"), digest("other")]
    assert files[1].chunks[1:] == files[0].chunks
    assert sum(chunk.plain for chunk in files[1].chunks) == files[1].size


def test_twins_within_one_file_repeat_their_chunks():
    parts, files = put_together(
        [file("a", at(0, 0, 60), at(0, 60, 40), at(1, 0, 60), at(1, 60, 40))], [part("t"), part("t")], [], whole_parts=True
    )
    assert len(parts) == 1
    assert [(chunk.part, chunk.offset) for chunk in files[0].chunks] == [(0, 0), (0, 60), (0, 0), (0, 60)]


def test_equal_files_are_described_alike_whatever_they_were_cut_into():
    parts, files = put_together(
        [file("a", at(0, 0, 60), at(0, 60, 40), content="c"), file("b", at(1), content="c")], [part("x"), part("y")], []
    )
    assert files[0].chunks == files[1].chunks
    assert [found.blake3 for found in parts] == [digest("x")]


def test_twins_with_the_same_chunks_are_one_part_without_more_ado():
    chunks = [at(0, 0, 60, "x"), at(1, 0, 60, "x"), at(-1, 60, 40, "y"), at(1, 60, 40, "y")]
    assert unlike_twins(chunks, [part("t"), part("t")], [part("t")]) == frozenset()
    parts, files = put_together([file("a", *chunks)], [part("t"), part("t")], [part("t")])
    assert len(parts) == 1
    assert [chunk.offset for chunk in files[0].chunks] == [0, 0, 60, 60]


def test_twins_that_were_cut_in_unlike_ways_have_to_go():
    old, new = [part("t")], [part("other"), part("t"), part("t")]
    assert unlike_twins([at(0), at(1), at(2, 0, 60), at(2, 60, 40)], new, []) == {2}
    assert unlike_twins([at(-1, 0, 50, "x"), at(1, 0, 60), at(1, 60, 40)], new, old) == {1}
    assert unlike_twins([at(-1, 0, 100, "x"), at(1, 0, 100, "x"), at(2, 0, 60), at(2, 60, 40)], new, old) == {2}


def test_parts_of_other_names_never_have_to_go():
    assert unlike_twins([at(0, 0, 60), at(1), at(-1)], [part("a"), part("b")], [part("c")]) == frozenset()
