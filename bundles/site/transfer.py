"""One part on its way from the upstream: hashed as it comes, shown piece by piece, kept when it is whole.

Takes blocks in order and what signed manifests say of the part; gives a verified file under its name. Where the disk is
full it goes on in memory. When wrong bytes came it can begin again: what was shown is never written a second time.

next: ``hauling``
"""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import blake3

from bundles.site.growing import Growing
from bundles.site.shelf import Shelf, is_disk_full
from pipeline.digest import blake3_of
from pipeline.errors import DigestMismatch

COPY_BYTES = 4 << 20


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


class Transfer:
    """One transfer: where it is, and what it hashed."""

    def __init__(self, owner: Owner, name: str, shape: Shape, growing: Growing, temporary: Path | None) -> None:
        self._owner = owner
        self._name = name
        self._shape = shape
        self._growing = growing
        self.temporary = temporary
        self.in_memory = 0 if temporary else shape.size
        self.whole_is_proven = False
        self.begin_again()

    def begin_again(self) -> None:
        """Distrust all that came; what was shown stays as it is."""
        self.at = 0
        self._piece = 0
        self._whole = blake3.blake3()
        self._hasher = blake3.blake3()
        self._new: list[int] = []

    def take(self, block: memoryview) -> None:
        """Take bytes as they come; what ends a piece is held against its digest, and shown."""
        self._owner.tally.bytes += len(block)
        self._whole.update(block)
        done = 0
        while done < len(block):
            end, digest = self._shape.pieces[self._piece]
            bytes_ = block[done : done + end - self.at]
            if digest:
                self._hasher.update(bytes_)
            # What others may be reading is never written again.
            if not self._growing.is_done(self._piece):
                self._write(bytes_)
            self.at += len(bytes_)
            done += len(bytes_)
            if self.at == end:
                self._end_piece(digest)
        if self._new:
            self._growing.mark(*self._new)
            self._new = []

    def _end_piece(self, digest: str) -> None:
        if digest:
            found = self._hasher.hexdigest()
            if found != digest:
                raise DigestMismatch(
                    f"part {self._name}: the bytes up to {self.at} have blake3 {found}, expected {digest}",
                    hint="The upstream, or something on the way, alters bytes.",
                )
            self._hasher = blake3.blake3()
            self._new.append(self._piece)
        self._piece += 1

    def end(self) -> None:
        """Hold the whole against its name."""
        found = self._whole.hexdigest()
        if found != self._name:
            raise wrong_name(self._name, found)
        self.whole_is_proven = True

    def keep(self) -> None:
        """Give it its name, and only then show that it is whole: who asks now finds it kept."""
        if self.temporary is not None:
            try:
                self._owner.shelf.keep(self._growing.descriptor, self.temporary, "parts", self._name)
                self._owner.shelf.tell_room()
            except OSError as error:
                self._owner.shelf.tell_full(error)
        self._growing.mark(*range(len(self._shape.pieces)))

    def close(self) -> None:
        """Leave no temporary name behind."""
        if self.temporary is not None:
            with suppress(OSError):
                self.temporary.unlink(missing_ok=True)

    def _write(self, view: memoryview) -> None:
        try:
            write_all(self._growing.descriptor, view, self.at)
        except OSError as error:
            if self.temporary is None or not is_disk_full(error):
                raise
            self._owner.shelf.tell_full(error)
            self._leave_disk()
            write_all(self._growing.descriptor, view, self.at)

    def _leave_disk(self) -> None:
        """Go on in memory, with what came so far, and give the disk its room back."""
        memory = self._owner.memory(self._shape.size)
        self.in_memory = self._shape.size
        for at in range(0, self.at, COPY_BYTES):
            write_all(memory, memoryview(os.pread(self._growing.descriptor, min(COPY_BYTES, self.at - at), at)), at)
        self._growing.move_to(memory)
        self.close()
        self.temporary = None


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
