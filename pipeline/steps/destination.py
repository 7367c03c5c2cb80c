"""What stands where a release is to go, and whether it may be replaced.

Takes a destination and the release, gives a ``Found``: nothing, the release whole, or a folder that may be replaced
because a fetch put it there or because nothing in it would be lost. Everything else is refused.

next: ``steps.bring``
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pipeline.digest import Sha256
from pipeline.errors import UsageError
from pipeline.manifest import Manifest
from pipeline.plan.fetching import Target, wanted_files
from pipeline.sources.installed import InstallRecord, Installs
from pipeline.steps.folders import disk_error, open_folder, walk_files
from pipeline.steps.proofread import FOREIGN, Proof, extra_files, read_proof

NAMED = 5


@dataclass(frozen=True, slots=True)
class Found:
    """``files`` are the numbers of those that belong there; ``complete``: nothing is to be done.

    ``proof`` says which of them are right already, ``record`` what a fetch installed there before.
    """

    files: tuple[int, ...]
    exists: bool = False
    complete: bool = False
    proof: Proof = field(default_factory=Proof)
    record: InstallRecord | None = None
    extra: tuple[str, ...] = ()

    @property
    def right(self) -> set[Target]:
        """Places of the folder that hold their bytes."""
        return self.proof.right


def look_at(
    destination: Path,
    manifest: Manifest,
    sha256: Sha256,
    installs: Installs,
    *,
    include: Sequence[str],
    exclude: Sequence[str],
    done: Callable[[int], None] = lambda _: None,
) -> Found:
    """Look at what stands at ``destination``; every byte that may count is hashed.

    Raises:
        UsageError: a link, a file, or a folder with files that a fetch would have to throw away.
        DiskError
    """
    files = wanted_files(manifest, include, exclude)
    if not files and manifest.files:
        raise UsageError(
            f"no file of {manifest.release} matches: include {list(include)}, exclude {list(exclude)}",
            hint=f"See its files: invoke show --model {manifest.release}",
        )
    try:
        folder_fd = open_folder(destination)
    except FileNotFoundError:
        return Found(files)
    try:
        there = {path for path, _ in walk_files(folder_fd)}
        if not there:
            return Found(files, exists=True)
        record = installs.find(destination)
        if record is not None and record.manifest_sha256 == sha256:
            # What an earlier fetch of another selection brought stays.
            files = tuple(sorted({*files, *_selected(manifest, record)}))
        proof = read_proof(folder_fd, manifest, files, bits=record is None or record.executable_bits, done=done)
        extra = tuple(extra_files(folder_fd, {manifest.files[index].path for index in files}))
        if proof.whole:
            own = _paths(manifest)
            return Found(files, True, True, proof, record, tuple(path for path in extra if path not in own))
        old = installs.manifest(record) if record else None
        lost = _would_be_lost(manifest, old, proof, there, set(extra))
        if lost:
            more = f" and {len(lost) - NAMED} more" if len(lost) > NAMED else ""
            raise UsageError(
                f"{destination} holds files that are not of {manifest.release}: {', '.join(lost[:NAMED])}{more}",
                hint="Nothing was changed. Choose another folder with --to, or move these files away; "
                f"to put altered files right: invoke verify --folder {destination} --repair",
            )
        return Found(files, True, False, proof, record)
    except OSError as error:
        raise disk_error(error, destination) from error
    finally:
        os.close(folder_fd)


def _would_be_lost(manifest: Manifest, old: Manifest | None, proof: Proof, there: set[str], extra: set[str]) -> list[str]:
    """Files that replacing the folder would throw away though no fetch brought them; ``old``: what a fetch installed there."""
    known = _paths(manifest) | _paths(old) if old else set()
    lost = sorted(path for path in there if path.startswith(FOREIGN) or (path in extra and path not in known))
    return lost if old else lost + [manifest.files[index].path for index in proof.altered]


def _selected(manifest: Manifest, record: InstallRecord) -> Sequence[int]:
    if not record.files:
        return range(len(manifest.files))
    chosen = set(record.files)
    return [index for index, file in enumerate(manifest.files) if file.path in chosen]


def _paths(manifest: Manifest) -> set[str]:
    return {file.path for file in manifest.files}
