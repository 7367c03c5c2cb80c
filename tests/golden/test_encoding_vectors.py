"""Stored bytes of every encoding stay what they were, and old bytes still open."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pipeline.digest import blake3_of
from pipeline.encoding import ENCODER, decode_chunk, encode_chunk
from pipeline.manifest import ENCODINGS
from pipeline.plan.cut import Element
from tests.golden.encoding_cases import encoding_cases

VECTORS = Path(__file__).parent / "vectors"
GOLDEN = json.loads((VECTORS / "encoding.json").read_text())
CHUNKS = GOLDEN["chunks"]
# Of encoders before this one.
OLD = GOLDEN["old"]
CASES = encoding_cases()


def test_vectors_cover_every_case_and_every_encoding():
    assert CHUNKS.keys() == CASES.keys()
    assert {chunk["encoding"] for chunk in (CHUNKS | OLD).values()} == set(ENCODINGS)


def test_encoder_is_the_one_of_the_vectors():
    assert GOLDEN["encoder"] == ENCODER


@pytest.mark.parametrize("name", CHUNKS)
def test_chunk_is_encoded_as_ever(name):
    plain, element = CASES[name]
    expected = CHUNKS[name]
    assert blake3_of(plain) == expected["plain_blake3"]
    encoded = encode_chunk(plain, Element(*expected["element"]))
    stored = bytes(encoded.stored)
    assert (encoded.encoding, len(stored), blake3_of(stored)) == (
        expected["encoding"],
        expected["stored"],
        expected["stored_blake3"],
    )
    assert element == Element(*expected["element"])


@pytest.mark.parametrize("path", sorted(VECTORS.glob("*.stored")), ids=lambda path: path.stem)
def test_old_bytes_still_open(path):
    expected = (CHUNKS | OLD)[path.stem]
    stored = path.read_bytes()
    assert blake3_of(stored) == expected["stored_blake3"]
    assert decode_chunk(stored, expected["encoding"], expected["plain"]) == CASES[expected.get("case", path.stem)][0]
