"""Companions: what stands beside the volumes (installer, README.txt, wheels, parity), held against SHA256SUMS and put right.

Takes folders, gives what is wrong in each; and brings it back from another copy, out of this modelport, or, for parity of a
volume that is whole, by making it anew. Nobody signs these files, and nothing that is installed depends on them.

next: ``bundles.verifying``
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from bundles.beside import write_whole
from bundles.filling import sync_folder, volume_error
from bundles.medium import ENDING, PARTIAL, medium_error, opened
from bundles.parity import ENDING as PARITY
from bundles.parity import MOST_BLOCKS, make_parity
from bundles.side_files import INSTALLER, README, SUMS, WHEELS, read_sums, sums_text
from bundles.zipped import installer_bytes, installer_sha256
from pipeline.digest import Sha256
from pipeline.errors import ModelportError, UsageError

_RECOVERY = re.compile(r"\.vol[0-9]{1,5}\+([0-9]{1,5})\.par2")
_COPY_BYTES = 1 << 20
# Ten thousand volumes with all that may stand beside each have shorter ones.
SUMS_BYTES = 64 << 20


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


def look_beside(folders: Sequence[Path]) -> tuple[int, list[Lost]]:
    """How many files SHA256SUMS of ``folders`` name beside volumes, and which of them are not right.

    Volumes are judged by their index. On one of several media a file may be missing that another has; and parity stands
    where its volume does.
    """
    looked, lost, right = 0, [], set()
    for folder in folders:
        sums, fault = _sums_of(folder)
        if fault:
            lost.append(Lost(folder, SUMS, fault, Sha256("")))
        for name, expected in sorted(sums.items()):
            if name.endswith(ENDING) or not _is_beside(name):
                continue
            volume = _volume_of(name)
            if volume and not os.path.isfile(folder / volume):  # noqa: PTH113 (Path.is_file raises where a name is too long)
                continue
            looked += 1
            fault = _fault(folder / name, expected)
            if fault:
                lost.append(Lost(folder, name, fault, expected, volume))
            else:
                right.add((name, expected))
    # What is altered is told wherever it is; what is missing only where no other medium has it.
    return looked, [one for one in lost if (one.name, one.sha256) not in right or os.path.lexists(one.folder / one.name)]


def restore_beside(folder: Path, others: Sequence[Path], whole: Collection[str]) -> tuple[list[str], list[str]]:
    """Bring back what is lost beside the volumes in ``folder``; parity is made anew for those whose names are ``whole``.

    Returns:
        Names of the files that are right again, and what stays wrong.

    Raises:
        DiskError
    """
    restored, left, parity = _restore_sums(folder, whole), [], dict[str, list[Lost]]()
    for one in look_beside([folder])[1]:
        if _restore(one, others):
            restored.append(one.name)
        elif one.volume in whole:
            parity.setdefault(one.volume, []).append(one)
        else:
            left.append(str(one))
    for volume, files in parity.items():
        try:
            restored += _make_parity_anew(folder, volume)
        except UsageError as error:
            left += [f"{one}; {error}" for one in files]
    return restored, left


def _restore_sums(folder: Path, whole: Collection[str]) -> list[str]:
    """Let SHA256SUMS say of volumes that are whole what they are; other lines stay as they are.

    The installer gets its line back where it is this modelport's: nothing here proves another, nor README, wheels and parity.
    """
    sums, fault = _sums_of(folder)
    # One that cannot be read is named and left; volumes that were copied alone never had any.
    if os.path.lexists(folder / SUMS) == bool(fault):
        return []
    try:
        fresh = {name: _sha256(folder / name) for name in whole if name.isprintable()}
    except OSError as error:
        raise medium_error(error, folder) from error
    ours = Sha256(installer_sha256())
    if INSTALLER not in sums and not _fault(folder / INSTALLER, ours):
        fresh[INSTALLER] = ours
    if {**sums, **fresh} == sums:
        return []
    write_whole(folder / SUMS, sums_text({**sums, **fresh}).encode())
    return [SUMS]


def _restore(lost: Lost, others: Sequence[Path]) -> bool:
    target = lost.folder / lost.name
    try:
        # Through a link that was planted here, something else would be written.
        if "/" in lost.name and target.parent.is_symlink():
            return False
        target.parent.mkdir(exist_ok=True)
        for other in others:
            if not _fault(other / lost.name, lost.sha256):
                _copy(other / lost.name, target)
                return True
    except OSError as error:
        raise volume_error(error, target, 0) from error
    if lost.name == INSTALLER and lost.sha256 == installer_sha256():
        write_whole(target, installer_bytes())
        return True
    return False


def _make_parity_anew(folder: Path, volume: str) -> list[str]:
    sums, _ = _sums_of(folder)
    before = {name for name in sums if _volume_of(name) == volume}
    blocks = sum(int(found[1]) for name in before if (found := _RECOVERY.search(name)))
    # No build makes more than there is of the volume: whoever asks for more would fill the disk.
    if not 0 < blocks <= MOST_BLOCKS:
        raise UsageError(f"{SUMS} does not say how much parity it had")
    made = {path.name: _sha256(path) for path in make_parity(folder / volume, blocks=blocks)}
    # Another program of that name spells its own into them.
    kept = {name: digest for name, digest in sums.items() if name not in before}
    write_whole(folder / SUMS, sums_text({**kept, **made}).encode())
    return sorted(made)


def _sums_of(folder: Path) -> tuple[Mapping[str, Sha256], str]:
    """The digests that stand in a folder, none where there are none; and what is wrong with the list itself."""
    path = folder / SUMS
    if not path.is_file():
        # Volumes that were copied alone have no list; where its other files stand, it was lost.
        return {}, "it is gone" if any(os.path.lexists(folder / name) for name in (INSTALLER, README)) else ""
    try:
        with opened(path) as (fd, size), open(fd, "rb", closefd=False) as file:
            if size > SUMS_BYTES:
                return {}, f"it has {size} bytes, at most {SUMS_BYTES} are allowed"
            return read_sums(file.read().decode("utf-8", errors="replace")), ""
    except OSError as error:
        raise medium_error(error, path) from error


def _is_beside(name: str) -> bool:
    """Whether it is a file of the folder or of its wheels: nobody signs these names."""
    folder, slash, file = name.rpartition("/")
    return (not slash or folder == WHEELS) and not file.startswith(".")


def _volume_of(name: str) -> str:
    return name.partition(ENDING)[0] + ENDING if name.endswith(PARITY) and ENDING in name else ""


def _fault(path: Path, expected: Sha256) -> str:
    try:
        found = _sha256(path)
    except FileNotFoundError:
        return "it is gone"
    except ValueError:
        return "no file has such a name"
    except (OSError, ModelportError) as error:
        return "it is gone" if not os.path.lexists(path) else str(error)
    return "" if found == expected else f"its sha256 is {found}, {SUMS} says {expected}"


def _sha256(path: Path) -> Sha256:
    with opened(path) as (fd, _), open(fd, "rb", closefd=False) as file:
        return Sha256(hashlib.file_digest(file, "sha256").hexdigest())


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
