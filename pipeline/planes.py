"""Byte planes: the bytes of fixed-width words, parted by their place in the word, and put together.

Takes words, gives plane i holding byte i of every word, little end first; and back. No compiled
code of ours: whole-array shifts and narrowing casts run at memory speed in numpy, without the
interpreter lock, where copies with a stride reach a third of that.

Words of 4 bytes may be turned first: the upper half of each is rotated left, which brings the exponent
and the highest bits of the mantissa into one byte and the sign to the noise (docs/format.md §4).

next: ``encoding``
"""

from __future__ import annotations

from collections.abc import Sequence

from pipeline.arrays import np, npt

Bytes = npt.NDArray[np.uint8]

# Long enough that two threads rarely ask for the interpreter lock, short enough for a core's cache.
_BLOCK_WORDS = 1 << 17
SCRATCH_BYTES = 4 * _BLOCK_WORDS
# Of sign, 8 bits of exponent and 7 of mantissa the first three go behind the others.
TURN_BITS = 3


def split(words: Bytes, planes: Sequence[Bytes], scratch: Bytes, *, turned: bool = False) -> None:
    """Fill 2 or 4 ``planes`` of one length from ``words``; ``turned`` only 4. Law: ``merge`` undoes it.

    ``scratch`` has SCRATCH_BYTES bytes and is this call's alone.
    """
    if len(planes) == 2:
        _split2(words.view("<u2"), planes[0], planes[1])
        return
    whole = words.view("<u4")
    low, high = scratch[: 2 * _BLOCK_WORDS].view("<u2"), scratch[2 * _BLOCK_WORDS :].view("<u2")
    for at in range(0, whole.size, _BLOCK_WORDS):
        block = whole[at : at + _BLOCK_WORDS]
        end = at + block.size
        np.copyto(low[: block.size], block, casting="unsafe")
        np.right_shift(block, 16, out=high[: block.size], dtype="<u4", casting="unsafe")
        _split2(low[: block.size], planes[0][at:end], planes[1][at:end])
        if turned:
            _turn(high[: block.size], TURN_BITS, low[: block.size])
        _split2(high[: block.size], planes[2][at:end], planes[3][at:end])


def merge(planes: Sequence[Bytes], words: Bytes, scratch: Bytes, *, turned: bool = False) -> None:
    """Fill ``words`` from 2 or 4 planes of one length; ``turned`` only 4. Law: ``split`` undoes it.

    ``scratch`` has SCRATCH_BYTES bytes and is this call's alone.
    """
    if len(planes) == 2:
        _merge2(planes[0], planes[1], words.view("<u2"))
        return
    whole = words.view("<u4")
    low, high = scratch[: 2 * _BLOCK_WORDS].view("<u2"), scratch[2 * _BLOCK_WORDS :].view("<u2")
    for at in range(0, whole.size, _BLOCK_WORDS):
        block = whole[at : at + _BLOCK_WORDS]
        end = at + block.size
        _merge2(planes[2][at:end], planes[3][at:end], high[: block.size])
        if turned:
            _turn(high[: block.size], 16 - TURN_BITS, low[: block.size])
        _merge2(planes[0][at:end], planes[1][at:end], low[: block.size])
        np.left_shift(high[: block.size], 16, out=block, dtype="<u4")
        np.bitwise_or(block, low[: block.size], out=block)


def _turn(halves: npt.NDArray[np.uint16], bits: int, spare: npt.NDArray[np.uint16]) -> None:
    """Rotate each to the left, in place."""
    np.left_shift(halves, bits, out=spare)
    np.right_shift(halves, 16 - bits, out=halves)
    np.bitwise_or(halves, spare, out=halves)


def _split2(words: npt.NDArray[np.uint16], low: Bytes, high: Bytes) -> None:
    for at in range(0, words.size, _BLOCK_WORDS):
        block = words[at : at + _BLOCK_WORDS]
        np.copyto(low[at : at + block.size], block, casting="unsafe")
        np.right_shift(block, 8, out=high[at : at + block.size], dtype="<u2", casting="unsafe")


def _merge2(low: Bytes, high: Bytes, words: npt.NDArray[np.uint16]) -> None:
    np.multiply(high, 256, out=words, dtype="<u2")
    np.add(words, low, out=words)
