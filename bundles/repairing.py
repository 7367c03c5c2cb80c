"""Repair: damaged volumes made whole, from another copy that is damaged elsewhere, or from parity beside them; then parity itself.

Takes the folder to put right and folders that may help, gives ``Repaired``. Only what was proven is written; a volume that was
not there gets its name when every byte of it is right.

next: ``bundles.zipped``
"""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import msgspec

from bundles.companions import restore_beside
from bundles.filling import sync_folder, volume_error
from bundles.index import Bundle
from bundles.medium import ENDING, PARTIAL, Medium, Volume, medium_error, open_medium, open_volume, opened, standing
from bundles.parity import ENDING as PARITY
from bundles.parity import parity_files, repair_volume
from bundles.reader import BundleReader
from bundles.salvage import Stretch, mend_volume, stretches
from bundles.verifying import damages
from pipeline.errors import InvalidDocument, UsageError, VerifyFailed
from pipeline.events import Listener, StepFinished, StepStarted, Warned
from pipeline.place import Heard

STEP = "bundle-repair"


class RepairedVolume(msgspec.Struct, kw_only=True):
    """A volume that was damaged or missing; ``parity`` when it took that to make it whole."""

    volume: int
    name: str
    parity: bool


class Repaired(msgspec.Struct, kw_only=True):
    """What a repair did; ``missing`` are volumes that are in no folder, ``beside`` names files beside them that are right again."""

    name: str
    bundle: str
    volumes: int
    repaired: list[RepairedVolume]
    missing: list[int]
    beside: list[str]
    warnings: list[str]
    seconds: float


def repair_bundle(folder: Path, others: Sequence[Path], listen: Listener) -> Repaired:
    """Make every volume in ``folder`` whole, and bring those that only ``others`` have; these are only read.

    Raises:
        VerifyFailed: naming what could not be made whole; what could, was. Files beside the volumes count, too.
        UsageError, AccessDenied, DiskError
    """
    heard = Heard(listen)
    started = time.monotonic()
    medium = _open(folder, others)
    bundle = medium.bundle
    reader = BundleReader(folder, medium)
    known = stretches(reader, bundle)
    heard.listen(StepStarted(STEP, len(bundle.plan.volumes)))
    repaired: list[RepairedVolume] = []
    missing: list[int] = []
    failed: list[str] = []
    whole: set[str] = set()
    for number in bundle.numbers():
        name = bundle.file_name(number)
        here = [volume.path for volume in medium.volumes.get(number, ()) if volume.path.parent == folder]
        target = here[0] if here else standing(folder, name)
        spares = [volume.path for volume in medium.volumes.get(number, ()) if volume.path.parent != folder]
        spares += [path for other in others if _is_file(path := standing(other, name)) and path not in spares]
        if not _is_file(target) and not spares and not parity_files(target):
            missing.append(number)
            continue
        if here and not any(damages(medium.volumes[number][:1])):
            whole.add(target.name)
            continue
        try:
            with_parity = _repair(target, medium, number, spares, known)
            repaired.append(RepairedVolume(volume=number, name=target.name, parity=with_parity))
            whole.add(target.name)
        except VerifyFailed as error:
            failed.append(str(error))
            heard.listen(Warned("not-repaired", str(error)))
    beside, left, unnamed = restore_beside(folder, others, whole, bundle)
    for told in left:
        heard.listen(Warned("not-repaired", told))
    for told in unnamed:
        heard.listen(Warned("not-listed", f"{told}, and nothing here proves it"))
    heard.listen(StepFinished(STEP, len(repaired) + len(beside), 0, time.monotonic() - started))
    if failed:
        raise VerifyFailed(
            "; ".join((*failed, *left)),
            hint="Take another copy of these volumes, or have them made anew by the sender: bundle.build --only N",
        )
    if left:
        raise VerifyFailed(
            f"every volume here is whole; beside them: {'; '.join(left)}",
            hint="Name a folder that has these files with --from, or have the bundle written anew: bundle.build",
        )
    return Repaired(
        name=bundle.plan.name,
        bundle=bundle.id,
        volumes=len(bundle.plan.volumes),
        repaired=repaired,
        missing=missing,
        beside=beside,
        warnings=heard.warnings,
        seconds=round(time.monotonic() - started, 3),
    )


def _open(folder: Path, others: Sequence[Path]) -> Medium:
    """The bundle that these folders hold copies of; where no index is whole, parity has to find one first."""
    folders = [folder, *others]
    try:
        return open_medium(folders)
    except (InvalidDocument, UsageError):
        indexes = sorted(path for path in folder.iterdir() if path.name.lower().endswith(ENDING + PARITY))
        if not indexes:
            raise
        for index in indexes:
            _by_parity(index.with_suffix(""), (), None)
        return open_medium(folders)


def _is_file(path: Path) -> bool:
    try:
        return stat.S_ISREG(os.lstat(path).st_mode)
    except OSError:
        return False


def _repair(target: Path, medium: Medium, number: int, spares: Sequence[Path], known: Mapping[str, list[Stretch]]) -> bool:
    """Make one volume whole; True when that took parity.

    Raises:
        VerifyFailed: it could not be.
    """
    bundle = medium.bundle
    layout = bundle.layout(number)
    there = _is_file(target)
    path = target if there else target.with_name(target.name + PARTIAL)
    try:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise volume_error(error, path, layout.size) from error
    try:
        with ExitStack() as stack:
            fds = [stack.enter_context(opened(spare))[0] for spare in spares]
            left = mend_volume(fd, bundle, layout, fds, known)
        os.fsync(fd)
    except OSError as error:
        raise volume_error(error, path, layout.size) from error
    finally:
        os.close(fd)
    if left and not parity_files(target):
        names = ", ".join(placed.member.key for placed in left[:5])
        more = f" and {len(left) - 5} more" if len(left) > 5 else ""
        raise VerifyFailed(
            f"{target.name}: whole in no copy, and there is no parity: {names}{more}",
            hint=f"Take another copy of it, or have it made anew by the sender: bundle.build --only {number}",
        )
    if not there:
        path.rename(target)
        sync_folder(target.parent)
    if not left:
        return False
    _by_parity(target, spares, bundle)
    fault = _fault_of(bundle, target)
    if fault:
        raise VerifyFailed(f"{target.name} is damaged still: {fault}", hint="Its parity is of another volume: have it made anew.")
    return True


def _by_parity(target: Path, spares: Sequence[Path], bundle: Bundle | None) -> None:
    try:
        repair_volume(target, spares, partial(_fault_of, bundle))
    except OSError as error:
        raise medium_error(error, target) from error


def _fault_of(bundle: Bundle | None, path: Path) -> str:
    """What is wrong with a file as a volume of ``bundle``; where that is not known yet, of the one that its index is of."""
    found = open_volume(path, known=bundle)
    if not isinstance(found, Volume):
        return found.reason if found else "it is no volume"
    if bundle is not None and found.bundle.id != bundle.id:
        return f"it is of bundle {found.bundle.plan.name} ({found.bundle.id[:12]})"
    return next((str(one) for one in damages([found])), "")
