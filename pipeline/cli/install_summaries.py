"""What a person reads after the tasks of a site.

Takes the results of walks, gives text.

next: ``install_tasks``
"""

from __future__ import annotations

from pathlib import Path

from bundles.installer.program import spell_volumes
from bundles.installing import BundleInstalled
from bundles.site_inventory import InventoryExported
from pipeline.spelling import spell_count, spell_size

SHOWN = 20


def install_summary(done: BundleInstalled) -> str:
    """After ``bundle.install``."""
    lines = [
        f"{done.name} for {done.site}, snapshot {done.snapshot}",
        f"  bundle       {done.bundle}",
        f"  root         {done.root_fingerprint}",
        *(f"  holds        {one.release} ({one.kind}): {Path(done.site, one.folder)}" for one in done.releases),
    ]
    lines += [f"  put right    {path}" for path in done.repaired[:SHOWN]]
    if len(done.repaired) > SHOWN:
        lines.append(f"    … and {len(done.repaired) - SHOWN} more")
    missing = spell_volumes(done.missing, done.volumes)
    if done.dry:
        lines.append(f"  media        {missing} not at hand" if done.missing else "  media        all volumes are at hand")
        return "\n".join([*lines, "nothing was written"])
    lines.append(f"  written      {spell_size(done.bytes_written)}")
    if done.missing:
        return "\n".join([*lines, f"not live yet: {missing} missing; what came is safe, its media are not needed any more"])
    lines += [f"  removed      {release}" for release in done.removed]
    lines += [f"  live         generation {done.generation}: {Path(done.site, 'current')}", f"  receipt      {done.receipt}"]
    return "\n".join(lines)


def inventory_summary(done: InventoryExported) -> str:
    """After ``bundle.inventory``."""
    lines = [f"{done.path}: {spell_count(len(done.releases), 'release')}, snapshot {done.snapshot}, root {done.root_fingerprint}"]
    lines += [f"  has          {release}" for release in done.releases[:SHOWN]]
    if len(done.releases) > SHOWN:
        lines.append(f"    … and {len(done.releases) - SHOWN} more")
    lines.append(f"  signed by    {done.keyid}" if done.keyid else "  not signed: the site gave no key")
    return "\n".join(
        [*lines, f"next: at the publisher's: invoke bundle.build --have {Path(done.path).name} --model NAME --to FOLDER"]
    )
