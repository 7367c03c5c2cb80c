"""GGUF: key-values, tensor infos, aligned tensor data (github.com/ggml-org/ggml, docs/gguf.md).

Takes the file's start, gives its tensors, each with the padding that aligns the next one: padding
follows from the tensor's own length, and so would be a chunk of a few bytes that never differs.

next: ``formats.torchzip``
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import prod

from pipeline.formats.finding import TENSORS, Cursor, Damaged, Header
from pipeline.plan.cut import BYTES, Element, Tensor

MAGIC = b"GGUF"
VERSIONS = (2, 3)
# Vocabularies of a quarter million tokens with their merges take some 15 MB.
HEADER_BYTES = 64 << 20
KEYS = 1 << 16
DIMENSIONS = 4
ALIGNMENT = 32
ALIGNMENT_LIMIT = 1 << 20
_ALIGNMENT_KEY = b"general.alignment"

_U32_TYPE, _STRING_TYPE, _ARRAY_TYPE = 4, 8, 9
# Value types 0 to 12 of docs/gguf.md: bytes of one value.
_VALUE_BYTES = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}
# ggml_type of the types that are not blocks; a tensor of any other one reaches to the next tensor.
_ELEMENTS = {
    0: Element(4, floating=True),
    1: Element(2, floating=True),
    24: Element(1, floating=False),
    25: Element(2, floating=False),
    26: Element(4, floating=False),
    27: Element(8, floating=False),
    28: Element(8, floating=True),
    30: Element(2, floating=True),
}


@dataclass(frozen=True, slots=True)
class _Info:
    """A tensor info: ``offset`` from the start of the tensor data; ``size`` None where blocks hide it."""

    offset: int
    size: int | None
    element: Element


def starts_gguf(head: bytes, _size: int) -> bool:
    """Tell whether a file starts with the magic."""
    return head[: len(MAGIC)] == MAGIC


def find_gguf_tensors(header: Header) -> Iterator[Tensor]:
    """Yield the tensors that the infos name.

    Raises:
        Damaged: another version, counts or lengths beyond the caps or the file, or bad alignment.
    """
    cursor = Cursor(header, len(MAGIC), min(header.size, HEADER_BYTES))
    version = cursor.u32()
    if version not in VERSIONS:
        raise Damaged(f"its version is {version}, expected one of {VERSIONS}")
    tensors, keys = cursor.u64(), cursor.u64()
    if tensors > TENSORS or keys > KEYS:
        raise Damaged(f"it claims {tensors} tensors and {keys} keys, at most {TENSORS} and {KEYS} are read")
    alignment = ALIGNMENT
    for _ in range(keys):
        key = cursor.take(_length(cursor))
        kind = cursor.u32()
        if key == _ALIGNMENT_KEY and kind == _U32_TYPE:
            alignment = cursor.u32()
        else:
            _skip_value(cursor, kind)
    if not 0 < alignment <= ALIGNMENT_LIMIT or alignment & (alignment - 1):
        raise Damaged(f"its alignment is {alignment}")
    infos = sorted((_read_info(cursor) for _ in range(tensors)), key=lambda info: info.offset)
    start = -(-cursor.at // alignment) * alignment
    ends = [*(info.offset for info in infos), header.size - start][1:]
    for info, end in zip(infos, ends, strict=True):
        size = end - info.offset if info.size is None else info.size
        if 0 < end - info.offset - size < alignment:
            size = end - info.offset
        yield Tensor(start + info.offset, start + info.offset + size, info.element)


def _read_info(cursor: Cursor) -> _Info:
    cursor.skip(_length(cursor))
    dimensions = cursor.u32()
    if dimensions > DIMENSIONS:
        raise Damaged(f"a tensor has {dimensions} dimensions, at most {DIMENSIONS} are known")
    elements = prod(cursor.u64() for _ in range(dimensions))
    element = _ELEMENTS.get(cursor.u32())
    offset = cursor.u64()
    return _Info(offset, None, BYTES) if element is None else _Info(offset, elements * element.width, element)


def _skip_value(cursor: Cursor, kind: int) -> None:
    if kind == _STRING_TYPE:
        cursor.skip(_length(cursor))
    elif kind == _ARRAY_TYPE:
        kind, count = cursor.u32(), cursor.u64()
        if kind == _STRING_TYPE:
            cursor.skip_strings(count)
        else:
            # An array of arrays is legal and nobody writes one: it ends here as an unknown type.
            cursor.skip(count * _value_bytes(kind))
    else:
        cursor.skip(_value_bytes(kind))


def _value_bytes(kind: int) -> int:
    if kind not in _VALUE_BYTES:
        raise Damaged(f"a value has the unknown type {kind}")
    return _VALUE_BYTES[kind]


def _length(cursor: Cursor) -> int:
    length = cursor.u64()
    if length > cursor.end - cursor.at:
        raise Damaged(f"a string at {cursor.at} has {length} bytes, {cursor.end - cursor.at} are left")
    return length
