"""From flags, which are text, to what the bundle walks take.

Takes a task's flags and the settings, gives orders, or one line that says which flag cannot be what it is.

next: ``bundle_summaries``
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from bundles.beside import Beside
from bundles.carving import MEDIA, media_volume_size
from bundles.inventory import Inventory, read_inventory
from bundles.planning import BundleOrder, Planned
from bundles.selecting import Selection
from bundles.wheels import choose_wheels, download_wheels, find_wheels
from bundles.zipped import installer_bytes
from pipeline.cli.packing import Packing
from pipeline.digest import is_hex64
from pipeline.errors import SettingsError, UsageError
from pipeline.events import Listener, StepFinished, StepStarted, Warned
from pipeline.meant import ask
from pipeline.plan.wants import read_want
from pipeline.release import Release
from pipeline.setting_checks import parse_size
from pipeline.settings import Settings
from pipeline.trust.state import read_fingerprint
from pipeline.wire import DOCUMENT_BYTES

DEFAULT_MEDIUM = "usb-fat32"


def bundle_order(settings: Settings, listen: Listener, asked: Packing, *, bundle: str = "") -> BundleOrder:
    """The order that these flags make; ``bundle`` are the first digits of one that was built before.

    Raises:
        UsageError: naming the flag, and what is expected.
        BadSignature, InvalidDocument: the inventory is not what it must be.
    """
    wants = tuple(read_want(text) for text in asked.model)
    if not wants:
        raise UsageError("--model is needed", hint="invoke --help bundle.build shows an example.")
    if asked.site_key and not asked.have:
        raise UsageError(
            "--site-key without --have judges nothing", hint="Name the inventory that the site exported: --have FILE"
        )
    percent = _parity(asked.parity)
    size, medium = _volume_size(asked.volume_size, percent)
    selection = Selection(
        wants=wants,
        name=asked.name,
        bases=tuple(Release.parse(text) for text in asked.base),
        have=_inventory(asked.have, asked.site_key, listen) if asked.have else None,
        allow_yanked=asked.allow_yanked,
    )
    return BundleOrder(
        selection=selection,
        volume_size=size,
        medium=medium,
        parity=percent,
        only=tuple(_number(text) for text in asked.only),
        bundle=bundle,
        connections=settings.connections,
    )


def beside_for(
    wheels: str, pythons: Sequence[str], platforms: Sequence[str], cache: Path, listen: Listener
) -> Callable[[Planned], Beside]:
    """What travels with the volumes, once it is known whether the releases need a codec.

    Raises:
        UsageError: no wheel is pinned for such a Python or platform, or ``wheels`` is no folder.
    """
    chosen = choose_wheels(pythons, platforms)
    if wheels and not Path(wheels).is_dir():
        raise UsageError(f"--wheels {wheels} is no folder", hint="Name the folder that pip downloaded the wheels into.")

    def make(planned: Planned) -> Beside:
        if not planned.selected.needs_codec:
            return Beside(installer_bytes(), {})
        folder = Path(wheels) if wheels else cache / "wheels"
        listen(StepStarted("wheels", len(chosen)))
        begun = time.monotonic()
        why = "" if wheels else download_wheels(chosen, folder)
        found = find_wheels(chosen, folder)
        listen(StepFinished("wheels", len(found), sum(path.stat().st_size for path in found.values()), time.monotonic() - begun))
        lacking = len(chosen) - len(found)
        if lacking:
            listen(
                Warned(
                    "wheels-missing",
                    f"{lacking} of {len(chosen)} zstandard wheels are not carried{f': {why}' if why else f': they are not in {folder}'}; "
                    "without one a site needs the program zstd, or Python 3.14 or newer",
                )
            )
        return Beside(installer_bytes(), found)

    return make


def check_fingerprint_flag(text: str) -> str:
    """A root's fingerprint, or nothing.

    Raises:
        UsageError: it is none.
    """
    # As it was read out and written down: in groups, in capitals.
    return read_fingerprint("".join(text.split()).lower()) if text else ""


def folders_of(texts: Iterable[str], *, flag: str) -> list[Path]:
    """Folders that hold volumes; with ``flag`` at least one.

    Raises:
        UsageError: one is none.
    """
    folders = [Path(text).absolute() for text in texts]
    if flag and not folders:
        raise UsageError(f"--{flag} is needed", hint="Name the folder that holds the volumes.")
    for folder in folders:
        if not folder.is_dir():
            raise UsageError(f"{folder} is no folder", hint="Name the folder that holds the volumes.")
    return folders


def _volume_size(text: str, parity: int) -> tuple[int | None, str]:
    """(bytes or None for no limit, name of the medium or "")."""
    name = text or DEFAULT_MEDIUM
    if name == "none":
        return None, ""
    if name in MEDIA:
        return media_volume_size(name, parity), name
    try:
        return parse_size(name, "--volume-size"), ""
    except SettingsError:
        raise UsageError(
            f"--volume-size {text} is neither a size nor a medium; {ask(text, (*MEDIA, 'none'))}",
            hint="Write it as 4GB, 700MiB, dvd, bd25, usb-fat32 or none.",
        ) from None


def _parity(text: str) -> int:
    if not text:
        return 0
    match = re.fullmatch(r"([0-9]{1,3})%?", text)
    if match is None or not 1 <= int(match[1]) <= 100:
        raise UsageError(f"--parity {text} is not a percentage from 1% to 100%", hint="Write it as --parity 10%.")
    return int(match[1])


def _number(text: str) -> int:
    if not re.fullmatch(r"[1-9][0-9]{0,3}", text):
        raise UsageError(f"--only {text} is not the number of a volume", hint="Write it as --only 3; repeat it for more.")
    return int(text)


def _inventory(path: str, site_key: str, listen: Listener) -> Inventory:
    if site_key and not is_hex64(site_key):
        raise UsageError(f"--site-key {site_key} is no Ed25519 key, expected 64 hex digits", hint="The site's key prints them.")
    try:
        with Path(path).open("rb") as file:
            data = file.read(DOCUMENT_BYTES + 1)
    except OSError as error:
        raise UsageError(
            f"cannot read the inventory {path}: {error.strerror}", hint="Export one at the site: invoke bundle.inventory"
        ) from error
    inventory, signed = read_inventory(data, what=path, site_key=site_key)
    if not signed:
        listen(Warned("inventory-unproven", f"{path} is taken as it is: nobody gave the site's key (--site-key)"))
    return inventory
