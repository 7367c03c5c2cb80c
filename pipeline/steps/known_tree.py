"""A tree of which much is known here: the source is asked only for what this machine cannot know.

Takes a reader, the trust state and the cache; gives what ``trust.reading`` reads from. Numbered metadata and targets
never change, so what was verified once is not asked for again; ``timestamp.json`` is asked for with its ETag. All of it is
verified again by whoever reads. Without a reader nothing is asked at all (``--offline``).

next: ``pipeline.supply``
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from pipeline.digest import sha256_of
from pipeline.errors import InvalidDocument, ObjectMissing, UnavailableError
from pipeline.layout import TIMESTAMP, role_version, target_digest
from pipeline.manifest import MANIFEST_BYTES
from pipeline.ports import Fresh, TreeReader
from pipeline.sources.cachefolder import CacheFolder
from pipeline.trust.reading import open_timestamp
from pipeline.trust.sealed import TIMESTAMP_BYTES
from pipeline.trust.state import TrustState
from pipeline.wire import decode_document, encode_document


class _Tag(msgspec.Struct, frozen=True):
    """The ETag under which a source gave the timestamp of this digest."""

    etag: str
    sha256: str


class KnownTree:
    """What ``trust.reading.read_view`` reads: ``reader`` behind what is known here."""

    def __init__(self, reader: TreeReader | None, state: TrustState, cache: CacheFolder) -> None:
        self._reader = reader
        self._state = state
        self._cache = cache

    @property
    def url(self) -> str:
        """Where the tree is, for people."""
        return self._reader.url if self._reader else "what is known here"

    def get(self, key: str, *, start: int = 0, size: int | None = None) -> Iterator[bytes]:
        """Yield the bytes of an object; whole objects only, as trust reads them."""
        if start or size is not None:
            raise ValueError("a known tree gives whole objects")
        yield from self._whole(key)

    def _whole(self, key: str) -> Iterator[bytes]:
        if key == TIMESTAMP:
            yield self._timestamp()
            return
        kept = self._kept(key)
        if kept is not None:
            yield kept
            return
        target = target_digest(key)
        if self._reader is None:
            role = role_version(key)
            if role and role[0] == "root" and self._state.read().root:
                raise ObjectMissing(f"{key} is not known here")
            if not self._state.read().root:
                raise _unknown()
            raise UnavailableError(
                f"{key} is not known here, and --offline asks nobody", hint="Run it once without --offline, or install a bundle."
            )
        blocks: list[bytes] = []
        for block in self._reader.get(key):
            # No more is kept than any target may have; the caller has its own, stricter cap.
            if target and sum(map(len, blocks)) <= MANIFEST_BYTES:
                blocks.append(block)
            yield block
        if target and sha256_of(data := b"".join(blocks)) == target:
            self._cache.keep_document(data)

    def _kept(self, key: str) -> bytes | None:
        """What was verified here before of an object that never changes."""
        target = target_digest(key)
        if target:
            return self._cache.document(target)
        role, version = role_version(key) or ("root", 0)
        seen = None if role == "root" else self._state.read().seen.get(role)
        return self._state.copy(role) if seen and seen.version == version else None

    def _timestamp(self) -> bytes:
        kept = self._state.copy("timestamp")
        if self._reader is None:
            # What a publisher here is about to sign says nothing yet.
            if kept is None or not open_timestamp(kept).metadata.signatures:
                raise _unknown()
            return kept
        etag = ""
        note = sha256_of(self._reader.url.encode())
        if kept is not None:
            etag = self._etag(note, kept)
        answer = self._reader.revalidate(TIMESTAMP, etag, cap=TIMESTAMP_BYTES)
        if not isinstance(answer, Fresh):
            if kept is None:
                raise ObjectMissing(f"{self._reader.url}: {TIMESTAMP} was said to be unchanged, but it is not known here")
            return kept
        if answer.etag:
            self._cache.keep_note(note, encode_document(_Tag(answer.etag, sha256_of(answer.data))))
        return answer.data

    def _etag(self, note: str, kept: bytes) -> str:
        data = self._cache.note(note)
        if data is None:
            return ""
        try:
            tag = decode_document(data, _Tag, what="the note of an ETag")
        except InvalidDocument:
            return ""
        return tag.etag if tag.sha256 == sha256_of(kept) else ""


def _unknown() -> UnavailableError:
    return UnavailableError(
        "nothing of this tree is known here, and --offline asks nobody", hint="Run it once without --offline."
    )
