"""Whatever the bytes, a format's parser answers, soon, and what it answers can be cut."""

from __future__ import annotations

import random
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.formats import find_tensors
from pipeline.formats.pickled import storage_elements
from pipeline.manifest import CHUNK_BYTES
from pipeline.plan.cut import cut_tensors
from tests.golden.formats_writers import pickled_storages, tiny_files

TINY = tiny_files()
# The first bytes of each file that its parser reads; the directory of a zip stands at its end.
HOT_BYTES = 700
MUTATIONS = 2500
INTERESTING = [0, 1, 0x7F, 0x80, 0xFF]


def check(data, name):
    found = find_tensors(lambda at, size: data[at : at + size], len(data), name)
    if found.tensors is None:
        assert found.format == "opaque"
        return
    assert found.warning is None
    at = 0
    for span in cut_tensors(len(data), found.tensors):
        assert span.start == at
        assert 0 < span.end - span.start <= CHUNK_BYTES
        at = span.end
    assert at == len(data)


def mutate(data, chance):
    data = bytearray(data)
    for _ in range(chance.randint(1, 4)):
        if not data:
            break
        hot = chance.random() < 0.9
        place = chance.randrange(min(HOT_BYTES, len(data))) if hot else chance.randrange(len(data))
        if hot and chance.random() < 0.5:
            place = len(data) - 1 - place
        kind = chance.randrange(5)
        if kind == 0:
            data[place] = chance.choice(INTERESTING)
        elif kind == 1:
            data[place] ^= 1 << chance.randrange(8)
        elif kind == 2:
            del data[place : place + chance.randint(1, 9)]
        elif kind == 3:
            data[place:place] = chance.randbytes(chance.randint(1, 9))
        else:
            data[place : place + 8] = chance.choice([b"\xff" * 8, bytes(8), b"\0\0\0\0\0\0\0\x80", b"\xff\xff\xff\x7f\0\0\0\0"])
    return bytes(data)


@pytest.mark.parametrize("name", TINY)
def test_mutations_of_a_well_formed_file_are_answered_soon(name):
    chance = random.Random(name)  # The same mutations in every run.
    slowest = 0.0
    for _ in range(MUTATIONS):
        data = mutate(TINY[name], chance)
        began = time.process_time()
        check(data, name)
        slowest = max(slowest, time.process_time() - began)
    assert slowest < 2.0


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=400), st.sampled_from(["m.safetensors", "m.gguf", "m.onnx", "m.pt", "m"]))
def test_any_bytes_are_answered(data, name):
    check(data, name)
    for start in (b"GGUF\x03\0\0\0", b"\x10\0\0\0\0\0\0\0{", b"\x08\x08", b"PK\x03\x04"):
        check(start + data, name)


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_any_pickle_is_answered(data):
    pickle = bytearray(pickled_storages([("0", "FloatStorage"), ("1", "HalfStorage")]))
    for _ in range(data.draw(st.integers(1, 6))):
        pickle[data.draw(st.integers(0, len(pickle) - 1))] = data.draw(st.integers(0, 255))
    assert all(element.width in (2, 4, 8) for element in storage_elements(bytes(pickle)).values())
    storage_elements(data.draw(st.binary(max_size=200)))
