"""The bytes of the release in pieces, each read once, each the plain bytes of one chunk.

Takes a cut plan, gives ``Piece``s in file order while every file's sha256 is computed on a thread
of its own beside it: that hash is a chain over the whole file, so it must never wait for the rest.

next: ``steps.index``
"""

from __future__ import annotations

import hashlib
import queue
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, Future
from dataclasses import dataclass
from functools import partial

from pipeline.digest import Blake3, Sha256
from pipeline.formats.opaque import ContentCutter
from pipeline.manifest import CHUNK_BYTES, Chunk
from pipeline.plan.cut import BYTES, Element, Span
from pipeline.sources.reading import SourceReader, changed, open_source
from pipeline.steps.cut import CutFile, CutPlan

# Read at a time where cuts are sought: enough for several chunks, little enough to stay in a cache.
STRETCH_BYTES = 2 * CHUNK_BYTES


@dataclass(frozen=True, slots=True)
class Piece:
    """The plain bytes of one chunk: ``at`` in file number ``file``.

    ``hashed`` is done when the file's sha256 has taken these bytes in; waiting for it bounds how
    far the hash may lag behind. ``release`` gives the memory back once nobody looks at ``plain`` any more.
    """

    file: int
    at: int
    element: Element
    plain: memoryview
    hashed: Future[None] | None
    release: Callable[[], None]


class _Buffers:
    """Chunk-sized memory going round: making it anew for every piece would cost as much as hashing it."""

    def __init__(self, count: int) -> None:
        # Last in, first out: what was used last is still in the processor's cache.
        self._free: queue.LifoQueue[bytearray | None] = queue.LifoQueue()
        for _ in range(count):
            self._free.put(None)

    def take(self, size: int) -> tuple[memoryview, Callable[[], None]]:
        """``size`` bytes, and what gives them back; waits until there are some."""
        buffer = self._free.get() or bytearray(CHUNK_BYTES)
        return memoryview(buffer)[:size], partial(self._free.put, buffer)


class FileDigests:
    """The sha256 of every file, while its pieces go by.

    ``buffers`` chunks of memory go round: more than may be under way at once, or reading would wait for itself.
    """

    def __init__(self, hasher: Executor, *, buffers: int) -> None:
        self._hasher = hasher
        self._buffers = _Buffers(buffers)
        self._states: list[Future[str]] = []

    def read(self, cut: CutPlan) -> Iterator[Piece]:
        """Yield the pieces of all files; after the last piece of a file it is seen to be unchanged."""
        for number, file in enumerate(cut.files):
            state = hashlib.sha256()
            with open_source(file.source.path, file.source.place, file.source.stat) as reader:
                for at, element, plain, release in self._cut(reader, file):
                    yield Piece(number, at, element, plain, self._hasher.submit(state.update, plain), release)
                reader.check_unchanged()
            self._states.append(self._hasher.submit(state.hexdigest))

    def _cut(self, reader: SourceReader, file: CutFile) -> Iterator[tuple[int, Element, memoryview, Callable[[], None]]]:
        for span in file.spans:
            if span.opaque:
                for at, plain in _cut_by_content(reader, span):
                    yield at, BYTES, plain, _nothing
            else:
                plain, release = self._buffers.take(span.end - span.start)
                reader.read_into(span.start, plain)
                yield span.start, span.element, plain, release

    def results(self) -> Sequence[Sha256]:
        """The digests in file order; all pieces must have been read."""
        return [Sha256(state.result()) for state in self._states]


def read_again(cut: CutPlan, wanted: Sequence[tuple[int, int, Chunk, Element]]) -> Iterator[Piece]:
    """Read chunks a second time, given as (file number, offset, chunk, element) in file order."""
    for number, at, chunk, element in wanted:
        source = cut.files[number].source
        with open_source(source.path, source.place, source.stat) as reader:
            plain = memoryview(bytearray(chunk.plain))
            reader.read_into(at, plain)
            reader.check_unchanged()
        yield Piece(number, at, element, plain, None, _nothing)


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


def _nothing() -> None:
    """Give back memory that goes by itself."""
