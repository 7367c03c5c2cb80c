"""Which bytes a request asks for (RFC 9110 §14).

Takes the text of a Range header and the size of what is there, gives spans in the order in which they are sent, or
None for the whole, or ``UNSATISFIABLE``. Overlapping and neighbouring spans are sent once; a header that asks
for more pieces than anybody needs is answered with the whole, as §14.2 allows.

next: ``catalogue``
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

MOST_RANGES = 100
# A header of a multipart part is about as long: spans this near to each other are cheaper together.
GAP_BYTES = 80
_SPEC = re.compile(r"([0-9]{0,18})-([0-9]{0,18})")


class Span(NamedTuple):
    """The bytes from ``start`` up to, not including, ``end``."""

    start: int
    end: int

    @property
    def size(self) -> int:
        """How many bytes."""
        return self.end - self.start


class Unsatisfiable:
    """No byte that was asked for is there."""


UNSATISFIABLE: Final = Unsatisfiable()


def read_range(header: str, size: int) -> tuple[Span, ...] | Unsatisfiable | None:
    """Spans that ``header`` asks of ``size`` bytes; None where it is to be ignored."""
    unit, equals, rest = header.partition("=")
    if not equals or unit.strip().lower() != "bytes":
        return None
    specs = [spec.strip(" \t") for spec in rest.split(",")]
    specs = [spec for spec in specs if spec]
    if not specs or len(specs) > MOST_RANGES:
        return None
    spans = []
    for spec in specs:
        found = _SPEC.fullmatch(spec)
        if not found or spec == "-":
            return None
        first, last = found[1], found[2]
        if first and last and int(last) < int(first):
            return None
        span = Span(int(first), min(int(last) + 1 if last else size, size)) if first else Span(max(size - int(last), 0), size)
        if span.start < span.end:
            spans.append(span)
    return _joined(spans) if spans else UNSATISFIABLE


def _joined(spans: list[Span]) -> tuple[Span, ...]:
    """Spans that overlap or nearly touch as one; the others stay in the order of the request."""
    if len(spans) == 1:
        return tuple(spans)
    merged: list[Span] = []
    for span in sorted(spans):
        if merged and span.start <= merged[-1].end + GAP_BYTES:
            merged[-1] = Span(merged[-1].start, max(merged[-1].end, span.end))
        else:
            merged.append(span)
    first = [next(whole for whole in merged if whole.start <= span.start < whole.end) for span in spans]
    return tuple(dict.fromkeys(first))
