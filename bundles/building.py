"""Build: the volumes of a bundle onto a medium, read back past the cache, and what stands beside them.

Takes an order, a supply and a folder, gives ``Built``. Each volume appears under its name whole and synced; only when all are
written are they read back, for a medium that lies about its size spoils what was written first. Run again after any
interruption: what is right is kept.

next: ``bundles.listing``
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import msgspec

from bundles.beside import Beside, beside_bytes, lay_beside, make_folder, write_sums
from bundles.filling import Filled, fill_volume, locked_folder, volume_error
from bundles.index import Bundle, Member
from bundles.medium import PARTIAL, Volume, open_volume
from bundles.parity import find_program, make_parity, parity_files
from bundles.planning import BundleOrder, Planned, numbers_of, plan_bundle
from bundles.pouring import Origin, Step
from bundles.readback import read_back
from bundles.reader import BundleReader
from bundles.recipes import Recipe, RecipeShelf
from pipeline.digest import Sha256
from pipeline.errors import DiskError, OtherContent, UnavailableError, VerifyFailed
from pipeline.events import Listener, Progress, StepFinished, StepStarted
from pipeline.place import Heard
from pipeline.retry import Retry
from pipeline.sources.mirrors import Mirrors
from pipeline.supply import Supply
from pipeline.trust.publisher import no_step

STEP = "bundle"
READ_BACK = "read-back"
# Every moment at which a run may end, in order; tests stop at each.
STEPS = ("recipe", "open", "member", "settle", "rename", "beside", "parity", READ_BACK, "sums")


class BuiltVolume(msgspec.Struct, kw_only=True):
    """A volume that stands in the folder; ``kept`` of its members' bytes were there before this run."""

    volume: int
    name: str
    size: int
    sha256: str
    kept: int
    parity: list[str]


class Built(msgspec.Struct, kw_only=True):
    """What a build did. ``safe_to_remove``: all is synced, and was read from the medium and hashed. Sizes in bytes."""

    name: str
    bundle: str
    source: str
    folder: str
    root_fingerprint: str
    snapshot: int
    releases: list[str]
    bases: list[str]
    volumes: list[BuiltVolume]
    of_volumes: int
    bytes: int
    bytes_written: int
    left_out: int
    installer_sha256: str
    wheels: list[str]
    safe_to_remove: bool
    warnings: list[str]
    seconds: float


def build_bundle(
    order: BundleOrder,
    supply: Supply,
    to: Path,
    listen: Listener,
    *,
    shelf: RecipeShelf,
    beside: Callable[[Planned], Beside],
    pin: Callable[[Recipe], None] | None = None,
    step: Step = no_step,
) -> Built:
    """Write what is ordered into ``to``, and prove that it is there.

    ``beside`` gives what travels with the volumes; ``pin`` keeps the releases from being collected.

    Raises:
        UsageError, UnknownName, OtherContent: as ``plan_bundle``; or ``to`` holds another bundle's files.
        ObjectMissing: the source is a differential, which leaves out what is ordered; nothing was written.
        ConflictError: another build is at work there.
        VerifyFailed: the medium gives back other bytes than were written.
        DiskError: no space, a file too large for its file system, a medium that is gone.
        TrustError, IntegrityError, UnavailableError
    """
    heard = Heard(listen)
    started = time.monotonic()
    if supply.sources is None:
        raise UnavailableError("a bundle needs a source", hint="Run it without --offline.")
    if order.parity:
        find_program()
    planned = plan_bundle(order, supply, heard.listen, shelf=shelf, to=to)
    recipe, bundle = planned.recipe, planned.recipe.bundle
    numbers = numbers_of(bundle, order.only)
    _check_source(supply.sources, to, bundle, numbers)
    extra = beside(planned)
    make_folder(to)
    with locked_folder(to):
        step("recipe")
        shelf.keep(recipe)
        if pin is not None:
            pin(recipe)
        there = {number: size for number in numbers if (size := _standing(to, bundle, number))}
        _check_space(to, bundle, [number for number in numbers if number not in there], order.parity, beside_bytes(to, extra))
        total = sum(member.size for number in numbers for member in _members(bundle, number))
        heard.listen(StepStarted(STEP, len(numbers), total))
        begun = time.monotonic()
        origin = Origin(supply.sources, recipe.metadata, Retry(supply.patience, listen=heard.listen), order.connections)
        filled: dict[int, Filled] = {}

        def fill(number: int) -> Filled:
            filled[number] = fill_volume(
                to, bundle, number, origin, done=lambda size: heard.listen(Progress(STEP, size)), step=step
            )
            return filled[number]

        for number in numbers:
            if number not in there:
                fill(number)
            else:
                heard.listen(Progress(STEP, sum(member.size for member in _members(bundle, number))))
        heard.listen(StepFinished(STEP, len(numbers), total, time.monotonic() - begun))
        # Nothing of size is written once the volumes were read back: on a medium that lies it would spoil them.
        step("beside")
        installer = lay_beside(to, bundle, extra, needs_codec=planned.selected.needs_codec, parity=_has_parity(to, bundle, order))
        parity = {number: _parity(to / bundle.file_name(number), order.parity, step) for number in numbers}
        step(READ_BACK)
        sums = _read_all_back(to, bundle, {number: filled.get(number) for number in numbers}, fill, heard.listen)
        # Parity of a volume that was damaged, and written anew, is none of it.
        parity |= {number: _parity(to / bundle.file_name(number), order.parity, step) for number in there.keys() & filled.keys()}
        step("sums")
        write_sums(to, bundle, {bundle.file_name(number): digest for number, digest in sums.items()})
    volumes = [
        BuiltVolume(
            volume=number,
            name=bundle.file_name(number),
            size=bundle.layout(number).size,
            sha256=sums[number],
            kept=filled[number].kept if number in filled else sum(one.size for one in _members(bundle, number)),
            parity=[path.name for path in parity[number]],
        )
        for number in numbers
    ]
    return Built(
        name=bundle.plan.name,
        bundle=bundle.id,
        source=planned.selected.url,
        folder=str(to),
        root_fingerprint=bundle.plan.root_fingerprint,
        snapshot=bundle.plan.snapshot,
        releases=[one.release for one in bundle.plan.releases],
        bases=[one.release for one in bundle.plan.bases],
        volumes=volumes,
        of_volumes=len(bundle.plan.volumes),
        bytes=sum(volume.size for volume in volumes),
        bytes_written=sum(bundle.layout(number).size - one.kept for number, one in filled.items()),
        left_out=planned.selected.left_out_bytes,
        installer_sha256=installer,
        wheels=sorted(extra.wheels),
        safe_to_remove=True,
        warnings=heard.warnings,
        seconds=round(time.monotonic() - started, 3),
    )


def _members(bundle: Bundle, number: int) -> Sequence[Member]:
    return (*bundle.plan.documents, *bundle.plan.volumes[number - 1])


def _check_source(source: Mirrors, to: Path, bundle: Bundle, numbers: Sequence[int]) -> None:
    """Look for what is to be written before anything is: a source that is a differential has only a part of its releases.

    Raises:
        ObjectMissing: naming the releases that a site must have for that source.
    """
    media = [reader for reader in source.readers if isinstance(reader, BundleReader)]
    if len(media) < len(source.readers):
        return
    for number in numbers:
        if os.path.lexists(to / bundle.file_name(number)):
            continue
        for part in bundle.plan.volumes[number - 1]:
            if all(reader.leaves_out(part.key) for reader in media):
                # Raises: it says for whom the differential is.
                media[0].head(part.key)


def _standing(to: Path, bundle: Bundle, number: int) -> int:
    """Bytes of the volume that stands under this name; 0 if none does, or a damaged one, which is made a beginning.

    Raises:
        OtherContent: something else stands there.
    """
    path = to / bundle.file_name(number)
    if not os.path.lexists(path):
        return 0
    found = open_volume(path, known=bundle)
    if isinstance(found, Volume) and (found.bundle.id, found.layout.number) == (bundle.id, number):
        return found.layout.size
    if found is None or isinstance(found, Volume):
        what = "no volume" if found is None else f"volume {found.layout.number} of bundle {found.bundle.id[:12]}"
        raise OtherContent(
            f"{path} is {what}, expected volume {number} of bundle {bundle.id[:12]}",
            hint="Choose an empty folder with --to, or remove that file.",
        )
    _begin_again(path)
    return 0


def _begin_again(path: Path) -> None:
    """Take a damaged volume's name away: what of it is right is kept by whoever writes it anew."""
    try:
        path.rename(path.with_name(path.name + PARTIAL))
    except OSError as error:
        raise volume_error(error, path, 0) from error


def _check_space(to: Path, bundle: Bundle, numbers: Sequence[int], parity: int, beside: int) -> None:
    needed = beside
    for number in numbers:
        size = bundle.layout(number).size
        with suppress(FileNotFoundError):
            needed -= (to / (bundle.file_name(number) + PARTIAL)).stat().st_blocks * 512
        needed += size * (100 + parity) // 100
    room = os.statvfs(to)
    free = room.f_bavail * room.f_frsize
    if needed > free:
        raise DiskError(
            f"{to}: {needed} bytes are needed, {free} are free",
            hint="Use a larger medium, or fill several: --volume-size for its size, --only for the volumes on this one; "
            "--python and --platform carry fewer wheels.",
        )


def _read_all_back(
    to: Path, bundle: Bundle, written: Mapping[int, Filled | None], fill: Callable[[int], Filled], listen: Listener
) -> dict[int, Sha256]:
    """Hash every volume as the medium gives it; one that was there before this run is written anew if it is not right."""
    total = sum(bundle.layout(number).size for number in written)
    listen(StepStarted(READ_BACK, len(written), total))
    begun = time.monotonic()
    sums: dict[int, Sha256] = {}

    def done(size: int) -> None:
        listen(Progress(READ_BACK, size))

    for number, one in written.items():
        path = to / bundle.file_name(number)
        sha256, fault = read_back(path, bundle, number, done, chain=one.chain if one else None)
        if fault and one is None:
            _begin_again(path)
            sha256, fault = read_back(path, bundle, number, done, chain=fill(number).chain)
        if fault:
            raise VerifyFailed(
                f"{path} was written and synced, but the medium gives back something else: {fault}",
                hint="It is failing, or smaller than it says: use another medium.",
            )
        sums[number] = sha256
    listen(StepFinished(READ_BACK, len(written), total, time.monotonic() - begun))
    return sums


def _has_parity(to: Path, bundle: Bundle, order: BundleOrder) -> bool:
    """Whether parity is made, or stands there from an earlier build: it is of the same bytes, and listed with them."""
    return bool(order.parity) or any(parity_files(to / bundle.file_name(number)) for number in bundle.numbers())


def _parity(volume: Path, percent: int, step: Step) -> list[Path]:
    if not percent:
        return []
    step("parity")
    return make_parity(volume, percent)
