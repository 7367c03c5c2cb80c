"""One part on its way from the upstream: hashed as it comes, shown piece by piece, kept when it is whole.

Takes blocks and what signed manifests say of the part; gives a verified file under its name. A long part comes by several
requests, each for a run of its pieces. Where the disk is full it goes on in memory. When wrong bytes came a run can
begin again: what was shown is never written a second time.

next: ``hauling``
"""

from __future__ import annotations

import os
import threading
from contextlib import suppress
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Protocol

import blake3

from bundles.site.growing import Growing
from bundles.site.shelf import Shelf, blake3_of_file, is_disk_full
from pipeline.digest import blake3_of
from pipeline.errors import DigestMismatch

COPY_BYTES = 4 << 20
# A shorter run of pieces is not worth a request of its own.
SEGMENT_BYTES = 6 << 20


@dataclass(frozen=True, slots=True)
class Shape:
    """What signed manifests say of a part: its pieces in order, as (end, blake3 of the stored bytes); "" for a gap."""

    size: int
    pieces: tuple[tuple[int, str], ...]


@dataclass
class Tally:
    """What came from the upstream."""

    transfers: int = 0
    bytes: int = 0


class Owner(Protocol):
    """Who lets a part come: its shelf, its count, and its memory."""

    shelf: Shelf
    tally: Tally

    def memory(self, size: int) -> int:
        """A file in memory for so many bytes."""
        ...


class Landing:
    """Where a part lands: a temporary file, or memory when the disk takes no more. Several transfers may write at once."""

    def __init__(self, owner: Owner, name: str, shape: Shape, growing: Growing, temporary: Path | None) -> None:
        self.name = name
        self.shape = shape
        self.growing = growing
        self.owner = owner
        self.temporary = temporary
        self.in_memory = 0 if temporary else shape.size
        self.is_proven = False
        self._lock = threading.Lock()

    def write(self, piece: int, view: memoryview, at: int) -> None:
        """Write bytes of a piece; what others may be reading is never written again.

        Raises:
            OSError
        """
        with self._lock:
            if self.growing.is_done(piece):
                return
            try:
                write_all(self.growing.descriptor, view, at)
            except OSError as error:
                if self.temporary is None or not is_disk_full(error):
                    raise
                self.owner.shelf.tell_full(error)
                self._leave_disk()
                write_all(self.growing.descriptor, view, at)

    def prove(self) -> None:
        """Hold the whole against its name.

        Raises:
            DigestMismatch
        """
        found = blake3_of_file(self.growing.descriptor)
        if found != self.name:
            raise wrong_name(self.name, found)
        self.is_proven = True

    def keep(self) -> None:
        """Give it its name, and only then show that it is whole: who asks now finds it kept."""
        if self.temporary is not None:
            try:
                self.owner.shelf.keep(self.growing.descriptor, self.temporary, "parts", self.name)
                self.owner.shelf.tell_room()
            except OSError as error:
                self.owner.shelf.tell_full(error)
        self.growing.mark(*range(len(self.shape.pieces)))

    def close(self) -> None:
        """Leave no temporary name behind."""
        if self.temporary is not None:
            with suppress(OSError):
                self.temporary.unlink(missing_ok=True)

    def _leave_disk(self) -> None:
        """Go on in memory, with what came so far; the disk has its room back when the last reader left."""
        memory, before = self.owner.memory(self.shape.size), self.growing.descriptor
        self.in_memory = self.shape.size
        size = os.fstat(before).st_size
        for at in range(0, size, COPY_BYTES):
            write_all(memory, memoryview(os.pread(before, min(COPY_BYTES, size - at), at)), at)
        self.growing.move_to(memory)
        self.close()
        self.temporary = None


class Transfer:
    """The pieces ``first`` up to ``end`` of a part as they come, each held against its digest, and shown."""

    def __init__(self, landing: Landing, first: int, end: int) -> None:
        pieces = landing.shape.pieces
        self.start = pieces[first - 1][0] if first else 0
        self.end = pieces[end - 1][0]
        self._first = first
        self._landing = landing
        self.begin_again()

    def begin_again(self) -> None:
        """Distrust all that came; what was shown stays as it is."""
        self.at = self.start
        self._piece = self._first
        self._hasher = blake3.blake3()
        self._new: list[int] = []

    def take(self, block: memoryview) -> None:
        """Take bytes as they come."""
        landing = self._landing
        landing.owner.tally.bytes += len(block)
        done = 0
        while done < len(block):
            end, digest = landing.shape.pieces[self._piece]
            bytes_ = block[done : done + end - self.at]
            if digest:
                self._hasher.update(bytes_)
            landing.write(self._piece, bytes_, self.at)
            self.at += len(bytes_)
            done += len(bytes_)
            if self.at == end:
                self._end_piece(digest)
        if self._new:
            landing.growing.mark(*self._new)
            self._new = []

    def _end_piece(self, digest: str) -> None:
        if digest:
            found = self._hasher.hexdigest()
            if found != digest:
                raise DigestMismatch(
                    f"part {self._landing.name}: the bytes up to {self.at} have blake3 {found}, expected {digest}",
                    hint="The upstream, or something on the way, alters bytes.",
                )
            self._hasher = blake3.blake3()
            self._new.append(self._piece)
        self._piece += 1


def segments(shape: Shape, most: int) -> list[tuple[int, int]]:
    """Runs of pieces, as (first, end), of about one length, at most ``most``, none much shorter than ``SEGMENT_BYTES``."""
    count = max(1, min(most, shape.size // SEGMENT_BYTES))
    cuts, piece = [0], 0
    for number in range(1, count):
        while piece < len(shape.pieces) - 1 and shape.pieces[piece][0] < shape.size * number // count:
            piece += 1
        cuts.append(piece + 1)
    ends = sorted({*cuts, len(shape.pieces)})
    return list(pairwise(ends))


def write_all(descriptor: int, view: memoryview, at: int) -> None:
    """Write all of ``view`` at ``at``.

    Raises:
        OSError
    """
    done = 0
    while done < len(view):
        done += os.pwrite(descriptor, view[done:], at + done)


def read_all(descriptor: int, size: int, at: int) -> bytes:
    """Read exactly so many bytes; they are known to be there.

    Raises:
        OSError
    """
    data = os.pread(descriptor, size, at)
    if len(data) != size:
        raise OSError(f"{len(data)} of {size} bytes are there")
    return data


def digest_of(data: bytes) -> str:
    """The name of these bytes."""
    return str(blake3_of(data))


def wrong_name(name: str, found: str) -> DigestMismatch:
    """The error of a part that is not what its name says."""
    return DigestMismatch(f"part {name} has blake3 {found}", hint="The upstream, or something on the way, alters bytes.")
