"""The folder that is served: immutable files first, pages next, the pointer last; and what stood there before.

Takes a folder, gives ``Output``: whole files under their names, and the earlier releases that it still holds. A build that is
stopped leaves the old release standing; nothing is removed that no build wrote.

next: ``sw.build``
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path

from pipeline.dated import date_after
from pipeline.digest import Sha256, sha256_of
from pipeline.errors import DiskError, InvalidDocument, UsageError
from pipeline.release import WEB_PATH_BYTES, path_fault
from pipeline.sources.folder import SourceFile
from pipeline.sources.reading import open_source
from pipeline.wire import decode_document
from sw.manifest import CLIENT, EARLIER, FORMAT, MANIFEST_BYTES, RELEASE, RELEASE_BYTES, WORKER, Pointer, WebManifest
from sw.naming import HASH_DIGITS

BLOCK = 1 << 20


@dataclass(frozen=True, slots=True)
class Earlier:
    """A release that stands in the folder."""

    manifest: WebManifest
    data: bytes

    @property
    def digits(self) -> str:
        """The first digits of its digest, as its name has them."""
        return sha256_of(self.data)[:HASH_DIGITS]


def manifest_path(digits: str) -> str:
    """The name of a manifest."""
    return f"manifest.{digits}.json"


class Output:
    """A folder that a build writes into; ``dry``: it counts what it would write, and leaves the folder alone."""

    def __init__(self, place: Path, *, dry: bool = False) -> None:
        self.place = place
        self._dry = dry
        self.written = 0

    def check(self, assets: Path) -> None:
        """See that this folder may be written to.

        Raises:
            UsageError: it lies in the assets or they in it, or it holds what no build wrote.
        """
        here, there = self.place.resolve(), assets.resolve()
        if here.is_relative_to(there) or there.is_relative_to(here):
            raise UsageError(f"--to {self.place} and --assets {assets} lie in each other", hint="Name two folders side by side.")
        if here.exists() and not here.is_dir():
            raise UsageError(f"--to {self.place} is not a folder", hint="Name a folder, or one that is yet to be made.")
        if here.is_dir() and any(here.iterdir()) and self.pointer() is None:
            raise UsageError(
                f"--to {self.place} holds files, and no release.json of an earlier build",
                hint="Name an empty folder: files there could be overwritten.",
            )

    def pointer(self) -> Pointer | None:
        """The pointer that stands there, None if there is none that can be read."""
        data = self.read(RELEASE, RELEASE_BYTES)
        try:
            found = decode_document(data or b"", Pointer, what=RELEASE, cap=RELEASE_BYTES)
        except InvalidDocument:
            return None
        return found if found.format == FORMAT else None

    def earlier(self) -> list[Earlier]:
        """The releases that stand there and are whole, the newest first."""
        pointer = self.pointer()
        if pointer is None:
            return []
        found = []
        for digits in (pointer.sha256[:HASH_DIGITS], *pointer.origin)[: EARLIER + 1]:
            data = self.read(manifest_path(digits), MANIFEST_BYTES)
            if data is None or sha256_of(data)[:HASH_DIGITS] != digits:
                continue
            try:
                manifest = decode_document(data, WebManifest, what=manifest_path(digits), cap=MANIFEST_BYTES)
            except InvalidDocument:
                continue
            # What stands here may have come with a repository: nothing outside is read or removed for it.
            if not any(path_fault(file.path, limit=WEB_PATH_BYTES) for file in manifest.files):
                found.append(Earlier(manifest, data))
        return found

    def known(self) -> set[str]:
        """Every name that a release standing here gives to a file."""
        found = {RELEASE, WORKER, CLIENT}
        for older in self.earlier():
            found |= {manifest_path(older.digits), *older.manifest.written()}
        return found

    def files(self) -> list[str]:
        """The paths of all files there are."""
        return sorted(path.relative_to(self.place).as_posix() for path in self.place.rglob("*") if path.is_file())

    def read(self, path: str, cap: int) -> bytes | None:
        """The bytes of a file, None if it is not there or has more than ``cap`` bytes."""
        try:
            with (self.place / path).open("rb") as file:
                data = file.read(cap + 1)
        except OSError:
            return None
        return data if len(data) <= cap else None

    def write(self, path: str, data: bytes, sha256: Sha256) -> None:
        """Put ``data`` under ``path``, whole; what stands there already with this digest is left alone.

        Raises:
            DiskError
        """
        if self._has(path, len(data), sha256):
            return
        self._place(path, lambda descriptor: _write_all(descriptor, data), len(data))

    def copy(self, path: str, source: SourceFile, sha256: Sha256) -> None:
        """Put the bytes of ``source`` under ``path``, as ``write`` does.

        Raises:
            DiskError, SourceChanged
        """
        if self._has(path, source.size, sha256):
            return

        def fill(descriptor: int) -> None:
            with open_source(source.path, source.place, source.stat) as reader:
                for at in range(0, source.size, BLOCK):
                    _write_all(descriptor, reader.read_at(at, min(BLOCK, source.size - at)))
                reader.check_unchanged()

        self._place(path, fill, source.size)

    def remove(self, paths: Collection[str]) -> int:
        """Remove files that earlier builds wrote; how many there were."""
        gone = 0
        for path in () if self._dry else sorted(paths):
            try:
                (self.place / path).unlink()
                gone += 1
            except OSError:
                continue
            for folder in (self.place / path).relative_to(self.place).parents:
                try:
                    (self.place / folder).rmdir()
                except OSError:
                    break
        return gone

    def _has(self, path: str, size: int, sha256: Sha256) -> bool:
        try:
            with (self.place / path).open("rb") as file:
                return os.fstat(file.fileno()).st_size == size and hashlib.file_digest(file, "sha256").hexdigest() == sha256
        except OSError:
            return False

    def _place(self, path: str, fill: Callable[[int], None], size: int) -> None:
        """Write beside the final name, then rename: a reader sees the old file or the new one."""
        self.written += size
        if self._dry:
            return
        final = self.place / path
        try:
            final.parent.mkdir(parents=True, exist_ok=True)
            descriptor, beside = tempfile.mkstemp(prefix=".modelport-", dir=final.parent)
        except OSError as error:
            raise _disk(final, error) from None
        try:
            fill(descriptor)
            os.fchmod(descriptor, 0o644)
            date_after(descriptor, final)
            Path(beside).replace(final)
        except OSError as error:
            raise _disk(final, error) from None
        finally:
            os.close(descriptor)
            Path(beside).unlink(missing_ok=True)


def standing_name(output: Output) -> str:
    """The name of the application that was built into ``output`` last, "" for none."""
    return next((older.manifest.name for older in output.earlier()), "")


def _write_all(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


def _disk(path: Path, error: OSError) -> DiskError:
    return DiskError(f"cannot write {path}: {error.strerror}", hint="Free space, or name another folder with --to.")
