"""A model folder: which files belong to the release, and what is refused by name.

Takes a path, gives a ``Folder`` of regular files sorted by release path, or ``SourceError``. Every
regular file belongs, ``model.yaml`` included, except ``.git/`` and ``.cache/huggingface/`` at the
top. A link is followed only to a regular file inside the folder, or into ``blobs/`` of the same
Hugging Face cache repository, where snapshot folders keep their files.

next: ``sources.reading``
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from pipeline.errors import SourceError
from pipeline.manifest import MANIFEST_FILES, Kind
from pipeline.release import PATH_BYTES, WEB_PATH_BYTES, clash, path_fault
from pipeline.sources.model_yaml import FILE_BYTES, FILE_NAME, ModelYaml, parse_model_yaml
from pipeline.sources.reading import FileStat, changed, open_source

LEFT_OUT = (".git", ".cache/huggingface")
# https://github.com/git-lfs/git-lfs/blob/main/docs/spec.md: a pointer is shorter than 1024 bytes.
LFS_POINTER = re.compile(
    rb"version https://(?:git-lfs\.github\.com|hawser\.github\.com)/spec/v1\n(?:[^\n]*\n)*oid sha256:[0-9a-f]{64}\n", re.DOTALL
)
LFS_POINTER_BYTES = 1024


@dataclass(frozen=True, slots=True)
class SourceFile:
    """A file of the release and where its bytes are: ``place`` is resolved, no link is left in it."""

    path: str
    place: Path
    stat: FileStat

    @property
    def size(self) -> int:
        """Bytes."""
        return self.stat.size

    @property
    def executable(self) -> bool:
        """Whether its owner may run it."""
        return self.stat.executable


@dataclass(frozen=True, slots=True)
class Folder:
    """What is to be published: ``files`` sorted by path; ``left_out`` is what was passed over."""

    place: Path
    files: tuple[SourceFile, ...]
    left_out: tuple[str, ...] = ()
    about: ModelYaml = field(default_factory=ModelYaml)

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(file.size for file in self.files)


def scan_folder(place: Path, *, kind: Kind = "model") -> Folder:
    """List the files of ``place``, a folder or one file.

    Raises:
        SourceError: nothing there, an illegal or clashing name, a link that leaves the folder, a
            FIFO, socket or device, an unreadable file, a git-lfs pointer that was never pulled.
    """
    try:
        root = place.resolve(strict=True)
    except (OSError, RuntimeError) as error:
        raise SourceError(f"{place} cannot be read: {_why(error)}", hint="Name a folder or file that is there.") from None
    if root.is_dir():
        left_out: list[str] = []
        files = sorted(_walk(root, left_out), key=lambda file: file.path)
    else:
        left_out = []
        files = [_source_file(place.name, root, root.stat())]
    if not files:
        raise SourceError(f"{place} holds no files", hint="Put the files there, or name another folder.")
    _check_names(files, place, WEB_PATH_BYTES if kind == "web" else PATH_BYTES)
    about = ModelYaml()
    for file in files:
        if file.size < LFS_POINTER_BYTES or file.path == FILE_NAME:
            head = _read_small(file)
            if LFS_POINTER.match(head):
                raise SourceError(
                    f"{file.path} is a git-lfs pointer, expected the file it points to",
                    hint="Run `git lfs pull` in the folder first.",
                )
            if file.path == FILE_NAME:
                about = parse_model_yaml(head, str(file.place))
    return Folder(root, tuple(files), tuple(sorted(left_out)), about)


def _walk(root: Path, left_out: list[str]) -> Iterator[SourceFile]:
    blobs = root.parent.parent / "blobs" if root.parent.name == "snapshots" else None
    waiting = [""]
    count = 0
    while waiting:
        folder = waiting.pop()
        try:
            with os.scandir(root / folder) as listing:
                entries = list(listing)
        except OSError as error:
            shown = shown_path(folder) or root
            raise SourceError(f"{shown} cannot be listed: {_why(error)}", hint="Make the folder readable.") from None
        for entry in entries:
            path = f"{folder}/{entry.name}" if folder else entry.name
            if entry.is_symlink():
                yield _linked_file(root, blobs, path)
            elif entry.is_dir(follow_symlinks=False):
                if path in LEFT_OUT:
                    left_out.append(f"{path}/")
                else:
                    waiting.append(path)
                continue
            else:
                yield _source_file(path, root / path, _status(entry))
            count += 1
            if count > MANIFEST_FILES:
                raise SourceError(
                    f"{root} holds more than {MANIFEST_FILES} files", hint="Pack small files into an archive first."
                )


def _status(entry: os.DirEntry[str]) -> os.stat_result:
    try:
        return entry.stat(follow_symlinks=False)
    except OSError as error:
        raise changed(shown_path(entry.name), _why(error)) from None


def _linked_file(root: Path, blobs: Path | None, path: str) -> SourceFile:
    shown = shown_path(path)
    try:
        place = (root / path).resolve(strict=True)
        status = place.lstat()
    except (OSError, RuntimeError) as error:
        raise SourceError(
            f"the link {shown} leads nowhere: {_why(error)}", hint="Remove it, or restore the file it names."
        ) from None
    inside = place.is_relative_to(root)
    # ``blobs`` lies in a resolved folder, so one that is itself a link is never equal.
    if not inside and place.parent != blobs:
        raise SourceError(
            f"the link {shown} leaves the folder: it leads to {shown_path(str(place))}", hint="Copy the file into the folder."
        )
    if not stat.S_ISREG(status.st_mode):
        raise SourceError(
            f"the link {shown} leads to {_kind(status.st_mode)}, expected a regular file", hint="Copy the files into the folder."
        )
    return _source_file(path, place, status)


def _source_file(path: str, place: Path, status: os.stat_result) -> SourceFile:
    if not stat.S_ISREG(status.st_mode):
        raise SourceError(
            f"{shown_path(path)} is {_kind(status.st_mode)}, expected a regular file", hint="Remove it from the folder."
        )
    return SourceFile(path, place, FileStat.of(status))


def _check_names(files: list[SourceFile], place: Path, limit: int) -> None:
    for file in files:
        fault = path_fault(file.path, limit=limit)
        if fault is not None:
            raise SourceError(f"'{shown_path(file.path)}' in {place} cannot be a release path: {fault}", hint="Rename the file.")
    clashing = clash(file.path for file in files)
    if clashing is not None:
        raise SourceError(f"{clashing[0]!r} and {clashing[1]!r} in {place} clash: {clashing[2]}", hint="Rename one of them.")


def _read_small(file: SourceFile) -> bytes:
    with open_source(file.path, file.place, file.stat) as reader:
        return reader.read_at(0, max(LFS_POINTER_BYTES, FILE_BYTES + 1))


def shown_path(path: str) -> str:
    """Spell ``path`` so that every terminal and document takes it: bytes that are not UTF-8 as escapes."""
    return path.encode("utf-8", "backslashreplace").decode()


def _kind(mode: int) -> str:
    names = (
        (stat.S_ISDIR, "a folder"),
        (stat.S_ISFIFO, "a FIFO"),
        (stat.S_ISSOCK, "a socket"),
        (stat.S_ISCHR, "a device"),
        (stat.S_ISBLK, "a device"),
    )
    return next((name for test, name in names if test(mode)), "no regular file")


def _why(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error)
