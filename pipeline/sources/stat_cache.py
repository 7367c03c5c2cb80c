"""Digests of files that have not changed since they were last read.

Takes a folder's stats, gives sha256 by path for those that are known. A cache only: a damaged or
missing file means an empty cache. An entry counts only if the file's times lay at least two
seconds in the past when it was read, for within a clock tick a file can change without a trace.

next: ``pipeline.trust``
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from pathlib import Path

import msgspec

from pipeline.digest import Sha256, is_hex64, sha256_of
from pipeline.sources.folder import Folder
from pipeline.sources.reading import FileStat

SETTLED_NS = 2 * 10**9


class _Entry(msgspec.Struct, frozen=True, array_like=True):
    device: int
    inode: int
    size: int
    mtime_ns: int
    ctime_ns: int
    read_at_ns: int
    sha256: Sha256


class StatCache:
    """Known digests of one folder's files, in one JSON file below ``place``."""

    def __init__(self, place: Path, folder: Path) -> None:
        self._file = place / "stat" / f"{sha256_of(os.fsencode(folder))}.json"

    def known(self, folder: Folder) -> Mapping[str, Sha256]:
        """sha256 by release path, for the files whose stats say they are as they were."""
        try:
            entries = msgspec.json.decode(self._file.read_bytes(), type=dict[str, _Entry])
        except (OSError, msgspec.MsgspecError, ValueError):
            return {}
        return {
            file.path: entry.sha256
            for file in folder.files
            if (entry := entries.get(file.path)) is not None and _trusted(entry, file.stat)
        }

    def remember(self, folder: Folder, digests: Mapping[str, Sha256], *, read_at_ns: int) -> None:
        """Keep the digests of files read not before ``read_at_ns``; a full disk is no error here."""
        entries = {
            file.path: _Entry(
                file.stat.device,
                file.stat.inode,
                file.stat.size,
                file.stat.mtime_ns,
                file.stat.ctime_ns,
                read_at_ns,
                digests[file.path],
            )
            for file in folder.files
            if file.path in digests
        }
        try:
            self._file.parent.mkdir(parents=True, exist_ok=True)
            descriptor, name = tempfile.mkstemp(dir=self._file.parent, prefix=".tmp-")
            try:
                with os.fdopen(descriptor, "wb") as target:
                    target.write(msgspec.json.encode(entries))
                Path(name).replace(self._file)
            except OSError:
                Path(name).unlink()
        except OSError:
            return


def _trusted(entry: _Entry, found: FileStat) -> bool:
    same = (entry.device, entry.inode, entry.size, entry.mtime_ns, entry.ctime_ns) == (
        found.device,
        found.inode,
        found.size,
        found.mtime_ns,
        found.ctime_ns,
    )
    settled = max(entry.mtime_ns, entry.ctime_ns) + SETTLED_NS <= entry.read_at_ns
    return same and settled and is_hex64(entry.sha256)
