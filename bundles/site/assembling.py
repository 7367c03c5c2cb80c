"""Files of releases out of cached parts: for clients that know files alone, and nothing of parts.

Takes signed manifests and a hauler, gives a ``Growing`` file or a descriptor. Chunks are decoded in the order in which
readers want them, each held against its digest before it is decoded and after; a reader follows chunk by chunk. A file
that is whole, and has the sha256 that was signed, is kept. Where only ranges were asked for, only their chunks, and
the parts that hold them, are brought.

next: ``upstream``
"""

from __future__ import annotations

import hashlib
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

from bundles.site.decoding import Chunks, decode_verified
from bundles.site.growing import Growing
from bundles.site.hauling import Hauler, Source
from bundles.site.shelf import Shelf, is_disk_full
from bundles.site.transfer import read_all, write_all
from pipeline.digest import sha256_of
from pipeline.errors import DigestMismatch, DiskError, ModelportError, ObjectMissing, StoreUnavailable
from pipeline.events import Listener, Warned
from pipeline.layout import part_key
from pipeline.manifest import File, Manifest

# Files at the same time; each is one thread.
FILES = 32
# A range's file is finished when so much of it is there anyway.
WORTH_FINISHING = 0.5


@dataclass
class Assembler:
    """Every file of the upstream's releases."""

    hauler: Hauler
    shelf: Shelf
    listen: Listener
    _jobs: dict[str, _Job] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._lock = threading.Lock()
        self._pool = ThreadPoolExecutor(FILES, "assemble")
        self._closed = False

    def close(self) -> None:
        """End all work; the hauler was closed before."""
        self._closed = True
        self._pool.shutdown(cancel_futures=True)

    def file(self, manifest: Manifest, file: File, start: int, end: int) -> Source:
        """Open a file that has bytes, of which ``start`` to ``end`` are wanted.

        Raises:
            DiskError: the disk takes no more.
        """
        if self.shelf.is_full:
            raise DiskError("the disk of this mirror is full", hint="Give it room.")
        with self._lock:
            job = self._jobs.get(file.sha256)
            if job is not None and job.want(start, end):
                return Source(file.size, job.growing)
        kept = self.shelf.open("files", file.sha256)
        if kept is not None and os.fstat(kept).st_size == file.size:
            return Source(file.size, None, kept)
        if kept is not None:
            os.close(kept)
            self.shelf.drop("files", file.sha256)
        with self._lock:
            job = self._jobs.get(file.sha256)
            if (job is None or not job.want(start, end)) and not self.shelf.has("files", file.sha256):
                job = self._jobs[file.sha256] = self._begin(manifest, file)
                job.want(start, end)
                self._pool.submit(self._work, job)
            if job is not None and not job.ended:
                return Source(file.size, job.growing)
        return self.file(manifest, file, start, end)

    def small(self, manifest: Manifest, file: File) -> bytes:
        """The bytes of a small file, by its chunks alone: no part is brought for it.

        Raises:
            IntegrityError, UnavailableError
        """
        found: list[bytes] = []
        for chunk in file.chunks:
            part = manifest.parts[chunk.part]
            stored = bytearray()
            kept = self.shelf.open("parts", part.blake3)
            if kept is not None:
                with closing(Source(part.size, None, kept)):
                    stored += read_all(kept, chunk.stored, chunk.offset)
            else:
                self.hauler.reader.read_range(part_key(part.blake3), chunk.offset, chunk.stored, stored.extend, total=part.size)
            found.append(decode_verified(bytes(stored), chunk, file.path))
        data = b"".join(found)
        if sha256_of(data) != file.sha256:
            raise _wrong(file, sha256_of(data))
        return data

    def _begin(self, manifest: Manifest, file: File) -> _Job:
        try:
            descriptor, temporary = self.shelf.begin()
        except OSError as error:
            raise self._full(error, file) from error
        chunks = Chunks(manifest, file, self.hauler)
        return _Job(chunks, Growing(descriptor, chunks.ends), temporary)

    def _full(self, error: OSError, file: File) -> DiskError:
        if is_disk_full(error):
            self.shelf.tell_full(error)
        return DiskError(f"{file.path} cannot be put together: {error.strerror}", hint="Give the mirror room.")

    def _work(self, job: _Job) -> None:
        chunks = job.chunks
        try:
            while not self._closed and (wanted := job.next()) is not None:
                index, upto = wanted
                plain = chunks.plain(index, upto)
                write_all(job.growing.descriptor, memoryview(plain), chunks.start(index))
                job.hash_up(index, plain)
                job.growing.mark(index)
            if job.growing.complete:
                self._keep(job)
        except ModelportError as error:
            if not isinstance(error, ObjectMissing):
                self.listen(Warned("upstream", f"{chunks.manifest.release}: {chunks.file.path}: {error}"))
            job.growing.fail(error)
        except OSError as error:
            job.growing.fail(self._full(error, chunks.file))
        finally:
            chunks.close()
            with self._lock:
                job.ended = True
                if self._jobs.get(chunks.file.sha256) is job:
                    del self._jobs[chunks.file.sha256]
            job.temporary.unlink(missing_ok=True)
            job.growing.fail(StoreUnavailable(f"{chunks.file.path} was not finished", hint="Ask again."))
            job.growing.close()

    def _keep(self, job: _Job) -> None:
        file, found = job.chunks.file, job.digest.hexdigest()
        if found != file.sha256:
            raise _wrong(file, found)
        try:
            self.shelf.keep(job.growing.descriptor, job.temporary, "files", file.sha256)
            self.shelf.tell_room()
        except OSError as error:
            # Who reads it has its bytes; the next one lets it be made again.
            self.shelf.tell_full(error)


class _Job:
    """One file being put together."""

    def __init__(self, chunks: Chunks, growing: Growing, temporary: Path) -> None:
        self.chunks = chunks
        self.growing = growing
        self.temporary = temporary
        self.digest = hashlib.sha256()
        self.ended = False
        self._wanted: list[tuple[int, int]] = []
        self._hashed = 0
        self._lock = threading.Lock()

    def want(self, start: int, end: int) -> bool:
        """Add a range to what is brought; False where the job is over."""
        with self._lock:
            if self.ended or not self.growing.use():
                return False
            # Whoever wants little comes first.
            self._wanted = sorted({*self._wanted, (start, end)}, key=lambda one: one[1] - one[0])
            return True

    def next(self) -> tuple[int, int] | None:
        """The chunk to bring next, and how far into the file it goes on; None when all that is wanted is there."""
        with self._lock:
            while self._wanted:
                start, end = self._wanted[0]
                index = self.growing.next_open(start, end)
                if index is not None:
                    self._wanted[0] = (self.chunks.start(index), end)
                    return index, end
                self._wanted.pop(0)
            size = self.growing.size
            index = self.growing.next_open(self._hashed_to(), size) if self.growing.share >= WORTH_FINISHING else None
            self.ended = index is None
            return None if index is None else (index, size)

    def hash_up(self, index: int, plain: bytes) -> None:
        """Take a chunk into the file's own digest, and those after it that were there before their turn."""
        if index != self._hashed:
            return
        self.digest.update(plain)
        self._hashed += 1
        chunks = self.chunks.file.chunks
        while self._hashed < len(chunks) and self.growing.is_done(self._hashed):
            self.digest.update(read_all(self.growing.descriptor, chunks[self._hashed].plain, self.chunks.start(self._hashed)))
            self._hashed += 1

    def _hashed_to(self) -> int:
        return self.chunks.ends[self._hashed - 1] if self._hashed else 0


def _wrong(file: File, found: str) -> DigestMismatch:
    return DigestMismatch(f"{file.path} has sha256 {found}, {file.sha256} was signed", hint="The release is not what it says.")
