"""The nouns of a web release: its manifest and the one mutable pointer to it (docs/web-format.md §2, §3).

Takes nothing, gives the types; ``encode_document`` makes their bytes. What a reader does not know it ignores.

next: ``sw.patches``
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Annotated, Any

import msgspec

from pipeline.digest import Sha256
from sw.naming import HASH_DIGITS

FORMAT = "modelport-web"
MANIFEST_FORMAT = "modelport-web-manifest"
# What this build writes can be read by engines from this number on; the worker says its own.
ENGINE = 2
MANIFEST_VERSION = 2
RELEASE = "release.json"
WORKER = "sw.js"
CLIENT = "sw-client.js"
# Written by the build, never by the application.
OURS = (RELEASE, WORKER, CLIENT)
RELEASE_BYTES = 300
MANIFEST_BYTES = 16 << 20
PART_BYTES = 8 << 20
APP = "app"
PATCHES = "patches/"
# In a name stands for the first digits of the file's own digest. No path has a colon.
_OWN_DIGITS = ":"
# A pointer names so many earlier manifests; so many versions keep their files.
EARLIER = 4


Digits = Annotated[str, msgspec.Meta(pattern=f"^[0-9a-f]{{{HASH_DIGITS}}}$")]


def pack_path(digest: str) -> str:
    """Where a pack with this digest is served."""
    return f"packs/pack.{digest[:HASH_DIGITS]}.bin"


def patch_path(origin: str, to: str) -> str:
    """Where the way from one digest's bytes to another's is served."""
    return f"{PATCHES}{origin[:HASH_DIGITS]}.{to[:HASH_DIGITS]}.gz"


class More(msgspec.Struct, frozen=True, omit_defaults=True):
    """What only some files have: digests of their parts, the way from what had the same name before, their name before hashing.

    ``patch``: the first digits of the digest that it begins with, and its size.
    """

    parts: tuple[int, tuple[Sha256, ...]] | None = None
    patch: tuple[Digits, int] | None = None
    source: str = ""


class WebFile(msgspec.Struct, frozen=True, array_like=True):
    """A file as it is served: ``name`` says where. ``size`` in bytes; ``type`` counts into the manifest's ``types``."""

    name: str
    size: int
    sha256: Sha256
    type: int
    group: str
    more: More

    @property
    def path(self) -> str:
        """Where it is served."""
        return self.name.replace(_OWN_DIGITS, self.sha256[:HASH_DIGITS])

    @property
    def source(self) -> str:
        """Its name before hashing."""
        return self.more.source or self.name.replace(f".{_OWN_DIGITS}", "")

    @classmethod
    def named(cls, source: str, path: str, sha256: Sha256, **fields: Any) -> WebFile:
        """Describe a file that is served as ``path``; its own digits in there are not said twice."""
        stem, _, ending = source.rpartition(".")
        name = f"{stem}.{_OWN_DIGITS}.{ending}"
        if name.replace(_OWN_DIGITS, sha256[:HASH_DIGITS]) == path:
            return cls(name=name, sha256=sha256, **fields)
        more = msgspec.structs.replace(fields.pop("more"), source=source if source != path else "")
        return cls(name=path, sha256=sha256, more=more, **fields)


class Group(msgspec.Struct, frozen=True):
    """Files that come together; a version waits only for what is required."""

    required: bool


class Packed(msgspec.Struct, frozen=True, array_like=True):
    """A pack by the first digits of its digest; it holds the next ``count`` files of the manifest."""

    digits: Digits
    count: int


@dataclass(frozen=True, slots=True)
class Pack:
    """Small files end to end."""

    digits: str
    files: tuple[WebFile, ...]

    @property
    def path(self) -> str:
        """Where it is served."""
        return pack_path(self.digits)

    @property
    def size(self) -> int:
        """In bytes."""
        return sum(file.size for file in self.files)


@dataclass(frozen=True, slots=True)
class Patch:
    """The way from one file's bytes, of which ``origin`` are the first digits, to those of ``to``. ``size`` is that of the patch."""

    origin: str
    to: WebFile
    size: int

    @property
    def path(self) -> str:
        """Where it is served."""
        return patch_path(self.origin, self.to.sha256)

    @property
    def negotiated(self) -> str:
        """The same way as a server offers it under ``Content-Encoding: dcz``."""
        return f"{self.path.removesuffix('.gz')}.dcz"


class Navigate(msgspec.Struct, frozen=True):
    """How the worker answers navigations: regular expressions on the path, below the scope."""

    fallback: str = ""
    allow: tuple[str, ...] = ()
    deny: tuple[str, ...] = ()
    clean_urls: bool = True
    ignore: tuple[str, ...] = ("utm_*", "fbclid", "gclid")


class WebModel(msgspec.Struct, frozen=True):
    """A release of profile web that the page may ask for, and the digest of its manifest."""

    release: str
    tree: str
    manifest: str
    sha256: Sha256
    size: int


class WebManifest(msgspec.Struct, frozen=True, kw_only=True):
    """All of one version."""

    format: str = MANIFEST_FORMAT
    format_version: int = MANIFEST_VERSION
    name: str
    version: str
    types: tuple[str, ...]
    groups: dict[str, Group]
    files: tuple[WebFile, ...]
    packed: tuple[Packed, ...] = ()
    navigate: Navigate = Navigate()
    isolate: bool = False
    mirrors: tuple[str, ...] = ()
    models: dict[str, WebModel] = {}

    @property
    def packs(self) -> list[Pack]:
        """The packs, with the files in them."""
        ends = itertools.accumulate(pack.count for pack in self.packed)
        return [Pack(one.digits, self.files[end - one.count : end]) for one, end in zip(self.packed, ends, strict=True)]

    @property
    def patches(self) -> list[Patch]:
        """The ways from files of the release before."""
        return [Patch(file.more.patch[0], file, file.more.patch[1]) for file in self.files if file.more.patch]

    def written(self) -> set[str]:
        """The names of everything that this version consists of, itself left out."""
        return {
            *(file.path for file in self.files),
            *(pack.path for pack in self.packs),
            *(path for patch in self.patches for path in (patch.path, patch.negotiated)),
        }


class Pointer(msgspec.Struct, frozen=True, kw_only=True, rename={"origin": "from"}):
    """``release.json``: the manifest that is current, and those from which a patch leads to it.

    ``kill``: the worker removes what it stored and leaves.
    """

    format: str = FORMAT
    engine: int = ENGINE
    version: str
    manifest: str
    sha256: Sha256
    size: int
    origin: tuple[str, ...] = ()
    kill: bool | msgspec.UnsetType = msgspec.UNSET
