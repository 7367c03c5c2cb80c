"""The flags that ``bundle.plan`` and ``bundle.build`` share: whatever was planned is then built.

next: ``bundle_orders``
"""

from __future__ import annotations

from typing import NamedTuple

from pipeline.cli.flags import ALLOW_YANKED, WANT


class Packing(NamedTuple):
    """What goes into a bundle, as these flags say it: all of it still text."""

    model: tuple[str, ...] = ()
    name: str = ""
    volume_size: str = ""
    base: tuple[str, ...] = ()
    have: str = ""
    site_key: str = ""
    parity: str = ""
    only: tuple[str, ...] = ()
    allow_yanked: bool = False


PACKING = {
    "model": f"{WANT} Repeat it for more; their dependencies go with them.",
    "name": "Name of the bundle and its files. Default: that of the first release.",
    "volume_size": "Largest volume: a size such as 4GB, dvd, bd25, usb-fat32 or none. Default usb-fat32, 64 KiB less than 4 GiB.",
    "base": "A release that the site has: only what it lacks is packed; repeat it for more. Default: all is packed.",
    "have": "File that the site exported with bundle.inventory, in place of --base. Default: none.",
    "site_key": "The site's Ed25519 key, 64 hex digits, that must have signed --have. Default: its signature is not judged.",
    "parity": "Percent of a volume that may be damaged and still be repaired, such as 10%. Default 0: none.",
    "only": "Number of a volume to write; repeat it for more. Default: all.",
    "allow_yanked": ALLOW_YANKED,
}
