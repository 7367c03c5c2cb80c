"""Where a release lands: a folder beside its destination, which gets its final name when all is in it.

Takes a destination and a manifest, gives a locked ``Landing``: files allocated at their final size, written at
any offset by any thread, made durable and put in place by one rename. What an interrupted run left is found
again under the same name; whether its bytes are right is for the caller to hash.

next: ``steps.proofread``
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import shutil
import stat
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from typing_extensions import Buffer

from pipeline.errors import UsageError
from pipeline.manifest import Manifest
from pipeline.steps.direct_files import O_DIRECT, DirectFiles
from pipeline.steps.folders import (
    disk_error,
    open_file,
    open_folder,
    open_parent,
    opened_folder,
    sync_file_system,
    sync_folders,
    walk_files,
)
from pipeline.steps.modes import set_mode
from pipeline.steps.open_files import OpenFiles

RENAME_EXCHANGE = 2
# One flush of everything is quicker than one for each of many files.
MANY_FILES = 200
# sync_file_range(2); only Linux has it.
SYNC_FILE_RANGE_WRITE = 2
_SYNC_RANGE = getattr(ctypes.CDLL(None, use_errno=True), "sync_file_range", None)
_NO_EXCHANGE = frozenset({errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP})


class Landing:
    """The folder ``name`` in the folder ``parent_fd``; made by ``landing_at`` only."""

    def __init__(self, destination: Path, manifest: Manifest, parent_fd: int, name: str, fd: int) -> None:
        self.destination = destination
        self.folder = destination.parent / name
        self.fd = fd
        self._manifest = manifest
        self._parent_fd = parent_fd
        self._name = name
        # What is written on FAT and its like does not keep its executable bits.
        self.keeps_bits = True
        self._files = OpenFiles(self._open)
        self._direct = DirectFiles(lambda file: open_file(fd, manifest.files[file].path, os.O_RDWR | O_DIRECT))
        self._umask = os.umask(0o022)
        os.umask(self._umask)

    def allocated(self) -> int:
        """Bytes of the disk that what is here takes already."""
        total = 0
        for path, is_file in walk_files(self.fd):
            parent_fd, name = open_parent(self.fd, path, make=False)
            try:
                found = os.stat(name, dir_fd=parent_fd, follow_symlinks=False)
            finally:
                os.close(parent_fd)
            if is_file and found.st_nlink == 1:
                total += found.st_blocks * 512
        return total

    def allocate(self, files: Sequence[int], *, keep: Sequence[int] = ()) -> list[int]:
        """Make room for these files of the manifest, and remove what belongs neither to them nor to ``keep``.

        Returns:
            The files that an earlier run began: some of their bytes may be right.

        Raises:
            DiskError: no space; what is there stays for the next run.
        """
        wanted = {self._manifest.files[index].path for index in (*files, *keep)}
        for path, _ in list(walk_files(self.fd)):
            if path not in wanted:
                self._unlink(path)
        needed = sum(self._manifest.files[index].size for index in files)
        try:
            return [index for index in files if self._allocate(index)]
        except OSError as error:
            raise disk_error(error, self.folder, needed=needed) from error

    def write(self, file: int, at: int, data: Buffer) -> None:
        """Write bytes of a file at their place.

        Raises:
            DiskError
        """
        view = memoryview(data).cast("B")
        try:
            with self._files.using(file) as fd:
                done = 0
                while done < len(view):
                    done += os.pwrite(fd, view[done:], at + done)
        except OSError as error:
            raise disk_error(error, self.folder / self._manifest.files[file].path, needed=len(view)) from error

    @property
    def past_cache(self) -> bool:
        """Whether the file system takes writes past the page cache, as far as is known."""
        return self._direct.possible

    def write_past_cache(self, file: int, at: int, view: memoryview) -> None:
        """Write bytes of a file at their place, the whole blocks among them past the page cache where that can be.

        Raises:
            DiskError
        """
        try:
            left = self._direct.write(file, at, view)
        except OSError as error:
            raise disk_error(error, self.folder / self._manifest.files[file].path, needed=len(view)) from error
        for place, piece in left:
            self.write(file, place, piece)

    def write_rest(self) -> None:
        """Write what ``write_past_cache`` still held back for whole blocks.

        Raises:
            DiskError
        """
        for file, place, piece in self._direct.left():
            self.write(file, place, piece)

    def begin_writeback(self, file: int, at: int, size: int) -> None:
        """Let the disk begin with these bytes, so that ``settle`` has little left to wait for."""
        if _SYNC_RANGE is not None:
            # Only a hint: what fails here fails in fsync, where it is told.
            with suppress(OSError), self._files.using(file) as fd:
                _SYNC_RANGE(fd, ctypes.c_int64(at), ctypes.c_int64(size), ctypes.c_uint(SYNC_FILE_RANGE_WRITE))

    @contextmanager
    def using(self, file: int) -> Iterator[int]:
        """A descriptor of a file, for reading and writing."""
        with self._files.using(file) as fd:
            yield fd

    def adopt(self, file: int, folder_fd: int) -> bool:
        """Take a whole file over from the folder that is to be replaced, as a link; False where that cannot be."""
        path = self._manifest.files[file].path
        try:
            with ExitStack() as stack:
                source_fd, name = open_parent(folder_fd, path, make=False)
                stack.callback(os.close, source_fd)
                target_fd, _ = open_parent(self.fd, path, make=True)
                stack.callback(os.close, target_fd)
                with suppress(FileNotFoundError):
                    os.unlink(name, dir_fd=target_fd)
                os.link(name, name, src_dir_fd=source_fd, dst_dir_fd=target_fd, follow_symlinks=False)
        except OSError:
            return False
        return True

    def settle(self, files: Sequence[int]) -> None:
        """Make the files durable with their modes.

        Raises:
            DiskError
        """
        try:
            if len(files) > MANY_FILES:
                for index in files:
                    self._finish(index, flush=False)
                self._files.close()
                sync_file_system(self.fd)
            else:
                for index in files:
                    self._finish(index, flush=True)
            self._files.close()
            self._direct.close()
            sync_folders(self.fd)
            set_mode(self.fd, 0o777 & ~self._umask)
            os.fsync(self.fd)
        except OSError as error:
            raise disk_error(error, self.folder) from error

    def take_place(self) -> None:
        """Give the folder its final name; what stands there now is removed after that.

        Raises:
            DiskError, UsageError: something else came to stand there meanwhile.
        """
        name = self.destination.name
        try:
            try:
                # Over nothing, or over an empty folder; over anything else it fails (rename(2)).
                os.rename(self._name, name, src_dir_fd=self._parent_fd, dst_dir_fd=self._parent_fd)
            except OSError as error:
                if error.errno not in {errno.ENOTEMPTY, errno.EEXIST}:
                    raise
                old = self._exchange(name)
                os.fsync(self._parent_fd)
                # Another fetch may clear it away just as well.
                with suppress(FileNotFoundError):
                    shutil.rmtree(old, dir_fd=self._parent_fd)
            os.fsync(self._parent_fd)
        except OSError as error:
            if error.errno in {errno.ENOTDIR, errno.ELOOP}:
                raise UsageError(f"{self.destination} is not a folder", hint="Choose another one with --to.") from error
            raise disk_error(error, self.destination) from error

    def replace_files(self, files: Sequence[int]) -> None:
        """Put these files, one by one, in the place of those in the destination; the folder itself stays.

        Raises:
            DiskError
        """
        try:
            with opened_folder(self.destination) as folder_fd:
                for index in files:
                    path = self._manifest.files[index].path
                    with ExitStack() as stack:
                        source_fd, name = open_parent(self.fd, path, make=False)
                        stack.callback(os.close, source_fd)
                        target_fd, _ = open_parent(folder_fd, path, make=True)
                        stack.callback(os.close, target_fd)
                        os.replace(name, name, src_dir_fd=source_fd, dst_dir_fd=target_fd)
                        os.fsync(target_fd)
            shutil.rmtree(self._name, dir_fd=self._parent_fd)
        except OSError as error:
            raise disk_error(error, self.destination) from error

    def discard(self) -> None:
        """Remove the folder: nothing was missing."""
        self._files.close()
        with suppress(OSError):
            shutil.rmtree(self._name, dir_fd=self._parent_fd)

    def close(self) -> None:
        """Let go of its files; what is in it stays for the next run."""
        self._files.close(for_good=True)
        self._direct.close(for_good=True)

    def _open(self, file: int) -> int:
        return open_file(self.fd, self._manifest.files[file].path, os.O_RDWR)

    def _allocate(self, index: int) -> bool:
        file = self._manifest.files[index]
        parent_fd, name = open_parent(self.fd, file.path, make=True)
        try:
            fd = self._own(name, parent_fd)
            try:
                size = os.fstat(fd).st_size
                if size > file.size:
                    os.ftruncate(fd, file.size)
                if size < file.size:
                    os.posix_fallocate(fd, 0, file.size)
                return size > 0
            finally:
                os.close(fd)
        finally:
            os.close(parent_fd)

    def _own(self, name: str, parent_fd: int) -> int:
        """Open a file that is ours alone: no link, no second name, no device; else begin a new one."""
        flags = os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
        try:
            fd = os.open(name, flags, dir_fd=parent_fd)
        except FileNotFoundError:
            pass
        except OSError as error:
            if error.errno not in {errno.ELOOP, errno.ENXIO, errno.EACCES}:
                raise
            os.unlink(name, dir_fd=parent_fd)
        else:
            found = os.fstat(fd)
            if stat.S_ISREG(found.st_mode) and found.st_nlink == 1:
                return fd
            os.close(fd)
            os.unlink(name, dir_fd=parent_fd)
        return os.open(name, flags | os.O_CREAT | os.O_EXCL, 0o600, dir_fd=parent_fd)

    def _finish(self, index: int, *, flush: bool) -> None:
        file = self._manifest.files[index]
        mode = (0o777 if file.executable else 0o666) & ~self._umask
        # To read is enough, and more is not allowed of an adopted file that its owner protects.
        fd = open_file(self.fd, file.path)
        try:
            found = os.fstat(fd)
            # An adopted file has its mode and its owner's wishes already.
            if found.st_nlink == 1 and stat.S_IMODE(found.st_mode) != mode and not set_mode(fd, mode):
                self.keeps_bits = False
            if flush:
                os.fsync(fd)
        finally:
            os.close(fd)

    def _exchange(self, name: str) -> str:
        """Give the folder the name of the one that is there; tells where that one is then."""
        libc = ctypes.CDLL(None, use_errno=True)
        rename = getattr(libc, "renameat2", None)
        fd, old, new = self._parent_fd, os.fsencode(self._name), os.fsencode(name)
        if rename is not None and rename(fd, old, fd, new, ctypes.c_uint(RENAME_EXCHANGE)) == 0:
            return self._name
        code = errno.ENOSYS if rename is None else ctypes.get_errno()
        if code not in _NO_EXCHANGE:
            raise OSError(code, os.strerror(code), name)
        # A file system without the exchange: for a moment there is no folder under the name. Whoever is killed then
        # leaves the old one where leftovers are looked for.
        aside = f".{name}.partial-old"
        shutil.rmtree(aside, dir_fd=fd, ignore_errors=True)
        os.rename(name, aside, src_dir_fd=fd, dst_dir_fd=fd)
        os.rename(self._name, name, src_dir_fd=fd, dst_dir_fd=fd)
        return aside

    def _unlink(self, path: str) -> None:
        parent_fd, name = open_parent(self.fd, path, make=False)
        try:
            os.unlink(name, dir_fd=parent_fd)
        finally:
            os.close(parent_fd)
        folder = path.rpartition("/")[0]
        while folder:
            try:
                os.rmdir(folder, dir_fd=self.fd)
            except OSError:
                # Something else is in it.
                return
            folder = folder.rpartition("/")[0]


@contextmanager
def landing_at(destination: Path, manifest: Manifest, key: str, *, waiting: Callable[[], None]) -> Iterator[Landing]:
    """Lock the landing folder of ``destination`` for the manifest whose digest is ``key``, making it if needed.

    ``waiting`` is called when another process holds it. One fetch at a time works there; the next finds either
    its folder in place, or what it left.

    Raises:
        UsageError: a link or a file stands in the way, or the folder is another user's.
        DiskError
    """
    name = f".{destination.name}.partial-{key[:16]}"
    with ExitStack() as stack:
        parent_fd = open_folder(destination.parent, make=True)
        stack.callback(os.close, parent_fd)
        fd = _locked_folder(parent_fd, name, destination, waiting)
        stack.callback(os.close, fd)
        landing = Landing(destination, manifest, parent_fd, name, fd)
        stack.callback(landing.close)
        yield landing


def _locked_folder(parent_fd: int, name: str, destination: Path, waiting: Callable[[], None]) -> int:
    while True:
        try:
            with suppress(FileExistsError):
                os.mkdir(name, 0o700, dir_fd=parent_fd)
            fd = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent_fd)
        except OSError as error:
            if error.errno in {errno.ELOOP, errno.ENOTDIR}:
                raise UsageError(
                    f"{destination.parent / name} is in the way: it is a link or a file", hint="Remove it, then run it again."
                ) from error
            raise disk_error(error, destination.parent) from error
        if os.fstat(fd).st_uid != os.geteuid():
            os.close(fd)
            raise UsageError(
                f"{destination.parent / name} belongs to another user, who is fetching the same release there",
                hint="Wait until it is done, or choose another folder with --to.",
            )
        held = False
        try:
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                waiting()
                fcntl.flock(fd, fcntl.LOCK_EX)
            with suppress(FileNotFoundError):
                found = os.stat(name, dir_fd=parent_fd, follow_symlinks=False)
                # Whoever held it may have given it its final name meanwhile.
                held = os.path.samestat(found, os.fstat(fd))
        finally:
            if not held:
                os.close(fd)
        if held:
            return fd
