"""The element types in PyTorch's ``data.pkl``, read as data: its opcodes are listed, never obeyed.

Takes the pickle's bytes, gives storage key → element. A pickle is a program for a stack machine;
here every value is either text, a name, a short tuple of these, or nothing at all, so that no
object is ever made and nothing is imported, looked up or called (docs.python.org pickletools).

next: ``formats.onnx``
"""

from __future__ import annotations

import pickletools
import struct
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field

from pipeline.plan.cut import Element

PICKLE_BYTES = 16 << 20
# A tensor takes some forty; beyond this the rest of the pickle is not read.
OPCODES = 1 << 20
MEMO = 1 << 20
_TUPLE_ITEMS = 8

# torch/storage.py: ('storage', <class>, <key>, <location>, <elements>) is a persistent id.
_ELEMENTS = {
    "DoubleStorage": Element(8, floating=True),
    "FloatStorage": Element(4, floating=True),
    "HalfStorage": Element(2, floating=True),
    "BFloat16Storage": Element(2, floating=True),
    # Pairs of floats: the planes of a pair are the planes of its halves.
    "ComplexFloatStorage": Element(4, floating=True),
    "ComplexDoubleStorage": Element(8, floating=True),
    "LongStorage": Element(8, floating=False),
    "IntStorage": Element(4, floating=False),
    "QInt32Storage": Element(4, floating=False),
    "ShortStorage": Element(2, floating=False),
}


@dataclass(frozen=True, slots=True)
class _Name:
    """A global that the pickle names."""

    name: str


_MARK = object()


def storage_elements(pickle: bytes) -> Mapping[bytes, Element]:
    """Give the element of each storage whose type is told before the pickle ends, breaks or is too long."""
    machine = _Machine()
    try:
        # A hostile string makes the standard library warn of its escapes, which would end a run under -W error.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            for count, (opcode, argument, _) in enumerate(pickletools.genops(pickle)):
                if count == OPCODES:
                    break
                machine.step(opcode, argument)
    except (ValueError, IndexError, OverflowError, struct.error):
        # What was told until here is true of the storages it names; the others count as bytes.
        pass
    return machine.found


@dataclass(slots=True)
class _Machine:
    """The stack machine, without values. A pop from an empty stack raises IndexError."""

    found: dict[bytes, Element] = field(default_factory=dict)
    _stack: list[object] = field(default_factory=list)
    _memo: dict[int, object] = field(default_factory=dict)

    def step(self, opcode: pickletools.OpcodeInfo, argument: object) -> None:
        """Take one opcode as far as it can matter for a persistent id."""
        stack = self._stack
        name = opcode.name
        if name == "MARK":
            stack.append(_MARK)
        elif name == "MEMOIZE":
            self._remember(len(self._memo))
        elif name in ("PUT", "BINPUT", "LONG_BINPUT") and isinstance(argument, int):
            self._remember(argument)
        elif name in ("GET", "BINGET", "LONG_BINGET") and isinstance(argument, int):
            stack.append(self._memo.get(argument))
        elif name == "GLOBAL" and isinstance(argument, str):
            stack.append(_Name(argument.rpartition(" ")[2]))
        elif name == "STACK_GLOBAL":
            *_, last = self._pop(2)
            stack.append(_Name(last) if isinstance(last, str) else None)
        elif name in ("TUPLE", "TUPLE1", "TUPLE2", "TUPLE3"):
            items = self._pop_to_mark() if name == "TUPLE" else self._pop(int(name[-1]))
            stack.append(tuple(items) if len(items) <= _TUPLE_ITEMS else None)
        elif name == "BINPERSID":
            self._note(self._pop(1)[0])
            stack.append(None)
        elif isinstance(argument, str) and opcode.stack_after:
            stack.append(argument)
        else:
            self._skip(opcode)

    def _note(self, identity: object) -> None:
        if not (isinstance(identity, tuple) and len(identity) >= 3 and identity[0] == "storage"):
            return
        _, kind, key, *_ = identity
        if isinstance(kind, _Name) and isinstance(key, str):
            element = _ELEMENTS.get(kind.name)
            if element is not None:
                self.found[key.encode("utf-8", "replace")] = element

    def _remember(self, index: int) -> None:
        if len(self._memo) < MEMO:
            self._memo[index] = self._stack[-1]

    def _pop(self, count: int) -> list[object]:
        items = [self._stack.pop() for _ in range(count)]
        return items[::-1]

    def _pop_to_mark(self) -> list[object]:
        items: list[object] = []
        while (item := self._stack.pop()) is not _MARK:
            items.append(item)
        return items[::-1]

    def _skip(self, opcode: pickletools.OpcodeInfo) -> None:
        """Move the stack as the opcode's own description says, putting nothing in every place."""
        before = list(opcode.stack_before)
        if pickletools.markobject in before:
            at = before.index(pickletools.markobject)
            self._pop_to_mark()
            before = before[:at]
        self._pop(len(before))
        self._stack.extend(None for _ in opcode.stack_after)
