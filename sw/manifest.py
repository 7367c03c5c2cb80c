"""The nouns of a web release: its manifest and the one mutable pointer to it (docs/web-format.md §2, §3).

Takes nothing, gives the types; ``encode_document`` makes their bytes. What a reader does not know it ignores.

next: ``sw.patches``
"""

from __future__ import annotations

import msgspec

from pipeline.digest import Sha256

FORMAT = "modelport-web"
MANIFEST_FORMAT = "modelport-web-manifest"
# What this build writes can be read by engines from this number on; the worker says its own.
ENGINE = 1
RELEASE = "release.json"
WORKER = "sw.js"
CLIENT = "sw-client.js"
# Written by the build, never by the application.
OURS = (RELEASE, WORKER, CLIENT)
RELEASE_BYTES = 300
MANIFEST_BYTES = 16 << 20
PART_BYTES = 8 << 20
APP = "app"
# A pointer names so many earlier manifests; so many versions keep their files.
EARLIER = 4


class More(msgspec.Struct, frozen=True, omit_defaults=True):
    """What only some files have: digests of their parts, and their name before hashing."""

    parts: tuple[int, tuple[Sha256, ...]] | None = None
    source: str = ""


class WebFile(msgspec.Struct, frozen=True, array_like=True):
    """A file as it is served. ``size`` in bytes; ``type`` counts into the manifest's ``types``."""

    path: str
    size: int
    sha256: Sha256
    type: int
    group: str
    more: More

    @property
    def source(self) -> str:
        """Its name before hashing."""
        return self.more.source or self.path


class Group(msgspec.Struct, frozen=True):
    """Files that come together; a version waits only for what is required."""

    required: bool


class Pack(msgspec.Struct, frozen=True):
    """Small files end to end. ``files`` count into the manifest's ``files``."""

    path: str
    size: int
    sha256: Sha256
    files: tuple[int, ...]


class Patch(msgspec.Struct, frozen=True, rename={"origin": "from"}):
    """The way from one file's bytes to another's. ``size`` is that of the patch."""

    origin: Sha256
    to: Sha256
    path: str
    size: int

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
    format_version: int = 1
    name: str
    version: str
    types: tuple[str, ...]
    groups: dict[str, Group]
    files: tuple[WebFile, ...]
    packs: tuple[Pack, ...] = ()
    patches: tuple[Patch, ...] = ()
    navigate: Navigate = Navigate()
    isolate: bool = False
    mirrors: tuple[str, ...] = ()
    models: dict[str, WebModel] = {}

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
