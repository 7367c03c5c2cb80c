"""What goes into which volume: parts in order, one volume after the other, none across two.

Takes the contents of a bundle and a volume size, gives its ``Plan``, or says which size is the least that works.

next: ``bundles.inventory``
"""

from __future__ import annotations

from dataclasses import dataclass

from bundles.index import INDEX_BYTES, MEMBERS, VOLUMES, Carried, Member, Plan, Wanted, bundle_of
from bundles.ustar import TRAILER, member_bytes
from pipeline.digest import Sha256
from pipeline.errors import UsageError

# FAT32 has files of less than 4 GiB; what writes there may want a little room.
FAT32_BYTES = (4 << 30) - (64 << 10)
# What stands beside volumes: the installer, its wheels, README.txt, SHA256SUMS.
BESIDE_BYTES = 256 << 20
# Bytes of a medium, its largest file. DVD-R: ECMA-359; BD-R: 25 GB, one layer, all of it for data.
MEDIA = {"usb-fat32": (0, FAT32_BYTES), "dvd": (4_700_372_992, FAT32_BYTES), "bd25": (25_025_314_816, 25_025_314_816)}


@dataclass(frozen=True, slots=True)
class Contents:
    """All that a bundle holds, in the order in which volumes hold it."""

    name: str
    root_fingerprint: Sha256
    snapshot: int
    releases: tuple[Carried, ...]
    bases: tuple[Wanted, ...]
    documents: tuple[Member, ...]
    parts: tuple[Member, ...]


def carve_volumes(contents: Contents, volume_size: int | None) -> Plan:
    """Divide the parts among volumes of at most ``volume_size`` bytes; None makes one volume of all.

    Raises:
        UsageError: a volume cannot hold the documents and the largest part; the least size that works is named.
    """
    members = len(contents.documents) + len(contents.parts)
    if members > MEMBERS:
        raise UsageError(
            f"the bundle would have {members} members, at most {MEMBERS} are allowed",
            hint="Pack fewer releases into one bundle, or publish with a larger --part-size.",
        )
    if volume_size is None:
        return _plan(contents, (contents.parts,))
    room = volume_size - overhead_bytes(contents)
    largest = max((member_bytes(part.size) for part in contents.parts), default=0)
    if room < largest:
        raise UsageError(
            f"a volume of {volume_size} bytes cannot hold the documents and the largest part",
            hint=f"The least that works is --volume-size {volume_size - room + largest}.",
        )
    volumes: list[list[Member]] = [[]]
    left = room
    for part in contents.parts:
        needed = member_bytes(part.size)
        if needed > left:
            volumes.append([])
            left = room
        volumes[-1].append(part)
        left -= needed
    if len(volumes) > VOLUMES:
        raise UsageError(
            f"the bundle would have {len(volumes)} volumes, at most {VOLUMES} are allowed", hint="Use a larger --volume-size."
        )
    return _plan(contents, tuple(map(tuple, volumes)))


def overhead_bytes(contents: Contents) -> int:
    """Bytes of a volume that are no part: index, documents, trailer.

    The index names every volume's parts, so its size depends on the division that it is needed for: it is reckoned as
    one volume for each part would make it, which no division exceeds.
    """
    split = _plan(contents, tuple((part,) for part in contents.parts) or ((),))
    index = len(bundle_of(split).index(len(split.volumes)))
    if index > INDEX_BYTES:
        raise UsageError(
            f"the index would have {index} bytes, at most {INDEX_BYTES} are allowed", hint="Pack fewer releases into one bundle."
        )
    documents = sum(member_bytes(document.size) for document in contents.documents)
    return member_bytes(index) + documents + TRAILER


def _plan(contents: Contents, volumes: tuple[tuple[Member, ...], ...]) -> Plan:
    return Plan(
        name=contents.name,
        root_fingerprint=contents.root_fingerprint,
        snapshot=contents.snapshot,
        releases=contents.releases,
        bases=contents.bases,
        documents=contents.documents,
        volumes=volumes,
    )


def media_volume_size(medium: str, parity_percent: int) -> int:
    """The volume size for a medium by name, so that volume, parity and what stands beside it fit."""
    capacity, largest = MEDIA[medium]
    if not capacity:
        return largest
    # PAR2 rounds to blocks and repeats its packets: two points and a part's worth cover that.
    share = (capacity - BESIDE_BYTES) * 100 // (100 + parity_percent + (2 if parity_percent else 0))
    return min(largest, share)
