"""Volumes: which bundle a medium holds, and where its members lie. Nothing that is read here is believed.

Takes folders, gives ``Medium``: the volumes found, by number, and what was wrong with others. Every byte of a
volume follows from its index and its members (docs/format.md §10), so this is no tar reader: headers are not
parsed but computed, and compared. There is no way to say link, device, sparse, PAX, or a name outside the plan.

next: ``frames``
"""

from __future__ import annotations

import hashlib
import os
import re
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from bundles.installer.faults import DiskError, IntegrityError, UsageError
from bundles.installer.folders import allow_open_files
from bundles.installer.index import INDEX_BYTES, Member, Plan, parse_index
from bundles.installer.strictjson import HINT

INDEX = "index.json"
BLOCK = 512
END = 1024
READ = 1 << 20
_PULLED = "Put the medium in again, or take another copy of the volume; then run it again."


class MediumFault(DiskError):
    """A medium cannot be read: pulled out, worn out, or not ours to read."""


class DamagedVolume(IntegrityError):
    """A volume is not what its index promises."""


@dataclass(frozen=True)
class Volume:
    """One volume, open for reading; ``offsets`` says where each member's bytes begin."""

    path: str
    fd: int
    number: int
    plan: Plan
    offsets: dict[str, int]

    def blocks(self, member: Member) -> Iterator[bytes]:
        """Yield a member's bytes; they are held against the index, so that rot is told apart from a lie.

        Raises:
            IntegrityError, DiskError
        """
        self.check_around(member)
        digest = hashlib.sha256()
        for at in range(0, member.size, READ):
            block = self._read(self.offsets[member.key] + at, min(READ, member.size - at))
            digest.update(block)
            yield block
        if digest.hexdigest() != member.sha256:
            raise self.damaged(f"{member.key} has sha256 {digest.hexdigest()}, expected {member.sha256}")

    def check_around(self, member: Member) -> None:
        """Refuse a volume whose header or filling of this member is not the one that follows from the index.

        Raises:
            IntegrityError, MediumFault
        """
        offset = self.offsets[member.key]
        self._expect(offset - BLOCK, header_of(member.key, member.size), member.key)
        self._expect(offset + member.size, bytes(-member.size % BLOCK), member.key)

    def range(self, member: Member, at: int, size: int) -> bytes:
        """Some bytes of a member, as they stand there.

        Raises:
            IntegrityError, DiskError
        """
        return self._read(self.offsets[member.key] + at, size)

    def document(self, member: Member) -> bytes:
        """All bytes of a small member."""
        return b"".join(self.blocks(member))

    def damaged(self, why: str) -> DamagedVolume:
        """The error that names this volume, and what can be done at a site that has Python alone."""
        parity = next((path for path in (self.path + ".par2", self.path + ".PAR2") if os.path.isfile(path)), "")
        mend = f", repair it as README.txt says (par2 repair {os.path.basename(parity)})" if parity else ""
        return DamagedVolume(
            f"volume {self.number} of {self.plan.name} ({self.path}) is damaged: {why}",
            f"Take another copy of it{mend}, or ask the sender for this volume alone: bundle.build --only {self.number}",
        )

    def close(self) -> None:
        """Let go of the file, so that the medium can be taken out."""
        os.close(self.fd)

    def _expect(self, offset: int, wanted: bytes, what: str) -> None:
        if wanted and self._read(offset, len(wanted)) != wanted:
            raise self.damaged(f"the header or filling of {what} is not what the index says")

    def _read(self, offset: int, size: int) -> bytes:
        data = _read_at(self.fd, offset, size, self.path)
        if len(data) != size:
            raise self.damaged(f"it ends after {offset + len(data)} bytes")
        return data


@dataclass
class Medium:
    """All volumes at hand, by number (copies side by side), and what was wrong with others."""

    volumes: dict[int, list[Volume]] = field(default_factory=dict)
    faults: list[IntegrityError | MediumFault] = field(default_factory=list)

    def all(self) -> Iterator[Volume]:
        """Every volume, by its number."""
        for number in sorted(self.volumes):
            yield from self.volumes[number]

    def close(self) -> None:
        """Let go of every file."""
        for volume in self.all():
            volume.close()


def header_of(key: str, size: int) -> bytes:
    """The 512 bytes before a member (POSIX.1-1988 ustar, every field fixed)."""
    prefix, name = "", key
    if len(key.encode()) > 100:
        prefix, _, name = key.rpartition("/")
    head = name.encode().ljust(100, b"\0") + b"0000644\0" + b"0000000\0" * 2 + b"%011o\0" % size + b"0" * 11 + b"\0"
    head += b" " * 8 + b"0" + bytes(100) + b"ustar\x0000" + bytes(80) + prefix.encode().ljust(155, b"\0") + bytes(12)
    return head[:148] + b"%06o\0 " % sum(head) + head[156:]


def find_volumes(folders: Sequence[str]) -> Medium:
    """Open every volume in ``folders`` (or a volume that is named itself).

    Raises:
        UsageError: there is none, or those of two bundles; or no such folder.
        DiskError: a folder cannot be read.
    """
    medium = Medium()
    paths = list(_candidates(folders))
    # Files that an installation has open beside the volumes, and some more.
    allow_open_files(len(paths) + 256)
    for path in paths:
        try:
            volume = open_volume(path)
        except (IntegrityError, MediumFault) as error:
            # What the other volumes hold can be had all the same.
            medium.faults.append(error)
            continue
        if volume is None:
            continue
        known = next(iter(medium.all()), None)
        if known is not None and known.plan.bundle != volume.plan.bundle:
            volume.close()
            medium.close()
            raise UsageError(
                f"volumes of two bundles are at hand: {known.plan.name} ({known.plan.bundle[:16]}, {known.path}) "
                f"and {volume.plan.name} ({volume.plan.bundle[:16]}, {path})",
                "Install one bundle at a time: give each its own folder.",
            )
        medium.volumes.setdefault(volume.number, []).append(volume)
    if not medium.volumes:
        if medium.faults:
            raise medium.faults[0]
        raise UsageError(
            f"no volume of a bundle lies in {', '.join(folders)}", "Name the folder with the .tar files: --from FOLDER"
        )
    return medium


def open_volume(path: str) -> Volume | None:
    """Open one file; None where it is no volume.

    Raises:
        IntegrityError: it begins as a volume and is none, or is not as long as its index says.
        DiskError
    """
    try:
        # Neither a link nor a device is a volume, and opening a FIFO would wait for ever.
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise _unreadable(error, f"{path} cannot be opened") from error
    try:
        found = os.fstat(fd)
        head = _read_at(fd, 0, BLOCK, path) if stat.S_ISREG(found.st_mode) else b""
        if head[:100].rstrip(b"\0") != INDEX.encode():
            os.close(fd)
            return None
        number, plan, size = _read_index(fd, head, path)
        offsets, end = _offsets(plan, number, size)
        _check_end(fd, found.st_size, end, f"volume {number} of {plan.name} ({path})")
    except (IntegrityError, DiskError):
        os.close(fd)
        raise
    return Volume(path, fd, number, plan, offsets)


def _check_end(fd: int, size: int, end: int, what: str) -> None:
    if size != end:
        raise IntegrityError(
            f"{what} has {size} bytes, expected {end}",
            "It was not copied to its end, or altered: take another copy of this volume.",
        )
    if _read_at(fd, end - END, END, what) != bytes(END):
        raise IntegrityError(f"{what} does not end as a volume does", HINT)


def _candidates(folders: Sequence[str]) -> Iterator[str]:
    for folder in folders:
        try:
            if not stat.S_ISDIR(os.stat(folder).st_mode):
                yield folder
                continue
            with os.scandir(folder) as listing:
                # Tools of other systems write names in capitals.
                volumes = [entry for entry in listing if entry.name.lower().endswith(".tar")]
                found = sorted(entry.path for entry in volumes if entry.is_file(follow_symlinks=False))
        except (FileNotFoundError, NotADirectoryError) as error:
            raise UsageError(f"there is no folder {folder}", "Name the folder with the volumes: --from FOLDER") from error
        except OSError as error:
            raise _unreadable(error, f"{folder} cannot be read") from error
        yield from found


def _read_index(fd: int, head: bytes, path: str) -> tuple[int, Plan, int]:
    digits = head[124:135]
    size = int(digits, 8) if re.fullmatch(rb"[0-7]{11}", digits) else -1
    if not 0 < size <= INDEX_BYTES or head != header_of(INDEX, size):
        raise IntegrityError(f"{path} does not begin as a volume does", HINT)
    return (*parse_index(_read_at(fd, BLOCK, size, path), f"the index of {path}"), size)


def _offsets(plan: Plan, number: int, index_size: int) -> tuple[dict[str, int], int]:
    at = BLOCK + index_size + -index_size % BLOCK
    offsets = {}
    for member in (*plan.documents, *plan.volumes[number - 1]):
        offsets[member.key] = at + BLOCK
        at += BLOCK + member.size + -member.size % BLOCK
    return offsets, at + END


def _read_at(fd: int, offset: int, size: int, path: str) -> bytes:
    """``size`` bytes, or fewer where the file ends."""
    blocks = []
    try:
        while size > 0:
            block = os.pread(fd, size, offset)
            if not block:
                break
            blocks.append(block)
            offset += len(block)
            size -= len(block)
    except OSError as error:
        raise _unreadable(error, f"{path} cannot be read") from error
    return blocks[0] if len(blocks) == 1 else b"".join(blocks)


def _unreadable(error: OSError, what: str) -> MediumFault:
    hint = "Check who may read it." if isinstance(error, PermissionError) else _PULLED
    return MediumFault(f"{what}: {error.strerror or error}", hint)
