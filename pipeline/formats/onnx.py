"""ONNX: a protocol buffer, walked only where tensors can be (github.com/onnx/onnx, onnx.proto).

Takes the file, gives the spans of raw and packed tensor data in the graph, in the graphs and
tensors of attributes, in functions and training graphs. Data in files of their own is not here:
those files are opaque. Nothing is built from the message, and what holds no tensor is skipped.

next: ``formats.opaque``
"""

from __future__ import annotations

from collections.abc import Iterator

from pipeline.formats.finding import Cursor, Damaged, Header
from pipeline.plan.cut import BYTES, Element, Tensor

# A graph in an attribute in a graph …: loops in branches in loops.
DEPTH = 32
# Models with a hundred thousand nodes have a million and a half.
FIELDS = 1 << 21
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5

# Message → {field: message}: the paths to TensorProto ("tensor"). Field numbers are those of onnx.proto.
_PATHS: dict[str, dict[int, str]] = {
    "model": {7: "graph", 20: "training", 25: "function"},
    "training": {1: "graph", 2: "graph"},
    "function": {7: "node", 11: "attribute"},
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
    "sparse": {1: "tensor", 2: "tensor"},
}
_DATA_TYPE, _FLOAT_DATA, _RAW_DATA, _DOUBLE_DATA = 2, 4, 9, 10
_TYPED_DATA = {_FLOAT_DATA: Element(4, floating=True), _DOUBLE_DATA: Element(8, floating=True)}
# TensorProto.DataType; complex numbers are pairs of floats.
_ELEMENTS = {
    1: Element(4, floating=True),
    4: Element(2, floating=False),
    5: Element(2, floating=False),
    6: Element(4, floating=False),
    7: Element(8, floating=False),
    10: Element(2, floating=True),
    11: Element(8, floating=True),
    12: Element(4, floating=False),
    13: Element(8, floating=False),
    14: Element(4, floating=True),
    15: Element(8, floating=True),
    16: Element(2, floating=True),
    17: Element(1, floating=True),
    18: Element(1, floating=True),
    19: Element(1, floating=True),
    20: Element(1, floating=True),
}


def starts_onnx(head: bytes, _size: int) -> bool:
    """Tell whether a file starts with a small ir_version (field 1), as every writer puts it first."""
    return len(head) > 2 and head[0] == 1 << 3 | _VARINT and 0 < head[1] < 0x80


def find_initializers(header: Header) -> list[Tensor] | None:
    """Give the spans of tensor data; None when the message has no graph: another protocol buffer.

    Raises:
        Damaged: the message does not end where it says, is nested too deeply, or is too long a walk.
    """
    walk = _Walk(header)
    graphs = walk.message("model", header.size, 0)
    return walk.tensors if graphs else None


class _Walk:
    """One pass over the message, forward only."""

    def __init__(self, header: Header) -> None:
        self._cursor = Cursor(header, 0, header.size)
        self._fields = 0
        self.tensors: list[Tensor] = []

    def message(self, kind: str, end: int, depth: int) -> int:
        """Walk a message that ends at ``end``; gives how many fields led on from it."""
        if depth > DEPTH:
            raise Damaged(f"it is nested more than {DEPTH} deep")
        paths = _PATHS[kind]
        led_on = 0
        for number, wire, value in self._each_field(end):
            inner = paths.get(number)
            if wire != _BYTES:
                continue
            if inner is None:
                self._cursor.skip(value)
                continue
            led_on += 1
            inner_end = self._cursor.at + value
            if inner == "tensor":
                self._tensor(inner_end)
            else:
                self.message(inner, inner_end, depth + 1)
        return led_on

    def _tensor(self, end: int) -> None:
        element = BYTES
        raw: list[tuple[int, int]] = []
        for number, wire, value in self._each_field(end):
            at = self._cursor.at
            if wire == _BYTES:
                if number in _TYPED_DATA:
                    self.tensors.append(Tensor(at, at + value, _TYPED_DATA[number]))
                elif number == _RAW_DATA:
                    raw.append((at, at + value))
                self._cursor.skip(value)
            elif number == _DATA_TYPE and wire == _VARINT:
                element = _ELEMENTS.get(value, BYTES)
        # The type may stand behind the data.
        self.tensors.extend(Tensor(start, stop, element) for start, stop in raw)

    def _each_field(self, end: int) -> Iterator[tuple[int, int, int]]:
        """Yield (number, wire type, value); of bytes the value is their length, and they come next."""
        cursor = self._cursor
        while cursor.at < end:
            self._fields += 1
            if self._fields > FIELDS:
                raise Damaged(f"it has more than {FIELDS} fields")
            tag = cursor.varint()
            wire = tag & 7
            value = 0
            if wire in (_VARINT, _BYTES):
                value = cursor.varint()
            elif wire in (_FIXED32, _FIXED64):
                cursor.skip(4 if wire == _FIXED32 else 8)
            else:
                raise Damaged(f"the field at {cursor.at} has wire type {wire}")
            if tag < 1 << 3 or (wire == _BYTES and value > end - cursor.at):
                raise Damaged(f"the field at {cursor.at} is number 0, or reaches past its message")
            yield tag >> 3, wire, value
        if cursor.at != end:
            raise Damaged(f"a message ends at {cursor.at}, expected {end}")
