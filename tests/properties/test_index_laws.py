"""Laws of indexing over random folders: files come back byte for byte, and the manifest is a pure function."""

import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.plan.pack import KEEP_DENOMINATOR
from pipeline.wire import decode_manifest
from tests.makers.releases import Shelf, as_base, folder_bytes, index_folder, lay_files, noise, rebuild, safetensors
from tests.makers.small_cuts import CHUNK, small_cuts

PART_SIZES = st.sampled_from([CHUNK, 2 * CHUNK, 3 * CHUNK + 7, 1 << 20])
PROFILES = st.sampled_from(["default", "default", "raw", "web"])
ENCODINGS = st.sampled_from(["auto", "raw"])
SEEDS = st.integers(0, 5)
SIZES = st.one_of(
    st.integers(0, 3 * CHUNK),
    st.sampled_from([0, 1, 1023, 1024, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK, 2 * CHUNK + 1, 5 * CHUNK]),
)

# Files are generated as recipes, not as bytes: a recipe is short to print and to shrink.
PLAIN = st.tuples(st.sampled_from(["noise", "zeros", "words", "noise and zeros"]), SIZES, SEEDS)
TENSORS = st.lists(
    st.tuples(st.sampled_from(["F32", "BF16", "I8"]), st.integers(0, CHUNK // 2).map(lambda words: 4 * words), st.none() | SEEDS),
    max_size=6,
).map(tuple)
WEIGHTS = st.tuples(st.just("weights"), st.integers(0, 9), TENSORS)
FILES = PLAIN | WEIGHTS
NAMES = st.sampled_from(["a.bin", "b.safetensors", "c/d", "c/e.txt", "f", "g", "weights.bin"])
TREES = st.dictionaries(NAMES, FILES, min_size=1, max_size=5)

quick = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])


def cooked(kind, size, more):
    if kind == "weights":
        tensors = [
            (f"t{n}", of, bytes(length) if seed is None else noise(length, seed)) for n, (of, length, seed) in enumerate(more)
        ]
        return safetensors(tensors, pad=size)
    if kind == "words":
        return (b"words that come again %d " % more * size)[:size]
    return (noise(size, more) if "noise" in kind else b"") + (bytes(size) if "zeros" in kind else b"")


def cook(tree):
    return {path: cooked(*recipe) for path, recipe in tree.items()}


def indexed(tree, name="bert-v1.0.0", **options):
    with tempfile.TemporaryDirectory() as place:
        lay_files(place, tree)
        return index_folder(Path(place), name, **options)


@pytest.mark.timeout(120)
@quick
@given(TREES, PART_SIZES, PROFILES, ENCODINGS)
def test_files_come_back_byte_for_byte(tree, part_size, profile, encoding):
    tree = cook(tree)
    with small_cuts():
        made, shelf = indexed(tree, part_size=part_size, profile=profile, encoding=encoding)
        again, second = indexed(dict(reversed(tree.items())), part_size=part_size, profile=profile, encoding=encoding)
    manifest = decode_manifest(made.data)
    assert manifest == made.manifest
    assert rebuild(manifest, shelf.bodies) == tree
    assert again.data == made.data
    assert second.bodies == shelf.bodies
    assert all(0 < part.size <= part_size for part in shelf.shipped)
    assert made.parts.total == len(manifest.parts)
    assert (made.parts.reused, made.chunks.reused) == (0, 0)
    chunks = {chunk for file in manifest.files for chunk in file.chunks}
    assert made.chunks.total == len({(chunk.part, chunk.offset) for chunk in chunks})
    if profile == "default":
        # Nothing is stored twice, and no part has a gap.
        assert len({chunk.blake3 for chunk in chunks}) == len(chunks)
        used = {(chunk.part, chunk.offset, chunk.stored) for chunk in chunks}
        assert sum(stored for _, _, stored in used) <= sum(part.size for part in manifest.parts)
    if profile != "default" or encoding == "raw":
        assert {chunk.encoding for chunk in chunks} <= {"raw"}


@pytest.mark.timeout(120)
@quick
@given(TREES, TREES, PART_SIZES, PROFILES, ENCODINGS, st.booleans())
def test_release_on_a_base_comes_back_and_keeps_only_base_parts_that_serve(old, new, part_size, profile, encoding, overlay):
    old, tree = cook(old), cook({**old, **new} if overlay else new)
    with small_cuts():
        before, shelf = indexed(old, part_size=part_size, profile=profile, encoding=encoding)
        bases = (as_base(before),)
        made, added = indexed(tree, "bert-v1.1.0", part_size=part_size, profile=profile, encoding=encoding, bases=bases)
        again, _ = indexed(tree, "bert-v1.1.0", part_size=part_size, profile=profile, encoding=encoding, bases=bases)
    assert again.data == made.data
    manifest = made.manifest
    assert rebuild(manifest, {**shelf.bodies, **added.bodies}) == tree
    reused = {part.blake3 for part in before.manifest.parts}
    served = {}
    for index, offset, stored in {(c.part, c.offset, c.stored) for file in manifest.files for c in file.chunks}:
        served[index] = served.get(index, 0) + stored
        assert offset + stored <= manifest.parts[index].size
    for index, part in enumerate(manifest.parts):
        if part.blake3 in reused:
            assert served[index] * KEEP_DENOMINATOR >= part.size
    assert made.parts.reused == sum(part.blake3 in reused for part in manifest.parts)


@pytest.mark.timeout(60)
@quick
@given(TREES, PART_SIZES, PROFILES, ENCODINGS)
def test_same_folder_on_its_own_base_ships_nothing(tree, part_size, profile, encoding):
    tree = cook(tree)
    with small_cuts():
        before, shelf = indexed(tree, part_size=part_size, profile=profile, encoding=encoding)
        made, added = indexed(
            tree, "bert-v1.1.0", part_size=part_size, profile=profile, encoding=encoding, bases=(as_base(before),)
        )
    assert set(added.bodies) <= set(shelf.bodies)
    assert made.parts.new == 0
    assert made.manifest.parts == before.manifest.parts
    if profile == "default":
        assert added.shipped == []


def test_shelf_of_a_small_case_is_what_it_seems(tmp_path):
    """The makers themselves: a wrong one would make every law above hold."""
    tree = {"a": noise(100, 1), "b": b"", "c.safetensors": safetensors([("x", "F32", noise(64, 2))])}
    lay_files(tmp_path, tree)
    assert folder_bytes(tmp_path) == tree
    made, shelf = index_folder(tmp_path, shelf=Shelf())
    assert rebuild(made.manifest, shelf.bodies) == tree
    damaged = {name: body[:-1] + bytes([body[-1] ^ 1]) for name, body in shelf.bodies.items()}
    with pytest.raises(AssertionError):
        rebuild(made.manifest, damaged)
