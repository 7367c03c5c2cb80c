"""Write the golden files anew: ``python -m tests.golden.make_vectors`` from the top of the checkout.

Only a new encoder (the number after the slash in its name) or a new format_version is a reason to.
"""

from __future__ import annotations

import json
from pathlib import Path

from pipeline.digest import blake3_of
from pipeline.encoding import ENCODER, encode_chunk
from pipeline.formats import find_tensors
from pipeline.formats.opaque import ContentCutter
from pipeline.plan.cut import cut_tensors
from tests.golden.encoding_cases import encoding_cases
from tests.golden.formats_writers import noise, tiny_files

VECTORS = Path(__file__).parent / "vectors"
FILE_BYTES = 10_000


def stretches() -> dict[str, bytes]:
    """Opaque stretches whose cuts are pinned."""
    return {
        "noise": noise("stretch", 9_000_000),
        "noise-with-a-byte-more": b"+" + noise("stretch", 9_000_000),
        "zeros": bytes(9_000_000),
        "short": noise("short", 262_144),
    }


def main() -> None:
    VECTORS.mkdir(exist_ok=True)
    chunks = {}
    for name, (plain, element) in encoding_cases().items():
        encoded = encode_chunk(plain, element)
        stored = bytes(encoded.stored)
        chunks[name] = {
            "element": [element.width, element.floating],
            "plain": len(plain),
            "plain_blake3": blake3_of(plain),
            "encoding": encoded.encoding,
            "stored": len(stored),
            "stored_blake3": blake3_of(stored),
        }
        if len(plain) <= FILE_BYTES:
            (VECTORS / f"{name}.stored").write_bytes(stored)
    # What earlier encoders wrote is never written anew.
    old = json.loads((VECTORS / "encoding.json").read_text())["old"]
    write("encoding.json", {"encoder": ENCODER, "chunks": chunks, "old": old})
    formats = {}
    for name, data in tiny_files().items():
        (VECTORS / name).write_bytes(data)
        found = find_tensors(lambda at, size, data=data: data[at : at + size], len(data), name)
        assert found.tensors is not None, found
        spans = cut_tensors(len(data), found.tensors)
        formats[name] = {
            "format": found.format,
            "size": len(data),
            "tensors": [[t.start, t.end, t.element.width, t.element.floating] for t in found.tensors],
            "spans": [[s.start, s.end, s.element.width, s.element.floating] for s in spans],
        }
    write("formats.json", formats)
    write("opaque.json", {name: ContentCutter().feed(data, final=True) for name, data in stretches().items()})


def write(name: str, value: object) -> None:
    (VECTORS / name).write_text(json.dumps(value, indent=1) + "\n")


if __name__ == "__main__":
    main()
