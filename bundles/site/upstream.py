"""The signed metadata of an upstream, followed as a TUF client does: what was verified last is what is served.

Takes a reader, the trust and the documents of a caching mirror; gives a ``View`` that is no older than ``MAX_AGE_S`` where
the upstream answers. Only ``timestamp.json`` is asked for again, with its ETag; the rest follows when that changed. An
upstream that is gone, or says what cannot be verified, leaves the view as it is, and ``standing`` tells everybody.

next: ``mirrored``
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from pipeline.clocks import utc_now
from pipeline.digest import Sha256
from pipeline.errors import ModelportError, ObjectMissing, UnavailableError
from pipeline.events import Listener, Warned
from pipeline.layout import TIMESTAMP, object_kind, role_key, role_version, target_key
from pipeline.ports import Fresh, NotModified, Take, TreeReader, read_object
from pipeline.release import NameRefused, check_model
from pipeline.sources.cachefolder import CacheFolder
from pipeline.steps.known_tree import KnownTree
from pipeline.trust.chain import read_root
from pipeline.trust.facts import instant_text
from pipeline.trust.reading import read_view
from pipeline.trust.sealed import TIMESTAMP_BYTES, Sealed, check_older_root
from pipeline.trust.state import TrustState
from pipeline.trust.view import View, target_sha256

MAX_AGE_S = 10.0
# Whoever asks while the upstream is slow gets what was verified last.
WAIT_S = 3.0
# Older snapshots than the newest, for clients in the middle of a reading.
RECENT = 4


class _Remembering:
    """The upstream, whose answer about the timestamp is asked for once and given twice."""

    def __init__(self, reader: TreeReader) -> None:
        self._reader = reader
        self._answer: Fresh | NotModified | None = None

    @property
    def url(self) -> str:
        """Where it is."""
        return self._reader.url

    @property
    def requests(self) -> int:
        """Requests so far."""
        return self._reader.requests

    def get(self, key: str, *, start: int = 0, size: int | None = None) -> Iterator[bytes]:
        """As the reader does."""
        return self._reader.get(key, start=start, size=size)

    def read_range(self, key: str, start: int, size: int, take: Take, *, total: int | None = None) -> None:
        """As the reader does."""
        self._reader.read_range(key, start, size, take, total=total)

    def revalidate(self, key: str, etag: str, *, cap: int) -> Fresh | NotModified:
        """The answer that was given just now, once; then a new one."""
        remembered, self._answer = self._answer, None
        if remembered is not None:
            return remembered
        self._answer = self._reader.revalidate(key, etag, cap=cap)
        return self._answer

    def close(self) -> None:
        """As the reader does."""
        self._reader.close()


@dataclass(frozen=True)
class Standing:
    """How it is with the upstream: ``fault`` is "" while all is well; ``verified_at`` is when it last was."""

    fault: str = ""
    verified_at: str = ""

    @property
    def header(self) -> str:
        """The value of ``Modelport-Upstream``, "" while all is well."""
        return f"{self.fault}; verified-at={self.verified_at or 'never'}" if self.fault else ""


class Upstream:
    """The metadata of one upstream. Methods may be called from several threads."""

    def __init__(
        self,
        reader: TreeReader,
        state: TrustState,
        documents: CacheFolder,
        listen: Listener,
        *,
        now: Callable[[], datetime] = utc_now,
        max_age_s: float = MAX_AGE_S,
    ) -> None:
        self.reader = reader
        self.standing = Standing()
        self._state = state
        self._documents = documents
        self._listen = listen
        self._now = now
        self._max_age_s = max_age_s
        self._lock = threading.Lock()
        self._views: tuple[View, ...] = ()
        self._looked_at = -float("inf")
        self._error: ModelportError | None = None
        # Not the lock of those who look for what is new: they would wait for what is old.
        self._older = threading.Lock()
        self._older_roots: dict[int, bytes] = {}

    @property
    def is_fresh(self) -> bool:
        """Whether the upstream was asked a moment ago, whatever it said."""
        return time.monotonic() - self._looked_at < self._max_age_s

    @property
    def known(self) -> View | None:
        """The view that was verified last."""
        return self._views[0] if self._views else None

    def view(self) -> View:
        """The view that was verified last.

        Raises:
            ModelportError: there is none; why the upstream gave none.
        """
        if self._views:
            return self._views[0]
        raise self._error or UnavailableError("the upstream was not asked yet", hint="Ask again.")

    def refresh(self) -> None:
        """Ask the upstream, unless that was done a moment ago; never raises what the upstream did wrong."""
        with self._lock:
            if self.is_fresh:
                return
            try:
                self._look()
            except ModelportError as error:
                self._failed(error)
            else:
                self._error = None
                if self.standing.fault:
                    self._listen(Warned("upstream", f"{self.reader.url} answers again"))
                self.standing = Standing(verified_at=instant_text(datetime.now(UTC).replace(microsecond=0)))
            self._looked_at = time.monotonic()

    def _look(self) -> None:
        tree = KnownTree(_Remembering(self.reader), self._state, self._documents)
        data = read_object(tree, TIMESTAMP, cap=TIMESTAMP_BYTES)
        known = self.known
        if known is not None and known.timestamp is not None and known.timestamp.signed.is_expired(self._now()):
            # What was fresh when it came need not be any more: an upstream that stands still has to be told from one that is well.
            known = None
        # Without another timestamp there is no other root either: a rotation announces itself (docs/format.md §6).
        if known is None or known.timestamp is None or known.timestamp.data != data or known.source.url != tree.url:
            self._take(read_view(tree, self._state, now=self._now))

    def _take(self, view: View) -> None:
        self._views = (view, *self._views)[:RECENT]

    def _failed(self, error: ModelportError) -> None:
        fault = "unreachable" if isinstance(error, UnavailableError) else "refused"
        if self.standing.fault != fault:
            self._listen(Warned("upstream", f"{self.reader.url} is {fault}: {error}"))
        self._error = error
        self.standing = Standing(fault, self.standing.verified_at or self._signed_at())
        if not self._views:
            # What an earlier run verified, verified once more from the pinned root.
            with suppress(ModelportError):
                view = read_view(KnownTree(None, self._state, self._documents), self._state, now=self._now, offline=True)
                self._take(view)

    def _signed_at(self) -> str:
        with suppress(ModelportError):
            return self._state.read().signed_at
        return ""

    def at_once(self, key: str) -> bytes | None:
        """The verified bytes of what is here; None where the upstream may have to be asked for it, or has none."""
        role = role_version(key)
        if role is not None and role[0] == "root":
            return next((root.data for root in self._state.roots() if root.version == role[1]), None)
        for view in self._views:
            if key == TIMESTAMP and view.timestamp is not None:
                return view.timestamp.data
            if role is not None and (known := _roles(view).get(role[0])) is not None and known.version == role[1]:
                return known.data
            if role is None and key != TIMESTAMP:
                model, _, digest = _divided(key)
                known = view.loaded().get(model)
                if known is not None and _is_named(known, key):
                    return self._documents.document(digest)
        return None

    def document(self, key: str) -> bytes:
        """The verified bytes of a metadata file or target.

        Raises:
            ObjectMissing: no verified view has it.
            ModelportError: it cannot be had just now.
        """
        kind = object_kind(key)
        newest = self.view()
        if kind == "timestamp" and newest.timestamp is not None:
            return newest.timestamp.data
        role = role_version(key)
        if kind == "root" and role is not None:
            return self._root(newest, role[1])
        found = self._role(*role) if role is not None else self._target(key)
        if found is None:
            raise ObjectMissing(f"{key} is in no verified view of the upstream")
        return found

    def _role(self, role: str, version: int) -> bytes | None:
        for view in self._views:
            known = _roles(view).get(role)
            if known is not None and known.version == version:
                return known.data
        view = self.view()
        meta = view.snapshot.signed.meta.get(f"{role}.json")
        if meta is None or meta.version != version or role == "targets":
            return None
        return view.model(check_model(role)).data

    def _target(self, key: str) -> bytes | None:
        model, path, _ = _divided(key)
        try:
            name = check_model(model)
        except NameRefused:
            return None
        for view in self._views:
            if name in view.models() and _is_named(view.model(name), key):
                return view.target(name, path)
        return None

    def _root(self, view: View, version: int) -> bytes:
        """A root of the chain; those before the pinned one are known by whom they let sign the next."""
        for root in self._state.roots():
            if root.version == version:
                return root.data
        if version > view.root.version:
            raise ObjectMissing(f"{role_key('root', version)}: the newest root is {view.root.version}")
        with self._older:
            oldest = min(self._state.roots(), key=lambda root: root.version)
            tree = KnownTree(self.reader, self._state, self._documents)
            for number in range(oldest.version - 1, version - 1, -1):
                what = role_key("root", number)
                kept = self._older_roots.get(number) or self._documents.note(what)
                before = read_root(_Given(what, kept) if kept else tree, number)
                if before is None:
                    raise ObjectMissing(f"the upstream has no {what}")
                check_older_root(before, oldest, what=what)
                self._older_roots[number] = before.data
                self._documents.keep_note(what, before.data)
                oldest = before
            return oldest.data


def _roles(view: View) -> dict[str, Sealed[Any]]:
    """What a view has of roles, without asking anybody."""
    return {"snapshot": view.snapshot, "targets": view.targets, **view.loaded()}


def _divided(key: str) -> tuple[str, str, Sha256]:
    """Model, path and digest of a target's key."""
    _, model, folder, name = key.split("/")
    digest, _, rest = name.partition(".")
    return model, f"{model}/{folder}/{rest}", Sha256(digest)


def _is_named(role: Sealed[Any], key: str) -> bool:
    """Whether a model's role names the target under this key."""
    _, path, digest = _divided(key)
    target = role.signed.targets.get(path)
    return target is not None and target_sha256(path, target) == digest and target_key(path, digest) == key


@dataclass(frozen=True)
class _Given:
    """One object that is at hand."""

    url: str
    data: bytes

    def get(self, key: str, *, start: int = 0, size: int | None = None) -> Iterator[bytes]:
        """Yield it."""
        del key, start, size
        yield self.data
