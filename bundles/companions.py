"""Companions: what stands beside the volumes (installer, README.txt, wheels, parity), held against SHA256SUMS and put right.

Takes folders, gives what is wrong in each; and brings it back from another copy, out of this modelport, or, for parity of a
volume that is whole, by making it anew. Nobody signs these files, and nothing that is installed depends on them.

next: ``bundles.verifying``
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from bundles.beside import write_whole
from bundles.filling import sync_folder, volume_error
from bundles.index import Bundle
from bundles.listing import (
    contradictions,
    digest_fault,
    digest_of,
    installers_of,
    is_beside,
    readme_of,
    restore_sums,
    sums_of,
    unlisted,
    volume_of,
)
from bundles.medium import PARTIAL, is_volume_name, opened, standing
from bundles.parity import MOST_BLOCKS, make_parity
from bundles.side_files import INSTALLER, README, SUMS, sums_text
from bundles.zipped import installer_bytes, installer_sha256
from pipeline.digest import Sha256
from pipeline.errors import UsageError

_RECOVERY = re.compile(r"\.vol[0-9]{1,5}\+([0-9]{1,5})\.par2")
_COPY_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Lost:
    """A file beside the volumes that is gone or altered; ``volume`` is the name of the volume that it is parity of, else ""."""

    folder: Path
    name: str
    fault: str
    sha256: Sha256
    volume: str = ""

    def __str__(self) -> str:
        """For people."""
        if self.volume:
            return f"{self.name}: {self.fault} (without it damage to {self.volume} cannot be put right)"
        return f"{self.name}: {self.fault}"


def look_beside(folders: Sequence[Path], bundle: Bundle) -> tuple[int, list[Lost]]:
    """How many files SHA256SUMS of ``folders`` name beside volumes, and which of them are not right, or say what is not.

    Volumes are judged by their index. On one of several media a file may be missing that another has; and parity stands
    where its volume does.
    """
    looked, lost, right = 0, [], set()
    for folder in folders:
        sums, fault = sums_of(folder)
        if fault:
            lost.append(Lost(folder, SUMS, fault, Sha256("")))
        for name, expected in sorted(sums.items()):
            if is_volume_name(name) or not is_beside(name):
                continue
            volume = volume_of(name)
            if volume and not os.path.isfile(standing(folder, volume)):  # noqa: PTH113 (Path.is_file raises where a name is too long)
                continue
            looked += 1
            fault = digest_fault(standing(folder, name), expected)
            if fault:
                lost.append(Lost(folder, name, fault, expected, volume))
            else:
                right.add((name, expected))
    lost += [Lost(folder, name, fault, Sha256("")) for folder, name, fault in contradictions(folders, bundle)]
    # What is altered is told wherever it is; what is missing only where no other medium has it.
    return looked, [one for one in lost if (one.name, one.sha256) not in right or os.path.lexists(standing(one.folder, one.name))]


def unnamed_beside(folders: Sequence[Path], bundle: Bundle) -> list[str]:
    """Files beside the volumes that no list in ``folders`` names, where there is one: nothing here says what they should be."""
    named = {name: digest for folder in folders for name, digest in sums_of(folder)[0].items()}
    names = {name for folder in folders if sums_of(folder)[0] for name in unlisted(folder, bundle, named)}
    return [f"{name}: {SUMS} does not name it" for name in sorted(names)]


def restore_beside(
    folder: Path, others: Sequence[Path], whole: Collection[str], bundle: Bundle
) -> tuple[list[str], list[str], list[str]]:
    """Bring back what is lost beside the volumes in ``folder``; parity is made anew for those whose names are ``whole``.

    Returns:
        Names of the files that are right again, what stays wrong, and what is not listed.

    Raises:
        DiskError
    """
    restored, left, parity = restore_sums(folder, others, whole, bundle), [], dict[Path, list[Lost]]()
    for one in look_beside([folder], bundle)[1]:
        volume = standing(folder, one.volume)
        if _restore(one, others, bundle):
            restored.append(one.name)
        elif one.volume and volume.name in whole:
            parity.setdefault(volume, []).append(one)
        else:
            left.append(str(one))
    for volume, files in parity.items():
        try:
            restored += _make_parity_anew(folder, volume)
        except UsageError as error:
            left += [f"{one}; {error}" for one in files]
    return restored, left, unnamed_beside([folder], bundle)


def _restore(lost: Lost, others: Sequence[Path], bundle: Bundle) -> bool:
    target = standing(lost.folder, lost.name)
    try:
        # Through a link that was planted here, something else would be written.
        if "/" in lost.name and target.parent.is_symlink():
            return False
        target.parent.mkdir(exist_ok=True)
        for other in others:
            if not digest_fault(spare := standing(other, lost.name), lost.sha256):
                _copy(spare, target)
                return True
    except OSError as error:
        raise volume_error(error, target, 0) from error
    if lost.name == INSTALLER and lost.sha256 == installer_sha256():
        write_whole(target, installer_bytes())
        return True
    text = readme_of(bundle, lost.sha256, installers_of(sums_of(lost.folder)[0])) if lost.name == README else ""
    if text:
        write_whole(target, text.encode())
    return bool(text)


def _make_parity_anew(folder: Path, volume: Path) -> list[str]:
    sums, _ = sums_of(folder)
    before = {name for name in sums if volume_of(name).lower() == volume.name.lower()}
    blocks = sum(int(found[1]) for name in before if (found := _RECOVERY.search(name)))
    # No build makes more than there is of the volume: whoever asks for more would fill the disk.
    if not 0 < blocks <= MOST_BLOCKS:
        raise UsageError(f"{SUMS} does not say how much parity it had")
    made = {path.name: digest_of(path) for path in make_parity(volume, blocks=blocks)}
    # Another program of that name spells its own into them.
    kept = {name: digest for name, digest in sums.items() if name not in before}
    write_whole(standing(folder, SUMS), sums_text({**kept, **made}).encode())
    return sorted(made)


def _copy(source: Path, target: Path) -> None:
    partial = target.with_name(target.name + PARTIAL)
    with suppress(FileNotFoundError):
        partial.unlink()
    with opened(source) as (fd, _), partial.open("xb") as file:
        at = 0
        while block := os.pread(fd, _COPY_BYTES, at):
            file.write(block)
            at += len(block)
        file.flush()
        os.fsync(file.fileno())
    partial.rename(target)
    sync_folder(target.parent)
