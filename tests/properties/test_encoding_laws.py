"""Laws of the codec, over all sizes, elements and kinds of bytes."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.encoding import decode_chunk, encode_chunk
from pipeline.errors import IntegrityError
from pipeline.plan.cut import Element
from tests.golden.formats_writers import bf16, f32, noise

ELEMENTS = st.builds(Element, st.sampled_from([0, 1, 2, 4, 8]), floating=st.booleans())
KINDS = st.sampled_from(["noise", "zeros", "f32", "bf16", "period", "half"])


def make(kind, size, seed):
    if kind == "zeros":
        return bytes(size)
    if kind == "f32":
        return f32(seed, size // 4 + 1)[:size]
    if kind == "bf16":
        return bf16(seed, size // 2 + 1)[:size]
    if kind == "period":
        return (noise(seed, 301) * (size // 301 + 1))[:size]
    if kind == "half":
        return (noise(seed, size // 2) + bytes(size))[:size]
    return noise(seed, size)


SIZES = st.one_of(st.integers(1, 300), st.integers(1, 300_000), st.sampled_from([1 << 17, (1 << 18) - 1, (1 << 20) + 3]))


def check(plain, element):
    encoded = encode_chunk(plain, element)
    stored = bytes(encoded.stored)
    assert decode_chunk(stored, encoded.encoding, len(plain)) == plain
    assert bytes(encode_chunk(bytearray(plain), element).stored) == stored
    if encoded.encoding == "raw":
        assert stored == plain
    else:
        assert len(stored) <= 0.97 * len(plain)
    return encoded.encoding, stored


@settings(max_examples=120, deadline=None)
@given(KINDS, SIZES, ELEMENTS, st.sampled_from("abc"))
def test_decode_undoes_encode(kind, size, element, seed):
    check(make(kind, size, seed), element)


@settings(max_examples=100, deadline=None)
@given(st.binary(min_size=1, max_size=2000), ELEMENTS)
def test_decode_undoes_encode_of_any_bytes(plain, element):
    check(plain, element)


@pytest.mark.parametrize("element", [Element(2, floating=True), Element(4, floating=True), Element(1, floating=False)])
def test_decode_undoes_encode_at_every_small_size(element):
    for size in range(1, 130):
        check(bytes(size), element)
        check(f32("small", 40)[:size], element)


@settings(max_examples=80, deadline=None)
@given(KINDS, st.integers(200, 20_000), ELEMENTS, st.data())
def test_damage_is_refused_or_changes_plain_bytes_only(kind, size, element, data):
    plain = make(kind, size, "damage")
    encoding, stored = check(plain, element)
    cut = data.draw(st.integers(0, len(stored) - 1))
    with pytest.raises(IntegrityError):
        decode_chunk(stored[:cut], encoding, size)
    with pytest.raises(IntegrityError):
        decode_chunk(stored + data.draw(st.binary(min_size=1, max_size=20)), encoding, size)
    flipped = bytearray(stored)
    flipped[data.draw(st.integers(0, len(stored) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    try:
        found = decode_chunk(flipped, encoding, size)
    except IntegrityError:
        return
    assert len(found) == size
    assert encoding != "zstd" or found == plain


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=300), st.sampled_from(["raw", "zstd", "planes2", "planes4", "turned4"]), st.integers(1, 400))
def test_any_stored_bytes_are_refused_or_give_just_the_promised_size(stored, encoding, size):
    with contextlib.suppress(IntegrityError):
        assert len(decode_chunk(stored, encoding, size)) == size
