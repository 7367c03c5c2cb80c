"""A bundle as a source: objects of the tree read out of volumes, without unpacking.

Takes a ``Medium``, gives what reads of a tree need: it is a ``TreeReader`` and a read-only ``ObjectStore``. Parts are not
verified here, as from any source; a document stands in every volume, so the first copy that is whole is given.

next: ``bundles.hashing``
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple, NoReturn

from bundles.index import Member
from bundles.medium import Medium, Volume, medium_error, open_medium, opened
from pipeline.bodies import Body
from pipeline.digest import Sha256, sha256_of
from pipeline.errors import InvalidDocument, ModelportError, ObjectMissing, SourceLied, StoreUnavailable, UsageError
from pipeline.ports import BLOCK, Fresh, NotModified, ObjectInfo, StoreProperties, Take

READ_BYTES = 256 << 10
_READ_ONLY = "Build a bundle anew: invoke bundle.build"


class _Copy(NamedTuple):
    """Where the bytes of a member lie."""

    volume: Volume
    member: Member
    at: int


class BundleReader:
    """The tree that the volumes of a folder hold."""

    def __init__(self, folder: Path, medium: Medium | None = None) -> None:
        self._folder = folder.absolute()
        self._medium = medium or open_medium([folder])
        self._memory = threading.local()
        self._lock = threading.Lock()
        self._requests = 0
        self._closed = False
        self._places: dict[str, tuple[_Copy, ...]] = {}
        for copies in self._medium.volumes.values():
            for volume in copies:
                for member, at in volume.layout.members:
                    self._places[member.key] = (*self._places.get(member.key, ()), _Copy(volume, member, at))

    @property
    def url(self) -> str:
        """The folder as a file URL."""
        return self._folder.as_uri()

    @property
    def publisher(self) -> str:
        """Under what trust in it is kept, wherever the medium stands: the first root it carries (docs/adr/0115-trust-in-media-is-of-their-publisher.md).

        This only chooses which pins judge it; a medium that claims another publisher's root must still be signed by it.
        """
        roots = [one for one in self._medium.bundle.plan.documents if one.key.endswith(".root.json")]
        first = min(roots, key=lambda one: int(one.key.removeprefix("metadata/").partition(".")[0]), default=None)
        return f"bundle:{first.sha256}" if first else self.url

    @property
    def requests(self) -> int:
        """Files opened."""
        return self._requests

    @property
    def properties(self) -> StoreProperties:
        """Nothing can be written."""
        return StoreProperties(create_only=False, compare_and_swap=False, keeps_sha256=False)

    def get(self, key: str, *, start: int = 0, size: int | None = None) -> Iterator[bytes]:
        """Yield the bytes of an object; see ``ports.TreeReader.get``."""
        found = self._find(key)
        if _is_part(key):
            end = found[0].member.size if size is None else min(found[0].member.size, start + size)
            return self._blocks(found[0], start, end)
        data = self._document(key, found)
        return _slices(data[start : None if size is None else start + size])

    def read_range(self, key: str, start: int, size: int, take: Take, *, total: int | None = None) -> None:
        """Hand exactly these bytes to ``take``; see ``ports.TreeReader.read_range``."""
        volume, member, at = self._find(key)[0]
        if member.size < start + size or (total is not None and member.size != total):
            raise SourceLied(
                f"{volume.path}: {key} has {member.size} bytes, expected {start + size if total is None else total}",
                hint="Take another copy of this volume: this one is damaged.",
            )
        memory = self._block()
        came = 0
        with opened(volume.path) as (fd, _):
            while came < size:
                if self._closed:
                    raise StoreUnavailable(f"{volume.path}: the source was closed", delivered=came)
                block = memory[: min(len(memory), size - came)]
                try:
                    read = os.preadv(fd, [block], at + start + came)
                except OSError as error:
                    raise medium_error(error, volume.path) from error
                if not read:
                    raise SourceLied(f"{volume.path} ends within {key}", hint="Take another copy of this volume.")
                take(block[:read])
                came += read
        with self._lock:
            self._requests += 1

    def revalidate(self, key: str, etag: str, *, cap: int) -> Fresh | NotModified:
        """Read a document unless it still has ``etag``; see ``ports.TreeReader.revalidate``."""
        found = self._find(key)
        if etag and etag == found[0].member.sha256:
            return NotModified(etag)
        if found[0].member.size > cap:
            raise InvalidDocument(f"{self.url}: {key} has more than {cap} bytes", hint="Take another copy of the bundle.")
        return Fresh(self._document(key, found), found[0].member.sha256)

    def head(self, key: str) -> ObjectInfo:
        """Describe the object under ``key``; see ``ports.ObjectStore.head``."""
        return _info(self._find(key)[0])

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        """Yield the objects that are here; see ``ports.ObjectStore.list``."""
        for key in sorted(self._places):
            if key.startswith(prefix):
                yield _info(self._places[key][0])

    def leaves_out(self, key: str) -> bool:
        """Tell whether no volume holds ``key``, here or elsewhere, because the site has what it is made of."""
        return bool(self._medium.bundle.plan.bases) and key not in self._places and not self._number_of(key)

    def put(self, key: str, body: Body, *, sha256: Sha256, if_absent: bool = False, if_etag: str | None = None) -> ObjectInfo:
        """Refuse: a bundle is not written to.

        Raises:
            UsageError
        """
        del body, sha256, if_absent, if_etag
        self._refuse(key)

    def draft(self) -> None:
        """Begin nothing: a bundle is not written to."""
        return

    def delete(self, key: str) -> None:
        """Refuse: a bundle is not written to.

        Raises:
            UsageError
        """
        self._refuse(key)

    def now(self) -> datetime:
        """This machine's clock: a medium has none."""
        return datetime.now(UTC)

    def close(self) -> None:
        """Let reads under way end at their next block."""
        self._closed = True

    def _refuse(self, key: str) -> NoReturn:
        raise UsageError(f"{self.url}: {key} cannot be written: a bundle is read-only", hint=_READ_ONLY)

    def _find(self, key: str) -> tuple[_Copy, ...]:
        with self._lock:
            self._requests += 1
        found = self._places.get(key)
        if found is None:
            raise ObjectMissing(f"{self.url}: {self._why_not(key)}", hint=self._hint(key), settled=True)
        return found

    def _number_of(self, key: str) -> int:
        volumes = self._medium.bundle.plan.volumes
        return next((number for number, parts in enumerate(volumes, 1) if any(part.key == key for part in parts)), 0)

    def _why_not(self, key: str) -> str:
        number = self._number_of(key)
        plan = self._medium.bundle.plan
        if not number:
            bases = ", ".join(one.release for one in plan.bases)
            why = f": it is a differential for a site that has {bases}" if self.leaves_out(key) else ""
            return f"bundle {plan.name} does not hold {key}{why}"
        fault = next((one.reason for one in self._medium.unusable if one.number == number), "which is not here")
        return f"{key} lies in volume {number} of {len(plan.volumes)}: {fault}"

    def _hint(self, key: str) -> str:
        plan = self._medium.bundle.plan
        if self._number_of(key):
            return "Bring that volume into the folder, or name its folder with another --source."
        releases = ", ".join(one.release for one in plan.releases)
        bases = f"; it is for a site that has {', '.join(one.release for one in plan.bases)}" if plan.bases else ""
        return f"The bundle holds {releases}{bases}."

    def _document(self, key: str, copies: tuple[_Copy, ...]) -> bytes:
        unread: ModelportError | None = None
        for volume, member, at in copies:
            try:
                data = _read_whole(volume, member, at)
            except ModelportError as error:
                # Its medium was pulled out, perhaps; another may still be there.
                unread = error
                continue
            if sha256_of(data) == member.sha256:
                return data
        if unread is not None:
            raise unread
        raise SourceLied(
            f"{copies[0].volume.path}: the bytes of {key} are not those that its index promises",
            hint="Take another copy of this volume, or repair it: invoke bundle.repair",
        )

    def _blocks(self, place: _Copy, start: int, end: int) -> Iterator[bytes]:
        volume, member, at = place
        with opened(volume.path) as (fd, _):
            while start < end:
                try:
                    block = os.pread(fd, min(BLOCK, end - start), at + start)
                except OSError as error:
                    raise medium_error(error, volume.path) from error
                if not block:
                    raise SourceLied(f"{volume.path} ends within {member.key}", hint="Take another copy of this volume.")
                start += len(block)
                yield block

    def _block(self) -> memoryview:
        memory: memoryview | None = getattr(self._memory, "block", None)
        if memory is None:
            memory = self._memory.block = memoryview(bytearray(READ_BYTES))
        return memory


def _read_whole(volume: Volume, member: Member, at: int) -> bytes:
    with opened(volume.path) as (fd, _):
        try:
            return os.pread(fd, member.size, at)
        except OSError as error:
            raise medium_error(error, volume.path) from error


def _is_part(key: str) -> bool:
    return key.startswith("parts/")


def _slices(data: bytes) -> Iterator[bytes]:
    for at in range(0, len(data), BLOCK):
        yield data[at : at + BLOCK]


def _info(place: _Copy) -> ObjectInfo:
    volume, member, _ = place
    return ObjectInfo(member.key, member.size, datetime.fromtimestamp(volume.path.stat().st_mtime, UTC), member.sha256)
