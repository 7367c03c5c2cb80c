"""One read of the release: chunks cut, hashed, encoded, packed into parts, and the manifest of it.

Takes a cut plan and ``ship``, which is called on a thread with every part that is full; gives an
``Indexed``. ``upload`` ships to a store; a plan ships nothing, and then no part is kept. Memory is
bounded, whatever the release's size: a few pieces under way and the buffers of ``rooms``.

next: ``steps.upload``
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Literal

from pipeline.bodies import Draft
from pipeline.digest import Blake3, Sha256, blake3_of, sha256_of
from pipeline.encoding import ENCODED_BYTES, Encoded, encode_chunk
from pipeline.events import Listener, Progress
from pipeline.manifest import Chunk, Manifest, Part
from pipeline.plan.assemble import IndexedFile, assemble_files, unlike_twins
from pipeline.plan.cut import Element
from pipeline.plan.pack import ONE_PART_BYTES, Packer
from pipeline.plan.reuse import Reuse, poor_parts, reuse_bases
from pipeline.processors import usable_processors
from pipeline.steps.buffers import Buffers
from pipeline.steps.cut import CutPlan
from pipeline.steps.pieces import HASHES_LAGGING, FileDigests, Piece, Sources, check_same, nothing, read_again
from pipeline.steps.rooms import PARTS_AT_ONCE, Rooms
from pipeline.steps.shipping import HASHES_AHEAD, PartFiller, Ship
from pipeline.wire import encode_manifest
from pipeline.workers import chain, in_order, threads

# Chunks and both kinds of hashes share these threads: more than there are cores would only push each other's bytes out
# of the cache. Each may hold a chunk plain and encoded, so that many cores must not cost more memory than a publish may take.
WORKERS = min(usable_processors(), 8)
# One more than can be worked on. What waits longer falls out of the processor's cache: at twice as
# many the same hashes take a fifth longer (benchmarks/index.py).
PIECES_AHEAD = WORKERS + 1
GAP_ROOM = 64


@dataclass(frozen=True, slots=True)
class Counts:
    """How many there are, and how many of them the bases gave."""

    total: int
    reused: int

    @property
    def new(self) -> int:
        """Those the bases did not give."""
        return self.total - self.reused


@dataclass(frozen=True, slots=True)
class Indexed:
    """The manifest, its bytes and name, what was new in it, and every file's digest."""

    manifest: Manifest
    data: bytes
    sha256: Sha256
    parts: Counts
    chunks: Counts
    digests: Mapping[str, Sha256]


@dataclass(frozen=True, slots=True)
class _Body:
    """A chunk as it will be stored; ``blake3`` is of the stored bytes, "" when they are the plain ones.

    ``release`` gives back the memory that it may lie in.
    """

    encoded: Encoded
    blake3: Blake3 | Literal[""]
    release: Callable[[], None]


@dataclass(frozen=True, slots=True)
class _Made:
    """A piece after its work on a thread; ``body`` is None when a chunk like it was known already."""

    piece: Piece
    blake3: Blake3
    body: _Body | None

    def release(self) -> None:
        """Give back all memory: it was packed, or need not be."""
        self.piece.release()
        if self.body is not None:
            self.body.release()


def index_release(
    cut: CutPlan, ship: Ship | None, listen: Listener, *, step: str, draft: Callable[[], Draft | None] = lambda: None
) -> Indexed:
    """Read every file once and ship every new part as soon as it is full; ``step`` is whose progress it is.

    Raises:
        SourceError, SourceChanged: nothing but unreferenced parts is left behind.
        Whatever ``ship`` raises.
    """
    bases = [base.manifest for base in cut.bases]
    reuse = reuse_bases(bases, profile=cut.inputs.profile, encoding=cut.inputs.encoding)
    # A little more than parts have, for the gap that a twin begins with: a buffer in use cannot grow.
    capacity = min(cut.inputs.part_size, cut.folder.size) + GAP_ROOM
    with (
        Sources() as sources,
        threads(1, "write") as writer,
        Rooms(writer, capacity, draft) as rooms,
        threads(WORKERS, "chunk") as workers,
        chain(workers) as file_hasher,
        chain(workers) as part_hasher,
        threads(PARTS_AT_ONCE - 1, "part") as shippers,
    ):
        # More than can be in use at once: whoever waited for one would keep a thread from whoever gives it back.
        buffers = PIECES_AHEAD + max(HASHES_AHEAD, HASHES_LAGGING) + 2
        digests = FileDigests(file_hasher, sources, buffers=buffers)
        filler = PartFiller(part_hasher, shippers, ship, rooms)
        packing = _Packing(cut, reuse, workers, filler, Buffers(buffers, ENCODED_BYTES))
        packing.pack_new(digests, lambda size: listen(Progress(step, size)))
        packing.pack_poor()
        new_parts = packing.finish()
        while twins := packing.unlike_twins(new_parts):
            packing.pack_again(twins, gap=True)
            new_parts = packing.finish()
        return _manifest(cut, packing.files, new_parts, reuse, digests.results())


class _Packing:
    """The chunks of every file so far, and the part being filled."""

    def __init__(self, cut: CutPlan, reuse: Reuse, workers: Executor, filler: PartFiller, rooms: Buffers) -> None:
        self._cut = cut
        self._reuse = reuse
        self._workers = workers
        self._filler = filler
        self._rooms = rooms
        self._one_file = cut.inputs.profile != "default"
        self._packer = Packer(cut.inputs.part_size, self._one_file)
        self._placed: dict[Blake3, Chunk] = dict(reuse.chunks)
        self._elements: dict[Blake3, Element] = {}
        self._begun: set[Blake3] = set()
        self._gap = 0
        self.files: list[list[Chunk]] = [[] for _ in cut.files]

    def pack_new(self, digests: FileDigests, read: Callable[[int], None]) -> None:
        """Read and place every piece, in order; ``read`` is told the bytes of each."""
        for made in in_order(self._workers, self._work, digests.read(self._cut), ahead=PIECES_AHEAD):
            piece = made.piece
            digests.take_in(piece, made.blake3)
            chunk = None if self._one_file else self._placed.get(made.blake3)
            size = len(piece.plain)
            if chunk is None:
                chunk = self._place(made, starts_file=not self.files[piece.file])
                self._placed.setdefault(made.blake3, chunk)
            else:
                made.release()
            if not self._one_file:
                self._elements.setdefault(made.blake3, piece.element)
            self.files[piece.file].append(chunk)
            read(size)

    def pack_poor(self) -> None:
        """Pack anew the chunks of base parts of which less than a quarter serves; only now is it known which those are."""
        poor = poor_parts(self._chunks(), self._reuse)
        if poor:
            self.pack_again(poor)

    def unlike_twins(self, new_parts: Sequence[Part]) -> frozenset[int]:
        """New parts whose chunks need another place, because a part of the same bytes was cut in another way."""
        return frozenset() if self._one_file else unlike_twins(self._chunks(), new_parts, self._reuse.parts)

    def pack_again(self, leaving: frozenset[int], *, gap: bool = False) -> None:
        """Move the chunks of the parts ``leaving`` to new parts, behind all others, in file order.

        Their bytes are read a second time and must be the same. With ``gap``, those parts begin
        with bytes that nobody refers to, so that they come out with other names.
        """
        if gap:
            self._gap += 1
            self._packer = Packer(self._cut.inputs.part_size, self._one_file, first=self._filler.closed, gap=self._gap)
        wanted: dict[Blake3, tuple[int, int, Chunk, Element]] = {}
        for number, chunks in enumerate(self.files):
            at = 0
            for chunk in chunks:
                if chunk.part in leaving:
                    wanted.setdefault(chunk.blake3, (number, at, chunk, self._elements[chunk.blake3]))
                at += chunk.plain
        for name in wanted:
            del self._placed[name]
        for made in in_order(self._workers, self._work, read_again(self._cut, list(wanted.values())), ahead=PIECES_AHEAD):
            expected = next(iter(wanted))
            check_same(self._cut, made.piece, expected, made.blake3)
            del wanted[expected]
            self._placed[made.blake3] = self._place(made, starts_file=False)
        self.files = [[self._placed[c.blake3] if c.part in leaving else c for c in chunks] for chunks in self.files]

    def _chunks(self) -> Iterable[Chunk]:
        return (chunk for chunks in self.files for chunk in chunks)

    def finish(self) -> Sequence[Part]:
        """Ship the last part and wait for all."""
        return self._filler.parts()

    def _work(self, piece: Piece) -> _Made:
        name = piece.name()
        known = not self._one_file and name in self._placed
        return _Made(piece, name, None if known else self._encode(piece))

    def _encode(self, piece: Piece) -> _Body:
        if self._cut.inputs.encoding == "raw" or self._one_file:
            return _Body(Encoded("raw", piece.plain), "", nothing)
        room, release = self._rooms.take()
        encoded = encode_chunk(piece.plain, piece.element, room)
        return _Body(encoded, "" if encoded.encoding == "raw" else blake3_of(encoded.stored), release)

    def _place(self, made: _Made, *, starts_file: bool) -> Chunk:
        body = made.body or self._encode(made.piece)
        if starts_file:
            self._begun.clear()
        large = self._cut.files[made.piece.file].source.size >= ONE_PART_BYTES
        starts_base_part = large and made.blake3 in self._reuse.starts and made.blake3 not in self._begun
        if starts_base_part:
            # Once in a file: a base's lone chunk may stand here in rows, and each would be a part.
            self._begun.add(made.blake3)
        stored, plain = memoryview(body.encoded.stored), len(made.piece.plain)
        size = stored.nbytes
        slot = self._packer.place(size, starts_file=starts_file, starts_base_part=starts_base_part)
        if slot.closes:
            self._filler.close()

        def release() -> None:
            made.piece.release()
            body.release()

        self._filler.write(slot.offset, stored, release)
        return Chunk(slot.part, slot.offset, size, plain, made.blake3, body.encoded.encoding, body.blake3)


def _manifest(
    cut: CutPlan, chunks: Sequence[Sequence[Chunk]], new_parts: Sequence[Part], reuse: Reuse, digests: Sequence[Sha256]
) -> Indexed:
    indexed = [
        IndexedFile(file.source.path, file.source.size, digest, file.source.executable, of_file)
        for file, of_file, digest in zip(cut.files, chunks, digests, strict=True)
    ]
    parts, files = assemble_files(indexed, new_parts, reuse.parts, whole_parts=cut.inputs.profile != "default")
    manifest = Manifest(
        model=cut.release.model,
        version=cut.release.version,
        kind=cut.kind,
        dependencies=cut.dependencies,
        bases=tuple(base.name for base in cut.bases),
        part_size=cut.inputs.part_size,
        profile=cut.inputs.profile,
        encoder=cut.inputs.encoder,
        parts=parts,
        files=files,
    )
    manifest.check()
    data = encode_manifest(manifest)
    known = {part.blake3 for part in reuse.parts}
    old = {index for index, part in enumerate(parts) if part.blake3 in known}
    distinct = {(chunk.part, chunk.offset) for file in files for chunk in file.chunks}
    return Indexed(
        manifest=manifest,
        data=data,
        sha256=sha256_of(data),
        parts=Counts(len(parts), len(old)),
        chunks=Counts(len(distinct), sum(part in old for part, _ in distinct)),
        digests={file.path: file.sha256 for file in files},
    )
