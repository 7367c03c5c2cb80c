"""A child process with little memory that decodes what claims or unfolds to a lot; prints how many it refused.

Started by tests; takes nothing, exits 0 when every bomb was refused and none ended the process.
"""

from __future__ import annotations

import json
import resource
import struct
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent.parent))

from pipeline.encoding import decode_chunk, encode_chunk
from pipeline.errors import IntegrityError
from pipeline.formats import find_tensors
from pipeline.plan.cut import BYTES
from tests.golden.encoding_frames import header, run
from tests.golden.formats_writers import ZipEntry, field, gguf, onnx_model, torch_zip

GROWTH_BYTES = 48 << 20


class Sparse:
    """A file that is zeros but for its start and its end, as large as it likes."""

    def __init__(self, size: int, start: bytes, end: bytes = b"") -> None:
        self.size = size
        self._start = start
        self._end = end

    def read(self, at: int, length: int) -> bytes:
        length = max(0, min(length, self.size - at))
        found = bytearray(length)
        for place, data in ((0, self._start), (self.size - len(self._end), self._end)):
            low, high = max(at, place), min(at + length, place + len(data))
            if low < high:
                found[low - at : high - at] = data[low - place : high - place]
        return bytes(found)


def frames() -> list[tuple[bytes, str, int]]:
    bombs = [
        (header(32 << 40) + run(100) + bytes(4), 4 << 20),
        (header(3 << 30) + run(3 << 30) + bytes(4), 4 << 20),
        (header(4 << 20) + run(1 << 30) + bytes(4), 4 << 20),
        (header(4 << 20, window_log=30) + run(4 << 20) + bytes(4), 4 << 20),
        (header(4 << 20, window_log=41) + run(4 << 20) + bytes(4), 4 << 20),
        (header(None, window_log=20) + run(1 << 30) + bytes(4), 4 << 20),
    ]
    whole = [(frame, "zstd", size) for frame, size in bombs]
    planes = [(struct.pack("<II", len(frame), 1 << 31 | 1) + frame + b"\0", "planes2", 2) for frame, _ in bombs]
    return whole + planes


def files() -> list[tuple[str, Sparse]]:
    many = 1 << 40
    keys = b"GGUF" + struct.pack("<IQQ", 3, 1, 1)
    return [
        ("a.safetensors", Sparse(1 << 40, struct.pack("<Q", 99_999_999) + b"{")),
        ("b.safetensors", Sparse(1 << 40, struct.pack("<Q", 1 << 39) + b"{")),
        ("a.gguf", Sparse(1 << 40, b"GGUF" + struct.pack("<IQQ", 3, many, many))),
        ("b.gguf", Sparse(1 << 40, keys + struct.pack("<Q", 1 << 39))),
        ("c.gguf", Sparse(1 << 40, keys + struct.pack("<QIIQ", 0, 9, 8, many))),
        ("d.gguf", Sparse(1 << 40, gguf([("t", 0, many, b"")]))),
        ("a.onnx", Sparse(1 << 40, onnx_model(b"") + field(7, b"")[:1] + b"\xff" * 9 + b"\x01")),
        ("b.onnx", Sparse(1 << 40, b"\x08\x08" + b"\x3a\xf0\xff\xff\xff\x1f" + b"\x08\x01" * (3 << 20))),
        (
            "a.pt",
            Sparse(1 << 40, b"PK\x03\x04", b"PK\x05\x06" + struct.pack("<HHHHIIH", 0, 0, 65000, 65000, 0xFFFFFFF0, 1 << 20, 0)),
        ),
    ]


def main() -> None:
    json_bomb = b'{"a":' * 1_000_000
    pickle_bomb = b"\x80\x02" + b"(" * (8 << 20)
    pickle = torch_zip([ZipEntry("x/data.pkl", pickle_bomb), ZipEntry("x/data/0", b"abcd")])
    encode_chunk(bytes(1000), BYTES)
    with Path("/proc/self/status").open() as status:
        used = next(int(line.split()[1]) << 10 for line in status if line.startswith("VmSize"))
    # The safetensors header may be read whole: its cap, 100 MB, comes on top, and a copy of it.
    for limit, attack in ((GROWTH_BYTES, attack_decoder), (GROWTH_BYTES + 250_000_000, attack_formats)):
        resource.setrlimit(resource.RLIMIT_AS, (used + limit, resource.RLIM_INFINITY))
        attack()
    nested = struct.pack("<Q", len(json_bomb)) + json_bomb
    for name, data in (("n.safetensors", nested), ("p.pt", pickle)):
        found = find_tensors(lambda at, size, data=data: data[at : at + size], len(data), name)
        assert found.tensors is None or name == "p.pt", (name, found)
    print(f"{len(frames())} frames and {len(files())} files refused")


def attack_decoder() -> None:
    for stored, encoding, size in frames():
        try:
            decode_chunk(stored, encoding, size)  # type: ignore[arg-type]  # Encodings of the table above.
        except IntegrityError:
            continue
        raise AssertionError((encoding, size, stored[:20]))


def attack_formats() -> None:
    for name, file in files():
        found = find_tensors(file.read, file.size, name)
        assert found.tensors is None, (name, found)
        assert found.warning, name
        json.dumps(found.warning)


if __name__ == "__main__":
    main()
