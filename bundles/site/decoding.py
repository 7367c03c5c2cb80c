"""Chunks of a file out of the parts that hold them, each held against its digest before it is decoded and after.

Takes a signed manifest and a hauler, gives plain bytes. The parts that come next are asked for before their turn, so
that the line stays full.

next: ``assembling``
"""

from __future__ import annotations

from bisect import bisect_right
from collections import OrderedDict
from itertools import accumulate, islice

from bundles.site.hauling import Hauler, Source
from bundles.site.transfer import digest_of, read_all
from pipeline.encoding import decode_chunk
from pipeline.errors import DigestMismatch
from pipeline.manifest import Chunk, File, Manifest

# Parts that are asked for before their turn.
AHEAD = 3


class Chunks:
    """The chunks of one file: where they begin, and what they are, decoded. For one thread at a time."""

    def __init__(self, manifest: Manifest, file: File, hauler: Hauler) -> None:
        self.file = file
        self.manifest = manifest
        self.ends = list(accumulate(chunk.plain for chunk in file.chunks))
        self._hauler = hauler
        firsts: dict[int, int] = {}
        for index, chunk in enumerate(file.chunks):
            firsts.setdefault(chunk.part, index)
        self._order = [(index, part) for part, index in firsts.items()]
        self._firsts = list(firsts.values())
        self._open: OrderedDict[int, Source] = OrderedDict()

    def start(self, index: int) -> int:
        """Where a chunk begins in the file."""
        return self.ends[index] - self.file.chunks[index].plain

    def plain(self, index: int, upto: int) -> bytes:
        """The bytes of a chunk, as soon as they are there; ``upto``: how far into the file somebody wants to read.

        Raises:
            IntegrityError, UnavailableError, DiskError, OSError
        """
        chunk = self.file.chunks[index]
        at = bisect_right(self._firsts, index)
        ahead = [part for first, part in islice(self._order, at, at + AHEAD) if self.start(first) < upto]
        for part in (chunk.part, *ahead):
            if part not in self._open:
                self._open[part] = self._hauler.part(self.manifest.parts[part].blake3)
        self._open.move_to_end(chunk.part)
        while len(self._open) > 2 * AHEAD:
            self._open.popitem(last=False)[1].close()
        source = self._open[chunk.part]
        if source.growing:
            source.growing.wait_in_thread(chunk.offset, chunk.offset + chunk.stored, timeout_s=self._hauler.timeout_s)
        return decode_verified(read_all(source.descriptor, chunk.stored, chunk.offset), chunk, self.file.path)

    def read(self, at: int, upto: int) -> bytes:
        """The bytes from ``at`` to the end of their chunk: for a reader of a file that is kept nowhere."""
        index = bisect_right(self.ends, at)
        return self.plain(index, upto)[at - self.start(index) :]

    def close(self) -> None:
        """Let go of the parts."""
        while self._open:
            self._open.popitem()[1].close()


def decode_verified(stored: bytes, chunk: Chunk, path: str) -> bytes:
    """Decode one chunk, held against its digest before and after.

    Raises:
        DigestMismatch, InvalidDocument, SizeMismatch
    """
    expected = chunk.stored_blake3 or chunk.blake3
    if digest_of(stored) != expected:
        raise DigestMismatch(f"{path}: stored bytes have blake3 {digest_of(stored)}, expected {expected}", hint="Ask again.")
    if chunk.encoding == "raw":
        return stored
    plain = decode_chunk(stored, chunk.encoding, chunk.plain)
    if digest_of(plain) != chunk.blake3:
        raise DigestMismatch(
            f"{path}: decoded bytes are not those that were signed", hint="The release was published by a faulty tool."
        )
    return plain
