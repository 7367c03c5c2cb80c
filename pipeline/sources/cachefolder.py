"""The fetch cache: files and signed documents by their digest, shared by all models, versions and processes.

Takes verified files, gives places where chunks may lie. A file is kept as a hard link where the cache is on
the same file system, which costs neither time nor space, else as a copy. Nothing here is believed: whoever
takes bytes hashes them, and drops an entry that has rotted. Below its folder::

    files/<2 hex>/<sha256>           a file of some release
    files/<2 hex>/<sha256>.chunks    its chunks in order: 32 bytes of BLAKE3, 4 of size, little end first
    documents/<2 hex>/<sha256>       a manifest or channel document
    notes/<name>                     an ETag and the digest it belongs to

next: ``sources.installed``
"""

from __future__ import annotations

import errno
import fcntl
import os
import secrets
import shutil
import time
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from pipeline.digest import Blake3, Sha256, sha256_of
from pipeline.manifest import File
from pipeline.plan.fetching import Spot

_ENTRY_BYTES = 36
_CHUNKS = ".chunks"
_TEMP = ".new-"
# What a killed process left behind is no longer being written after this long.
ABANDONED_S = 3600
_NO_LINKS = frozenset({errno.EXDEV, errno.EPERM, errno.EMLINK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EACCES})


@dataclass(frozen=True, slots=True)
class Removed:
    """What a cleaning took away, and what is left; bytes as the files are long."""

    files: int
    bytes: int
    left_files: int
    left_bytes: int


@dataclass(frozen=True, slots=True)
class _Entry:
    used_at: float
    size: int
    names: tuple[Path, ...]


class CacheFolder:
    """The cache below ``place``, of at most ``limit`` bytes; 0 keeps nothing."""

    def __init__(self, place: Path, limit: int) -> None:
        self.place = place
        self.limit = limit

    def document(self, sha256: Sha256) -> bytes | None:
        """A document whose bytes have this digest, or None."""
        path = self._path("documents", sha256)
        try:
            data = path.read_bytes()
        except OSError:
            return None
        right = sha256_of(data) == sha256
        # A cache that may only be read serves as well.
        with suppress(OSError):
            if right:
                os.utime(path)
            else:
                path.unlink(missing_ok=True)
        return data if right else None

    def keep_document(self, data: bytes) -> None:
        """Keep a document under its digest; a full disk is no error here."""
        if self.limit:
            with suppress(OSError):
                self._write(self._path("documents", sha256_of(data)), data)

    def note(self, name: str) -> bytes | None:
        """A small thing that was kept under ``name``, or None."""
        try:
            return (self.place / "notes" / name).read_bytes()
        except OSError:
            return None

    def keep_note(self, name: str, data: bytes) -> None:
        """Keep a small thing under ``name``; a full disk is no error here."""
        with suppress(OSError):
            self._write(self.place / "notes" / name, data)

    def keep_file(self, path: Path, file: File) -> bool:
        """Keep the installed file at ``path``, whose every chunk was just verified; False where that cannot be."""
        if not self.limit or file.size == 0 or file.size > self.limit:
            return False
        name = self._path("files", file.sha256)
        try:
            if not _is_file(name, file.size):
                self._place(path, name)
            self._write(name.with_name(name.name + _CHUNKS), _index_of(file))
        except OSError:
            return False
        return True

    def spots(self, wanted: Collection[Blake3], holder: int) -> dict[Blake3, Spot]:
        """Where chunks of these plain digests may lie; paths are relative to ``place``."""
        keys = {bytes.fromhex(digest): digest for digest in wanted}
        found: dict[Blake3, Spot] = {}
        for index in self._folder_files("files"):
            if index.name.endswith(_CHUNKS) and not index.name.startswith(_TEMP):
                data = index.with_name(index.name.removesuffix(_CHUNKS))
                relative = data.relative_to(self.place).as_posix()
                for digest, at in _chunks_in(index, data):
                    known = keys.get(digest)
                    if known is not None:
                        found.setdefault(known, Spot(holder, relative, at))
        return found

    def used(self, path: str) -> None:
        """Note that the file at this spot served, so that it is among the last to go."""
        with suppress(OSError):
            os.utime(self.place / (path + _CHUNKS))

    def drop(self, path: str) -> None:
        """Forget an entry whose bytes are not what they were."""
        for name in (path + _CHUNKS, path):
            with suppress(OSError):
                (self.place / name).unlink(missing_ok=True)

    def shrink(self, limit: int | None = None, *, dry: bool = False) -> Removed:
        """Remove what was used longest ago until at most ``limit`` bytes (its own limit by default) are left."""
        most = self.limit if limit is None else limit
        with self._locked():
            entries = sorted(self._entries(), key=lambda entry: entry.used_at)
            left_files, left_bytes = len(entries), sum(entry.size for entry in entries)
            files = size = 0
            for entry in entries:
                if left_bytes <= most and most:
                    break
                if not dry:
                    for name in entry.names:
                        with suppress(OSError):
                            name.unlink(missing_ok=True)
                files, size = files + 1, size + entry.size
                left_files, left_bytes = left_files - 1, left_bytes - entry.size
            if not dry:
                self._sweep()
        return Removed(files, size, left_files, left_bytes)

    def _entries(self) -> Iterator[_Entry]:
        for path in self._folder_files("documents"):
            with suppress(FileNotFoundError):
                stat = path.stat()
                yield _Entry(stat.st_mtime, stat.st_size, (path,))
        for path in self._folder_files("files"):
            if path.name.endswith(_CHUNKS) or path.name.startswith(_TEMP):
                continue
            index = path.with_name(path.name + _CHUNKS)
            with suppress(FileNotFoundError):
                size = path.stat().st_size
                # A link shares its times with the installed file, so the index says when it was used.
                used_at = index.stat().st_mtime if index.exists() else 0.0
                yield _Entry(used_at, size, (index, path))

    def _sweep(self) -> None:
        for kind in ("files", "documents"):
            for path in self._folder_files(kind):
                orphan = path.name.endswith(_CHUNKS) and not path.with_name(path.name.removesuffix(_CHUNKS)).exists()
                with suppress(FileNotFoundError):
                    if (orphan or path.name.startswith(_TEMP)) and time.time() - path.stat().st_ctime > ABANDONED_S:
                        path.unlink()

    def _folder_files(self, kind: str) -> Iterator[Path]:
        try:
            folders = sorted((self.place / kind).iterdir())
        except OSError:
            # Not there, or another user's.
            return
        for folder in folders:
            with suppress(OSError):
                yield from sorted(folder.iterdir())

    def _path(self, kind: str, sha256: Sha256) -> Path:
        return self.place / kind / sha256[:2] / sha256

    def _place(self, source: Path, name: Path) -> None:
        name.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        temporary = name.with_name(_TEMP + secrets.token_hex(8))
        try:
            try:
                os.link(source, temporary, follow_symlinks=False)
            except OSError as error:
                if error.errno not in _NO_LINKS:
                    raise
                shutil.copyfile(source, temporary, follow_symlinks=False)
            temporary.replace(name)
        finally:
            # Renaming a link onto another name of the same file leaves both (rename(2)).
            temporary.unlink(missing_ok=True)

    def _write(self, name: Path, data: bytes) -> None:
        name.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        temporary = name.with_name(_TEMP + secrets.token_hex(8))
        try:
            temporary.write_bytes(data)
            temporary.replace(name)
        finally:
            temporary.unlink(missing_ok=True)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        self.place.mkdir(mode=0o700, parents=True, exist_ok=True)
        fd = os.open(self.place / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX)
            yield
        finally:
            os.close(fd)


def _index_of(file: File) -> bytes:
    return b"".join(bytes.fromhex(chunk.blake3) + chunk.plain.to_bytes(4, "little") for chunk in file.chunks)


def _chunks_in(index: Path, data: Path) -> Sequence[tuple[bytes, int]]:
    try:
        body = index.read_bytes()
        size = data.stat().st_size
    except OSError:
        return ()
    found, at = [], 0
    for start in range(0, len(body) - _ENTRY_BYTES + 1, _ENTRY_BYTES):
        found.append((body[start : start + 32], at))
        at += int.from_bytes(body[start + 32 : start + _ENTRY_BYTES], "little")
    # A torn index, or a file that was cut: neither can be trusted to say where anything lies.
    return found if at == size and len(body) % _ENTRY_BYTES == 0 else ()


def _is_file(path: Path, size: int) -> bool:
    try:
        return path.stat(follow_symlinks=False).st_size == size
    except OSError:
        return False
