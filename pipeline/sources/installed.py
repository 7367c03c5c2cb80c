"""Which folders on this machine hold which releases: one record a folder, with the manifest it was installed by.

Takes a folder that was just installed, gives it back to later fetches and to ``verify --folder``, which
works without any source. The records lie in the state of this machine, apart from caches and from the
folders themselves, so that whoever alters a folder does not alter what it is held against::

    <state>/installed/<id of the folder>.json
    <state>/installed/manifests/<sha256>.json

next: ``pipeline.trust``
"""

from __future__ import annotations

import os
import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import msgspec

from pipeline.digest import Sha256, is_hex64, sha256_of
from pipeline.errors import DiskError, InvalidDocument
from pipeline.manifest import Manifest
from pipeline.wire import decode_document, decode_manifest, encode_document

FORMAT = "modelport-installed"
_NEXT = ".next"
_HINT = "Check free space, and who owns the state folder."
FRESH_S = 3600


class InstallRecord(msgspec.Struct, frozen=True, kw_only=True):
    """A folder and what belongs in it: the ``files`` of the release that were chosen, none meaning all of them.

    ``beside`` are files that the installation made of the release, such as an index for pip: path to sha256.
    ``executable_bits`` is False where the file system was seen not to keep which files are executable.
    """

    format: str = FORMAT
    format_version: int = 1
    folder: str
    release: str
    manifest_sha256: Sha256
    source: str
    files: tuple[str, ...] = ()
    beside: dict[str, Sha256] = {}
    executable_bits: bool = True


def _nowhere(folder: Path) -> tuple[InstallRecord, bytes] | None:
    del folder
    return None


@dataclass(frozen=True, slots=True)
class Installs:
    """The records below ``place``; ``elsewhere`` knows folders that other programs installed, and by which manifest."""

    place: Path
    elsewhere: Callable[[Path], tuple[InstallRecord, bytes] | None] = _nowhere

    def held(self, folder: Path, release: str = "") -> tuple[InstallRecord, Manifest] | None:
        """By what a folder was installed: the record of this machine, else one of elsewhere; None where nobody knows.

        ``release``: only as this one.

        Raises:
            IntegrityError: what is kept elsewhere was altered.
        """
        record = self.find(folder)
        if record is not None and release in {"", record.release}:
            manifest = self.manifest(record)
            if manifest is not None:
                return record, manifest
        other = self.elsewhere(folder)
        if other is None or release not in {"", other[0].release}:
            return None
        return other[0], decode_manifest(other[1])

    def find(self, folder: Path) -> InstallRecord | None:
        """The record of a folder, or None."""
        return self._read(self._file(folder))

    def manifest(self, record: InstallRecord) -> Manifest | None:
        """The manifest that a record names; None where it is gone or damaged."""
        try:
            data = self._manifest_file(record.manifest_sha256).read_bytes()
        except OSError:
            return None
        return decode_manifest(data) if sha256_of(data) == record.manifest_sha256 else None

    def all(self) -> Iterator[InstallRecord]:
        """Every record whose folder is still there."""
        try:
            names = sorted(self.place.glob("*.json"))
        except OSError:
            return
        for name in names:
            record = self._read(name)
            if record is not None and Path(record.folder).is_dir():
                yield record

    def intend(self, record: InstallRecord, manifest: bytes) -> None:
        """Note that a folder is about to get its name; ``manifest`` are the verified bytes that ``record`` names by digest.

        ``confirm`` makes it the folder's record: until then what was there before stays recorded.

        Raises:
            DiskError
        """
        try:
            (self.place / "manifests").mkdir(mode=0o700, parents=True, exist_ok=True)
            # The record last: it must never name what is not there.
            _write(self._manifest_file(record.manifest_sha256), manifest)
            _write(self._next(Path(record.folder)), encode_document(record))
        except OSError as error:
            raise DiskError(
                f"cannot record the installed folder in {self.place}: {error.strerror}",
                hint=_HINT,
            ) from error

    def intended(self, folder: Path, manifest_sha256: Sha256) -> bool:
        """Tell whether a run meant to put this release there and was not seen to end."""
        record = self._read(self._next(folder))
        return record is not None and record.manifest_sha256 == manifest_sha256

    def confirm(self, folder: Path) -> None:
        """Record the folder as it was intended: it was found to be so.

        Raises:
            DiskError
        """
        try:
            self._next(folder).replace(self._file(folder))
            self._forget_unnamed()
        except FileNotFoundError:
            # Another process confirmed it.
            return
        except OSError as error:
            raise DiskError(f"cannot record the installed folder in {self.place}: {error.strerror}", hint=_HINT) from error

    def _forget_unnamed(self) -> None:
        names = [*self.place.glob("*.json"), *self.place.glob(f"*{_NEXT}")]
        named = {record.manifest_sha256 for name in names if (record := self._read(name))}
        for path in (self.place / "manifests").glob("*.json"):
            # A fresh one may be that of another process whose record is about to come.
            with suppress(FileNotFoundError):
                if is_hex64(path.stem) and path.stem not in named and time.time() - path.stat().st_ctime > FRESH_S:
                    path.unlink()

    def _file(self, folder: Path) -> Path:
        return self.place / f"{sha256_of(os.fsencode(folder))[:32]}.json"

    def _next(self, folder: Path) -> Path:
        return self._file(folder).with_suffix(_NEXT)

    def _manifest_file(self, sha256: Sha256) -> Path:
        return self.place / "manifests" / f"{sha256}.json"

    def _read(self, name: Path) -> InstallRecord | None:
        try:
            record = decode_document(name.read_bytes(), InstallRecord, what=str(name))
        except (OSError, InvalidDocument):
            # Nothing is guessed from a damaged record: the folder counts as one that we do not know.
            return None
        usable = record.format == FORMAT and record.format_version == 1 and is_hex64(record.manifest_sha256)
        return record if usable and self._file(Path(record.folder)).stem == name.stem else None


def _write(name: Path, data: bytes) -> None:
    temporary = name.with_name(f".{name.name}.{secrets.token_hex(4)}")
    try:
        with temporary.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(name)
    except OSError:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise
