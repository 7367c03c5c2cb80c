"""The manifest: files → chunks → parts of one release, read strictly.

Takes the bytes that signed metadata names by digest, gives a ``Manifest`` that keeps docs/format.md §3, or
``IntegrityError``. Everything that is later written to the disk is named and measured here first.

next: ``layout``
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

from bundles.installer.faults import IntegrityError
from bundles.installer.names import (
    PATH_BYTES,
    WEB_PATH_BYTES,
    check_model,
    check_path,
    check_together,
    is_version,
    split_release,
)
from bundles.installer.ranges import is_range
from bundles.installer.strictjson import HINT, Fields, is_hex64, read_json

MANIFEST_BYTES = 64 << 20
MOST_CHUNKS = 1 << 20
MOST_FILES = 10**5
MOST_PARTS = 10**5
MOST_BASES = 8
PART_BYTES = 256 << 20
WEB_PART_BYTES = 16 << 20
CHUNK_BYTES = 4 << 20
KINDS = ("model", "web", "wheels")
ENCODINGS = ("raw", "zstd", "planes2", "planes4", "turned4")
NEWER = "It needs a newer modelport: take the installer that came with it."


class Part(NamedTuple):
    """A stored object: digests and size of its bytes."""

    blake3: str
    sha256: str
    size: int


class Chunk(NamedTuple):
    """A piece of a file: where its stored bytes lie, and both digests."""

    part: int
    offset: int
    stored: int
    plain: int
    blake3: str
    encoding: str
    stored_blake3: str


class File(NamedTuple):
    """A file of the release."""

    path: str
    size: int
    sha256: str
    executable: bool
    chunks: tuple[Chunk, ...]


class Place(NamedTuple):
    """Where the plain bytes of a chunk belong: which file of the release, and at which byte of it."""

    file: int
    at: int
    chunk: Chunk


@dataclass(frozen=True)
class Manifest:
    """One release, whole."""

    release: str
    model: str
    version: str
    kind: str
    profile: str
    part_size: int
    dependencies: tuple[tuple[str, str], ...]
    parts: tuple[Part, ...]
    files: tuple[File, ...]
    sha256: str
    data: bytes

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(file.size for file in self.files)

    def places(self) -> Iterator[Place]:
        """Every chunk of every file, in order."""
        for index, file in enumerate(self.files):
            at = 0
            for chunk in file.chunks:
                yield Place(index, at, chunk)
                at += chunk.plain


def open_manifest(data: bytes, sha256: str, what: str) -> Manifest:
    """Read a manifest whose bytes were verified against ``sha256``.

    Raises:
        IntegrityError: it breaks the format, or only a newer modelport can read it.
    """
    fields = Fields(read_json(data, what, MANIFEST_BYTES), what)
    if fields.text("format") != "modelport-manifest" or fields.number("format_version") != 1:
        raise IntegrityError(f"{what} has format {fields.value.get('format')!r} {fields.value.get('format_version')!r}", NEWER)
    model, version = check_model(fields.text("model")), fields.text("version")
    kind, profile = fields.text("kind"), fields.text("profile")
    if not is_version(version) or kind not in KINDS or profile not in {"default", "raw", "web"}:
        raise IntegrityError(f"{what}: version {version[:70]!r}, kind {kind!r} or profile {profile!r} is unknown", NEWER)
    _check_bases(fields, f"{model}-v{version}", what)
    fields.text("encoder")
    found = Manifest(
        f"{model}-v{version}",
        model,
        version,
        kind,
        profile,
        fields.number("part_size", 1, PART_BYTES),
        tuple(_dependencies(fields, what)),
        tuple(_parts(fields, what, WEB_PART_BYTES if profile == "web" else PART_BYTES)),
        tuple(_files(fields, what, WEB_PATH_BYTES if kind == "web" else PATH_BYTES)),
        sha256,
        data,
    )
    _check_whole(found, what)
    return found


def _check_bases(fields: Fields, release: str, what: str) -> None:
    bases = fields.objects("bases")
    _capped(len(bases), MOST_BASES, f"{what}: bases")
    for base in bases:
        base.digest("manifest_sha256")
        if "-v".join(split_release(base.text("release"))) == release:
            raise IntegrityError(f"{what} names itself as its base", HINT)


def _dependencies(fields: Fields, what: str) -> Iterator[tuple[str, str]]:
    before = ""
    for one in fields.objects("dependencies"):
        model, wanted = check_model(one.text("model")), one.text("version")
        if model <= before or not is_range(wanted):
            raise IntegrityError(f"{what}: dependencies are not sorted, or {wanted[:80]!r} is no range", HINT)
        before = model
        yield model, wanted


def _parts(fields: Fields, what: str, most: int) -> Iterator[Part]:
    items = fields.objects("parts")
    _capped(len(items), MOST_PARTS, f"{what}: parts")
    names = set()
    for item in items:
        part = Part(item.digest("blake3"), item.digest("sha256"), item.number("size", 1, most))
        if part.blake3 in names:
            raise IntegrityError(f"{what}: part {part.blake3} stands twice", HINT)
        names.add(part.blake3)
        yield part


def _files(fields: Fields, what: str, limit: int) -> Iterator[File]:
    items = fields.objects("files")
    _capped(len(items), MOST_FILES, f"{what}: files")
    before, chunks = "", 0
    for item in items:
        path = check_path(item.text("path"), what, limit)
        if path <= before:
            raise IntegrityError(f"{what}: files are not sorted, or {path!r} stands twice", HINT)
        before = path
        listed = item.items("chunks")
        chunks += len(listed)
        _capped(chunks, MOST_CHUNKS, f"{what}: chunks")
        found = tuple(_chunk(entry, f"{what}: a chunk of {path!r}") for entry in listed)
        file = File(path, item.number("size"), item.digest("sha256"), item.flag("executable"), found)
        if sum(chunk.plain for chunk in found) != file.size:
            raise IntegrityError(f"{what}: the chunks of {path!r} do not sum to its {file.size} bytes", HINT)
        yield file


def _chunk(entry: Any, what: str) -> Chunk:
    if not isinstance(entry, list) or len(entry) < 7 or any(type(number) is not int for number in entry[:4]):
        raise IntegrityError(f"{what} is not [part, offset, stored, plain, digest, encoding, digest]", HINT)
    chunk = Chunk(*entry[:7])
    if chunk.encoding not in ENCODINGS:
        raise IntegrityError(f"{what} has the unknown encoding {str(chunk.encoding)[:40]!r}", NEWER)
    sizes = chunk.stored >= 1 and 0 < chunk.plain <= CHUNK_BYTES and chunk.offset >= 0 and chunk.part >= 0
    if chunk.encoding == "raw":
        well_formed = chunk.stored == chunk.plain and chunk.stored_blake3 == ""
    else:
        well_formed = chunk.stored < chunk.plain and is_hex64(chunk.stored_blake3)
    if not (sizes and well_formed and is_hex64(chunk.blake3)):
        raise IntegrityError(f"{what} has sizes or digests that do not fit its encoding {chunk.encoding!r}", HINT)
    return chunk


def _check_whole(manifest: Manifest, what: str) -> None:
    """The rules between files, chunks and parts."""
    seen: dict[tuple[int, int], Chunk] = {}
    sizes: dict[str, int] = {}
    first_use: list[int] = []
    used: set[int] = set()
    for _, _, chunk in manifest.places():
        if chunk.part >= len(manifest.parts) or chunk.offset + chunk.stored > manifest.parts[chunk.part].size:
            raise IntegrityError(f"{what}: a chunk reaches past part {chunk.part}", HINT)
        if seen.setdefault((chunk.part, chunk.offset), chunk) != chunk:
            raise IntegrityError(f"{what}: part {chunk.part} at {chunk.offset} is described in two ways", HINT)
        if sizes.setdefault(chunk.blake3, chunk.plain) != chunk.plain:
            raise IntegrityError(f"{what}: one digest stands for chunks of {chunk.plain} and {sizes[chunk.blake3]} bytes", HINT)
        if chunk.part not in used:
            used.add(chunk.part)
            first_use.append(chunk.part)
    if first_use != list(range(len(manifest.parts))):
        raise IntegrityError(f"{what}: parts are not listed in order of first use, or one is not used", HINT)
    part, end = -1, 0
    for (index, offset), chunk in sorted(seen.items()):
        if index == part and offset < end:
            raise IntegrityError(f"{what}: two chunks overlap in part {index} at {offset}", HINT)
        part, end = index, offset + chunk.stored
    check_together((file.path for file in manifest.files), what)
    if manifest.profile != "default":
        _check_whole_parts(manifest, what)


def _check_whole_parts(manifest: Manifest, what: str) -> None:
    """Profiles raw and web: a file is the concatenation of whole parts, as they are."""
    for file in manifest.files:
        part, at = 0, 0
        for chunk in file.chunks:
            part = chunk.part if at == 0 else part
            if (chunk.part, chunk.offset, chunk.encoding) != (part, at, "raw"):
                break
            at = (at + chunk.stored) % manifest.parts[part].size
        else:
            if at == 0:
                continue
        raise IntegrityError(f"{what}: {file.path!r} is not made of whole parts, as profile {manifest.profile} demands", HINT)


def _capped(count: int, most: int, what: str) -> None:
    if count > most:
        raise IntegrityError(f"{what}: {count}, at most {most} are allowed", HINT)
