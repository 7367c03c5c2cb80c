"""What a volume says of itself and of its bundle: ``index.json``, and where every byte of the volume lies.

Takes a plan, gives the index of each volume and the place of each member; takes bytes from anybody, gives a checked
``Index`` or a refusal. Nothing here is believed about releases: that is for signed documents (docs/format.md §10).

next: ``bundles.carving``
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import msgspec

from bundles.ustar import BLOCK, TRAILER, filled, member_bytes
from pipeline.digest import Sha256, is_hex64, sha256_of
from pipeline.errors import InvalidDocument
from pipeline.layout import ObjectKind, object_kind
from pipeline.manifest import INTEGER_LIMIT, MANIFEST_BYTES, NEWER, PART_BYTES, Kind
from pipeline.release import NameRefused, Release
from pipeline.wire import check_json, decode_document, encode_document

FORMAT = "modelport-bundle"
FORMAT_VERSION = 1
INDEX = "index.json"
INDEX_BYTES = 32 << 20
VOLUMES = 9_999
MEMBERS = 150_000
NAME = re.compile(r"[a-z0-9](?:[a-z0-9._-]{0,198}[a-z0-9])?")
# Those of docs/format.md §10; what reads a document has the same or a stricter one.
CAPS: Mapping[ObjectKind, int] = {
    "root": 512_000,
    "timestamp": 16_384,
    "role": 16 << 20,
    "manifest": MANIFEST_BYTES,
    "channel": 1 << 20,
    "part": PART_BYTES,
}
_HINT = "It was not written by modelport, or it was altered: take another copy of this volume."


class Member(msgspec.Struct, frozen=True, array_like=True, order=True):
    """An object of the tree in a volume."""

    key: str
    size: int
    sha256: Sha256


class Carried(msgspec.Struct, frozen=True, kw_only=True):
    """A release in the bundle; ``chosen`` by a person, or there because another needs it. Sizes in bytes."""

    release: str
    kind: Kind
    manifest_sha256: Sha256
    files: int
    plain: int
    stored: int
    chosen: bool


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """A release that the site must have: the bundle lacks what it shares with it."""

    release: str
    manifest_sha256: Sha256


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What all volumes of a bundle hold. Law: tree, order and volume size alone decide it."""

    name: str
    root_fingerprint: Sha256
    snapshot: int
    releases: tuple[Carried, ...]
    bases: tuple[Wanted, ...]
    documents: tuple[Member, ...]
    volumes: tuple[tuple[Member, ...], ...]


class Index(msgspec.Struct, frozen=True, kw_only=True):
    """``index.json``: which volume this is, and of what."""

    format: str = FORMAT
    format_version: int = FORMAT_VERSION
    bundle: Sha256
    volume: int
    plan: Plan


class Placed(NamedTuple):
    """A member, and at which byte of the volume its own bytes begin; its header stands just before."""

    member: Member
    at: int


@dataclass(frozen=True, slots=True)
class Layout:
    """One volume, byte for byte but for the bytes of its members; its index begins behind one header."""

    number: int
    index_size: int
    members: tuple[Placed, ...]
    size: int


@dataclass(frozen=True, slots=True)
class Bundle:
    """A plan with its id, and the bytes that the indexes of all its volumes begin with."""

    plan: Plan
    id: Sha256
    head: bytes

    def index(self, number: int) -> bytes:
        """The bytes of ``index.json`` of volume ``number``."""
        # The last key is "volume": only what follows it differs.
        return self.head + b"%d}\n" % number

    def layout(self, number: int) -> Layout:
        """Say where everything lies in volume ``number``, counted from 1."""
        index_size = len(self.head) + len(b"%d}\n" % number)
        at = member_bytes(index_size)
        placed = []
        for member in (*self.plan.documents, *self.plan.volumes[number - 1]):
            placed.append(Placed(member, at + BLOCK))
            at += member_bytes(member.size)
        return Layout(number, index_size, tuple(placed), at + TRAILER)

    def numbers(self) -> range:
        """The numbers of its volumes."""
        return range(1, len(self.plan.volumes) + 1)

    def file_name(self, number: int) -> str:
        """Name of the file of volume ``number``."""
        return f"{self.plan.name}.vol{number:03}.tar"


def bundle_of(plan: Plan) -> Bundle:
    """Give a plan its id."""
    found = sha256_of(encode_document(plan))
    return Bundle(plan, found, encode_document(Index(bundle=found, volume=1, plan=plan)).removesuffix(b"1}\n"))


def gap_after(placed: Placed) -> tuple[int, int]:
    """(first byte, bytes) of the filling behind a member."""
    return placed.at + placed.member.size, filled(placed.member.size) - placed.member.size


def decode_index(data: bytes, *, what: str) -> tuple[Bundle, int]:
    """Read an index: the bundle, and which volume this is. Law: ``decode_index(bundle.index(n)) == (bundle, n)``.

    Raises:
        InvalidDocument: it breaks docs/format.md §10, or only a newer modelport can read it.
    """
    value = check_json(data, what=what, cap=INDEX_BYTES)
    if isinstance(value, dict) and value.get("format") == FORMAT and value.get("format_version") != FORMAT_VERSION:
        raise InvalidDocument(f"{what} has format_version {value.get('format_version')!r}, expected {FORMAT_VERSION}", hint=NEWER)
    index = decode_document(data, Index, what=what, cap=INDEX_BYTES)
    bundle = bundle_of(index.plan)
    fault = _fault(index, bundle, data)
    if fault:
        raise InvalidDocument(f"{what} breaks its format: {fault}", hint=_HINT)
    return bundle, index.volume


def _fault(index: Index, bundle: Bundle, data: bytes) -> str | None:
    plan = index.plan
    if index.format != FORMAT:
        return f"format {index.format!r}, expected {FORMAT!r}"
    if index.bundle != bundle.id:
        return f"its bundle {index.bundle[:80]} is not the digest {bundle.id} of its plan"
    if bundle.index(index.volume) != data:
        return "it is not written as an index is"
    if not 1 <= index.volume <= len(plan.volumes) <= VOLUMES:
        return f"it is volume {index.volume} of {len(plan.volumes)}, at most {VOLUMES} are allowed"
    if NAME.fullmatch(plan.name) is None or not is_hex64(plan.root_fingerprint) or not 0 < plan.snapshot <= INTEGER_LIMIT:
        return "its name, root fingerprint or snapshot is malformed"
    return _releases_fault(plan.releases, plan.bases) or _members_fault(plan)


def _releases_fault(releases: Sequence[Carried], bases: Sequence[Wanted]) -> str | None:
    for name, digest in [(one.release, one.manifest_sha256) for one in releases] + [
        (base.release, base.manifest_sha256) for base in bases
    ]:
        try:
            Release.parse(name)
        except NameRefused as error:
            return str(error)
        if not is_hex64(digest):
            return f"the manifest of {name} has a malformed digest"
    if any(min(one.files, one.plain, one.stored) < 0 for one in releases):
        return "a release has a negative size"
    names = [one.release for one in releases]
    return None if names == sorted(set(names)) else "its releases are not sorted, or one is listed twice"


def _members_fault(plan: Plan) -> str | None:
    parts = [member for volume in plan.volumes for member in volume]
    if len(plan.documents) + len(parts) > MEMBERS:
        return f"{len(plan.documents) + len(parts)} members, at most {MEMBERS} are allowed"
    for member in (*plan.documents, *parts):
        kind = object_kind(member.key)
        if kind is None or not is_hex64(member.sha256):
            return f"{member.key[:200]!r} is no object of a tree, or has a malformed digest"
        # Nothing of the tree is empty.
        if not 0 < member.size <= CAPS[kind]:
            return f"{member.key} has {member.size} bytes, at most {CAPS[kind]} are allowed"
    keys = [member.key for member in (*plan.documents, *parts)]
    if len(set(keys)) != len(keys):
        return "a member is listed twice"
    if any(object_kind(member.key) == "part" for member in plan.documents):
        return "a part stands among the documents"
    if any(object_kind(member.key) != "part" for member in parts):
        return "a document stands among the parts"
    return None
