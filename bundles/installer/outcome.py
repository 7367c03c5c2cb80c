"""What an installation did, or would do: the result that people and programs are told.

Takes an ``Order`` and what ``preflight`` made ready for it, gives a ``Done``, which ``walk`` then fills in.

next: ``walk``
"""

from __future__ import annotations

from dataclasses import dataclass, field

from bundles.installer.preflight import Order, Ready


@dataclass
class Done:
    """What an installation did. ``missing`` are the numbers of volumes without which it cannot go on."""

    site: str
    bundle: str
    name: str
    volumes: int
    root_fingerprint: str
    snapshot: int
    releases: list[dict[str, str]]
    generation: int = 0
    missing: list[int] = field(default_factory=list)
    bytes_written: int = 0
    repaired: list[str] = field(default_factory=list)
    removed: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    decoder: str = ""
    receipt: str = ""
    dry: bool = False


def begun(order: Order, ready: Ready, *, dry: bool) -> Done:
    """What is known before the first byte is written."""
    return Done(
        site=order.site,
        bundle=ready.plan.bundle,
        name=ready.plan.name,
        volumes=len(ready.plan.volumes),
        root_fingerprint=ready.judged.root.sha256,
        snapshot=ready.judged.snapshot.version,
        releases=[
            {
                "release": one.manifest.release,
                "kind": one.manifest.kind,
                "folder": one.folder,
                "manifest_sha256": one.manifest.sha256,
            }
            for one in ready.releases
        ],
        missing=sorted(
            {ready.carried[name][0] for name in ready.work.jobs if name not in ready.kept} - set(ready.medium.volumes)
        ),
        warnings=ready.judged.warnings + [f"a volume was passed over: {fault}" for fault in ready.medium.faults],
        repaired=[
            f"{one.manifest.release}: {one.manifest.files[index].path}"
            for one in ready.releases
            if one.stands
            for index in one.files
        ],
        dry=dry,
    )
