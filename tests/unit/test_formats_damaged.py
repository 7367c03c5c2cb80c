"""Headers that are truncated, contradict themselves or attack: opaque, with one line that says why."""

from __future__ import annotations

import json
import struct

import pytest

from pipeline.formats import find_tensors
from pipeline.formats.onnx import DEPTH
from pipeline.formats.pickled import storage_elements
from tests.golden.formats_writers import (
    ZipEntry,
    f32,
    field,
    gguf,
    gguf_string,
    onnx_model,
    onnx_tensor,
    pickled_storages,
    safetensors,
    tiny_files,
    torch_zip,
)

TINY = tiny_files()


def find(data, path):
    return find_tensors(lambda at, size: data[at : at + size], len(data), path)


def with_header(header, body=bytes(100)):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + body


def entry(low, high, dtype="F32"):
    return {"dtype": dtype, "shape": [1], "data_offsets": [low, high]}


def zip_of(*names, mangle=lambda data: data):
    entries = [
        ZipEntry("m/data.pkl", pickled_storages([("0", "FloatStorage")])),
        *(ZipEntry(name, f32(name, 8)) for name in names),
    ]
    return mangle(torch_zip(entries))


def deep_graph(depth):
    graph = field(5, onnx_tensor(1, f32("w", 4)))
    for _ in range(depth):
        graph = field(1, field(5, field(6, graph)))
    return onnx_model(graph)


GGUF_START = b"GGUF" + struct.pack("<I", 3)
DAMAGED = {
    "st-too-short": ("m.safetensors", b"abc", "holds no safetensors header"),
    "st-length-beyond-the-file": ("m.safetensors", struct.pack("<Q", 1 << 20) + b"{}", "holds no safetensors header"),
    "st-length-of-2-to-the-63": ("m.safetensors", struct.pack("<Q", 1 << 63) + b"{}", "holds no safetensors header"),
    "st-not-json": ("m.safetensors", with_header(b"{abc}"), "JSON"),
    "st-not-utf8": ("m.safetensors", with_header(b'{"\xff\xfe": 1}'), "JSON"),
    "st-deep-json": ("m.safetensors", with_header(b'{"a":' * 100_000), "JSON"),
    "st-entry-is-a-list": ("m.safetensors", with_header({"a": [1, 2]}), "JSON"),
    "st-no-offsets": ("m.safetensors", with_header({"a": {"dtype": "F32"}}), "no offsets"),
    "st-three-offsets": ("m.safetensors", with_header({"a": {"dtype": "F32", "data_offsets": [0, 1, 2]}}), "JSON"),
    "st-float-offsets": ("m.safetensors", with_header(b'{"a":{"dtype":"F32","data_offsets":[0,1.5]}}'), "JSON"),
    "st-negative-offsets": ("m.safetensors", with_header({"a": entry(-4, 4)}), "a tensor lies at"),
    "st-backward-offsets": ("m.safetensors", with_header({"a": entry(8, 4)}), "a tensor lies at"),
    "st-outside-the-file": ("m.safetensors", with_header({"a": entry(0, 101)}), "a tensor lies at"),
    "st-huge-offsets": ("m.safetensors", with_header(b'{"a":{"dtype":"F32","data_offsets":[0,%d]}}' % 10**30), "damaged"),
    "st-overlap": ("m.safetensors", with_header({"a": entry(0, 8), "b": entry(4, 12)}), "overlap"),
    "st-too-many": ("m.safetensors", with_header(b"{" + b'"a":{},' * 300_000 + b'"b":{}}'), "more than"),
    "st-too-many-spread-out": (
        "m.safetensors",
        with_header(b"{" + b",".join(b'"%d":\t {"data_offsets":[0,0]}' % number for number in range(300_000)) + b"}"),
        "more than",
    ),
    "st-truncated": ("m.safetensors", safetensors([("a", "F32", f32("a", 100))])[:-1], "a tensor lies at"),
    "gguf-magic-only": ("m.gguf", b"GGUF", "wants 4 bytes"),
    "gguf-version-1": ("m.gguf", gguf([], version=1), "version is 1"),
    "gguf-big-endian": ("m.gguf", b"GGUF" + struct.pack(">I", 3) + bytes(100), "version is"),
    "gguf-many-tensors": ("m.gguf", GGUF_START + struct.pack("<QQ", 1 << 60, 0), "at most"),
    "gguf-many-keys": ("m.gguf", GGUF_START + struct.pack("<QQ", 0, 1 << 60), "at most"),
    "gguf-long-string": ("m.gguf", GGUF_START + struct.pack("<QQQ", 0, 1, 1 << 63) + bytes(50), "a string at"),
    "gguf-unknown-value": ("m.gguf", gguf([], keys=[gguf_string("a") + struct.pack("<I", 99)]), "unknown type 99"),
    "gguf-array-in-array": ("m.gguf", gguf([], keys=[gguf_string("a") + struct.pack("<IIQ", 9, 9, 1)]), "unknown type 9"),
    "gguf-long-array": ("m.gguf", gguf([], keys=[gguf_string("a") + struct.pack("<IIQ", 9, 6, 1 << 60)]), "are left"),
    "gguf-many-strings": ("m.gguf", gguf([], keys=[gguf_string("a") + struct.pack("<IIQ", 9, 8, 1 << 60)]), "are left"),
    "gguf-alignment-0": (
        "m.gguf",
        gguf([], alignment=1).replace(struct.pack("<II", 4, 1), struct.pack("<II", 4, 0)),
        "alignment is 0",
    ),
    "gguf-alignment-3": ("m.gguf", gguf([], alignment=3), "alignment is 3"),
    "gguf-outside-the-file": ("m.gguf", gguf([("a", 0, 1 << 61, b"abcd")]), "a tensor lies at"),
    "gguf-truncated": ("m.gguf", gguf([("a", 0, 100, f32("a", 100))])[:-100], "a tensor lies at"),
    "gguf-five-dimensions": ("m.gguf", GGUF_START + struct.pack("<QQQIQ", 1, 0, 0, 5, 1) + bytes(99), "5 dimensions"),
    "onnx-not-a-message": ("m.onnx", b"hello, this is text", "holds no onnx header"),
    "onnx-zeros": ("m.onnx", bytes(1000), "holds no onnx header"),
    "onnx-no-graph": ("m.onnx", field(1, 8) + field(2, b"x"), "holds no onnx header"),
    "onnx-truncated": ("m.onnx", TINY["tiny.onnx"][:-100], "reaches past"),
    "onnx-too-deep": ("m.onnx", deep_graph(DEPTH), "nested more than"),
    "onnx-group": ("m.onnx", field(1, 8) + b"\x1b", "wire type 3"),
    "onnx-endless-number": ("m.onnx", field(1, 8) + b"\xff" * 11, "more than 64 bits"),
    "onnx-inner-past-outer": ("m.onnx", field(1, 8) + field(7, b"\x2a\x7f"), "reaches past"),
    "zip-no-end": ("m.pt", zip_of("m/data/0")[:-1], "no end of central directory"),
    "zip-directory-elsewhere": ("m.pt", zip_of("m/data/0", mangle=lambda data: b"PK\x03\x04" + data), "no directory entry"),
    "zip-local-header-gone": (
        "m.pt",
        zip_of(
            "m/data/0", mangle=lambda data: data.replace(b"PK\x03\x04", b"PK\x03\x05").replace(b"PK\x03\x05", b"PK\x03\x04", 1)
        ),
        "no local file header",
    ),
    "zip-many-pickles": ("m.pt", zip_of(*(f"{number}/data.pkl" for number in range(100))), "101 pickles"),
    "zip-same-entry-twice": ("m.pth", zip_of("m/data/0", "m/data/0"), None),
}


@pytest.mark.parametrize("name", DAMAGED)
def test_damaged_header_makes_the_file_opaque_with_one_line(name):
    path, data, message = DAMAGED[name]
    found = find(data, path)
    if message is None:
        assert found.tensors is not None
        return
    assert (found.format, found.tensors) == ("opaque", None)
    assert message in found.warning
    assert "\n" not in found.warning
    assert len(found.warning) < 400


def test_file_shorter_than_its_size_is_opaque_with_a_warning():
    found = find_tensors(lambda at, size: b"", 1000, "m.safetensors")
    assert (found.tensors, found.warning) == (None, "the file ends at 0 of 1000 bytes")


@pytest.mark.parametrize("name", TINY)
def test_every_truncation_of_a_tiny_file_is_answered(name):
    data = TINY[name]
    for size in [*range(min(len(data), 1200)), *range(1200, len(data), 997)]:
        found = find(data[:size], name)
        assert found.tensors is None or found.warning is None


@pytest.mark.parametrize("name", ["m.pb", "m.zip", "m.dat"])
def test_doubtful_formats_are_silent_under_another_name(name):
    for damaged in ("onnx-truncated", "zip-no-end"):
        found = find(DAMAGED[damaged][1], name)
        assert (found.tensors, found.warning) == (None, None)


def test_names_in_warnings_are_short_and_printable():
    found = find(with_header({"a" * 5000 + "\n": {"dtype": "F32"}}), "m.safetensors")
    assert len(found.warning) < 400
    assert "\n" not in found.warning


PICKLES = {
    "empty": b"",
    "not-a-pickle": b"\xff" * 100,
    "pop-from-empty": b"\x80\x020000.",
    "unpickling-would-run": b"\x80\x02cos\nsystem\nX\x09\x00\x00\x00touch /tm\x85R.",
    "marks": b"\x80\x02" + b"(" * 2_000_000,
    "long-text": b"\x80\x02X\xff\xff\xff\x7f" + b"abc",
    "long-bytes-8": b"\x80\x04\x8e" + b"\xff" * 8,
    "huge-number": b"\x80\x02\x8b\xff\xff\xff\x7f",
    "decimal-of-a-million-digits": b"\x80\x02I" + b"9" * 1_000_000 + b"\n.",
    "get-unknown": b"\x80\x02h\x07Q.",
    "tuple-of-many": b"\x80\x02(" + b"N" * 100_000 + b"tQ.",
    "persistent-number": b"\x80\x02K\x01Q.",
    "storage-without-key": b"\x80\x02X\x07\x00\x00\x00storage\x85Q.",
    "stack-global-of-numbers": b"\x80\x04K\x01K\x02\x93.",
}


@pytest.mark.parametrize("name", PICKLES)
def test_hostile_pickle_tells_nothing_and_does_nothing(name):
    assert storage_elements(PICKLES[name]) == {}


def test_what_a_broken_pickle_told_before_it_broke_is_kept():
    whole = pickled_storages([("0", "FloatStorage"), ("1", "HalfStorage")])
    assert storage_elements(whole).keys() == {b"0", b"1"}
    assert storage_elements(whole[:-20]).keys() == {b"0"}
