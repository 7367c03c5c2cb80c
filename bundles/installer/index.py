"""The index of a volume: which releases a bundle has, and which objects of the tree lie in which volume.

Takes bytes, gives ``Plan``. Nothing in it is believed: it says where to look for what others have signed (docs/format.md §10).

next: ``volumes``
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from typing import Any, NamedTuple

from bundles.installer.faults import IntegrityError
from bundles.installer.manifest import KINDS, MANIFEST_BYTES, NEWER, PART_BYTES
from bundles.installer.names import CHANNEL, MODEL, is_version, split_release
from bundles.installer.strictjson import HINT, Fields, is_hex64, read_json, write_json
from bundles.installer.tufrules import ROLE_BYTES, ROOT_BYTES, TIMESTAMP_BYTES

INDEX_BYTES = 32 << 20
MOST_VOLUMES = 9_999
MOST_MEMBERS = 150_000
CHANNEL_BYTES = 1 << 20
NAME = re.compile(r"[a-z0-9]([a-z0-9._-]{0,198}[a-z0-9])?")
_ROLE = re.compile(r"metadata/(?:[1-9][0-9]{0,15}\.([a-z0-9._-]+)|timestamp)\.json")
_MANIFEST = re.compile(r"targets/([^/]+)/([^/]+)/[0-9a-f]{64}\.manifest\.json")
_CHANNEL = re.compile(r"targets/([^/]+)/channels/[0-9a-f]{64}\.([^/.]+)\.json")
_PART = re.compile(r"parts/([0-9a-f]{2})/\1[0-9a-f]{62}")


class Member(NamedTuple):
    """An object of the tree in a volume."""

    key: str
    size: int
    sha256: str


class Release(NamedTuple):
    """What the plan says of a release: for people, and to know what to look up."""

    name: str
    manifest_sha256: str
    chosen: bool


@dataclass(frozen=True)
class Plan:
    """What all volumes of a bundle say in common."""

    bundle: str
    name: str
    root_fingerprint: str
    snapshot: int
    releases: tuple[Release, ...]
    bases: tuple[tuple[str, str], ...]
    documents: tuple[Member, ...]
    volumes: tuple[tuple[Member, ...], ...]


def parse_index(data: bytes, what: str) -> tuple[int, Plan]:
    """Which volume it is, and of what bundle; ``what`` names the index in errors.

    Raises:
        IntegrityError
    """
    value = read_json(data, what, INDEX_BYTES)
    fields = Fields(value, what)
    if fields.text("format") != "modelport-bundle" or fields.number("format_version") != 1:
        raise IntegrityError(f"{what} has format {fields.value.get('format')!r} {fields.value.get('format_version')!r}", NEWER)
    bundle = fields.digest("bundle")
    if write_json(value) != data or hashlib.sha256(write_json(value.get("plan"))).hexdigest() != bundle:
        raise IntegrityError(f"{what} is not spelled as modelport spells it, or is not of the bundle it names", HINT)
    plan = _plan(fields.object("plan"), bundle)
    return fields.number("volume", 1, len(plan.volumes)), plan


def _plan(fields: Fields, bundle: str) -> Plan:
    volumes = fields.items("volumes")
    documents = [_member(entry, fields.what) for entry in fields.items("documents")]
    if not 1 <= len(volumes) <= MOST_VOLUMES or not all(isinstance(volume, list) for volume in volumes):
        raise IntegrityError(f"{fields.what}: volumes are not 1 to {MOST_VOLUMES} lists", HINT)
    parts = [[_member(entry, fields.what) for entry in volume] for volume in volumes]
    keys = [member.key for members in (documents, *parts) for member in members]
    if len(keys) > MOST_MEMBERS or len(set(keys)) != len(keys):
        raise IntegrityError(f"{fields.what}: more than {MOST_MEMBERS} members, or one stands twice", HINT)
    if any(_PART.fullmatch(member.key) for member in documents) or not all(_PART.fullmatch(m.key) for ms in parts for m in ms):
        raise IntegrityError(f"{fields.what}: parts and documents are mixed", HINT)
    name = fields.text("name")
    if NAME.fullmatch(name) is None:
        raise IntegrityError(f"{fields.what}: {name[:80]!r} is no name of a bundle", HINT)
    return Plan(
        bundle,
        name,
        fields.digest("root_fingerprint"),
        fields.number("snapshot", 1),
        _releases(fields),
        tuple(("-v".join(split_release(one.text("release"))), one.digest("manifest_sha256")) for one in fields.objects("bases")),
        tuple(documents),
        tuple(map(tuple, parts)),
    )


def _releases(fields: Fields) -> tuple[Release, ...]:
    found = []
    for one in fields.objects("releases"):
        # For people, by whom this is not read: still, what is malformed is malformed here as well.
        if one.text("kind") not in KINDS or min(map(one.number, ("files", "plain", "stored"))) < 0:
            raise IntegrityError(f"{one.what} is of the unknown kind {one.text('kind')[:40]!r}", NEWER)
        found.append(
            Release(
                "-v".join(split_release(one.text("release"))), one.digest("manifest_sha256"), one.flag("chosen", default=None)
            )
        )
    names = [one.name for one in found]
    if names != sorted(set(names)):
        raise IntegrityError(f"{fields.what}: releases are not sorted, or one stands twice", HINT)
    return tuple(found)


def _member(entry: Any, what: str) -> Member:
    if not isinstance(entry, list) or len(entry) != 3 or not isinstance(entry[0], str) or not is_hex64(entry[2]):
        raise IntegrityError(f"{what}: {str(entry)[:80]} is no member", HINT)
    key, size, sha256 = entry
    cap = _cap(key)
    if type(size) is not int or not 0 < size <= cap:
        raise IntegrityError(f"{what}: {key[:120]!r} of {str(size)[:20]} bytes is no object of a tree, or too large", HINT)
    return Member(key, size, sha256)


def _cap(key: str) -> int:
    """The most bytes that the object under ``key`` may have; -1 where no object has such a key."""
    if _PART.fullmatch(key):
        return PART_BYTES
    role = _ROLE.fullmatch(key)
    if role:
        if role[1] in {"root", None}:
            return ROOT_BYTES if role[1] else TIMESTAMP_BYTES
        return ROLE_BYTES if role[1] in {"targets", "snapshot"} or MODEL.fullmatch(role[1]) else -1
    manifest = _MANIFEST.fullmatch(key)
    if manifest and MODEL.fullmatch(manifest[1]) and is_version(manifest[2]):
        return MANIFEST_BYTES
    channel = _CHANNEL.fullmatch(key)
    return CHANNEL_BYTES if channel and MODEL.fullmatch(channel[1]) and CHANNEL.fullmatch(channel[2]) else -1
