"""Check: a built folder is what its manifest says, and every reference in it leads somewhere.

Takes a folder, gives ``Checked`` with all findings; nothing is changed and nothing but this folder is read.

next: ``sw.assemble``
"""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from pathlib import Path

import msgspec

from pipeline.digest import Sha256, sha256_of
from pipeline.errors import InvalidDocument, UsageError
from pipeline.layout import content_type, is_hashed_web_file, web_key
from pipeline.release import WEB_PATH_BYTES, ModelName, path_fault
from pipeline.wire import decode_document
from sw.links import links_of
from sw.manifest import (
    CLIENT,
    ENGINE,
    MANIFEST_BYTES,
    MANIFEST_FORMAT,
    MANIFEST_VERSION,
    RELEASE,
    RELEASE_BYTES,
    WORKER,
    Pointer,
    WebFile,
    WebManifest,
)
from sw.naming import HASH_DIGITS
from sw.options import ASKED
from sw.output import Output, manifest_path
from sw.patches import apply_patch
from sw.scan.kinds import has_references, scan
from sw.scan.scripts import parse_script

_ANY = ModelName("app")


class Sizes(msgspec.Struct, frozen=True, kw_only=True):
    """What travels besides the assets, in bytes: the worker's files as gzip makes them, the documents as they are."""

    worker: int
    client: int
    release: int
    manifest: int
    packs: int
    patches: int


class Checked(msgspec.Struct, frozen=True, kw_only=True):
    """What was found of a built folder; sizes in bytes. ``findings`` is empty if all is right."""

    name: str
    version: str
    folder: str
    manifest: str
    files: int
    bytes: int
    references: int
    sizes: Sizes
    findings: list[str]


def check_folder(folder: Path) -> Checked:
    """Check the release that stands in ``folder``.

    Raises:
        UsageError: there is none.
    """
    output = Output(folder)
    pointer = output.pointer()
    if pointer is None:
        raise UsageError(f"{folder} holds no web release", hint="Build one: invoke web.build --assets dist/ --to public/")
    return _Checking(output, pointer).run()


class _Checking:
    """One folder being checked."""

    def __init__(self, output: Output, pointer: Pointer) -> None:
        self._output = output
        self._pointer = pointer
        self._findings: list[str] = []
        self._references = 0
        self._kept: dict[Sha256, bytes] = {}

    def run(self) -> Checked:
        manifest = self._manifest()
        findings = self._findings
        worker = client = 0
        if manifest is not None:
            for file in manifest.files:
                findings += self._file(file, manifest)
            paths = {file.path for file in manifest.files} | {WORKER, RELEASE}
            for file in manifest.files:
                findings += self._links(file, paths)
            findings += self._packs(manifest)
            findings += self._patches(manifest)
            findings += self._unlisted(manifest)
            worker, client = self._engine()
        return Checked(
            name=manifest.name if manifest else "",
            version=self._pointer.version,
            folder=str(self._output.place),
            manifest=self._pointer.manifest,
            files=len(manifest.files) if manifest else 0,
            bytes=sum(file.size for file in manifest.files) if manifest else 0,
            references=self._references,
            sizes=Sizes(
                worker=worker,
                client=client,
                release=len(self._output.read(RELEASE, RELEASE_BYTES) or b""),
                manifest=self._pointer.size,
                packs=sum(pack.size for pack in manifest.packs) if manifest else 0,
                patches=sum(patch.size for patch in manifest.patches) if manifest else 0,
            ),
            findings=findings,
        )

    def _manifest(self) -> WebManifest | None:
        pointer = self._pointer
        if pointer.engine > ENGINE:
            self._findings.append(f"{RELEASE}: engine {pointer.engine} is needed, this modelport knows {ENGINE}")
        data = self._output.read(pointer.manifest, MANIFEST_BYTES)
        if data is None:
            self._findings.append(f"{pointer.manifest} is missing")
            return None
        if (
            len(data) != pointer.size
            or sha256_of(data) != pointer.sha256
            or pointer.manifest != manifest_path(pointer.sha256[:HASH_DIGITS])
        ):
            self._findings.append(f"{pointer.manifest} is not what {RELEASE} says: {_is(data)}, expected {pointer.sha256}")
            return None
        try:
            found = decode_document(data, WebManifest, what=pointer.manifest, cap=MANIFEST_BYTES)
        except InvalidDocument as error:
            self._findings.append(str(error))
            return None
        if found.format != MANIFEST_FORMAT or found.format_version != MANIFEST_VERSION:
            self._findings.append(f"{pointer.manifest} is of format {found.format} {found.format_version}")
            return None
        return found

    def _file(self, file: WebFile, manifest: WebManifest) -> Iterator[str]:
        if path_fault(file.path, limit=WEB_PATH_BYTES):
            yield f"{file.path!r}: {path_fault(file.path, limit=WEB_PATH_BYTES)}"
            return
        data = self._output.read(file.path, file.size)
        if data is None:
            yield f"{file.path} is missing, or has more than {file.size} bytes"
            return
        if sha256_of(data) != file.sha256:
            yield f"{file.path} has other bytes: {_is(data)}, expected {file.sha256}"
            return
        if has_references(file.path) or file.size < 1 << 20:
            self._kept[file.sha256] = data
        if file.more.parts:
            size, digests = file.more.parts
            if tuple(sha256_of(data[at : at + size]) for at in range(0, len(data), size)) != tuple(digests):
                yield f"{file.path}: its parts are not those of the manifest"
        if manifest.types[file.type] != content_type(file.path):
            yield f"{file.path} has type {manifest.types[file.type]}, expected {content_type(file.path)}"
        if file.group not in (*manifest.groups, ASKED):
            yield f"{file.path} is of group {file.group}, which there is not"

    def _links(self, file: WebFile, paths: set[str]) -> Iterator[str]:
        data = self._kept.get(file.sha256)
        if data is None or not has_references(file.path):
            return
        scanned = scan(file.path, data)
        links, dangling = links_of(file.path, data, scanned, paths)
        self._references += len(links)
        yield from map(str, dangling)

    def _packs(self, manifest: WebManifest) -> Iterator[str]:
        for pack in manifest.packs:
            data = self._output.read(pack.path, pack.size)
            if data is None or not sha256_of(data).startswith(pack.digits):
                yield f"{pack.path} is missing or has other bytes than the manifest says"
                continue
            at = 0
            for file in pack.files:
                if sha256_of(data[at : at + file.size]) != file.sha256:
                    yield f"{pack.path}: {file.path} is not at its place in it"
                at += file.size

    def _patches(self, manifest: WebManifest) -> Iterator[str]:
        before = {file.sha256[:HASH_DIGITS]: file for older in self._output.earlier()[1:] for file in older.manifest.files}
        for patch in manifest.patches:
            data = self._output.read(patch.path, patch.size)
            target, origin = patch.to, before.get(patch.origin)
            if data is None or len(data) != patch.size:
                yield f"{patch.path} is missing, or has not {patch.size} bytes"
            elif origin is not None and (old := self._output.read(origin.path, origin.size)) is not None:
                try:
                    right = sha256_of(apply_patch(old, data, target.size)) == target.sha256
                except InvalidDocument as error:
                    yield f"{patch.path}: {error}"
                    continue
                if not right:
                    yield f"{patch.path} does not lead from {origin.path} to {target.path}"

    def _unlisted(self, manifest: WebManifest) -> Iterator[str]:
        """Files that no release here names: a browser that asks for them is answered by the server alone."""
        known = self._output.known()
        for path in self._output.files():
            if path not in known and not is_hashed_web_file(web_key(_ANY, path)):
                yield f"{path} belongs to no release: it was put there by hand, or {manifest.name} lost it"

    def _engine(self) -> tuple[int, int]:
        """What the worker and the page's side of it weigh, compressed."""
        sizes = []
        for name in (WORKER, CLIENT):
            data = self._output.read(name, MANIFEST_BYTES)
            if data is None:
                self._findings.append(f"{name} is missing")
                sizes.append(0)
                continue
            if parse_script(data).root_node.has_error:
                self._findings.append(f"{name} is not JavaScript")
            sizes.append(len(gzip.compress(data, 9, mtime=0)))
        return sizes[0], sizes[1]


def _is(data: bytes) -> str:
    return f"{len(data)} bytes, sha256 {sha256_of(data)}"
