"""The manifest: files → chunks → parts of one release, and the rules that hold between them.

Takes nothing but values; gives a ``Manifest`` whose ``check`` states docs/format.md §3 as code.
Nothing here reads or writes; ``wire`` turns it into bytes and back.

next: ``layout``
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise
from typing import Literal

import msgspec

from pipeline.digest import Blake3, Sha256, is_hex64
from pipeline.errors import InvalidDocument
from pipeline.release import PATH_BYTES, WEB_PATH_BYTES, NameRefused, Release, check_model, check_range, clash, path_fault

FORMAT = "modelport-manifest"
FORMAT_VERSION = 1
Kind = Literal["model", "web", "wheels"]
Profile = Literal["default", "raw", "web"]
Encoding = Literal["raw", "zstd", "planes2", "planes4", "turned4"]
ENCODINGS: tuple[Encoding, ...] = ("raw", "zstd", "planes2", "planes4", "turned4")

MANIFEST_BYTES = 64 << 20
MANIFEST_CHUNKS = 1 << 20
MANIFEST_FILES = 10**5
MANIFEST_PARTS = 10**5
MANIFEST_BASES = 8
PART_BYTES = 256 << 20
CHUNK_BYTES = 4 << 20
WEB_PART_BYTES = 16 << 20
PART_SIZES = (64 << 20, 128 << 20, 256 << 20)
INTEGER_LIMIT = 2**53 - 1
_ALTERED = "The tree was not written by modelport, or it was altered."
NEWER = "It needs modelport ≥ the version that wrote it: update modelport."


class Part(msgspec.Struct, frozen=True, kw_only=True):
    """A stored object of one or more encoded chunks. ``size`` and both digests are of the stored bytes."""

    blake3: Blake3
    sha256: Sha256
    size: int


class Chunk(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A piece of a file and where its stored bytes lie.

    ``part`` indexes the manifest's parts; ``offset`` and ``stored`` are bytes in that part; ``plain``
    and ``blake3`` are of the decoded bytes; ``stored_blake3`` is "" when ``encoding`` is raw, for
    then it would repeat ``blake3``.
    """

    part: int
    offset: int
    stored: int
    plain: int
    blake3: Blake3
    encoding: Encoding
    stored_blake3: Blake3 | Literal[""]


class File(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A file of the release: its chunks in order are its bytes; an empty file has none."""

    path: str
    size: int
    sha256: Sha256
    chunks: tuple[Chunk, ...]
    executable: bool = False


class Base(msgspec.Struct, frozen=True, kw_only=True):
    """An earlier release whose parts this one may reuse."""

    release: str
    manifest_sha256: Sha256


class Dependency(msgspec.Struct, frozen=True, kw_only=True, order=True):
    """Another model this release needs, and the SemVer range that serves."""

    model: str
    version: str


class Identity(msgspec.Struct, frozen=True, kw_only=True):
    """What makes two publishes of one version the same release, whatever their encoding."""

    kind: Kind
    dependencies: tuple[Dependency, ...]
    files: tuple[tuple[str, int, Sha256, bool], ...]


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """One release, whole. Law: its bytes are a pure function of folder, bases and options."""

    format: str = FORMAT
    format_version: int = FORMAT_VERSION
    model: str
    version: str
    kind: Kind
    dependencies: tuple[Dependency, ...]
    bases: tuple[Base, ...]
    part_size: int
    profile: Profile
    encoder: str
    parts: tuple[Part, ...]
    files: tuple[File, ...]

    @property
    def release(self) -> Release:
        """The release's name as a value."""
        return Release(check_model(self.model), self.version)

    @property
    def plain_bytes(self) -> int:
        """Bytes of all files."""
        return sum(file.size for file in self.files)

    @property
    def stored_bytes(self) -> int:
        """Bytes of all referenced parts, whole."""
        return sum(part.size for part in self.parts)

    @property
    def identity(self) -> Identity:
        """Kind, dependencies, and path, size, sha256, executable of each file."""
        return Identity(
            kind=self.kind,
            dependencies=self.dependencies,
            files=tuple((file.path, file.size, file.sha256, file.executable) for file in self.files),
        )

    def check(self) -> None:
        """Refuse a manifest that breaks docs/format.md §3.

        Raises:
            InvalidDocument: naming the first rule that is broken and where.
        """
        if self.format != FORMAT or self.format_version != FORMAT_VERSION:
            raise InvalidDocument(
                f"manifest has format {self.format!r} version {self.format_version}, expected {FORMAT!r} {FORMAT_VERSION}",
                hint=NEWER if self.format == FORMAT and self.format_version > FORMAT_VERSION else _ALTERED,
            )
        for what, count, most in (
            ("files", len(self.files), MANIFEST_FILES),
            ("parts", len(self.parts), MANIFEST_PARTS),
            ("bases", len(self.bases), MANIFEST_BASES),
            ("chunks", sum(len(file.chunks) for file in self.files), MANIFEST_CHUNKS),
        ):
            if count > most:
                raise _broken(f"{count} {what}, at most {most} are allowed")
        self._check_names()
        if not 0 < self.part_size <= PART_BYTES:
            raise _broken(f"part_size {self.part_size} is not between 1 and {PART_BYTES}")
        self._check_parts()
        self._check_files()
        if self.profile != "default":
            self._check_whole_parts()

    def _check_names(self) -> None:
        try:
            release = self.release
            for dependency in self.dependencies:
                check_model(dependency.model)
                _check_range(dependency)
            for base in self.bases:
                if Release.parse(base.release) == release or not is_hex64(base.manifest_sha256):
                    raise _broken(f"base {base.release!r} is the release itself or has a malformed digest")
        except NameRefused as error:
            raise _broken(str(error)) from error
        _check_order("dependencies", [dependency.model for dependency in self.dependencies])
        _check_order("files", [file.path for file in self.files])

    def _check_parts(self) -> None:
        most = WEB_PART_BYTES if self.profile == "web" else PART_BYTES
        names = set()
        for index, part in enumerate(self.parts):
            if not (is_hex64(part.blake3) and is_hex64(part.sha256)):
                raise _broken(f"part {index} has a malformed digest")
            if not 0 < part.size <= most:
                raise _broken(f"part {index} has {part.size} bytes, expected 1 to {most}")
            if part.blake3 in names:
                raise _broken(f"part {index} repeats {part.blake3}")
            names.add(part.blake3)

    def _check_files(self) -> None:
        limit = WEB_PATH_BYTES if self.kind == "web" else PATH_BYTES
        seen: dict[tuple[int, int], Chunk] = {}
        first_use: list[int] = []
        used: set[int] = set()
        for file in self.files:
            fault = path_fault(file.path, limit=limit)
            if fault is not None:
                raise _broken(f"file path {file.path!r}: {fault}")
            if not is_hex64(file.sha256) or not 0 <= file.size <= INTEGER_LIMIT:
                raise _broken(f"file {file.path!r} has a malformed size or digest")
            if sum(chunk.plain for chunk in file.chunks) != file.size:
                raise _broken(f"the chunks of {file.path!r} do not sum to its {file.size} bytes")
            for chunk in file.chunks:
                self._check_chunk(file.path, chunk)
                if seen.setdefault((chunk.part, chunk.offset), chunk) != chunk:
                    raise _broken(f"{file.path!r} describes part {chunk.part} at {chunk.offset} otherwise than another file")
                if chunk.part not in used:
                    used.add(chunk.part)
                    first_use.append(chunk.part)
        if first_use != list(range(len(self.parts))):
            raise _broken("parts are not listed in order of first use, or one is not used")
        _check_overlaps(seen)
        _check_sizes(seen.values())
        clashing = clash(file.path for file in self.files)
        if clashing is not None:
            raise _broken(f"file paths {clashing[0]!r} and {clashing[1]!r} clash: {clashing[2]}")

    def _check_whole_parts(self) -> None:
        # Profiles raw and web: whoever has the parts of a file has the file, without decoding (docs/format.md §4).
        for file in self.files:
            part, at = 0, 0
            for chunk in file.chunks:
                if at == 0:
                    part = chunk.part
                if (chunk.part, chunk.offset, chunk.encoding) != (part, at, "raw"):
                    raise _broken(f"{file.path!r} is not the concatenation of whole parts, as profile {self.profile} demands")
                at = (at + chunk.stored) % self.parts[part].size
            if at != 0:
                raise _broken(f"{file.path!r} ends within a part, against profile {self.profile}")

    def _check_chunk(self, path: str, chunk: Chunk) -> None:
        where = f"a chunk of {path!r}"
        if not 0 <= chunk.part < len(self.parts):
            raise _broken(f"{where} lies in part {chunk.part} of {len(self.parts)}")
        if chunk.offset < 0 or chunk.stored < 1 or chunk.offset + chunk.stored > self.parts[chunk.part].size:
            raise _broken(f"{where} reaches past part {chunk.part}")
        if not 0 < chunk.plain <= CHUNK_BYTES:
            raise _broken(f"{where} has {chunk.plain} plain bytes, expected 1 to {CHUNK_BYTES}")
        if chunk.encoding == "raw":
            well_formed = chunk.stored == chunk.plain and chunk.stored_blake3 == ""
        else:
            well_formed = chunk.stored < chunk.plain and is_hex64(chunk.stored_blake3)
        if not (well_formed and is_hex64(chunk.blake3)):
            raise _broken(f"{where} has sizes or digests that do not fit its encoding {chunk.encoding!r}")


def _check_range(dependency: Dependency) -> None:
    try:
        check_range(dependency.version)
    except NameRefused as error:
        raise _broken(f"dependency {dependency.model}: {error}") from None


def _check_order(what: str, keys: list[str]) -> None:
    if any(before >= after for before, after in pairwise(keys)):
        raise _broken(f"{what} are not sorted, or one is listed twice")


def _check_overlaps(chunks: dict[tuple[int, int], Chunk]) -> None:
    end, part = 0, -1
    for (index, offset), chunk in sorted(chunks.items()):
        if index != part:
            part, end = index, 0
        if offset < end:
            raise _broken(f"two chunks overlap in part {index} at {offset}")
        end = offset + chunk.stored


def _check_sizes(chunks: Iterable[Chunk]) -> None:
    # A digest is brought once, for all its places: the wrong size would be written past the end of a file.
    sizes: dict[Blake3, int] = {}
    for chunk in chunks:
        if sizes.setdefault(chunk.blake3, chunk.plain) != chunk.plain:
            raise _broken(f"digest {chunk.blake3} stands for chunks of {sizes[chunk.blake3]} and of {chunk.plain} bytes")


def _broken(rule: str) -> InvalidDocument:
    return InvalidDocument(f"the manifest breaks its format: {rule}", hint=_ALTERED)
