"""A folder on a medium and the volumes in it: each known by its index, whatever it is called and wherever it lies.

Takes folders, gives a ``Medium``: one bundle, which of its volumes are there, and what is wrong with the rest. Only headers
and indexes are read here; bytes of members are for whoever asks for them.

next: ``bundles.reader``
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bundles.index import INDEX, INDEX_BYTES, Bundle, Layout, decode_index
from bundles.ustar import BLOCK, stated_size
from pipeline.errors import AccessDenied, DiskError, InvalidDocument, ModelportError, UsageError

ENDING = ".tar"
# Behind the name of a volume, or of anything else, that is being written.
PARTIAL = ".partial"
# NONBLOCK: a FIFO that was planted must not make the opening wait. The folder is the owner's choice, a link in it is not.
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_GONE = frozenset({errno.EIO, errno.ENODEV, errno.ENXIO, errno.ENOMEDIUM, errno.ESTALE})


@dataclass(frozen=True, slots=True)
class Volume:
    """A file that is a volume by its index and its size; the rest of it is not yet looked at."""

    path: Path
    bundle: Bundle
    layout: Layout


@dataclass(frozen=True, slots=True)
class Unusable:
    """A file that should be a volume and is none: ``reason`` says why; ``number`` where it says which one it was."""

    path: Path
    reason: str
    number: int = 0


@dataclass(frozen=True, slots=True)
class Medium:
    """What folders hold of one bundle: ``volumes`` by number, each with every copy that was found."""

    folders: tuple[Path, ...]
    bundle: Bundle
    volumes: dict[int, tuple[Volume, ...]]
    unusable: tuple[Unusable, ...]

    @property
    def missing(self) -> list[int]:
        """Numbers of the volumes that are in none of the folders."""
        return [number for number in self.bundle.numbers() if number not in self.volumes]


def is_medium(folder: Path) -> bool:
    """Tell whether ``folder`` holds a volume; what cannot be read holds none."""
    try:
        return any(_begins_as_volume(path) for path in _candidates(folder))
    except (OSError, ModelportError):
        return False


def open_medium(folders: Sequence[Path]) -> Medium:
    """Look at every file that may be a volume.

    Raises:
        UsageError: there is no volume at all, or there are volumes of two bundles.
        InvalidDocument: files look like volumes, and not one is whole.
        AccessDenied, DiskError
    """
    volumes: dict[int, tuple[Volume, ...]] = {}
    unusable: list[Unusable] = []
    first: Volume | None = None
    for folder in folders:
        for path in _candidates(folder):
            found = open_volume(path, known=first.bundle if first else None)
            if found is None:
                continue
            if isinstance(found, Unusable):
                unusable.append(found)
                continue
            first = first or found
            if found.bundle.id != first.bundle.id:
                raise UsageError(
                    f"{first.path} is of bundle {first.bundle.plan.name} ({first.bundle.id[:12]}), "
                    f"{path} of bundle {found.bundle.plan.name} ({found.bundle.id[:12]})",
                    hint="Keep each bundle in a folder of its own.",
                )
            volumes[found.layout.number] = (*volumes.get(found.layout.number, ()), found)
    told = ", ".join(str(folder) for folder in folders)
    if first is None and unusable:
        raise InvalidDocument(f"{unusable[0].path} is no whole volume: {unusable[0].reason}", hint="Take another copy of it.")
    if first is None:
        raise UsageError(
            f"there is no volume of a bundle in {told}",
            hint="Volumes are files such as bert-v2.1.0.vol001.tar; links to them do not count.",
        )
    return Medium(tuple(folders), first.bundle, dict(sorted(volumes.items())), tuple(unusable))


def open_volume(path: Path, *, known: Bundle | None = None) -> Volume | Unusable | None:
    """Read a file's index; None where it is no volume at all. ``known`` spares reading the same plan again.

    Raises:
        AccessDenied, DiskError
    """
    with opened(path) as (fd, size):
        index = _index_bytes(fd, path)
        if index is None:
            return None
        if len(index) == 0:
            return Unusable(path, "it ends within its index")
        try:
            number = _number(known, index) if known else 0
            bundle = known
            if bundle is None or not number:
                bundle, number = decode_index(index, what=f"the index of {path}")
            layout = bundle.layout(number)
        except InvalidDocument as error:
            return Unusable(path, str(error))
        if size != layout.size:
            return Unusable(path, f"it has {size} bytes, expected {layout.size}", layout.number)
        return Volume(path, bundle, layout)


def read_bundle(path: Path) -> Bundle | None:
    """The bundle that a file's index is of, whatever else is in it; None where it has no index that is right.

    Raises:
        AccessDenied, DiskError
    """
    with opened(path) as (fd, _):
        index = _index_bytes(fd, path)
        try:
            return decode_index(index, what=f"the index of {path}")[0] if index else None
        except InvalidDocument:
            return None


def _number(known: Bundle, index: bytes) -> int:
    """The number of the volume whose index these bytes are, if it is of this bundle; else 0."""
    if not index.startswith(known.head):
        return 0
    digits = index[len(known.head) :].removesuffix(b"}\n")
    number = int(digits) if digits.isdigit() and len(digits) <= 4 else 0
    return number if number in known.numbers() and known.index(number) == index else 0


def _begins_as_volume(path: Path) -> bool:
    with opened(path) as (fd, _):
        return stated_size(_read(fd, path, 0, BLOCK), INDEX) is not None


def _index_bytes(fd: int, path: Path) -> bytes | None:
    size = stated_size(_read(fd, path, 0, BLOCK), INDEX)
    if size is None or size > INDEX_BYTES:
        return None
    data = _read(fd, path, BLOCK, size)
    return data if len(data) == size else b""


def is_volume_name(name: str) -> bool:
    """Tell whether a file of this name may be a volume: tools of other systems write names in capitals."""
    return name.lower().endswith(ENDING)


def standing(folder: Path, name: str) -> Path:
    """Where a file stands that is to be ``name`` in ``folder``: under that name, or the only one that differs in its capitals.

    ``name`` may lead into folders below. Where nothing stands, or two do, it is the name itself.
    """
    path = folder
    for part in name.split("/"):
        exact = path / part
        try:
            near = [] if os.path.lexists(exact) else [one.name for one in path.iterdir() if one.name.lower() == part.lower()]
        except (OSError, ValueError):
            near = []
        path = path / near[0] if len(near) == 1 else exact
    return path


def _candidates(folder: Path) -> Iterator[Path]:
    try:
        names = sorted(
            entry.name for entry in os.scandir(folder) if is_volume_name(entry.name) and not entry.name.startswith(".")
        )
    except OSError as error:
        raise medium_error(error, folder) from error
    for name in names:
        path = folder / name
        if stat.S_ISREG(os.lstat(path).st_mode):
            yield path


@contextmanager
def opened(path: Path) -> Iterator[tuple[int, int]]:
    """A descriptor of a regular file and its bytes.

    Raises:
        UsageError: it is no regular file.
        AccessDenied, DiskError
    """
    try:
        fd = os.open(path, _FILE)
    except OSError as error:
        raise medium_error(error, path) from error
    try:
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode):
            raise UsageError(f"{path} is no regular file", hint="Copy the volumes as files.")
        yield fd, status.st_size
    finally:
        os.close(fd)


def _read(fd: int, path: Path, at: int, size: int) -> bytes:
    blocks = []
    while size > 0:
        try:
            block = os.pread(fd, min(size, 1 << 20), at)
        except OSError as error:
            raise medium_error(error, path) from error
        if not block:
            break
        blocks.append(block)
        at, size = at + len(block), size - len(block)
    return b"".join(blocks)


def medium_error(error: OSError, path: Path) -> ModelportError:
    """What an error of the system on a medium means for a person."""
    if error.errno in {errno.EACCES, errno.EPERM}:
        return AccessDenied(f"{path}: {error.strerror}", hint="Check who may read the medium.")
    if error.errno in {errno.ENOENT, errno.ENOTDIR}:
        return UsageError(f"{path}: there is no such file or folder", hint="Name the folder that holds the volumes.")
    if error.errno == errno.ELOOP:
        return UsageError(f"{path} is a link, which is not followed", hint="Copy the volumes as files.")
    if error.errno in _GONE:
        return DiskError(
            f"{path}: {error.strerror}: the medium was pulled out or is failing",
            hint="Put it in again, or take another copy; what was done stays done.",
        )
    return DiskError(f"{path}: {error.strerror or error}", hint="Check the medium, then run it again.")
