"""Chunks that a differential bundle leaves out: taken from the installed files of its bases.

Takes the copies that ``wanted`` planned, gives their bytes to ``write``. With BLAKE3 each chunk is proven; without
it the base's file is proven whole by its sha256 before a byte of it is used. An old file is never written to.

next: ``progress``
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

from bundles.installer.faults import IntegrityError, raise_first
from bundles.installer.folders import Folder, told
from bundles.installer.landing import sha256_of_file
from bundles.installer.layout import release_folder
from bundles.installer.manifest import Chunk, Manifest
from bundles.installer.placing import Write
from bundles.installer.tools import Tools
from bundles.installer.wanted import Origin, Target


def copy_from_bases(
    site: Folder,
    bases: Sequence[Manifest],
    copies: Mapping[Origin, Sequence[tuple[Chunk, Target]]],
    tools: Tools,
    write: Write,
) -> None:
    """Copy every planned chunk.

    Raises:
        IntegrityError: a base was altered since it was installed, or files of it are gone; all are named. DiskError.
    """
    by_file: dict[tuple[int, int], list[Origin]] = {}
    for origin in copies:
        by_file.setdefault((origin.base, origin.file), []).append(origin)
    bad: dict[str, IntegrityError] = {}
    for (number, index), origins in sorted(by_file.items()):
        base, file = bases[number], bases[number].files[index]
        path = f"{release_folder(base.release, base.kind)}/{file.path}"
        try:
            fd = site.open(path, os.O_RDONLY)
            try:
                right = tools.blake3 is not None or sha256_of_file(fd) == file.sha256
                for origin in sorted(origins):
                    for chunk, target in copies[origin]:
                        plain = os.pread(fd, chunk.plain, origin.at)
                        right = right and len(plain) == chunk.plain
                        right = right and (tools.blake3 is None or tools.blake3(memoryview(plain)) == chunk.blake3)
                        if right:
                            write(target, plain)
                if not right:
                    bad[site.shown(path)] = _altered(site.shown(path))
            finally:
                os.close(fd)
        except FileNotFoundError:
            bad[site.shown(path)] = _altered(site.shown(path), "is gone")
        except OSError as error:
            raise told(error, site.shown(path)) from error
    raise_first(bad)


def _altered(path: str, how: str = "was altered since it was installed") -> IntegrityError:
    return IntegrityError(
        f"{path} {how}, and this bundle takes bytes from it",
        "Install the base again from its own medium: that rewrites the bad files only.",
    )
