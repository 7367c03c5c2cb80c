"""Writers of tiny model files, from the formats' own descriptions: no library of theirs is needed, and what no library would write can be written too."""

from __future__ import annotations

import hashlib
import json
import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


def noise(seed: str, size: int) -> bytes:
    """Bytes that nothing compresses; the same everywhere for the same seed."""
    return hashlib.shake_128(seed.encode()).digest(size)


def weights(seed: str, count: int) -> np.ndarray:
    """Bell-shaped float32 from sums of noise: exact integer steps, so the same on every machine."""
    grains = np.frombuffer(noise(seed, 8 * count), "<i2").reshape(count, 4).astype("<i4").sum(axis=1)
    return (grains.astype("<f4") * np.float32(2.0**-20)).astype("<f4")


def f32(seed: str, count: int) -> bytes:
    return weights(seed, count).tobytes()


def f16(seed: str, count: int) -> bytes:
    return weights(seed, count).astype("<f2").tobytes()


def bf16(seed: str, count: int) -> bytes:
    return (weights(seed, count).view("<u4") >> 16).astype("<u2").tobytes()


def safetensors(tensors: Sequence[tuple[str, str, bytes]], *, metadata: bool = True) -> bytes:
    header: dict[str, object] = {"__metadata__": {"format": "pt"}} if metadata else {}
    at = 0
    for name, dtype, data in tensors:
        header[name] = {"dtype": dtype, "shape": [len(data)], "data_offsets": [at, at + len(data)]}
        at += len(data)
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text + b"".join(data for _, _, data in tensors)


def gguf_string(text: str) -> bytes:
    return struct.pack("<Q", len(text.encode())) + text.encode()


def gguf(
    tensors: Sequence[tuple[str, int, int, bytes]], *, alignment: int = 32, version: int = 3, keys: Sequence[bytes] = ()
) -> bytes:
    """``tensors`` are (name, ggml type, elements, data); ``keys`` are whole key-values."""
    keys = [gguf_string("general.alignment") + struct.pack("<II", 4, alignment), *keys]
    infos, body = b"", b""
    for name, kind, elements, data in tensors:
        infos += gguf_string(name) + struct.pack("<IQIQ", 1, elements, kind, len(body))
        body += data + bytes(-len(data) % alignment)
    head = b"GGUF" + struct.pack("<IQQ", version, len(tensors), len(keys)) + b"".join(keys) + infos
    return head + bytes(-len(head) % alignment) + body


def gguf_vocabulary(tokens: Sequence[str]) -> bytes:
    return gguf_string("tokenizer.ggml.tokens") + struct.pack("<IIQ", 9, 8, len(tokens)) + b"".join(map(gguf_string, tokens))


def varint(number: int) -> bytes:
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def field(number: int, value: int | bytes) -> bytes:
    """One protocol buffer field: a number, or bytes."""
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    return varint(number << 3 | 2) + varint(len(value)) + value


def onnx_tensor(data_type: int, data: bytes, *, place: int = 9, type_last: bool = False) -> bytes:
    """A TensorProto with its data in field ``place``: 9 raw, 4 packed floats, 10 packed doubles."""
    kind, body = field(2, data_type), field(8, b"w") + field(place, data)
    return body + kind if type_last else kind + body


def onnx_model(graph: bytes) -> bytes:
    return field(1, 8) + field(2, b"tests") + field(7, graph) + field(8, field(2, 17))


@dataclass(frozen=True)
class ZipEntry:
    name: str
    data: bytes
    deflate: bool = False


def torch_zip(entries: Sequence[ZipEntry], *, zip64: bool = False, comment: bytes = b"") -> bytes:
    """A zip as PyTorch writes it: data aligned at 64 bytes by an extra field in the local header."""
    body, central = b"", b""
    for entry in entries:
        name = entry.name.encode()
        stored = zlib.compress(entry.data)[2:-4] if entry.deflate else entry.data
        offset = len(body)
        pad = -(offset + 30 + len(name) + 4) % 64
        extra = b"FB" + struct.pack("<H", pad) + b"Z" * pad
        numbers = (20, 0, 8 if entry.deflate else 0, 0, 0, zlib.crc32(entry.data))
        sizes = (len(stored), len(entry.data))
        body += b"PK\x03\x04" + struct.pack("<HHHHHIIIHH", *numbers, *sizes, len(name), len(extra)) + name + extra + stored
        wide = struct.pack("<HHQQQ", 1, 24, sizes[1], sizes[0], offset) if zip64 else b""
        if zip64:
            sizes, offset = (0xFFFFFFFF, 0xFFFFFFFF), 0xFFFFFFFF
        tail = struct.pack("<HHHHHII", len(name), len(wide), 0, 0, 0, 0, offset)
        central += b"PK\x01\x02" + struct.pack("<HHHHHHIII", 20, *numbers, *sizes) + tail + name + wide
    at, count = len(body), len(entries)
    end = struct.pack("<HHHHIIH", 0, 0, count, count, len(central), at, len(comment))
    if zip64:
        end64 = b"PK\x06\x06" + struct.pack("<QHHIIQQQQ", 44, 45, 45, 0, 0, count, count, len(central), at)
        end64 += b"PK\x06\x07" + struct.pack("<IQI", 0, at + len(central), 1)
        end = struct.pack("<HHHHIIH", 0, 0, 0xFFFF, 0xFFFF, 0xFFFFFFFF, 0xFFFFFFFF, len(comment))
        central += end64
    return body + central + b"PK\x05\x06" + end + comment


def pickled_storages(storages: Sequence[tuple[str, str]]) -> bytes:
    """A protocol 2 pickle of a list of tensors' persistent ids, (key, storage class) each, with the memo in use."""
    out = b"\x80\x02]q\x00("
    named: dict[str, int] = {}
    for number, (key, kind) in enumerate(storages):
        memo = 2 * number + 2
        out += b"(" + (pickle_text("storage") + b"q\x01" if not number else b"h\x01")
        out += b"h" + bytes([named[kind]]) if kind in named else b"ctorch\n" + kind.encode() + b"\nq" + bytes([memo])
        named.setdefault(kind, memo)
        out += pickle_text(key) + pickle_text("cpu") + b"K\x10tq" + bytes([memo + 1]) + b"Q"
    return out + b"e."


def pickle_text(text: str) -> bytes:
    return b"X" + struct.pack("<I", len(text)) + text.encode()


def tiny_files() -> dict[str, bytes]:
    """One small file of each format, with every shape of thing that its parser knows."""
    half = onnx_tensor(10, f16("branch", 4200), type_last=True)
    branch = field(5, field(1, b"then_branch") + field(6, field(5, half)) + field(20, 5))
    sparse = field(1, onnx_tensor(1, f32("sparse", 2100))) + field(2, onnx_tensor(7, bytes(80)))
    graph = b"".join(
        [
            field(1, field(1, b"x") + field(4, b"If") + branch),
            field(5, onnx_tensor(1, f32("raw", 2100))),
            field(5, onnx_tensor(7, bytes(16))),
            field(5, onnx_tensor(1, f32("packed", 2100), place=4)),
            field(5, onnx_tensor(16, bf16("bfloat", 4201))),
            field(15, sparse),
        ]
    )
    storages = [("0", "FloatStorage"), ("1", "HalfStorage"), ("2", "FloatStorage"), ("3", "LongStorage"), ("4", "UntypedStorage")]
    data = [f32("t0", 2100), f16("t1", 4200), f32("t2", 64), bytes(8200), noise("t4", 8301)]
    return {
        "tiny.safetensors": safetensors(
            [
                ("a", "F32", f32("a", 3000)),
                ("b", "F32", f32("b", 300)),
                ("c", "BF16", bf16("c", 5000)),
                ("empty", "F32", b""),
                ("d", "I64", bytes(2048)),
                ("e", "U8", noise("e", 4097)),
                ("f", "F16", f16("f", 2000)),
            ]
        ),
        "tiny.gguf": gguf(
            [
                ("token_embd.weight", 8, 7 * 1024, noise("q", 7 * 32 * 34)),
                ("blk.0.attn_norm.weight", 0, 3001, f32("n", 3001)),
                ("blk.0.attn_q.weight", 1, 4096, f16("h", 4096)),
                ("output.weight", 30, 4097, bf16("o", 4097)),
            ],
            alignment=64,
            keys=[
                gguf_string("general.name") + struct.pack("<I", 8) + gguf_string("tiny"),
                gguf_vocabulary(["a", "b", "ä" * 40]),
            ],
        ),
        "tiny.onnx": onnx_model(graph),
        "tiny.pt": torch_zip(
            [
                ZipEntry("tiny/data.pkl", pickled_storages(storages)),
                ZipEntry("tiny/byteorder", b"little"),
                *(ZipEntry(f"tiny/data/{key}", body) for (key, _), body in zip(storages, data, strict=True)),
                ZipEntry("tiny/version", b"3\n"),
                ZipEntry("tiny/code/notes.txt", b"notes " * 50, deflate=True),
            ]
        ),
    }
