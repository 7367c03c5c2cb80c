"""Stored chunks in the installer: measured before any decoder sees them, decoded alike by every decoder."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from bundles.installer.faults import IntegrityError, UsageError
from bundles.installer.frames import check_frame, join_pieces, pieces_of
from bundles.installer.zstds import Decoder, _by_module, _by_program, _by_zstandard, find_decoder
from pipeline.encoding import encode_chunk
from pipeline.plan.cut import Element
from tests.golden.encoding_bombs import frames as bombs
from tests.golden.encoding_cases import encoding_cases
from tests.golden.encoding_frames import SKIPPABLE, block, header, run
from tests.golden.formats_writers import bf16, f32, noise
from tests.python_zstd import zstd

VECTORS = Path(__file__).parent.parent / "golden" / "vectors"
GOLDEN = json.loads((VECTORS / "encoding.json").read_text())
DECODERS = {
    "python": Decoder("python", lambda frames: _by_module(zstd, frames)),
    "wheel": Decoder("wheel", lambda frames: _by_zstandard(zstandard, frames)),
    "program": Decoder("program", lambda frames: _by_program("/usr/bin/zstd", list(frames))),
}


def decoded(stored: bytes, encoding: str, plain: int, decoder: Decoder) -> bytes:
    pieces = pieces_of(memoryview(stored), encoding, plain)
    found = decoder.decode([(piece.stored, piece.plain) for piece in pieces if piece.framed])
    ready = [next(found) if piece.framed else piece.stored for piece in pieces]
    assert next(found, None) is None
    return bytes(join_pieces(ready, encoding, plain))


@pytest.mark.parametrize("decoder", DECODERS)
@pytest.mark.parametrize(
    "plain, element",
    [
        (f32("a", 100_000), Element(4, floating=True)),
        (bf16("b", 100_001) + b"x", Element(2, floating=True)),
        (b"words and words " * 20_000, Element(0, floating=False)),
        (noise("c", 5000), Element(4, floating=True)),
        (bytes(1 << 20), Element(4, floating=True)),
    ],
    ids=["turned4", "planes2", "text", "noise", "zeros"],
)
def test_every_decoder_gives_the_plain_bytes(decoder, plain, element):
    encoded = encode_chunk(plain, element)
    assert decoded(bytes(encoded.stored), encoded.encoding, len(plain), DECODERS[decoder]) == plain


@pytest.mark.parametrize("decoder", DECODERS)
@pytest.mark.parametrize("name", GOLDEN["old"])
def test_every_decoder_reads_what_earlier_encoders_wrote(decoder, name):
    expected = GOLDEN["old"][name]
    stored = (VECTORS / f"{name}.stored").read_bytes()
    plain = encoding_cases()[expected["case"]][0]
    assert decoded(stored, expected["encoding"], expected["plain"], DECODERS[decoder]) == plain


SIZES = st.one_of(st.integers(1, 300), st.integers(1, 200_000))


@settings(max_examples=100, deadline=None)
@given(st.sampled_from(["f32", "bf16", "text", "zeros", "noise"]), SIZES, st.sampled_from([(0, False), (2, True), (4, True)]))
def test_what_our_encoder_makes_is_read_back(kind, size, element):
    plain = {"f32": f32, "bf16": bf16, "noise": noise}.get(
        kind, lambda _, count: b"abc " * count if kind == "text" else bytes(count)
    )("d", size)[:size]
    encoded = encode_chunk(plain, Element(element[0], floating=element[1]))
    assert decoded(bytes(encoded.stored), encoded.encoding, len(plain), DECODERS["wheel"]) == plain


GOOD = zstandard.ZstdCompressor(write_checksum=True, write_content_size=True).compress(b"a" * 1000)
HOSTILE = {
    "empty": b"",
    "no frame": b"plain bytes that are no frame at all",
    "no checksum": zstandard.ZstdCompressor(write_checksum=False).compress(b"a" * 1000),
    "no size": zstandard.ZstdCompressor(write_checksum=True, write_content_size=False).compress(b"a" * 1000),
    "another size": zstandard.ZstdCompressor(write_checksum=True).compress(b"a" * 1001),
    "cut off": GOOD[:-1],
    "cut in its header": GOOD[:5],
    "cut in a block": GOOD[:12],
    "bytes behind it": GOOD + b"\0",
    "two frames": GOOD + GOOD,
    "skippable before": SKIPPABLE + b"\0\0\0\0" + GOOD,
    "dictionary": header(1000, dictionary=7) + run(1000) + bytes(4),
    "huge window": header(1000, window_log=30) + run(1000) + bytes(4),
    "reserved block": header(1000) + block(3, 1, b"\0", last=True) + bytes(4),
    "32 TiB": header(32 << 40) + run(1000) + bytes(4),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_frame_never_reaches_a_decoder(name):
    with pytest.raises(IntegrityError):
        check_frame(memoryview(HOSTILE[name]), 1000)


def test_good_frame_passes():
    check_frame(memoryview(GOOD), 1000)


@pytest.mark.parametrize("decoder", DECODERS)
@pytest.mark.parametrize(
    "frame", [GOOD[:-1] + bytes([GOOD[-1] ^ 1]), header(1000) + run(900) + bytes(4), header(1000) + run(5000) + bytes(4)]
)
def test_frame_that_lies_inside_is_refused_by_every_decoder(decoder, frame):
    with pytest.raises(IntegrityError):
        list(DECODERS[decoder].decode([(memoryview(frame), 1000)]))


@pytest.mark.parametrize(
    "stored",
    [
        b"",
        b"\0" * 7,
        (5).to_bytes(4, "little") * 2,
        (1 << 31 | 3).to_bytes(4, "little") * 2 + b"abc",
        (1 << 31 | 2).to_bytes(4, "little") * 2 + b"abcde",
    ],
    ids=["empty", "short", "lengths beyond", "raw plane too long", "a byte too many"],
)
def test_planes_that_do_not_add_up_are_refused(stored):
    with pytest.raises(IntegrityError):
        pieces_of(memoryview(stored), "planes2", 4)


def test_bombs_end_in_a_refusal_under_a_memory_limit():
    ran = subprocess.run([sys.executable, "-m", "tests.install_bombs"], capture_output=True, text=True, timeout=120, check=False)
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.strip() == f"{2 * len(bombs())} refused"


def test_program_that_lies_where_one_stands_is_not_run(tmp_path, monkeypatch):
    """People change to the medium and run the installer there; PATH may name that folder without naming it."""
    planted = tmp_path / "zstd"
    planted.write_text(f"#!/bin/sh\ntouch {tmp_path}/ran\n")
    planted.chmod(0o755)
    monkeypatch.chdir(tmp_path)
    for path in (".", "", f".{os.pathsep}"):
        monkeypatch.setenv("PATH", path)
        with pytest.raises(UsageError, match="no zstd program"):
            find_decoder([], "program", None)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert find_decoder([], "program", None).name == str(planted)
