"""Chunks encoded and decoded, and everything a stored chunk must not be."""

from __future__ import annotations

import struct
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
import zstandard

from pipeline import encoding as encoding_module
from pipeline.encoding import ENCODER, WINDOW_BYTES, decode_chunk, decode_into, encode_chunk
from pipeline.errors import IntegrityError, InvalidDocument, SizeMismatch
from pipeline.manifest import CHUNK_BYTES
from pipeline.plan.cut import BYTES, Element
from tests.golden.encoding_frames import RAW, RLE, SKIPPABLE, block, header, run
from tests.golden.formats_writers import bf16, f32, noise

HALF = Element(2, floating=True)
SINGLE = Element(4, floating=True)
TEXT = b"what is said twice is said twice. " * 40
FRAME = zstandard.ZstdCompressor(write_checksum=True).compress(TEXT)


def size_of(stored):
    return memoryview(stored).nbytes


def test_encoder_names_the_library_that_really_runs():
    major, minor, patch = zstandard.ZSTD_VERSION
    assert f"zstd-{major}.{minor}.{patch}/2" == ENCODER


def test_float_planes_reach_the_size_of_their_entropy():
    half = bf16("size", 1 << 20)
    assert size_of(encode_chunk(half, HALF).stored) < 0.69 * len(half)
    assert encode_chunk(half, HALF).encoding == "planes2"


def test_same_bytes_of_another_element_are_encoded_otherwise():
    plain = f32("element", 5000)
    assert encode_chunk(plain, SINGLE).encoding == "turned4"
    assert encode_chunk(plain, HALF).encoding == "planes2"
    assert encode_chunk(plain, BYTES).encoding == "zstd"
    assert encode_chunk(plain, Element(4, floating=False)).encoding == "zstd"


def test_raw_chunk_is_the_buffer_that_was_given():
    plain = bytearray(noise("raw", 100_000))
    assert encode_chunk(plain, BYTES).stored is plain


def test_gain_under_three_percent_stays_raw():
    plain = noise("gain", 9_800) + bytes(200)
    assert encode_chunk(plain, BYTES).encoding == "raw"
    assert encode_chunk(noise("gain", 9_500) + bytes(500), BYTES).encoding == "zstd"


@pytest.mark.parametrize("size", [0, CHUNK_BYTES + 1])
def test_encode_refuses_a_chunk_of_no_legal_size(size):
    with pytest.raises(ValueError, match="expected 1 to"):
        encode_chunk(bytes(size), BYTES)


@pytest.mark.parametrize("offset", [0, 1, 2, 3])
def test_place_of_the_bytes_in_memory_does_not_matter(offset):
    plain = bf16("place", 50_000)
    moved = memoryview(bytes(offset) + plain)[offset:]
    assert bytes(encode_chunk(moved, HALF).stored) == bytes(encode_chunk(plain, HALF).stored)
    assert bytes(encode_chunk(moved, SINGLE).stored) == bytes(encode_chunk(plain, SINGLE).stored)


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview, np.frombuffer])
def test_any_buffer_will_do(kind):
    plain = f32("buffer", 2000)
    given = kind(plain) if kind is not np.frombuffer else np.frombuffer(plain, "<f4")
    encoded = encode_chunk(given, SINGLE)
    assert decode_chunk(encoded.stored, encoded.encoding, len(plain)) == plain


def test_threads_do_not_disturb_each_other():
    chunks = [bf16(f"thread-{number}", 200_000 + number) for number in range(8)]
    alone = [bytes(encode_chunk(chunk, HALF).stored) for chunk in chunks]
    wrong = []

    def work(number):
        for _ in range(5):
            encoded = encode_chunk(chunks[number], HALF)
            if (
                bytes(encoded.stored) != alone[number]
                or decode_chunk(encoded.stored, "planes2", len(chunks[number])) != chunks[number]
            ):
                wrong.append(number)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_decode_into_fills_just_its_target():
    encoded = encode_chunk(TEXT, BYTES)
    room = bytearray(len(TEXT) + 20)
    decode_into(encoded.stored, "zstd", memoryview(room)[10:-10])
    assert room == bytes(10) + TEXT + bytes(10)


def test_frame_of_the_ordinary_library_is_read():
    assert decode_chunk(FRAME, "zstd", len(TEXT)) == TEXT


# Each is wrong in one way: (stored, encoding, plain size, part of the message).
HAND_MADE = header(1000) + run(1000)
REFUSED = {
    "empty": (b"", "zstd", 1, "does not start with a zstd frame"),
    "not-zstd": (b"PK\x03\x04" + bytes(100), "zstd", 100, "does not start with a zstd frame"),
    "skippable-frame-first": (SKIPPABLE + struct.pack("<I", 4) + bytes(4) + FRAME, "zstd", len(TEXT), "does not start"),
    "second-frame": (FRAME + FRAME, "zstd", len(TEXT), "ends after"),
    "skippable-frame-behind": (FRAME + SKIPPABLE + bytes(4), "zstd", len(TEXT), "ends after"),
    "longer-than-promised": (FRAME, "zstd", len(TEXT) - 1, "expected"),
    "shorter-than-promised": (FRAME, "zstd", len(TEXT) + 1, "expected"),
    "no-checksum": (zstandard.ZstdCompressor(write_checksum=False).compress(TEXT), "zstd", len(TEXT), "no checksum"),
    "no-size": (
        zstandard.ZstdCompressor(write_checksum=True, write_content_size=False).compress(TEXT),
        "zstd",
        len(TEXT),
        "does not tell its size",
    ),
    "dictionary": (header(1000, dictionary=7) + run(1000) + bytes(4), "zstd", 1000, "dictionary 7"),
    "window-of-1-GiB": (header(1000, window_log=30) + run(1000) + bytes(4), "zstd", 1000, "window"),
    "size-lie-32-TiB": (header(32 << 40) + run(1000) + bytes(4), "zstd", 1000, "expected 1000"),
    "bomb-behind-a-small-size": (header(1000) + run(256 << 20) + bytes(4), "zstd", 1000, "damaged"),
    "reserved-block": (header(1000) + block(3, 5, bytes(5), last=True) + bytes(4), "zstd", 1000, "unknown type"),
    "no-last-block": (header(1000) + block(RLE, 1000, b"\0"), "zstd", 1000, "cut off"),
    "wrong-checksum": (HAND_MADE + b"\x01\x02\x03\x04", "zstd", 1000, "damaged"),
    "fewer-bytes-than-it-says": (header(1000) + run(999) + bytes(4), "zstd", 1000, "damaged"),
    "raw-too-short": (b"abc", "raw", 4, "expected 4"),
    "raw-too-long": (b"abc", "raw", 2, "expected 2"),
    "planes-without-header": (bytes(7), "planes2", 10, "too few"),
    "planes-of-too-many-bytes": (struct.pack("<II", 1 << 31 | 2, 1 << 31 | 2) + bytes(5), "planes2", 4, "account for"),
    "planes-of-too-few-bytes": (struct.pack("<II", 1 << 31 | 2, 1 << 31 | 2) + bytes(3), "planes2", 4, "account for"),
    "plane-too-short": (struct.pack("<II", 1 << 31 | 1, 1 << 31 | 3) + bytes(4), "planes2", 4, "expected 2"),
    "plane-that-is-no-frame": (struct.pack("<II", 2, 1 << 31 | 2) + bytes(4), "planes2", 4, "does not start"),
    "plane-of-another-size": (struct.pack("<II", len(FRAME), 1 << 31 | 2) + FRAME + bytes(2), "planes2", 4, "expected 2"),
    "plane-length-of-2-GiB": (struct.pack("<II", (1 << 31) - 1, 1 << 31 | 2) + bytes(4), "planes2", 4, "account for"),
    "unknown-encoding": (b"abc", "planes8", 3, "unknown encoding"),
    "no-plain-bytes": (b"", "raw", 0, "claims 0"),
    "too-many-plain-bytes": (b"", "raw", CHUNK_BYTES + 1, "claims"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_decode_refuses(name):
    stored, encoding, plain_size, message = REFUSED[name]
    with pytest.raises((InvalidDocument, SizeMismatch), match=message) as caught:
        decode_chunk(stored, encoding, plain_size)
    assert caught.value.hint


@pytest.mark.parametrize("encoding", ["raw", "zstd", "planes2", "planes4", "turned4"])
def test_decode_into_refuses_a_target_of_no_legal_size(encoding):
    for size in (0, CHUNK_BYTES + 1):
        with pytest.raises(InvalidDocument, match="expected 1 to"):
            decode_into(bytes(size), encoding, memoryview(bytearray(size)))


def test_decoder_never_allocates_what_a_frame_claims():
    assert ".decompress(" not in Path(encoding_module.__file__).read_text()


def test_window_up_to_the_limit_is_read():
    log = WINDOW_BYTES.bit_length() - 1
    checksum = zstandard.ZstdCompressor(write_checksum=True).compress(bytes(1000))[-4:]
    assert decode_chunk(header(1000, window_log=log) + run(1000) + checksum, "zstd", 1000) == bytes(1000)
    with pytest.raises(InvalidDocument, match="window"):
        decode_chunk(header(1000, window_log=log + 1) + run(1000) + checksum, "zstd", 1000)


def test_raw_block_is_guarded_by_the_checksum():
    checksum = zstandard.ZstdCompressor(write_checksum=True).compress(b"abcd")[-4:]
    assert decode_chunk(header(4) + block(RAW, 4, b"abcd", last=True) + checksum, "zstd", 4) == b"abcd"
    with pytest.raises(InvalidDocument, match="damaged"):
        decode_chunk(header(4) + block(RAW, 4, b"abce", last=True) + checksum, "zstd", 4)


@pytest.mark.parametrize("encoding", ["planes4", "turned4"])
def test_planes_of_an_empty_middle_are_read(encoding):
    stored = struct.pack("<IIII", *[1 << 31] * 4) + b"abc"
    assert decode_chunk(stored, encoding, 3) == b"abc"


def test_the_turn_is_the_one_that_the_format_draws():
    """Sign, exponent e7 … e0, mantissa: each bit of the upper half alone, to where docs/format.md §4 says."""
    raw = struct.pack("<IIII", *[1 << 31 | 1] * 4)
    for bit in range(16):
        turned = (1 << (bit + 3) % 16).to_bytes(2, "little")
        assert decode_chunk(raw + b"\x12\x34" + turned, "turned4", 4) == b"\x12\x34" + (1 << bit).to_bytes(2, "little")


def test_turned_floats_are_smaller_than_planes_of_the_same():
    """Half of what the sign cost among the exponent, and what the highest bits of the mantissa have to do with it."""
    plain = f32("turn", 1 << 20)
    planes4 = 4 + sum(size_of(encode_chunk(plain[at::4], BYTES).stored) for at in range(4))
    assert size_of(encode_chunk(plain, SINGLE).stored) < 0.996 * planes4


SMALL = {
    "zstd": (TEXT, BYTES),
    "planes2": (bf16("small", 300) + b"!", HALF),
    "turned4": (f32("small", 300), SINGLE),
}


@pytest.mark.parametrize("encoding", SMALL)
def test_decode_refuses_every_truncation_and_every_byte_behind(encoding):
    plain, element = SMALL[encoding]
    encoded = encode_chunk(plain, element)
    assert encoded.encoding == encoding
    stored = bytes(encoded.stored)
    for size in range(len(stored)):
        with pytest.raises(IntegrityError):
            decode_chunk(stored[:size], encoding, len(plain))
    for byte in (0, 1, 0x28, 0xFF):
        with pytest.raises(IntegrityError):
            decode_chunk(stored + bytes([byte]), encoding, len(plain))


def test_every_flipped_bit_of_a_frame_is_refused_or_harmless():
    stored = bytes(encode_chunk(TEXT, BYTES).stored)
    refused = 0
    for bit in range(8 * len(stored)):
        flipped = bytearray(stored)
        flipped[bit // 8] ^= 1 << bit % 8
        try:
            assert decode_chunk(flipped, "zstd", len(TEXT)) == TEXT
        except IntegrityError:
            refused += 1
    # RFC 8878 leaves one header bit unused, and padding bits of a bit stream need not matter.
    assert refused > 0.95 * 8 * len(stored)


def test_bombs_are_refused_within_bounded_memory():
    """A child that may grow by 48 MiB meets every hostile frame and header."""
    child = Path(__file__).parent.parent / "golden" / "encoding_bombs.py"
    done = subprocess.run([sys.executable, str(child)], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split()[-1] == "refused"
