"""Where the tensors of a model file lie: safetensors, GGUF, ONNX, PyTorch zip; all else is opaque.

Takes a way to read a file, gives its format and the spans of its tensors. The bytes decide, the
name only where they leave it open. Headers are read as data from a stranger: nothing of a model is
ever executed or unpickled, time and memory are bounded by constants in each module, and what is
damaged, truncated or contradicts itself becomes an opaque file with a warning, never an error.

* ``finding``: the types the formats share, and the rules that tensors of every format keep.
* ``safetensors``, ``gguf``, ``torchzip`` (with ``pickled``), ``onnx``: one each.
* ``opaque``: cuts by content.

next: ``formats.finding``
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from pipeline.formats import gguf, onnx, safetensors, torchzip
from pipeline.formats.finding import Damaged, Found, Header, ReadAt, check_tensors
from pipeline.plan.cut import Tensor

__all__ = ["Found", "ReadAt", "find_tensors"]

OPAQUE = "opaque"
HEAD_BYTES = 16


@dataclass(frozen=True, slots=True)
class _Format:
    """How a format is known and read. ``sure``: a start like this is proof, whatever the file's name."""

    name: str
    endings: tuple[str, ...]
    starts: Callable[[bytes, int], bool]
    tensors: Callable[[Header], Iterable[Tensor] | None]
    sure: bool


FORMATS = (
    _Format("gguf", (".gguf",), gguf.starts_gguf, gguf.find_gguf_tensors, sure=True),
    _Format("safetensors", (".safetensors",), safetensors.starts_safetensors, safetensors.find_safetensors, sure=True),
    # Any zip starts like this, and protocol buffers of any kind like ONNX.
    _Format("torch-zip", (), torchzip.starts_zip, torchzip.find_storages, sure=False),
    _Format("onnx", (".onnx",), onnx.starts_onnx, onnx.find_initializers, sure=False),
)
_TORCH_ENDINGS = (".pt", ".pth", ".ckpt", ".jit", ".bin")


def find_tensors(read: ReadAt, size: int, path: str) -> Found:
    """Find the format of the file of ``size`` bytes at ``path`` and the spans of its tensors.

    ``read(offset, length)`` gives bytes of the file; fewer than asked only at its end. What it
    raises passes through: a disk that fails is not a damaged header.
    """
    header = Header(read, size)
    name = path.lower()
    try:
        head = header.bytes(0, min(size, HEAD_BYTES))
    except Damaged as error:
        return Found(OPAQUE, None, str(error))
    for format_ in FORMATS:
        if not format_.starts(head, size):
            continue
        try:
            tensors = format_.tensors(header)
            if tensors is not None:
                return Found(format_.name, check_tensors(tensors, size), None)
        except Damaged as error:
            if format_.sure or name.endswith(format_.endings or _TORCH_ENDINGS):
                return Found(OPAQUE, None, f"its {format_.name} header is damaged: {error}")
    for format_ in FORMATS:
        if size and format_.endings and name.endswith(format_.endings):
            return Found(OPAQUE, None, f"it is named {format_.endings[0]} but holds no {format_.name} header")
    return Found(OPAQUE, None, None)
