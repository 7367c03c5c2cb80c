"""What the formats share: the answer they give, how they read, and the rules tensors keep.

Takes a way to read a file, gives ``Header`` (exact reads) and ``Cursor`` (forward reads through a
small window), both of which answer a file that ends too early with ``Damaged``.

next: ``formats.safetensors``
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from itertools import pairwise

from pipeline.errors import InvalidDocument
from pipeline.plan.cut import BYTES, Tensor

ReadAt = Callable[[int, int], bytes]

# A quarter of a manifest's chunks: the largest published checkpoints hold some ten thousand tensors a file.
TENSORS = 1 << 18
WINDOW_BYTES = 16 << 10

_U32 = struct.Struct("<I")
_U64 = struct.Struct("<Q")


@dataclass(frozen=True, slots=True)
class Found:
    """A file's format and its tensors in order; ``tensors`` None: opaque. ``warning`` says what is damaged."""

    format: str
    tensors: tuple[Tensor, ...] | None
    warning: str | None


class Damaged(InvalidDocument):
    """The header breaks its format. It never leaves this package: the file becomes opaque."""


class Header:
    """Exact reads from a file of ``size`` bytes."""

    def __init__(self, read: ReadAt, size: int) -> None:
        self._read = read
        self.size = size

    def bytes(self, offset: int, length: int) -> bytes:
        """Read exactly ``length`` bytes from ``offset``.

        Raises:
            Damaged: the file ends before that.
        """
        if not (0 <= offset <= self.size and 0 <= length <= self.size - offset):
            raise Damaged(f"it wants bytes {offset} to {offset + length} of {self.size}")
        blocks: list[bytes] = []
        while length:
            block = self._read(offset, length)
            if not block:
                raise Damaged(f"the file ends at {offset} of {self.size} bytes")
            blocks.append(block)
            offset += len(block)
            length -= len(block)
        return blocks[0] if len(blocks) == 1 else b"".join(blocks)


class Cursor:
    """A place in a file, moving forward to ``end``; what is skipped is not read."""

    def __init__(self, header: Header, at: int, end: int) -> None:
        self._header = header
        self._window = b""
        self._window_at = at
        self.at = at
        self.end = end

    def take(self, length: int) -> bytes:
        """Read exactly ``length`` bytes and move behind them."""
        low = self.at - self._window_at
        high = low + length
        if high > len(self._window):
            self._fill(length)
            low, high = 0, length
        self.at += length
        return self._window[low:high]

    def skip(self, length: int) -> None:
        """Move ``length`` bytes on without reading them."""
        if length > self.end - self.at:
            raise Damaged(f"at {self.at} it wants {length} bytes, {self.end - self.at} are left")
        self.at += length
        if self.at > self._window_at + len(self._window):
            self._window, self._window_at = b"", self.at

    def skip_strings(self, count: int) -> None:
        """Move over ``count`` strings, each behind its 64-bit length: a vocabulary, without a call a token."""
        while count:
            self.skip(self.u64())
            count -= 1
            window, last = self._window, len(self._window) - _U64.size
            low = self.at - self._window_at
            while count and low <= last:
                low += _U64.size + _U64.unpack_from(window, low)[0]
                count -= 1
            self.skip(low - (self.at - self._window_at))

    def u32(self) -> int:
        """Read a little-endian 32-bit number."""
        found: int = _U32.unpack(self.take(4))[0]
        return found

    def u64(self) -> int:
        """Read a little-endian 64-bit number."""
        found: int = _U64.unpack(self.take(8))[0]
        return found

    def varint(self) -> int:
        """Read a base-128 number of at most 64 bits, as protocol buffers write it."""
        value = shift = 0
        # Nearly every number of a real header is one byte in the window.
        low = self.at - self._window_at
        if low < len(self._window) and (first := self._window[low]) < 0x80:
            self.at += 1
            return first
        while True:
            byte = self.take(1)[0]
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value
            shift += 7
            if shift > 63:
                raise Damaged(f"the number at {self.at} has more than 64 bits")

    def _fill(self, length: int) -> None:
        left = self.end - self.at
        if length > left:
            raise Damaged(f"at {self.at} it wants {length} bytes, {left} are left")
        self._window = self._header.bytes(self.at, min(max(length, WINDOW_BYTES), left))
        self._window_at = self.at


def check_tensors(tensors: Iterable[Tensor], size: int) -> tuple[Tensor, ...]:
    """Return the tensors that hold bytes, in order; one whose length its element does not divide holds bytes.

    Raises:
        Damaged: too many, outside the file of ``size`` bytes, or overlapping.
    """
    kept: list[Tensor] = []
    for tensor in tensors:
        if not 0 <= tensor.start <= tensor.end <= size:
            raise Damaged(f"a tensor lies at {tensor.start} to {tensor.end} of {size} bytes")
        if tensor.start == tensor.end:
            continue
        if len(kept) == TENSORS:
            raise Damaged(f"it names more than {TENSORS} tensors")
        whole = tensor.element.width > 0 and (tensor.end - tensor.start) % tensor.element.width == 0
        kept.append(tensor if whole else replace(tensor, element=BYTES))
    kept.sort(key=lambda tensor: tensor.start)
    for before, after in pairwise(kept):
        if after.start < before.end:
            raise Damaged(f"two tensors overlap at {after.start}")
    return tuple(kept)
