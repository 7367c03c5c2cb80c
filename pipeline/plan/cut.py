"""Where to cut a file: tensors and gaps in, spans out.

Takes what ``formats`` found in a file, gives the spans that become chunks (docs/format.md §4):
a tensor over 4 MiB is cut at a stride of 4 MiB from its own start, neighbours of one element type
are joined up to 1 MiB, headers and gaps are spans of their own. Tensors that touch no other and
hold under 8 KiB, as ONNX strews them, count as part of the gap they lie in. What no format knows
is one opaque span, cut by its content while it is read.

next: ``plan.pack``
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from pipeline.manifest import CHUNK_BYTES

JOIN_BYTES = 1 << 20
# A chunk costs some 250 bytes of manifest, and a range of its own to whoever fetches it
# (docs/adr/0010-small-tensors-that-stand-alone.md).
ALONE_BYTES = 8 << 10


@dataclass(frozen=True, slots=True)
class Element:
    """The element type of a tensor, as far as encoding cares: ``width`` in bytes (0: not whole bytes)."""

    width: int
    floating: bool


BYTES = Element(1, floating=False)


@dataclass(frozen=True, slots=True)
class Tensor:
    """Bytes ``start`` to ``end`` of a file hold elements of one type."""

    start: int
    end: int
    element: Element = BYTES


@dataclass(frozen=True, slots=True)
class Span:
    """Bytes ``start`` to ``end`` of a file: one chunk, or, when ``opaque``, a stretch cut by its content."""

    start: int
    end: int
    element: Element = BYTES
    opaque: bool = False


def cut_tensors(size: int, tensors: Iterable[Tensor]) -> Sequence[Span]:
    """Cover a file of ``size`` bytes: every byte lies in exactly one span of at most 4 MiB.

    ``tensors`` must lie within the file and not overlap; empty ones are passed over.
    """
    spans: list[Span] = []
    at = 0
    joinable = False
    for tensor in _worth_cutting(tensors):
        if tensor.start > at:
            spans.extend(_strides(at, tensor.start, BYTES))
            joinable = False
        run = spans[-1] if joinable else None
        if run is not None and run.element == tensor.element and tensor.end - run.start <= JOIN_BYTES:
            spans[-1] = Span(run.start, tensor.end, run.element)
        else:
            spans.extend(_strides(tensor.start, tensor.end, tensor.element))
        # The tail of a tensor that was cut never takes a neighbour in: its start is not a tensor's.
        joinable = tensor.end - tensor.start <= JOIN_BYTES
        at = tensor.end
    spans.extend(_strides(at, size, BYTES))
    return spans


def cut_opaque(size: int) -> Sequence[Span]:
    """One stretch whose chunks are found by content while it is read; none for an empty file."""
    return [Span(0, size, opaque=True)] if size else []


def _worth_cutting(tensors: Iterable[Tensor]) -> Iterator[Tensor]:
    """The tensors in order, without the stretches of touching ones that are too short to stand alone."""
    stretch: list[Tensor] = []
    for tensor in sorted((tensor for tensor in tensors if tensor.end > tensor.start), key=lambda tensor: tensor.start):
        if stretch and stretch[-1].end != tensor.start:
            yield from _unless_short(stretch)
            stretch.clear()
        stretch.append(tensor)
    yield from _unless_short(stretch)


def _unless_short(stretch: Sequence[Tensor]) -> Sequence[Tensor]:
    return stretch if stretch and stretch[-1].end - stretch[0].start >= ALONE_BYTES else ()


def _strides(start: int, end: int, element: Element) -> Iterable[Span]:
    for at in range(start, end, CHUNK_BYTES):
        yield Span(at, min(at + CHUNK_BYTES, end), element)
