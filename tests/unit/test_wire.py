"""Strict JSON: what other decoders take quietly is refused, and what is too new is called so."""

import json
import sys
import tracemalloc

import msgspec
import pytest

from pipeline.errors import InvalidDocument
from pipeline.manifest import MANIFEST_BYTES
from pipeline.wire import DOCUMENT_BYTES, check_json, decode_document, decode_manifest, encode_document, encode_manifest
from tests.makers.manifests import manifest, raw_manifest


class Note(msgspec.Struct, kw_only=True):
    count: int
    name: str = ""
    tags: tuple[str, ...] = ()


def refused(data):
    with pytest.raises(InvalidDocument) as error:
        decode_document(data, Note, what="the note")
    assert error.value.exit_code == 3
    assert error.value.hint
    assert str(error.value).startswith("the note ")
    assert len(str(error.value)) < 300
    return str(error.value)


@pytest.mark.parametrize(
    "data, why",
    [
        (b'{"count":1,"count":1}', "'count' stands twice"),
        (b'{"count":1,"x":{"a":1,"b":2,"a":3}}', "'a' stands twice"),
        (b'{"count":1,"\\u0063ount":2}', "'count' stands twice"),
        (b'{"count":NaN}', "NaN is not an integer"),
        (b'{"count":Infinity}', "Infinity is not an integer"),
        (b'{"count":1,"x":-Infinity}', "-Infinity is not an integer"),
        (b'{"count":1e999}', "1e999 is not an integer"),
        (b'{"count":1.0}', "1.0 is not an integer"),
        (b'{"count":1,"x":[0.5]}', "0.5 is not an integer"),
        (b'{"count":9007199254740992}', "beyond 2^53-1"),
        (b'{"count":-9007199254740992}', "beyond 2^53-1"),
        (b'{"count":' + b"9" * 10_000 + b"}", "beyond 2^53-1"),
        (b'{"count":true}', "bool"),
        (b'{"count":"1"}', "str"),
        (b'{"count":null}', "null"),
        (b"[]", "array"),
        (b"1", "int"),
        (b"{}", "count"),
        (b"", "not strict JSON"),
        (b"{", "not strict JSON"),
        (b'{"count":1}x', "not strict JSON"),
        (b'{"count":1}{"count":1}', "not strict JSON"),
        (b'{"count":01}', "not strict JSON"),
        (b"{'count':1}", "not strict JSON"),
        (b'{"count":1,}', "not strict JSON"),
        (b'{"count":1,"name":"a\nb"}', "not strict JSON"),
        (b'\xef\xbb\xbf{"count":1}', "BOM"),
        ('{"count":1}'.encode("utf-16"), "not strict JSON"),
        ('{"count":1}'.encode("utf-32"), "not strict JSON"),
        (b'{"count":1,"name":"\xff"}', "not strict JSON"),
        (b'{"count":1,"name":"\xed\xa0\x80"}', "not strict JSON"),
        (b'{"count":1,"name":"\\ud800"}', "surrogates"),
        (b'{"count":1,"name":"\\udc00\\ud800"}', "surrogates"),
        (b'{"count":1,"x":{"\\uDBFF":1}}', "surrogates"),
        (b"[" * 200_000, "too deeply"),
        (b'{"count":1,"x":' + b'{"a":' * 200_000, "too deeply"),
        (b'{"count":1,"x":' + b"[" * 100_000 + b"]" * 100_000 + b"}", "too deeply"),
    ],
)
def test_document_that_decoders_read_in_two_ways_is_refused(data, why):
    assert why in refused(data)


def test_limits_of_integers_are_exact():
    for count in (0, 2**53 - 1, -(2**53 - 1)):
        assert decode_document(b'{"count":%d}' % count, Note, what="n").count == count


def test_unknown_fields_are_ignored_and_pairs_of_surrogates_are_characters():
    note = decode_document(b' {"later":[{"x":null}], "count":7, "name":"\\ud83d\\ude00", "tags":["a"]}\n', Note, what="n")
    assert note == Note(count=7, name="😀", tags=("a",))


def test_size_cap_is_judged_before_anything_is_parsed():
    data = b"[" + b" " * DOCUMENT_BYTES
    tracemalloc.start()
    try:
        assert f"at most {DOCUMENT_BYTES}" in refused(data)
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()
    with pytest.raises(InvalidDocument, match=f"at most {MANIFEST_BYTES} are allowed"):
        decode_manifest(b"[" + bytes(MANIFEST_BYTES))


def test_many_keys_with_one_of_them_twice_are_told_at_once():
    keys = ",".join(f'"{number}":0' for number in range(300_000))
    assert "'299999' stands twice" in refused(f'{{{keys},"299999":0}}'.encode())


def test_documents_are_canonical():
    assert encode_document({"b": 1, "a": {"d": "é", "c": [True, None]}}) == '{"a":{"c":[true,null],"d":"é"},"b":1}\n'.encode()


@pytest.mark.parametrize("whole", [manifest(), raw_manifest(), manifest(files=(), parts=()), manifest(kind="wheels")])
def test_manifest_reads_back(whole):
    assert decode_manifest(encode_manifest(whole)) == whole


def plain():
    return json.loads(encode_manifest(manifest()))


def decoded(value):
    return decode_manifest(json.dumps(value).encode())


def test_empty_file_has_an_empty_chunk_list_and_false_is_not_written():
    assert plain()["files"][3] == {"path": "empty", "size": 0, "sha256": manifest().files[3].sha256, "chunks": []}
    assert plain()["files"][2]["executable"] is True


def test_manifest_may_hold_what_this_version_does_not_know():
    value = plain()
    value["later"] = {"deep": [1]}
    value["files"][0]["later"] = "x"
    value["parts"][0]["later"] = 1
    value["files"][0]["chunks"][0].append("later")
    assert decoded(value) == manifest()


@pytest.mark.parametrize("name", ["format", "format_version"])
def test_manifest_must_say_what_it_is(name):
    value = plain()
    del value[name]
    with pytest.raises(InvalidDocument, match="does not say its format"):
        decoded(value)


def test_later_format_version_needs_a_newer_modelport_whatever_its_shape():
    value = {"format": "modelport-manifest", "format_version": 2, "trees": "elsewhere", "files": "moved"}
    with pytest.raises(InvalidDocument) as error:
        decoded(value)
    assert "format_version 2, expected 1" in str(error.value)
    assert "needs modelport ≥" in error.value.hint
    with pytest.raises(InvalidDocument) as error:
        decoded({**plain(), "format_version": 3})
    assert "needs modelport ≥" in error.value.hint


def test_unknown_encoding_needs_a_newer_modelport():
    value = plain()
    value["files"][1]["chunks"][0][5] = "planes8"
    with pytest.raises(InvalidDocument) as error:
        decoded(value)
    assert "'planes8' in 'b/w.bin', expected raw, zstd, planes2, planes4, turned4" in str(error.value)
    assert "needs modelport ≥" in error.value.hint


@pytest.mark.parametrize(
    "damage",
    [
        lambda value: value.pop("parts"),
        lambda value: value.update(format_version=0),
        lambda value: value.update(format="other"),
        lambda value: value.update(kind="video"),
        lambda value: value.update(profile="fast"),
        lambda value: value.update(part_size=True),
        lambda value: value.update(part_size=-1),
        lambda value: value["files"][0].update(size=True),
        lambda value: value["files"][0].update(executable=1),
        lambda value: value["files"][0].pop("chunks"),
        lambda value: value["files"][0]["chunks"][0].pop(),
        lambda value: value["files"][0]["chunks"][0].__setitem__(1, True),
        lambda value: value["files"][0]["chunks"][0].__setitem__(5, 7),
        lambda value: value["files"][0]["chunks"].__setitem__(0, {"part": 0}),
        lambda value: value["parts"][0].update(size="500"),
        lambda value: value["parts"][0].update(size=500.0),
        lambda value: value["bases"][0].pop("manifest_sha256"),
    ],
)
def test_manifest_of_another_shape_is_refused_and_not_called_newer(damage):
    value = plain()
    damage(value)
    with pytest.raises(InvalidDocument) as error:
        decoded(value)
    assert "≥" not in error.value.hint


def test_deep_nesting_is_refused_close_to_the_end_of_the_stack_too():
    def deep(left):
        if left:
            return deep(left - 1)
        with pytest.raises(InvalidDocument, match="too deeply"):
            check_json(b"[" * 100_000 + b"]" * 100_000, what="the note")
        return True

    assert deep(sys.getrecursionlimit() - 400)
