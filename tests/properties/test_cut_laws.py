"""Laws of cutting, over all layouts and all ways to read."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.formats.opaque import MAX_BYTES, MIN_BYTES, ContentCutter
from pipeline.manifest import CHUNK_BYTES
from pipeline.plan.cut import BYTES, JOIN_BYTES, Element, Tensor, cut_tensors
from tests.golden.formats_writers import noise

ELEMENTS = st.sampled_from([BYTES, Element(2, floating=True), Element(4, floating=True), Element(8, floating=False)])
LENGTHS = st.one_of(
    st.integers(0, 50_000), st.integers(0, 12 << 20), st.sampled_from([0, 1, JOIN_BYTES, CHUNK_BYTES, CHUNK_BYTES + 1])
)


@st.composite
def layouts(draw):
    """(file size, tensors): gaps and tensors in any order."""
    at = draw(LENGTHS)
    tensors = []
    for gap, length, element in draw(st.lists(st.tuples(st.one_of(st.just(0), LENGTHS), LENGTHS, ELEMENTS), max_size=12)):
        tensors.append(Tensor(at + gap, at + gap + length, element))
        at += gap + length
    return at + draw(LENGTHS), draw(st.permutations(tensors))


@given(layouts())
def test_spans_cover_the_file_in_order_and_none_is_too_long(layout):
    size, tensors = layout
    at = 0
    for span in cut_tensors(size, tensors):
        assert span.start == at
        assert 0 < span.end - span.start <= CHUNK_BYTES
        at = span.end
    assert at == size


@given(layouts())
def test_spans_hold_whole_tensors_or_strides_of_one(layout):
    size, tensors = layout
    starts = {tensor.start: tensor for tensor in tensors if tensor.end > tensor.start}
    for span in cut_tensors(size, tensors):
        inside = [tensor for tensor in starts.values() if tensor.start < span.end and tensor.end > span.start]
        if span.element == BYTES or not inside:
            continue
        assert {tensor.element for tensor in inside} == {span.element}
        if len(inside) > 1:
            assert span.end - span.start <= JOIN_BYTES
            assert span.start == inside[0].start or span.start in starts
        else:
            assert (span.start - inside[0].start) % CHUNK_BYTES == 0


STRETCH = noise("law", 11_000_000)
WHOLE = ContentCutter().feed(STRETCH, final=True)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(1, 6 << 20), min_size=1, max_size=40))
def test_content_cuts_do_not_depend_on_how_reads_are_blocked(blocks):
    cutter = ContentCutter()
    pending = bytearray()
    found = []
    at = 0
    for block in [*blocks, len(STRETCH)]:
        pending += STRETCH[at : at + block]
        at = min(at + block, len(STRETCH))
        for length in cutter.feed(pending, final=at == len(STRETCH)):
            found.append(length)
            del pending[:length]
        if at == len(STRETCH):
            break
    assert found == WHOLE
    assert not pending


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_999_999), st.binary(max_size=300))
def test_content_cuts_come_back_after_an_insertion(place, inserted):
    changed = STRETCH[:place] + inserted + STRETCH[place:]
    found = ContentCutter().feed(changed, final=True)
    assert sum(found) == len(changed)
    assert all(MIN_BYTES <= length <= MAX_BYTES for length in found[:-1])
    ends = {sum(WHOLE[: count + 1]) for count in range(len(WHOLE))}
    moved = {sum(found[: count + 1]) for count in range(len(found))}
    kept = {end for end in ends if end < place and end in moved} | {
        end for end in ends if end >= place and end + len(inserted) in moved
    }
    assert len(kept) >= len(ends) - 4
