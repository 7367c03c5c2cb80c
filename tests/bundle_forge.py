"""Volumes as an enemy writes them who knows the format, has every signed document, and cannot sign."""

from __future__ import annotations

from pathlib import Path

import msgspec

from bundles.index import INDEX, Member, bundle_of
from bundles.ustar import TRAILER, filled, header_for
from pipeline.digest import sha256_of
from tests.bundle_world import volume


def forge(path: Path, folder: Path, *, drop_part: bool = False, bodies: dict[str, bytes] | None = None) -> Path:
    """Write a volume anew as the only one of a bundle, with a right index: of fewer parts, or of other documents."""
    found = volume(path)
    data = path.read_bytes()
    held = {member.key: data[at : at + member.size] for member, at in found.layout.members} | (bodies or {})
    parts = found.bundle.plan.volumes[found.layout.number - 1]
    documents = tuple(Member(one.key, len(held[one.key]), sha256_of(held[one.key])) for one in found.bundle.plan.documents)
    plan = msgspec.structs.replace(found.bundle.plan, documents=documents, volumes=(parts[: -1 if drop_part else None],))
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / path.name
    write_volume(target, plan, held)
    return target


def write_volume(path: Path, plan, bodies: dict[str, bytes], *, number: int = 1) -> None:
    """One volume of ``plan``, its members' bytes as given, right or not."""
    bundle = bundle_of(plan)
    index = bundle.index(number)
    out = [(INDEX, index)] + [(placed.member.key, bodies[placed.member.key]) for placed in bundle.layout(number).members]
    path.write_bytes(
        b"".join(header_for(key, len(body)) + body + bytes(filled(len(body)) - len(body)) for key, body in out) + bytes(TRAILER)
    )
