"""One volume onto a medium: in order, every part verified on its way, under its final name only when it is whole.

Takes a plan, the number of a volume and an origin of bytes; gives what an earlier run had written of it. That is
hashed, and the first member that is not right is where this one goes on.

next: ``bundles.readback``
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import hashlib
import os
import stat
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from typing import NamedTuple

import blake3 as _blake3
from typing_extensions import Buffer

from bundles.hashing import member_fault
from bundles.index import INDEX, Bundle, Layout, Member, Placed, gap_after
from bundles.medium import PARTIAL
from bundles.ustar import TRAILER, filled, header_for
from pipeline.errors import ConflictError, DigestMismatch, DiskError, ModelportError, UsageError
from pipeline.layout import part_name
from pipeline.retry import Retry
from pipeline.steps.folders import disk_error
from pipeline.steps.replicate import ALTERED_READS, RangeReader
from pipeline.workers import in_order, threads

PIECE_BYTES = 8 << 20
# Pieces in memory at once, whatever --connections says.
MOST_PIECES = 12
# fallocate(2): reserve, but let the file grow as it is written, for FAT would write zeros first.
_KEEP_SIZE = 1
_FALLOCATE = getattr(ctypes.CDLL(None, use_errno=True), "fallocate", None)
_NO_FALLOCATE = frozenset({errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL})
# sync_file_range(2); only Linux has it.
_SYNC_RANGE = getattr(ctypes.CDLL(None, use_errno=True), "sync_file_range", None)
_SYNC_WRITE = 2

Step = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Origin:
    """Where bytes come from: documents that no digest names are ``given``, all else is read from ``source``."""

    source: RangeReader
    given: Mapping[str, bytes]
    retry: Retry
    connections: int


class _Piece(NamedTuple):
    placed: Placed
    start: int
    size: int


def fill_volume(folder: Path, bundle: Bundle, number: int, origin: Origin, *, done: Callable[[int], None], step: Step) -> int:
    """Write volume ``number`` into ``folder``; gives the bytes of members that an earlier run had written.

    ``done`` hears the bytes of members as they stand there.

    Raises:
        DigestMismatch: every source gives other bytes than were signed.
        DiskError: no space, a file too large for the file system, a medium that is gone.
        ObjectMissing, UnavailableError, AccessDenied
    """
    layout = bundle.layout(number)
    final = folder / bundle.file_name(number)
    path = folder / (final.name + PARTIAL)
    step("open")
    try:
        with _opened(path) as fd:
            tape = _Tape(fd)
            kept = _take_up(tape, bundle, layout, done)
            if os.fstat(fd).st_size > layout.size:
                os.ftruncate(fd, layout.size)
            _reserve(fd, layout.size)
            if not kept:
                tape.at = 0
                tape.write(_index_member(bundle, number))
            _pour(tape, layout.members[kept:], origin, done, step)
            tape.write(bytes(TRAILER))
            step("settle")
            os.fsync(fd)
            step("rename")
            path.rename(final)
            sync_folder(folder)
    except OSError as error:
        raise volume_error(error, path, layout.size) from error
    return sum(placed.member.size for placed in layout.members[:kept])


def volume_error(error: OSError, path: Path, size: int) -> ModelportError:
    """What an error of the system means while a volume of ``size`` bytes is written."""
    if error.errno == errno.EFBIG:
        return DiskError(
            f"{path}: the file system takes no file of {size} bytes",
            hint="Build with a smaller --volume-size; for FAT32: --volume-size usb-fat32",
        )
    if error.errno == errno.ELOOP:
        return UsageError(f"{path} is a link, which is not followed", hint="Remove it, or choose another folder with --to.")
    if error.errno == errno.EROFS:
        return DiskError(f"{path}: {error.strerror}", hint="Switch the medium's write protection off, or choose another --to.")
    if error.errno in {errno.EIO, errno.ENODEV, errno.ENXIO}:
        return DiskError(
            f"{path}: {error.strerror}: the medium was pulled out or is failing",
            hint="Put it in again, or use another: a new run goes on where this one stopped.",
        )
    return disk_error(error, path, needed=size)


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable, where its file system can."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
    finally:
        os.close(fd)


class _Tape:
    """A file that is written in order, from ``at`` on."""

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self.at = 0
        self._begun = 0

    def write(self, block: Buffer) -> None:
        """Append."""
        view = memoryview(block)
        while view:
            written = os.pwrite(self.fd, view, self.at)
            view, self.at = view[written:], self.at + written
        if _SYNC_RANGE is not None and self.at - self._begun >= PIECE_BYTES:
            # Only a hint, so that fsync has little left to wait for: what fails here fails there, where it is told.
            _SYNC_RANGE(self.fd, ctypes.c_int64(self._begun), ctypes.c_int64(self.at - self._begun), ctypes.c_uint(_SYNC_WRITE))
            self._begun = self.at


@contextmanager
def _opened(path: Path) -> Iterator[int]:
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, 0o644)
    try:
        found = os.fstat(fd)
        if not stat.S_ISREG(found.st_mode) or found.st_nlink != 1:
            raise UsageError(
                f"{path} is in the way: it is no file of its own", hint="Remove it, or choose another folder with --to."
            )
        yield fd
    finally:
        os.close(fd)


@contextmanager
def locked_folder(folder: Path) -> Iterator[None]:
    """Keep other builds out of a folder for the length of the block.

    Raises:
        ConflictError: one is at work there.
        DiskError
    """
    try:
        fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise volume_error(error, folder, 0) from error
    try:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ConflictError(
                f"another build writes to {folder} just now", hint="Wait until it is done, or choose another folder with --to."
            ) from None
        yield
    finally:
        os.close(fd)


def _take_up(tape: _Tape, bundle: Bundle, layout: Layout, done: Callable[[int], None]) -> int:
    """Hash what an earlier run wrote, and stand behind it; gives how many members are right, from the first on."""
    index = _index_member(bundle, layout.number)
    if os.pread(tape.fd, len(index), 0) != index:
        return 0
    kept = 0
    tape.at = len(index)
    for placed in layout.members:
        if member_fault(tape.fd, placed):
            break
        kept += 1
        tape.at = sum(gap_after(placed))
        done(placed.member.size)
    return kept


def _index_member(bundle: Bundle, number: int) -> bytes:
    index = bundle.index(number)
    return header_for(INDEX, len(index)) + index + bytes(filled(len(index)) - len(index))


def _reserve(fd: int, size: int) -> None:
    """Learn now, not after gigabytes, that there is no room or that the file system takes no such file."""
    if _FALLOCATE is None or _FALLOCATE(fd, _KEEP_SIZE, ctypes.c_int64(0), ctypes.c_int64(size)) == 0:
        return
    code = ctypes.get_errno()
    if code not in _NO_FALLOCATE:
        raise OSError(code, os.strerror(code))


def _pour(tape: _Tape, members: tuple[Placed, ...], origin: Origin, done: Callable[[int], None], step: Step) -> None:
    """Write members in order, read ahead by several connections."""
    pieces = [
        _Piece(placed, start, min(PIECE_BYTES, placed.member.size - start))
        for placed in members
        if placed.member.key not in origin.given
        for start in range(0, placed.member.size, PIECE_BYTES)
    ]
    ahead = max(2, min(origin.connections, MOST_PIECES))
    # Each piece under way has its own, so that none waits for another's: those ahead, and the one that is written.
    memory: SimpleQueue[bytearray] = SimpleQueue()
    for _ in range(min(len(pieces), ahead + 2)):
        memory.put(bytearray(PIECE_BYTES))

    def read(piece: _Piece) -> bytearray | ModelportError:
        held = memory.get()
        try:
            _read_piece(origin, piece, memoryview(held))
        except ModelportError as error:
            memory.put(held)
            # Kept for its turn: what comes before it is written yet, so that the next run goes on from there.
            return error
        return held

    with threads(ahead, "read") as pool:
        arriving = in_order(pool, read, pieces, ahead=ahead)
        for placed in members:
            member = placed.member
            step("member")
            given = origin.given.get(member.key)
            tape.write(header_for(member.key, member.size))
            if given is not None:
                tape.write(given)
            else:
                _write_member(tape, member, arriving, memory, origin)
            tape.write(bytes(gap_after(placed)[1]))
            done(member.size)


def _write_member(
    tape: _Tape, member: Member, arriving: Iterator[bytearray | ModelportError], memory: SimpleQueue[bytearray], origin: Origin
) -> None:
    begin = tape.at
    digest = _digest_of(member)
    for start in range(0, member.size, PIECE_BYTES):
        held = next(arriving)
        if isinstance(held, ModelportError):
            raise held
        block = memoryview(held)[: min(PIECE_BYTES, member.size - start)]
        tape.write(block)
        digest.update(block)
        memory.put(held)
    if digest.hexdigest() != _expected(member):
        tape.at = begin
        _write_again(tape, member, origin)


def _write_again(tape: _Tape, member: Member, origin: Origin) -> None:
    """Read a member whose bytes were wrong once more as a whole, so that its source learns that it brought them."""
    begin = tape.at
    altered = 0
    while True:
        tape.at = begin
        digest = _digest_of(member)

        def take(block: memoryview, digest: _blake3.blake3 | hashlib._Hash = digest) -> None:
            digest.update(block)
            tape.write(block)
            if tape.at == begin + member.size and digest.hexdigest() != _expected(member):
                raise DigestMismatch(
                    f"{member.key}: {digest.name} {digest.hexdigest()}, expected {_expected(member)}",
                    hint="The source, or something on the way, alters bytes: try another source.",
                )

        try:
            origin.source.read_range(member.key, 0, member.size, take, total=member.size)
        except DigestMismatch:
            altered += 1
            if altered > ALTERED_READS:
                raise
        else:
            return


def _read_piece(origin: Origin, piece: _Piece, memory: memoryview) -> None:
    member = piece.placed.member
    at = failed = 0

    def take(block: memoryview) -> None:
        nonlocal at
        memory[at : at + len(block)] = block
        at += len(block)

    while at < piece.size:
        before = at
        try:
            origin.source.read_range(member.key, piece.start + at, piece.size - at, take, total=member.size)
        except ModelportError as error:
            # Bytes that came are progress: only failures without any count towards giving up.
            failed = 1 if at > before else failed + 1
            origin.retry.pause(error, failed=failed, what=f"get {member.key}")


def _digest_of(member: Member) -> _blake3.blake3 | hashlib._Hash:
    return _blake3.blake3() if part_name(member.key) else hashlib.sha256()


def _expected(member: Member) -> str:
    return part_name(member.key) or member.sha256
