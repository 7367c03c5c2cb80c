"""What is found in well-formed files, and how little is read for it."""

from __future__ import annotations

import json
import struct

import pytest

from pipeline.formats import find_tensors
from pipeline.plan.cut import BYTES, Element
from tests.golden.formats_writers import (
    ZipEntry,
    f16,
    f32,
    field,
    gguf,
    gguf_string,
    noise,
    onnx_model,
    onnx_tensor,
    pickled_storages,
    safetensors,
    tiny_files,
    torch_zip,
)

SINGLE = Element(4, floating=True)
HALF = Element(2, floating=True)
TINY = tiny_files()


def find(data, path="model.bin"):
    return find_tensors(lambda at, size: data[at : at + size], len(data), path)


def bytes_of(data, found):
    return [data[tensor.start : tensor.end] for tensor in found.tensors]


@pytest.mark.parametrize("name", TINY)
def test_format_is_known_by_its_bytes_whatever_the_name(name):
    assert find(TINY[name], name) == find(TINY[name], "weights.dat")
    assert find(TINY[name], name).tensors


@pytest.mark.parametrize("name", TINY)
def test_short_reads_change_nothing(name):
    data = TINY[name]
    assert find_tensors(lambda at, size: data[at : at + min(size, 7)], len(data), name) == find(data, name)


@pytest.mark.parametrize("name", TINY)
def test_tensors_are_not_read(name):
    data, read = TINY[name], []

    def read_at(at, size):
        read.append(len(data[at : at + size]))
        return data[at : at + size]

    find_tensors(read_at, len(data), name)
    assert sum(read) < len(data)


def test_text_and_empty_files_are_opaque_without_a_word():
    for data in (b"", b"{", b"hello" * 100, json.dumps({"a": 1}).encode(), bytes(100), b"version https://example.org/spec"):
        found = find(data, "notes.txt")
        assert (found.format, found.tensors, found.warning) == ("opaque", None, None)


def test_safetensors_header_is_a_gap_and_metadata_no_tensor():
    body = f32("x", 10)
    data = safetensors([("x", "F32", body), ("nothing", "BF16", b"")])
    found = find(data)
    assert bytes_of(data, found) == [body]
    assert found.tensors[0].element == SINGLE


def test_safetensors_of_unknown_type_holds_bytes():
    assert find(safetensors([("x", "F4_NEW", bytes(9))])).tensors[0].element == BYTES


def test_length_that_the_element_does_not_divide_holds_bytes():
    assert find(safetensors([("x", "F32", bytes(9))])).tensors[0].element == BYTES


def test_safetensors_may_leave_holes():
    header = json.dumps({"x": {"dtype": "F16", "shape": [2], "data_offsets": [4, 8]}}).encode()
    data = struct.pack("<Q", len(header)) + header + bytes(12)
    assert [(t.start, t.end) for t in find(data).tensors] == [(12 + len(header), 16 + len(header))]


def test_gguf_tensors_take_their_padding_in():
    data = gguf([("a", 0, 5, f32("a", 5)), ("b", 0, 8, f32("b", 8))])
    first, second = find(data).tensors
    assert (first.end, second.end) == (second.start, len(data))
    assert first.end - first.start == 32
    assert (first.element, second.element) == (SINGLE, SINGLE)


def test_gguf_blocks_reach_to_the_next_tensor_whatever_their_type():
    data = gguf([("a", 12, 256, noise("q4k", 144)), ("b", 0, 8, f32("b", 8)), ("c", 77, 9, noise("new", 500))])
    found = find(data).tensors
    assert [tensor.element for tensor in found] == [BYTES, SINGLE, BYTES]
    assert found[-1].end == len(data)


def test_gguf_alignment_and_all_kinds_of_values_are_read():
    keys = [
        gguf_string(f"k{kind}") + struct.pack("<I", kind) + bytes(size)
        for kind, size in ((0, 1), (3, 2), (6, 4), (7, 1), (12, 8))
    ]
    keys.append(gguf_string("array") + struct.pack("<IIQ", 9, 6, 3) + bytes(12))
    data = gguf([("a", 1, 9, f16("a", 9)), ("b", 1, 9, f16("b", 9))], alignment=256, keys=keys)
    first, second = find(data).tensors
    assert first.start % 256 == second.start % 256 == 0
    assert data[first.start : first.start + 18] == f16("a", 9)


def test_onnx_type_may_stand_behind_its_data():
    for last in (True, False):
        data = onnx_model(field(5, onnx_tensor(10, f16("w", 8), type_last=last)))
        assert bytes_of(data, find(data)) == [f16("w", 8)]
        assert find(data).tensors[0].element == HALF


def test_onnx_packed_floats_and_doubles_are_tensors():
    data = onnx_model(field(5, onnx_tensor(1, f32("w", 8), place=4)) + field(5, onnx_tensor(11, bytes(16), place=10)))
    assert [(t.end - t.start, t.element) for t in find(data).tensors] == [(32, SINGLE), (16, Element(8, floating=True))]


def test_onnx_packed_numbers_of_no_fixed_width_are_passed_over():
    assert find(onnx_model(field(5, onnx_tensor(7, bytes(16), place=7)))).tensors == ()


def test_onnx_tensors_in_functions_training_and_nested_graphs_are_found():
    graph = field(5, onnx_tensor(1, f32("w", 4)))
    for _ in range(5):
        graph = field(1, field(5, field(11, graph)))
    function = field(25, field(7, field(5, field(10, onnx_tensor(1, f32("v", 4))))))
    training = field(20, field(1, field(5, onnx_tensor(1, f32("u", 4)))))
    data = onnx_model(graph) + function + training
    assert bytes_of(data, find(data)) == [f32("w", 4), f32("v", 4), f32("u", 4)]


def test_onnx_external_data_is_not_here():
    external = field(13, field(1, b"location") + field(2, b"weights.bin")) + field(14, 1)
    assert find(onnx_model(field(5, field(2, 1) + external))).tensors == ()


def test_another_protocol_buffer_is_opaque_without_a_word():
    data = field(1, 8) + field(2, b"some text") + field(3, 7)
    found = find(data, "message.pb")
    assert (found.format, found.tensors, found.warning) == ("opaque", None, None)


STORAGES = [("0", "FloatStorage"), ("1", "BFloat16Storage"), ("2", "FloatStorage"), ("3", "NewStorage")]


@pytest.mark.parametrize("zip64", [False, True])
@pytest.mark.parametrize("comment", [b"", b"a comment", b"PK\x05\x06"[:3] * 100])
def test_torch_zip_storages_are_found_with_their_types(zip64, comment):
    bodies = [f32("0", 8), f16("1", 8), f32("2", 40), noise("3", 24)]
    entries = [ZipEntry("m/data.pkl", pickled_storages(STORAGES))]
    entries += [ZipEntry(f"m/data/{key}", body) for (key, _), body in zip(STORAGES, bodies, strict=True)]
    data = torch_zip([*entries, ZipEntry("m/version", b"3\n")], zip64=zip64, comment=comment)
    found = find(data, "model.pt")
    assert bytes_of(data, found) == bodies
    assert [tensor.element for tensor in found.tensors] == [SINGLE, HALF, SINGLE, BYTES]


def test_torchscript_constants_have_a_pickle_of_their_own():
    data = torch_zip(
        [
            ZipEntry("m/data/0", f32("d", 8)),
            ZipEntry("m/data.pkl", pickled_storages([("0", "FloatStorage")])),
            ZipEntry("m/constants/0", f16("c", 8)),
            ZipEntry("m/constants.pkl", pickled_storages([("0", "HalfStorage")])),
            ZipEntry("m/code/__torch__.py", b"x = 1\n" * 9),
        ]
    )
    found = find(data)
    assert bytes_of(data, found) == [f32("d", 8), f16("c", 8)]
    assert [tensor.element for tensor in found.tensors] == [SINGLE, HALF]


def test_compressed_storages_are_left_in_the_gap():
    data = torch_zip(
        [ZipEntry("m/data.pkl", pickled_storages([("0", "FloatStorage")])), ZipEntry("m/data/0", bytes(5000), deflate=True)]
    )
    assert find(data).tensors == ()


def test_compressed_pickle_leaves_storages_as_bytes():
    data = torch_zip(
        [ZipEntry("m/data.pkl", pickled_storages([("0", "FloatStorage")]), deflate=True), ZipEntry("m/data/0", f32("0", 8))]
    )
    assert find(data, "m.zip").tensors is None


def test_another_zip_is_opaque_without_a_word():
    found = find(torch_zip([ZipEntry("word/document.xml", b"<x/>"), ZipEntry("arr_0.npy", bytes(100))]), "arrays.npz")
    assert (found.format, found.tensors, found.warning) == ("opaque", None, None)


def test_tensors_come_in_the_order_of_the_file():
    entries = [ZipEntry("m/data/1", bytes(64)), ZipEntry("m/data/0", bytes(128)), ZipEntry("m/data.pkl", pickled_storages([]))]
    starts = [tensor.start for tensor in find(torch_zip(entries)).tensors]
    assert starts == sorted(starts)


def test_what_the_disk_raises_passes_through():
    def broken(at, size):
        raise OSError(5, "Input/output error")

    with pytest.raises(OSError, match="Input/output"):
        find_tensors(broken, 1000, "model.safetensors")
