"""What the benchmarks run on: model files of any size, made the same way every time from a seed.

Weights are drawn from a normal distribution, as trained ones look to a codec, in the tensor sizes of
a BERT-family or decoder model. Nothing here measures anything.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

BLOCK = 8 << 20
WIDTHS = {"BF16": 2, "F32": 4}


@dataclass(frozen=True)
class TensorSpec:
    """A tensor of ``size`` bytes."""

    name: str
    size: int


def tensors_for(total: int, *, hidden: int = 1024) -> list[TensorSpec]:
    """Tensors of about ``total`` bytes: an embedding, then layers of attention, feed-forward and norms (bf16)."""
    square, wide, norm = hidden * hidden * 2, hidden * hidden * 8, hidden * 2
    specs = [TensorSpec("embedding", min(total // 8, 64 * square))]
    layer = 0
    while sum(spec.size for spec in specs) < total:
        specs += [TensorSpec(f"layer.{layer}.{name}", square) for name in ("query", "key", "value", "output")]
        specs += [TensorSpec(f"layer.{layer}.{name}", wide) for name in ("up", "down")]
        specs += [TensorSpec(f"layer.{layer}.norm.{name}", norm) for name in ("weight", "bias")]
        layer += 1
    return specs


def write_model(
    path: Path,
    specs: Sequence[TensorSpec],
    *,
    dtype: str = "BF16",
    seed: int = 0,
    reseed: frozenset[str] = frozenset(),
    note: str = "",
) -> None:
    """Write a safetensors file. Tensors named in ``reseed`` get other weights; ``note`` grows the header."""
    header: dict[str, object] = {"__metadata__": {"note": note}}
    at = 0
    for spec in specs:
        header[spec.name] = {"dtype": dtype, "shape": [spec.size // WIDTHS[dtype]], "data_offsets": [at, at + spec.size]}
        at += spec.size
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for number, spec in enumerate(specs):
            for block in weights(spec.size, dtype, (seed, number, int(spec.name in reseed and seed + 1))):
                file.write(block)


def weights(size: int, dtype: str, seed: tuple[int, ...]) -> Iterator[bytes]:
    """Yield ``size`` bytes of normally distributed weights."""
    draw = np.random.Generator(np.random.SFC64(list(seed)))
    while size > 0:
        count = min(size, BLOCK)
        floats = draw.standard_normal(-(-count // WIDTHS[dtype]), dtype=np.float32) * np.float32(0.02)
        data = floats.tobytes() if dtype == "F32" else (floats.view(np.uint32) >> 16).astype(np.uint16).tobytes()
        yield data[:count]
        size -= count


def warm(*paths: Path) -> None:
    """Read files, and all in folders, so that every contender finds them in the page cache.

    Before every turn: a machine may throw out what lay there for a while.
    """
    for path in paths:
        for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
            if file.is_file():
                _read(file)


def _read(file: Path) -> None:
    descriptor = os.open(file, os.O_RDONLY)
    try:
        while os.read(descriptor, BLOCK):
            pass
    finally:
        os.close(descriptor)
