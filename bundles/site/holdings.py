"""What a site holds, read from its folder whenever that changed.

Takes the folder, gives a ``Catalogue``. A release is served by its manifest: kept by the installer in
``state/installed``. A channel is what the newest verified role says.

next: ``answers``
"""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import msgspec

from bundles.installer.faults import ModelportError as InstallerError
from bundles.installer.folders import Folder
from bundles.installer.generations import current_number, live_releases
from bundles.installer.layout import CURRENT, INSTALLED, LOCK, RECEIPTS, STATE, kept_manifest, release_folder
from bundles.installer.receipts import installed_releases
from bundles.site.catalogue import Catalogue, Held, HeldFile
from pipeline.digest import Sha256, sha256_of
from pipeline.errors import DiskError, ModelportError, UsageError
from pipeline.layout import TIMESTAMP, channel_target, target_key
from pipeline.manifest import MANIFEST_BYTES
from pipeline.release import Channel, ModelName, Release
from pipeline.sources.model_yaml import FILE_BYTES, FILE_NAME, ModelYaml, parse_model_yaml
from pipeline.wire import DOCUMENT_BYTES, decode_document, decode_manifest

ROLES = "state/trust/metadata"
_WATCHED = (INSTALLED, RECEIPTS, ROLES, "models", "wheels")


class _Hashes(msgspec.Struct, frozen=True):
    sha256: str


class _Target(msgspec.Struct, frozen=True):
    hashes: _Hashes


class _Signed(msgspec.Struct, frozen=True):
    targets: dict[str, _Target] = {}


class _Role(msgspec.Struct, frozen=True):
    signed: _Signed


class _Channel(msgspec.Struct, frozen=True):
    release: str
    manifest_sha256: str


class Holdings:
    """The folder of a site, open for reading; files are opened below it without following a link."""

    def __init__(self, place: Path, *, may_be_new: bool = False) -> None:
        """Open the site at ``place``; ``may_be_new``: or begin one, into which nothing was installed yet.

        Raises:
            UsageError: nothing was installed there.
        """
        if not may_be_new and not (place / LOCK).is_file():
            raise UsageError(f"nothing was installed into {place}", hint="Name the folder that was installed into: --site DIR")
        self.folder = Folder(str(place), make=may_be_new)
        self._lock = threading.Lock()
        self._marks: tuple[object, ...] = ()
        self._catalogue: Catalogue | None = None
        self._known: dict[tuple[str, str], Held] = {}

    def close(self) -> None:
        """Let go of the folder."""
        self.folder.close()

    def look(self) -> Catalogue:
        """What is held now; read anew only when an installation or a switch changed it.

        Raises:
            DiskError: the folder cannot be read.
        """
        marks = self._see()
        with self._lock:
            if self._catalogue is None or marks != self._marks:
                try:
                    self._catalogue = self._read()
                except InstallerError as error:
                    raise DiskError(f"the site cannot be read: {error}", hint=error.hint) from error
                self._marks = marks
            return self._catalogue

    def known(self) -> Catalogue | None:
        """What ``look`` would give, if nothing changed since it was asked last."""
        return self._catalogue if self._see() == self._marks else None

    def open(self, path: str) -> int:
        """A descriptor of a regular file below the site; OSError where there is none or a link is on the way."""
        return self.folder.open(path, os.O_RDONLY)

    @property
    def keeps_tree(self) -> bool:
        """Whether the tree was kept, so that others can fetch from here."""
        return self.folder.kind(TIMESTAMP) == "file"

    def _see(self) -> tuple[object, ...]:
        """What changes whenever the catalogue does: each of these is written by a rename."""
        marks: list[object] = []
        for name in _WATCHED:
            found = None
            with suppress(OSError):
                found = os.stat(name, dir_fd=self.folder.fd, follow_symlinks=False)
            marks.append((found.st_ino, found.st_mtime_ns) if found else None)
        with suppress(OSError):
            found = os.stat(CURRENT, dir_fd=self.folder.fd, follow_symlinks=False)
            marks.append((found.st_ino, found.st_mtime_ns, found.st_ctime_ns))
        return tuple(marks)

    def _read(self) -> Catalogue:
        number = current_number(self.folder)
        live = {model: folder.partition("/")[2] for model, folder in live_releases(self.folder, number).items()}
        releases: dict[str, Held] = {}
        unserved: dict[str, str] = {}
        for name, sha256 in installed_releases(self.folder):
            known = self._known.get((name, sha256))
            try:
                releases[name] = known or self._held(Release.parse(name), sha256)
            except (ModelportError, InstallerError) as error:
                unserved[name] = str(error)
        self._known = {(held.release, held.manifest_sha256): held for held in releases.values()}
        channels = {model: self._channels(ModelName(model)) for model in {held.model for held in releases.values()}}
        return Catalogue(number, releases, live, channels, unserved)

    def _held(self, release: Release, sha256: str) -> Held:
        data = self.folder.read(kept_manifest(sha256), MANIFEST_BYTES)
        if data is None or sha256_of(data) != sha256:
            raise UsageError(f"the manifest of {release} is not kept here as it was signed", hint="Install its bundle once more.")
        manifest = decode_manifest(data, what=f"the manifest of {release}")
        files = {file.path: HeldFile(file.path, file.size, file.sha256) for file in manifest.files}
        folder = release_folder(str(release), manifest.kind)
        about = self._about(f"{folder}/{FILE_NAME}") if FILE_NAME in files else ModelYaml()
        return Held(
            str(release),
            release.model,
            release.version,
            manifest.kind,
            sha256,
            folder,
            files,
            about.display_name,
            about.aliases,
        )

    def _about(self, path: str) -> ModelYaml:
        try:
            return parse_model_yaml(self.folder.read(path, FILE_BYTES) or b"", path)
        except (ModelportError, InstallerError):
            # Written for a newer modelport, or altered: the release is served under its own name.
            return ModelYaml()

    def _channels(self, model: ModelName) -> Mapping[str, tuple[str, str]]:
        """Channels that the newest verified role of the model names, as far as their documents came along."""
        role = self.folder.read(f"{ROLES}/{model}.json", DOCUMENT_BYTES)
        if role is None:
            return {}
        found = {}
        prefix, suffix = channel_target(model, Channel("")).split(".json")[0], ".json"
        for path, target in decode_document(role, _Role, what=f"the role of {model}").signed.targets.items():
            if not path.startswith(prefix):
                continue
            data = self.folder.read(f"{STATE}/{target_key(path, Sha256(target.hashes.sha256))}", DOCUMENT_BYTES)
            if data is not None and sha256_of(data) == target.hashes.sha256:
                channel = decode_document(data, _Channel, what=path)
                found[path.removeprefix(prefix).removesuffix(suffix)] = (channel.release, channel.manifest_sha256)
        return found
