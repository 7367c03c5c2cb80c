"""safetensors: a length, a JSON header, the tensors (github.com/huggingface/safetensors, "Format").

Takes the file's start, gives its tensors. Offsets in the header count from its end.

next: ``formats.gguf``
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import msgspec

from pipeline.formats.finding import TENSORS, Damaged, Header
from pipeline.plan.cut import BYTES, Element, Tensor

# The reference implementation reads no longer header.
HEADER_BYTES = 100_000_000
_LENGTH_BYTES = 8
_ENTRY = re.compile(rb":[ \t\n\r]*\{")

_ELEMENTS = {
    "F64": Element(8, floating=True),
    "F32": Element(4, floating=True),
    "F16": Element(2, floating=True),
    "BF16": Element(2, floating=True),
    "F8_E4M3": Element(1, floating=True),
    "F8_E5M2": Element(1, floating=True),
    "F8_E8M0": Element(1, floating=True),
    # Pairs of floats: the planes of a pair are the planes of its halves.
    "C64": Element(4, floating=True),
    "I64": Element(8, floating=False),
    "U64": Element(8, floating=False),
    "I32": Element(4, floating=False),
    "U32": Element(4, floating=False),
    "I16": Element(2, floating=False),
    "U16": Element(2, floating=False),
}


class _Entry(msgspec.Struct, frozen=True, gc=False):
    """One tensor of the header; the shape is not needed. ``__metadata__`` reads as one without offsets."""

    dtype: str = ""
    data_offsets: tuple[int, int] | None = None


_DECODER = msgspec.json.Decoder(dict[str, _Entry])


def starts_safetensors(head: bytes, size: int) -> bool:
    """Tell whether a file starts with a length that fits in it and an opening brace."""
    length = int.from_bytes(head[:_LENGTH_BYTES], "little")
    return head[_LENGTH_BYTES : _LENGTH_BYTES + 1] == b"{" and 2 <= length <= min(HEADER_BYTES, size - _LENGTH_BYTES)


def find_safetensors(header: Header) -> Iterator[Tensor]:
    """Yield the tensors that the header names.

    Raises:
        Damaged: it is not the JSON it must be, names too many tensors, or one without offsets.
    """
    length = int.from_bytes(header.bytes(0, _LENGTH_BYTES), "little")
    data = header.bytes(_LENGTH_BYTES, length)
    # Counted before it is parsed: a hundred megabytes of entries would take gigabytes as values.
    # Braces are quickly counted, and those within the texts of ``__metadata__`` are none of an entry.
    if data.count(b"{") > TENSORS + 1 and sum(1 for _ in _ENTRY.finditer(data)) > TENSORS + 1:
        raise Damaged(f"it names more than {TENSORS} tensors")
    try:
        entries = _DECODER.decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise Damaged(f"its JSON cannot be read ({error})") from error
    start = _LENGTH_BYTES + length
    for name, entry in entries.items():
        if name == "__metadata__":
            continue
        if entry.data_offsets is None:
            raise Damaged(f"tensor {name[:80]!r} has no offsets")
        low, high = entry.data_offsets
        if not 0 <= low <= high:
            raise Damaged(f"a tensor lies at {low} to {high} behind the header")
        yield Tensor(start + low, start + high, _ELEMENTS.get(entry.dtype, BYTES))
