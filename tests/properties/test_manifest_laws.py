"""Laws of manifests: what is right reads back, and what was damaged anywhere is refused or means the same."""

import json

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.errors import InvalidDocument
from pipeline.manifest import Chunk, File, Part
from pipeline.wire import check_json, decode_manifest, encode_document, encode_manifest
from tests.makers.manifests import digest, manifest

BYTES = encode_manifest(manifest())


@st.composite
def manifests(draw):
    """A right manifest: parts filled from the front, with gaps, files that share chunks."""
    parts, chunks = [], []
    for number in range(draw(st.integers(0, 4))):
        at, here = draw(st.integers(0, 3)), []
        for _ in range(draw(st.integers(1, 4))):
            plain = draw(st.integers(2, 1000))
            encoding = draw(st.sampled_from(["raw", "zstd", "planes2", "planes4", "turned4"]))
            stored = plain if encoding == "raw" else draw(st.integers(1, plain - 1))
            name = f"{number} {at}"
            here.append(Chunk(number, at, stored, plain, digest(name), encoding, "" if encoding == "raw" else digest(name + "s")))
            at += stored + draw(st.integers(0, 2))
        chunks.append(here)
        parts.append(Part(blake3=digest(f"b{number}"), sha256=digest(f"s{number}"), size=at))
    flat = [chunk for here in chunks for chunk in here]
    # The first file uses every part in order; the others take what they like.
    lists = [flat, *draw(st.lists(st.lists(st.sampled_from(flat), max_size=5), max_size=4))] if flat else [[], []]
    files = tuple(
        File(path=f"f{n}", size=sum(c.plain for c in of), sha256=digest(str(n)), chunks=tuple(of), executable=draw(st.booleans()))
        for n, of in enumerate(lists)
    )
    return manifest(parts=tuple(parts), files=files)


@given(manifests())
def test_right_manifest_reads_back(whole):
    whole.check()
    data = encode_manifest(whole)
    assert decode_manifest(data) == whole
    assert encode_document(check_json(data, what="it")) == data


@given(manifests(), st.data())
def test_manifest_that_names_an_unused_part_or_a_longer_file_is_refused(whole, data):
    change = msgspec.structs.replace
    index = data.draw(st.integers(0, len(whole.files) - 1))
    files = list(whole.files)
    files[index] = change(files[index], size=files[index].size + data.draw(st.integers(1, 10**9)))
    unused = Part(blake3=digest("unused"), sha256=digest("unused"), size=1)
    for broken in (change(whole, files=tuple(files)), change(whole, parts=(*whole.parts, unused))):
        try:
            broken.check()
        except InvalidDocument:
            continue
        raise AssertionError(broken)


def decoded(data):
    try:
        return decode_manifest(data)
    except InvalidDocument:
        return None


@settings(max_examples=300)
@given(st.integers(0, len(BYTES) - 1), st.integers(0, 255))
def test_changed_byte_never_ends_in_anything_but_a_refusal_or_a_manifest(at, value):
    found = decoded(BYTES[:at] + bytes([value]) + BYTES[at + 1 :])
    if found is not None:
        found.check()


@given(st.integers(0, len(BYTES) - 3))
def test_truncated_manifest_is_refused(end):
    assert decoded(BYTES[:end]) is None


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.floats() | st.text(max_size=5) | st.just("a" * 64),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


def places(value, path=()):
    yield path
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield from places(inner, (*path, key))


PLACES = [path for path in places(json.loads(BYTES)) if path]


@settings(max_examples=300)
@given(st.sampled_from(PLACES), VALUES)
def test_any_value_anywhere_never_ends_in_anything_but_a_refusal_or_a_manifest(path, value):
    document = json.loads(BYTES)
    target = document
    for key in path[:-1]:
        target = target[key]
    target[path[-1]] = value
    found = decoded(json.dumps(document).encode())
    if found is not None:
        found.check()
        assert decode_manifest(encode_manifest(found)) == found


@given(st.binary(max_size=40))
def test_bytes_of_nothing_are_refused(data):
    assert decoded(data) is None
