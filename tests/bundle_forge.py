"""Volumes as an enemy writes them who knows the format, has every signed document, and cannot sign."""

from __future__ import annotations

from pathlib import Path

import msgspec

from bundles.index import INDEX, bundle_of
from bundles.ustar import TRAILER, filled, header_for
from tests.bundle_world import volume


def forge(path: Path, folder: Path, *, drop_part: bool = False, **changes) -> Path:
    """Write volume 1 of one volume anew with a right index of another plan: fields of the plan ``changes``."""
    found = volume(path)
    data = path.read_bytes()
    bodies = {member.key: data[at : at + member.size] for member, at in found.layout.members}
    parts = found.bundle.plan.volumes[found.layout.number - 1]
    plan = msgspec.structs.replace(found.bundle.plan, **{"volumes": (parts[: -1 if drop_part else None],), **changes})
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / path.name
    write_volume(target, plan, bodies)
    return target


def write_volume(path: Path, plan, bodies: dict[str, bytes]) -> None:
    """One volume of ``plan``, its members' bytes as given, right or not."""
    bundle = bundle_of(plan)
    index = bundle.index(1)
    out = [(INDEX, index)] + [(placed.member.key, bodies[placed.member.key]) for placed in bundle.layout(1).members]
    path.write_bytes(
        b"".join(header_for(key, len(body)) + body + bytes(filled(len(body)) - len(body)) for key, body in out) + bytes(TRAILER)
    )
