"""One volume onto a medium: in order, every part verified on its way, under its final name only when it is whole.

Takes a plan, the number of a volume and an origin of bytes; gives what an earlier run had written of it. That is
hashed, and the first member that is not right is where this one goes on.

next: ``bundles.readback``
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bundles.hashing import Chain, member_fault
from bundles.index import INDEX, Bundle, Layout, gap_after
from bundles.medium import PARTIAL
from bundles.pouring import Origin, Pouring, Step
from bundles.tape import written_in_order
from bundles.ustar import BLOCK, TRAILER, filled, header_for
from pipeline.errors import ConflictError, DiskError, ModelportError, UsageError
from pipeline.steps.folders import disk_error

# fallocate(2): reserve, but let the file grow as it is written, for FAT would write zeros first.
_KEEP_SIZE = 1
_FALLOCATE = getattr(ctypes.CDLL(None, use_errno=True), "fallocate", None)
_NO_FALLOCATE = frozenset({errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL})


@dataclass(frozen=True, slots=True)
class Filled:
    """A volume that was written: ``kept`` bytes of members an earlier run had written; ``chain`` is its hash so far."""

    kept: int
    chain: Chain


def fill_volume(folder: Path, bundle: Bundle, number: int, origin: Origin, *, done: Callable[[int], None], step: Step) -> Filled:
    """Write volume ``number`` into ``folder``.

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
            kept, at = _take_up(fd, bundle, layout, done)
            if os.fstat(fd).st_size > layout.size:
                os.ftruncate(fd, layout.size)
            _reserve(fd, layout.size)
            chain = _write_from(fd, bundle, layout, at, Pouring(origin, done, step))
            step("settle")
            os.fsync(fd)
            step("rename")
            path.rename(final)
            sync_folder(folder)
    except OSError as error:
        raise volume_error(error, path, layout.size) from error
    return Filled(sum(placed.member.size for placed in layout.members[:kept]), chain)


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


def _take_up(fd: int, bundle: Bundle, layout: Layout, done: Callable[[int], None]) -> tuple[int, int]:
    """Hash what an earlier run wrote; gives how many members are right, from the first on, and where to go on."""
    index = _index_member(bundle, layout.number)
    if os.pread(fd, len(index), 0) != index:
        return 0, 0
    kept = at = 0
    for placed in layout.members:
        if member_fault(fd, placed):
            break
        kept += 1
        at = sum(gap_after(placed))
        done(placed.member.size)
    return kept, at


def _write_from(fd: int, bundle: Bundle, layout: Layout, at: int, pouring: Pouring) -> Chain:
    """Write all from ``at`` on; gives the sha256 of about the first third, if it was written here.

    The rest is hashed while it is read back: so the chain waits for a fast disk, and never the other way round.
    """
    hash_to = _after_a_third(layout)
    while True:
        members = [placed for placed in layout.members if placed.at > at]
        with written_in_order(fd, at, filling=pouring.ahead + 1, hash_to=hash_to) as tape:
            if not at:
                tape.write(_index_member(bundle, layout.number))
                # At once: whoever goes on after a kill learns from it what this volume is to be.
                tape.flush()
            wrong = pouring.pour(tape, members)
            if wrong is None:
                tape.write(bytes(TRAILER))
        if wrong is None:
            return tape.chain
        pouring.write_again(fd, wrong)
        at = sum(gap_after(wrong))


def _after_a_third(layout: Layout) -> int:
    """Where the first member begins that lies behind a third of the volume, or 0: reading back begins there."""
    return next((placed.at - BLOCK for placed in layout.members if placed.at > layout.size // 3), 0)


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
