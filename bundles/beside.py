"""What stands beside the volumes, written whole: installer, README.txt, wheels, and the digests of everything.

Takes a folder with volumes and what travels with them; gives the installer's digest.

next: ``bundles.recipes``
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from bundles.filling import sync_folder, volume_error
from bundles.hashing import drop_cache
from bundles.index import Bundle
from bundles.medium import PARTIAL, medium_error, opened
from bundles.parity import parity_files
from bundles.side_files import INSTALLER, README, SUMS, WHEELS, read_sums, readme_text, sums_text
from pipeline.digest import Sha256, sha256_of
from pipeline.errors import OtherContent, UsageError, VerifyFailed

_IS_README = re.compile(rb"^Bundle [0-9a-f]{64}\s", re.MULTILINE)
_IS_SUMS = re.compile(rb"^[0-9a-f]{64} [ *]install\.pyz\s", re.MULTILINE | re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Beside:
    """What travels with volumes: the installer, and wheels by file name."""

    installer: bytes
    wheels: Mapping[str, Path]


def lay_beside(to: Path, bundle: Bundle, extra: Beside, *, needs_codec: bool, parity: bool) -> Sha256:
    """Write installer, README and wheels into the folder; gives the installer's digest.

    Raises:
        DiskError
    """
    installer = sha256_of(extra.installer)
    readme = readme_text(
        bundle,
        installer_sha256=installer,
        needs_codec=needs_codec,
        wheels=bool(extra.wheels),
        parity=parity,
    )
    write_whole(to / INSTALLER, extra.installer)
    write_whole(to / README, readme.encode())
    if extra.wheels:
        make_folder(to / WHEELS)
    for name, path in extra.wheels.items():
        write_whole(to / WHEELS / name, path.read_bytes())
    return installer


def refuse_others(to: Path) -> None:
    """Refuse a folder without volumes whose README.txt or SHA256SUMS are somebody's own.

    Raises:
        OtherContent, AccessDenied, DiskError
    """
    for name, ours in ((README, _IS_README), (SUMS, _IS_SUMS)):
        path = to / name
        # A link or a pipe is nobody's work, and is not written through.
        if not path.is_file() or path.is_symlink():
            continue
        try:
            data = path.read_bytes()
        except OSError as error:
            raise medium_error(error, path) from error
        if data and not ours.search(data):
            raise OtherContent(
                f"{path} is not of a bundle, and would be written over",
                hint="Choose an empty folder with --to, or move it away.",
            )


def beside_bytes(to: Path, extra: Beside) -> int:
    """Bytes of what is to stand beside the volumes and is not there yet."""
    wanted = {INSTALLER: len(extra.installer)} | {f"{WHEELS}/{name}": path.stat().st_size for name, path in extra.wheels.items()}
    return sum(size for name, size in wanted.items() if not (to / name).is_file() or (to / name).stat().st_size != size)


def make_folder(to: Path) -> None:
    """Make a folder where there is none.

    Raises:
        UsageError: a file stands there.
        DiskError
    """
    try:
        to.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError):
        raise UsageError(f"{to} is not a folder", hint="Choose another folder with --to.") from None
    except OSError as error:
        raise volume_error(error, to, 0) from error


def write_sums(to: Path, bundle: Bundle, fresh: Mapping[str, Sha256]) -> None:
    """Write the digests of all that stands in the folder; of volumes that this run did not touch, those it had.

    Raises:
        VerifyFailed: the medium gives back other bytes than were written beside the volumes.
        DiskError
    """
    path = to / SUMS
    before = read_sums(path.read_text("utf-8", errors="replace")) if path.is_file() else {}
    sums: dict[str, Sha256] = {}
    for number in bundle.numbers():
        name = bundle.file_name(number)
        if (to / name).is_file():
            sums[name] = fresh.get(name) or before.get(name) or _sha256_of_file(to / name)
            sums |= {found.name: _read_back(found) for found in parity_files(to / name)}
    sums |= {name: _read_back(to / name) for name in (INSTALLER, README)}
    for wheel in sorted((to / WHEELS).glob("*.whl")):
        sums[f"{WHEELS}/{wheel.name}"] = _read_back(wheel)
    write_whole(path, sums_text(sums).encode())


def _sha256_of_file(path: Path) -> Sha256:
    with path.open("rb") as file:
        return Sha256(hashlib.file_digest(file, "sha256").hexdigest())


def _read_back(path: Path) -> Sha256:
    """The digest of a synced file, as memory has it and as the medium gives it."""
    try:
        written = _sha256_of_file(path)
        with opened(path) as (fd, _):
            drop_cache(fd)
        given = _sha256_of_file(path)
    except OSError as error:
        raise medium_error(error, path) from error
    if given != written:
        raise VerifyFailed(
            f"{path} was written and synced, but the medium gives back something else",
            hint="It is failing, or smaller than it says: use another medium.",
        )
    return given


def write_whole(path: Path, data: bytes) -> None:
    """Write a small file so that it is there whole or as it was.

    Raises:
        DiskError
    """
    partial = path.with_name(path.name + PARTIAL)
    try:
        if path.is_file() and not path.is_symlink() and path.read_bytes() == data:
            return
        with suppress(FileNotFoundError):
            partial.unlink()
        with partial.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        partial.rename(path)
        sync_folder(path.parent)
    except OSError as error:
        raise volume_error(error, path, len(data)) from error
