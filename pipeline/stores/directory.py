"""A store in a directory: the default one, and the form of a store that can be carried or served by any web server.

Takes a path, gives an ``ObjectStore``. Every file is written under ``.tmp/`` on the same file system, made
durable, and only then named; names are reached component by component without following links.

next: ``stores.answers``
"""

from __future__ import annotations

import errno
import hashlib
import os
import stat
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from pipeline.bodies import Body, begun, size_of, whole
from pipeline.dated import date_after
from pipeline.digest import Sha256
from pipeline.errors import (
    AccessDenied,
    ConditionFailed,
    DiskError,
    ModelportError,
    ObjectExists,
    ObjectMissing,
    UsageError,
    WrongStore,
)
from pipeline.layout import is_revalidated
from pipeline.ports import BLOCK, ObjectInfo, StoreProperties
from pipeline.release import NameRefused
from pipeline.stores.ahead import ReadAhead
from pipeline.stores.drafts import LOCK, FileDraft, sweep
from pipeline.stores.keys import check_key
from pipeline.stores.placing import locked, place_new

TEMP = ".tmp"
# Up to this size an ETag is a digest of the content: no file system repeats it, however coarse its times.
SMALL_BYTES = 64 << 10
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_NO_FOLLOW = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK


class DirectoryStore:
    """An ``ObjectStore`` of plain files under ``path``, which is made by the first write."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._root = Path(path).absolute()
        self._swept = False
        self._sweeping = threading.Lock()
        self._ahead = ReadAhead()

    @property
    def path(self) -> Path:
        """The folder of this store."""
        return self._root

    @property
    def url(self) -> str:
        return self._root.as_uri()

    @property
    def properties(self) -> StoreProperties:
        return StoreProperties(create_only=True, compare_and_swap=True, keeps_sha256=False)

    def put(
        self,
        key: str,
        body: Body,
        *,
        sha256: Sha256,  # noqa: ARG002 (no file system verifies it)
        if_absent: bool = False,
        if_etag: str | None = None,
    ) -> ObjectInfo:
        size = size_of(body)
        with self._told(key, size=size):
            parent_fd, name = self._open_parent(key, make=True)
            try:
                if if_absent and _exists(name, parent_fd):
                    raise ObjectExists(f"{self.url}: {key} exists already")
                with self._written(body) as draft:
                    draft.settle()
                    if if_absent:
                        place_new(draft.name, draft.folder_fd, name, parent_fd)
                    else:
                        with locked(LOCK, draft.folder_fd):
                            self._check_etag(key, name, parent_fd, if_etag)
                            if is_revalidated(key):
                                date_after(draft.fd, name, folder_fd=parent_fd)
                            os.replace(draft.name, name, src_dir_fd=draft.folder_fd, dst_dir_fd=parent_fd)
                    os.fsync(parent_fd)
                    self._ahead.written(draft.fd, size, draft.busy_s)
                    return _info(key, draft.fd)
            finally:
                os.close(parent_fd)

    def draft(self) -> FileDraft:
        with self._told(TEMP, size=0), self._temp_folder() as temp_fd:
            return FileDraft(temp_fd)

    @contextmanager
    def _written(self, body: Body) -> Iterator[FileDraft]:
        if isinstance(body, FileDraft):
            # Its owner closes it.
            yield body
            return
        with self._temp_folder() as temp_fd, FileDraft(temp_fd) as draft:
            draft.fill(whole(body))
            yield draft

    def get(self, key: str, *, start: int = 0, size: int | None = None) -> Iterator[bytes]:
        with self._told(key):
            fd = self._open(key)
            end = os.fstat(fd).st_size
        return begun(self._read(key, fd, start, end if size is None else min(end, start + size)))

    def _read(self, key: str, fd: int, at: int, end: int) -> Iterator[bytes]:
        try:
            while at < end:
                with self._told(key):
                    block = os.pread(fd, min(BLOCK, end - at), at)
                if not block:
                    raise DiskError(f"{self.url}: {key} ended at byte {at}, expected {end}", hint="Check the disk.")
                at += len(block)
                yield block
        finally:
            os.close(fd)

    def head(self, key: str) -> ObjectInfo:
        with self._told(key):
            fd = self._open(key)
            try:
                return _info(key, fd)
            finally:
                os.close(fd)

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        with self._told(prefix):
            try:
                root_fd = self._open_root(make=False)
            except FileNotFoundError:
                return
            yield from _walk(root_fd, "", prefix)

    def delete(self, key: str) -> None:
        with self._told(key):
            try:
                parent_fd, name = self._open_parent(key, make=False)
            except (FileNotFoundError, NotADirectoryError):
                return
            try:
                # The lock keeps a comparison and its replacement together.
                with self._temp_folder() as temp_fd, locked(LOCK, temp_fd):
                    os.unlink(name, dir_fd=parent_fd)
                os.fsync(parent_fd)
            except FileNotFoundError:
                return
            finally:
                os.close(parent_fd)

    def now(self) -> datetime:
        """The file system's clock: the time of a file just written."""
        with self._told("the clock"), self._temp_folder() as temp_fd, FileDraft(temp_fd) as draft:
            # Not synced: nobody reads it, and a network share asks its server for the time of what was written.
            os.pwrite(draft.fd, b"now", 0)
            return _modified_at(os.fstat(draft.fd))

    def _check_etag(self, key: str, name: str, parent_fd: int, expected: str | None) -> None:
        if expected is None:
            return
        try:
            fd = os.open(name, _NO_FOLLOW, dir_fd=parent_fd)
        except FileNotFoundError:
            found = "none"
        else:
            try:
                found = _info(key, fd).etag
            finally:
                os.close(fd)
        if found != expected:
            raise ConditionFailed(
                f"{self.url}: {key} has ETag {found}, expected {expected}", hint="Somebody else wrote it first: read it again."
            )

    def _open_root(self, *, make: bool) -> int:
        try:
            if make:
                self._root.mkdir(parents=True, exist_ok=True)
            # The root itself may be a link: that is the owner's choice, unlike links inside.
            return os.open(self._root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except (NotADirectoryError, FileExistsError):
            raise WrongStore(f"{self._root} is not a folder", hint="Set the store to a folder.") from None

    def _open_parent(self, key: str, *, make: bool) -> tuple[int, str]:
        *folders, name = check_key(key).split("/")
        if (folders or [name])[0] == TEMP:
            raise NameRefused(f"key {key!r} is refused: {TEMP}/ holds unfinished files", hint="Choose another key.")
        fd = self._open_root(make=make)
        try:
            for folder in folders:
                fd = _enter(fd, folder, make=make)
        except OSError:
            os.close(fd)
            raise
        return fd, name

    def _open(self, key: str) -> int:
        parent_fd, name = self._open_parent(key, make=False)
        try:
            fd = os.open(name, _NO_FOLLOW, dir_fd=parent_fd)
        finally:
            os.close(parent_fd)
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            os.close(fd)
            raise ObjectMissing(f"{self.url}: {key} is not a file")
        return fd

    @contextmanager
    def _temp_folder(self) -> Iterator[int]:
        root_fd = self._open_root(make=True)
        try:
            temp_fd = _enter(root_fd, TEMP, make=True)
        except OSError:
            os.close(root_fd)
            raise
        try:
            with self._sweeping:
                if not self._swept:
                    sweep(temp_fd)
                    self._swept = True
            yield temp_fd
        finally:
            os.close(temp_fd)

    @contextmanager
    def _told(self, key: str, *, size: int | None = None) -> Iterator[None]:
        """Turn what the system raised into what the port promises; ``size`` of what is written, 0 while nobody knows."""
        try:
            yield
        except OSError as error:
            raise self._error(error, key, size) from error

    def _error(self, error: OSError, key: str, size: int | None) -> ModelportError:
        where = f"{self.url}: {key}"
        needed, meant = (f"; {size} bytes are needed", f"; {size} bytes were to be written") if size else ("", "")
        match error.errno:
            case errno.EEXIST:
                return ObjectExists(f"{where} exists already")
            case errno.ENOENT | errno.ENOTDIR if size is None:
                return ObjectMissing(f"{where}: there is no such object")
            case errno.ELOOP:
                return ObjectMissing(
                    f"{where} leads through a link, which is not followed", hint="Remove the link from the store."
                )
            case errno.ENOTDIR | errno.EISDIR:
                return UsageError(f"{where}: one key is a folder of another", hint="A directory store cannot hold both keys.")
            case errno.ENAMETOOLONG:
                return UsageError(
                    f"{where}: a component of the key is too long for this file system", hint="Choose shorter names."
                )
            case errno.EACCES | errno.EPERM:
                return AccessDenied(f"{where}: {error.strerror}", hint=f"Check who owns {self._root} and may write there.")
            case errno.ENOSPC | errno.EDQUOT | errno.EFBIG:
                return DiskError(f"{where}: {error.strerror}{needed}", hint=f"Free space at {self._root}, then run it again.")
            case errno.EROFS:
                return DiskError(f"{where}: {error.strerror}{meant}", hint="Mount the file system writable.")
        return DiskError(f"{where}: {error.strerror or error}", hint="Check the disk and the system's log.")


def _enter(fd: int, name: str, *, make: bool) -> int:
    """Open the folder ``name`` in the folder ``fd``, and close ``fd`` once that worked."""
    try:
        inner = os.open(name, _FOLDER, dir_fd=fd)
    except FileNotFoundError:
        if not make:
            raise
        try:
            os.mkdir(name, dir_fd=fd)
            os.fsync(fd)
        except FileExistsError:
            # Another writer made it first: that is what was wanted.
            pass
        inner = os.open(name, _FOLDER, dir_fd=fd)
    os.close(fd)
    return inner


def _exists(name: str, folder_fd: int) -> bool:
    try:
        os.stat(name, dir_fd=folder_fd, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True


def _info(key: str, fd: int) -> ObjectInfo:
    found = os.fstat(fd)
    if found.st_size <= SMALL_BYTES:
        etag = hashlib.sha256(os.pread(fd, SMALL_BYTES + 1, 0)).hexdigest()
    else:
        etag = f"{found.st_ino:x}-{found.st_mtime_ns:x}-{found.st_size:x}"
    return ObjectInfo(key, found.st_size, _modified_at(found), etag)


def _modified_at(found: os.stat_result) -> datetime:
    return datetime.fromtimestamp(found.st_mtime_ns / 1e9, UTC)


def _walk(fd: int, at: str, prefix: str) -> Iterator[ObjectInfo]:
    """Yield the files below the folder ``fd`` (closed at the end) whose key starts with ``prefix``, in key order."""
    try:
        with os.scandir(fd) as entries:
            # "a/" sorts after "a-" and before "a0": so that the order is that of whole keys.
            found = sorted(f"{entry.name}/" if entry.is_dir(follow_symlinks=False) else entry.name for entry in entries)
        for name in found:
            key = at + name
            if not at and name == f"{TEMP}/":
                continue
            if name.endswith("/"):
                if key.startswith(prefix) or prefix.startswith(key):
                    yield from _descend(fd, name[:-1], key, prefix)
            elif key.startswith(prefix):
                yield from _one(fd, name, key)
    finally:
        os.close(fd)


def _descend(fd: int, name: str, key: str, prefix: str) -> Iterator[ObjectInfo]:
    try:
        inner = os.open(name, _FOLDER, dir_fd=fd)
    except FileNotFoundError:
        return
    yield from _walk(inner, key, prefix)


def _one(fd: int, name: str, key: str) -> Iterator[ObjectInfo]:
    try:
        file_fd = os.open(name, _NO_FOLLOW, dir_fd=fd)
    except FileNotFoundError:
        return
    except OSError as error:
        if error.errno in {errno.ELOOP, errno.ENXIO}:
            # A link, or a socket: neither was put here by a store.
            return
        raise
    try:
        if stat.S_ISREG(os.fstat(file_fd).st_mode):
            info = _info(key, file_fd)
        else:
            return
    finally:
        os.close(file_fd)
    yield info
