"""The bytes of the release in pieces, each read once, each the plain bytes of one chunk; and every file's sha256.

Takes a cut plan, gives ``Piece``s in file order; takes them again with their names, and computes the sha256 of each file,
piece after piece. Where a file begins as one before it did, with the same chunks, that beginning is not hashed again.

next: ``steps.index``
"""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, Future
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from pipeline.digest import Blake3, Sha256, blake3_of
from pipeline.formats.opaque import ContentCutter
from pipeline.manifest import CHUNK_BYTES, Chunk
from pipeline.plan.cut import BYTES, Element, Span
from pipeline.sources.folder import SourceFile
from pipeline.sources.reading import SourceReader, changed, open_source
from pipeline.steps.buffers import Buffers
from pipeline.steps.cut import CutFile, CutPlan

# Read at a time where cuts are sought: enough for several chunks, little enough to stay in a cache.
STRETCH_BYTES = 2 * CHUNK_BYTES
# So many pieces may wait for the hash, which is a chain over a whole file.
HASHES_LAGGING = 3


@dataclass(frozen=True, slots=True)
class Piece:
    """The plain bytes of one chunk: ``at`` in file number ``file``; with a ``reader``, there only once ``name`` was called.

    ``release`` gives the memory back once it was called by both who look at ``plain``: whoever packs it, and the hash.
    """

    file: int
    at: int
    element: Element
    plain: memoryview
    release: Callable[[], None]
    reader: SourceReader | None = None

    def name(self) -> Blake3:
        """Read the bytes and give their digest.

        Raises:
            SourceError, SourceChanged
        """
        if self.reader is not None:
            self.reader.read_into(self.at, self.plain)
        return blake3_of(self.plain)


class Sources:
    """The files that are being read, in order."""

    def __init__(self) -> None:
        self._open: deque[SourceReader] = deque()

    def open(self, source: SourceFile) -> SourceReader:
        """Open the next file.

        Raises:
            SourceError, SourceChanged
        """
        reader = open_source(source.path, source.place, source.stat)
        self._open.append(reader)
        return reader

    def close_first(self) -> None:
        """See that the first file that is open has not changed, and close it: all of it was read.

        Raises:
            SourceChanged
        """
        with self._open.popleft() as reader:
            reader.check_unchanged()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for reader in self._open:
            with reader:
                pass


class FileDigests:
    """Reads the pieces of all files, and computes the sha256 of every file from pieces that were named.

    ``buffers`` chunks of memory go round: more than may be under way at once, or reading would wait for itself.
    """

    def __init__(self, hasher: Executor, sources: Sources, *, buffers: int) -> None:
        self._hasher = hasher
        self._sources = sources
        self._buffers = Buffers(buffers, CHUNK_BYTES)
        # States of the hash behind every beginning that a file had, counted; the first one is the empty beginning.
        self._states = [hashlib.sha256()]
        self._beginnings: dict[tuple[int, Blake3], int] = {}
        self._ends: list[int] = []
        self._sizes: list[int] = []
        self._lagging: deque[Future[None]] = deque()

    def read(self, cut: CutPlan) -> Iterator[Piece]:
        """Yield the pieces of all files; once its last piece was taken in, a file is seen to be unchanged."""
        self._ends = [0] * len(cut.files)
        self._sizes = [file.source.size for file in cut.files]
        for number, file in enumerate(cut.files):
            if file.spans:
                yield from self._cut(self._sources.open(file.source), number, file)
            else:
                # It has no piece, and of such files there may be many.
                with open_source(file.source.path, file.source.place, file.source.stat) as reader:
                    reader.check_unchanged()

    def take_in(self, piece: Piece, name: Blake3) -> None:
        """Take a piece with its name into its file's sha256; all pieces in the order in which they were read."""
        if piece.at + len(piece.plain) == self._sizes[piece.file]:
            self._sources.close_first()
        before = self._ends[piece.file]
        known = self._beginnings.get((before, name))
        if known is not None:
            self._ends[piece.file] = known
            piece.release()
            return
        after = self._ends[piece.file] = self._beginnings[before, name] = len(self._states)
        self._states.append(self._states[0])
        self._lagging.append(self._hasher.submit(self._go_on, before, after, piece))
        # Bounds the memory of pieces that have their own.
        if len(self._lagging) > HASHES_LAGGING:
            self._lagging.popleft().result()

    def _go_on(self, before: int, after: int, piece: Piece) -> None:
        state = self._states[before].copy()
        state.update(piece.plain)
        self._states[after] = state
        piece.release()

    def _cut(self, reader: SourceReader, number: int, file: CutFile) -> Iterator[Piece]:
        for span in file.spans:
            if span.opaque:
                for at, plain in _cut_by_content(reader, span):
                    yield Piece(number, at, BYTES, plain, nothing)
            else:
                memory, release = self._buffers.take()
                plain = memory[: span.end - span.start]
                yield Piece(number, span.start, span.element, plain, _second_of_two(release), reader)

    def results(self) -> Sequence[Sha256]:
        """The digests in file order; all pieces must have been taken in."""
        while self._lagging:
            self._lagging.popleft().result()
        return [Sha256(self._states[end].hexdigest()) for end in self._ends]


def read_again(cut: CutPlan, wanted: Sequence[tuple[int, int, Chunk, Element]]) -> Iterator[Piece]:
    """Read chunks a second time, given as (file number, offset, chunk, element) in file order."""
    for number, at, chunk, element in wanted:
        source = cut.files[number].source
        with open_source(source.path, source.place, source.stat) as reader:
            plain = memoryview(bytearray(chunk.plain))
            reader.read_into(at, plain)
            reader.check_unchanged()
        yield Piece(number, at, element, plain, nothing)


def check_same(cut: CutPlan, piece: Piece, expected: Blake3, found: Blake3) -> None:
    """Refuse bytes that are not those of the first reading.

    Raises:
        SourceChanged
    """
    if expected != found:
        raise changed(cut.files[piece.file].source.path, f"the bytes from {piece.at} are not those first read")


def _cut_by_content(reader: SourceReader, span: Span) -> Iterator[tuple[int, memoryview]]:
    cutter = ContentCutter()
    pending = bytearray()
    at, read_to = span.start, span.start
    while read_to < span.end:
        size = min(STRETCH_BYTES, span.end - read_to)
        before = len(pending)
        pending.extend(bytes(size))
        with memoryview(pending) as whole, whole[before:] as fresh:
            reader.read_into(read_to, fresh)
        read_to += size
        for length in cutter.feed(pending, final=read_to == span.end):
            yield at, memoryview(pending[:length])
            del pending[:length]
            at += length


def _second_of_two(release: Callable[[], None]) -> Callable[[], None]:
    """What calls ``release`` when it is called for the second time."""
    calls = [release, nothing]

    def call() -> None:
        calls.pop()()

    return call


def nothing() -> None:
    """Give back memory that goes by itself."""
