"""Ed25519 in whole numbers: published vectors, hostile signatures, and the library that everybody else uses."""

import json
from pathlib import Path

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from hypothesis import given, settings
from hypothesis import strategies as st

from bundles.installer.ed25519 import ORDER, P, is_signed_by

VECTORS = json.loads((Path(__file__).resolve().parents[1] / "golden" / "vectors" / "ed25519.json").read_text())
# The eight points of small order, and the encodings of some of them that RFC 8032 does not allow.
SMALL_ORDER = [
    "0100000000000000000000000000000000000000000000000000000000000000",
    "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "0000000000000000000000000000000000000000000000000000000000000000",
    "0000000000000000000000000000000000000000000000000000000000000080",
    "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
    "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc85",
    "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
    "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa",
]
NOT_CANONICAL = [
    "0100000000000000000000000000000000000000000000000000000000000080",
    "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
    "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
    "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
]


def library_says(public: bytes, signature: bytes, message: bytes) -> bool:
    try:
        Ed25519PublicKey.from_public_bytes(public).verify(signature, message)
    except (InvalidSignature, ValueError):
        return False
    return True


@pytest.mark.parametrize("vector", VECTORS["rfc8032"], ids=lambda vector: vector["name"])
def test_vectors_of_rfc_8032(vector):
    public, message, signature = (bytes.fromhex(vector[name]) for name in ("public", "message", "signature"))
    assert library_says(public, signature, message)
    assert is_signed_by(public, signature, message)
    assert not is_signed_by(public, signature, message + b"\0")


@pytest.mark.parametrize("vector", VECTORS["speccheck"], ids=lambda vector: vector["what"])
def test_hostile_signatures_of_taming_the_many_eddsas(vector):
    public, message, signature = (bytes.fromhex(vector[name]) for name in ("public", "message", "signature"))
    found = is_signed_by(public, signature, message)
    assert found == vector["taken"]
    if vector["public"] not in SMALL_ORDER:
        assert found == library_says(public, signature, message)


@pytest.mark.parametrize("key", SMALL_ORDER + NOT_CANONICAL)
def test_no_key_of_small_order_signs_anything(key):
    public = bytes.fromhex(key)
    for first in SMALL_ORDER:
        for scalar in (0, 1, ORDER - 1):
            assert not is_signed_by(public, bytes.fromhex(first) + scalar.to_bytes(32, "little"), b"anything")


SEEDS = st.binary(min_size=32, max_size=32)


@settings(max_examples=60, deadline=None)
@given(
    SEEDS, st.binary(max_size=200), st.integers(0, 511), st.sampled_from(["none", "signature", "public", "message", "plus order"])
)
def test_it_says_what_the_library_says(seed, message, bit, where):
    key = Ed25519PrivateKey.from_private_bytes(seed)
    public, signature = bytearray(key.public_key().public_bytes_raw()), bytearray(key.sign(message))
    if where == "signature":
        signature[bit // 8] ^= 1 << bit % 8
    elif where == "public":
        public[bit // 16] ^= 1 << bit % 8
    elif where == "message":
        message += b"!"
    elif where == "plus order":
        scalar = int.from_bytes(signature[32:], "little") + ORDER
        signature[32:] = scalar.to_bytes(32, "little")
    found = is_signed_by(bytes(public), bytes(signature), message)
    assert found == library_says(bytes(public), bytes(signature), message)
    assert found == (where == "none")


@settings(max_examples=60, deadline=None)
@given(st.binary(min_size=32, max_size=32), st.binary(min_size=64, max_size=64))
def test_noise_is_no_signature(public, signature):
    assert not is_signed_by(public, signature, b"message")


def test_wrong_lengths_are_refused():
    key = Ed25519PrivateKey.generate()
    public, signature = key.public_key().public_bytes_raw(), key.sign(b"m")
    for bad_public, bad_signature in (
        (public[:-1], signature),
        (public + b"\0", signature),
        (public, signature[:-1]),
        (b"", b""),
    ):
        assert not is_signed_by(bad_public, bad_signature, b"m")


def test_y_beyond_the_field_is_refused():
    for number in (P, P + 1, 2**255 - 1):
        assert not is_signed_by(number.to_bytes(32, "little"), bytes(64), b"m")
