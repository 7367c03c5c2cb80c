"""Bytes of no known format, cut where their content says so.

Takes a stretch of bytes as it is read, gives the lengths of its chunks. A cut depends only on the
few dozen bytes before it, so bytes put in or taken out in one place leave the cuts elsewhere, and
so most chunks of the next release, as they were (FastCDC, ieeexplore.ieee.org/document/9055082).

next: ``encoding``
"""

from __future__ import annotations

from pyfastcdc import FastCDC, NormalizedChunking

from pipeline.manifest import CHUNK_BYTES

# Fixed by format_version 1, and by golden vectors: another value here is another format.
# Gear table and masks are those of the algorithm's 2020 paper (seed 0).
MIN_BYTES = 256 << 10
AVERAGE_BYTES = 1 << 20
MAX_BYTES = CHUNK_BYTES
# 2 of 0 to 3: chunks of random bytes measure 1.15 MiB on average, and 1 in 40 is over 2 MiB.
NORMALIZATION: NormalizedChunking = 2
SEED = 0


class ContentCutter:
    """Cuts one stretch. Law: how its bytes are blocked into calls does not move a cut.

    The caller keeps the bytes, so none is copied::

        pending += read()
        for length in cutter.feed(pending, final=at_end):
            take(pending[:length]); del pending[:length]

    Not safe for use by two threads at once; the search releases the interpreter lock.
    """

    def __init__(self) -> None:
        self._chunker = FastCDC(
            AVERAGE_BYTES, min_size=MIN_BYTES, max_size=MAX_BYTES, normalized_chunking=NORMALIZATION, seed=SEED
        )

    def feed(self, pending: bytes | bytearray | memoryview, *, final: bool) -> list[int]:
        """Give the lengths of the chunks that are settled at the front of ``pending``.

        ``pending`` is every byte since the last cut. While less than 4 MiB of it are left and it is
        not ``final``, the next cut is open: more bytes could still come before it. With ``final``
        the lengths sum to ``len(pending)``.
        """
        if not len(pending) or (len(pending) < MAX_BYTES and not final):
            return []
        lengths: list[int] = []
        left = len(pending)
        for chunk in self._chunker.cut_buf(pending):
            lengths.append(chunk.length)
            left -= chunk.length
            if left < MAX_BYTES and not final:
                break
        return lengths
