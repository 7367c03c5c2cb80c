"""Cut points of files whose tensors are known."""

from __future__ import annotations

from pipeline.plan.cut import ALONE_BYTES, BYTES, JOIN_BYTES, Element, Span, Tensor, cut_opaque, cut_tensors

MIB = 1 << 20
SINGLE = Element(4, floating=True)
HALF = Element(2, floating=True)


def ends(spans):
    return [(span.start, span.end) for span in spans]


def test_empty_file_has_no_spans():
    assert cut_tensors(0, []) == []
    assert cut_opaque(0) == []


def test_opaque_file_is_one_stretch():
    assert cut_opaque(5) == [Span(0, 5, opaque=True)]


def test_file_without_tensors_is_cut_at_a_stride():
    assert ends(cut_tensors(9 * MIB, [])) == [(0, 4 * MIB), (4 * MIB, 8 * MIB), (8 * MIB, 9 * MIB)]


def test_large_tensor_is_cut_at_a_stride_from_its_own_start():
    spans = cut_tensors(100 + 9 * MIB, [Tensor(100, 100 + 9 * MIB, HALF)])
    assert ends(spans) == [(0, 100), (100, 100 + 4 * MIB), (100 + 4 * MIB, 100 + 8 * MIB), (100 + 8 * MIB, 100 + 9 * MIB)]
    assert [span.element for span in spans] == [BYTES, HALF, HALF, HALF]


def test_tensor_of_exactly_one_chunk_stays_whole():
    assert ends(cut_tensors(4 * MIB, [Tensor(0, 4 * MIB, HALF)])) == [(0, 4 * MIB)]


def test_neighbours_are_joined_up_to_the_limit_and_no_further():
    half = JOIN_BYTES // 2
    tensors = [Tensor(at * half, (at + 1) * half, SINGLE) for at in range(5)]
    assert ends(cut_tensors(5 * half, tensors)) == [(0, 2 * half), (2 * half, 4 * half), (4 * half, 5 * half)]


def test_neighbours_of_another_element_are_not_joined():
    tensors = [Tensor(0, 9000, SINGLE), Tensor(9000, 18000, HALF), Tensor(18000, 27000, Element(2, floating=False))]
    assert ends(cut_tensors(27000, tensors)) == [(0, 9000), (9000, 18000), (18000, 27000)]


def test_neighbours_are_not_joined_over_a_gap():
    assert ends(cut_tensors(20001, [Tensor(0, 10000, HALF), Tensor(10001, 20001, HALF)])) == [
        (0, 10000),
        (10000, 10001),
        (10001, 20001),
    ]


def test_tail_of_a_cut_tensor_takes_no_neighbour_in():
    tensors = [Tensor(0, 5 * MIB, HALF), Tensor(5 * MIB, 5 * MIB + 10000, HALF)]
    assert ends(cut_tensors(5 * MIB + 10000, tensors)) == [(0, 4 * MIB), (4 * MIB, 5 * MIB), (5 * MIB, 5 * MIB + 10000)]


def test_small_tensors_that_stand_alone_belong_to_the_gap():
    small = ALONE_BYTES - 1
    tensors = [Tensor(10, 10 + small, HALF), Tensor(20000, 40000, HALF), Tensor(40010, 40011)]
    assert ends(cut_tensors(50000, tensors)) == [(0, 20000), (20000, 40000), (40000, 50000)]


def test_small_tensors_that_touch_stand_together():
    half = ALONE_BYTES // 2
    assert ends(cut_tensors(30000, [Tensor(10, 10 + half, HALF), Tensor(10 + half, 10 + 2 * half, SINGLE)])) == [
        (0, 10),
        (10, 10 + half),
        (10 + half, 10 + 2 * half),
        (10 + 2 * half, 30000),
    ]


def test_empty_tensors_and_order_do_not_matter():
    tensors = [Tensor(20000, 40000, HALF), Tensor(20000, 20000, SINGLE), Tensor(0, 20000, SINGLE)]
    assert ends(cut_tensors(40000, tensors)) == [(0, 20000), (20000, 40000)]
