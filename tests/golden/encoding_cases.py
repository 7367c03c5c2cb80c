"""Chunks whose stored bytes are pinned: plain bytes that every machine makes alike, and their element."""

from __future__ import annotations

import json

from pipeline.plan.cut import BYTES, Element
from tests.golden.formats_writers import bf16, f16, f32, noise

HALF = Element(2, floating=True)
SINGLE = Element(4, floating=True)


def encoding_cases() -> dict[str, tuple[bytes, Element]]:
    """Name → (plain bytes, element); the ones under 10 KB are also kept as files."""
    text = json.dumps({f"token-{number}": number * number % 997 for number in range(400)}).encode()
    return {
        "one-byte": (b"x", BYTES),
        "noise": (noise("noise", 2000), BYTES),
        "text": (text, BYTES),
        "zeros": (bytes(5000), BYTES),
        "int8": (bytes(byte & 0x0F for byte in noise("int8", 6000)), Element(1, floating=False)),
        "float64": (bytes(4096), Element(8, floating=True)),
        "bf16": (bf16("bf16", 4000), HALF),
        "bf16-odd": (bf16("bf16-odd", 3000) + b"!", HALF),
        "f16": (f16("f16", 4000), HALF),
        "f32": (f32("f32", 2000), SINGLE),
        "f32-rest": (f32("f32-rest", 1500) + b"end", SINGLE),
        "f32-zeros": (bytes(4000), SINGLE),
        "f32-noise": (noise("f32-noise", 4000), SINGLE),
        "float-of-three-bytes": (b"\0\0\0", SINGLE),
        # Large enough that a sample decides.
        "sampled-bf16": (bf16("large", 300_000), HALF),
        "sampled-f32": (f32("large", 200_001), SINGLE),
        "sampled-noise": (noise("large", 700_000), BYTES),
        "sampled-text": (text * 90, BYTES),
        "sampled-int8": (bytes(byte & 0x1F for byte in noise("large-int8", 600_000)), Element(1, floating=False)),
        "whole-chunk": (bf16("whole", 2 << 20), HALF),
    }
