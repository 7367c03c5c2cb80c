"""A site that is a caching mirror: what is asked for is answered from the disk, or brought from the upstream first.

Takes a ``Mirror``, gives an application that answers as any site does. The tree is what was verified of the upstream's;
files of its releases are put together from parts. While the upstream does not answer, or cannot be believed, every answer says so
in ``Modelport-Upstream``.

next: ``serving``
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path
from typing import TypeVar

import anyio
import anyio.to_thread
from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from bundles.installer.faults import ModelportError as InstallerError
from bundles.site.answers import Found, Headers, Made, Refused, Stored, not_found
from bundles.site.app import Sending, SiteApp, asked_for, plain_answer
from bundles.site.assembling import Assembler
from bundles.site.catalogue import Catalogue
from bundles.site.decoding import Chunks
from bundles.site.guard import Guard
from bundles.site.hauling import Hauler, Source
from bundles.site.holdings import Holdings
from bundles.site.manifests import Manifests
from bundles.site.mirrored import Library, MirrorCatalogue, NotLoaded, mirror_catalogue
from bundles.site.ranges import Span
from bundles.site.replies import Content, Reply, reply_to
from bundles.site.routes import Request as Asked
from bundles.site.routes import find
from bundles.site.sending import CUT, SENDFILE, SendFile
from bundles.site.shelf import Shelf
from bundles.site.targets import split_target
from bundles.site.upstream import WAIT_S, Upstream
from pipeline.errors import AccessDenied, DiskError, ModelportError, ObjectMissing, UnavailableError
from pipeline.events import Listener
from pipeline.layout import headers_for, object_kind, part_name, role_version
from pipeline.manifest import File, Manifest
from pipeline.ports import TreeReader
from pipeline.release import Release
from pipeline.sources.cachefolder import CacheFolder
from pipeline.trust.state import TrustState

T = TypeVar("T")
STANDING = "Modelport-Upstream"
TREE = frozenset({"metadata", "targets", "parts"})
# Requests that wait in threads at the same time; the loop serves all others meanwhile.
THREADS = 128
# Others, for those that may wait for the upstream: for documents that are not here …
WAITING_THREADS = 64
# … and for parts of which nobody here heard: names that were made up, perhaps.
UNNAMED_THREADS = 32
# Of the limit, the share of documents: manifests, channels.
DOCUMENTS = 20


@dataclass
class Mirror:
    """An upstream and what is kept of it below ``place``, at most ``limit`` bytes."""

    reader: TreeReader
    state: TrustState
    place: Path
    limit: int
    listen: Listener
    channel: str = "stable"
    timeout_s: float = 60.0
    max_age_s: float = 10.0

    def __post_init__(self) -> None:
        self.documents = CacheFolder(self.place / "documents", self.limit // DOCUMENTS)
        self.upstream = Upstream(self.reader, self.state, self.documents, self.listen, max_age_s=self.max_age_s)
        self.shelf = Shelf(self.place, self.limit - self.limit // DOCUMENTS, self.listen)
        self.manifests = Manifests(self.documents.document)
        self.hauler = Hauler(self.reader, self.shelf, self.manifests.shape_of, self.listen, self.timeout_s)
        self.assembler = Assembler(self.hauler, self.shelf, self.listen)
        self.library = Library(self.manifests, self.documents, self.assembler, self.channel)
        self._catalogue: tuple[object, object, MirrorCatalogue] | None = None

    def app(self, holdings: Holdings, guard: Guard, origins: tuple[str, ...]) -> SiteApp:
        """The site whose upstream this is."""
        return MirrorApp(holdings, guard, origins, mirror=self)

    def catalogue(self, installed: Catalogue) -> Catalogue:
        """What is installed, and what the upstream has; the former alone while nothing of the latter was verified."""
        view = self.upstream.known
        if view is None:
            return installed
        known = self._catalogue
        if known is None or known[0] is not installed or known[1] is not view:
            known = self._catalogue = (installed, view, mirror_catalogue(self.library, installed, view))
        return known[2]

    def manifest(self, release: str) -> Manifest:
        """The manifest of a release of the upstream, verified."""
        view = self.upstream.view()
        return self.library.manifest(view, view.release(Release.parse(release)))

    def document_at_once(self, key: str) -> bytes | None:
        """A document of the tree, verified, without waiting for the upstream; None where it may have to be asked."""
        data = self.upstream.at_once(key)
        return None if data is None else self._remembered(key, data)

    def document(self, key: str) -> bytes:
        """A document of the tree, verified."""
        return self._remembered(key, self.upstream.document(key))

    def _remembered(self, key: str, data: bytes) -> bytes:
        """Of a manifest, what it says of parts is remembered."""
        if object_kind(key) == "manifest":
            _, model, version, _ = key.split("/")
            view = self.upstream.view()
            self.library.manifest(view, view.release(Release.parse(f"{model}-v{version}")))
            self.documents.shrink()
        return data

    def close(self) -> None:
        """End everything that is under way."""
        self.hauler.close()
        self.assembler.close()


@dataclass(frozen=True)
class MirrorApp(SiteApp):
    """A site with an upstream."""

    mirror: Mirror = field(kw_only=True)
    _threads: anyio.CapacityLimiter = field(default_factory=lambda: anyio.CapacityLimiter(THREADS), kw_only=True)
    _waiting_threads: anyio.CapacityLimiter = field(default_factory=lambda: anyio.CapacityLimiter(WAITING_THREADS), kw_only=True)
    _unnamed_threads: anyio.CapacityLimiter = field(default_factory=lambda: anyio.CapacityLimiter(UNNAMED_THREADS), kw_only=True)
    _asking_thread: anyio.CapacityLimiter = field(default_factory=lambda: anyio.CapacityLimiter(1), kw_only=True)
    _asking: set[asyncio.Task[None]] = field(default_factory=set, kw_only=True)

    async def _answer(self, request: Request, headers: Mapping[str, str], shared: Headers) -> ASGIApp:
        method, asked = request.method, asked_for(request, headers)
        names = split_target(asked.target)
        try:
            if names is not None and names[0] in TREE:
                return await self._tree_object(method, names, headers, shared)
            await self._refresh()
            return await self._found(method, asked, headers, (*shared, *self._standing()))
        except (ModelportError, InstallerError) as error:
            return plain_answer(_refusal(error), (*shared, *self._standing()))

    async def _found(self, method: str, asked: Asked, headers: Mapping[str, str], shared: Headers) -> ASGIApp:
        found: Found | None = None
        while found is None:
            catalogue = self.mirror.catalogue(await self._look())
            try:
                found = find(catalogue, asked, tree=True)
            except NotLoaded as wanted:
                await anyio.to_thread.run_sync(wanted.load, limiter=self._waiting_threads)
        if not isinstance(found, Stored):
            return self._made(found, method, headers, shared)
        release, path = found.path.split("/", 2)[1:]
        installed = (await self._look()).releases.get(release)
        if installed is not None or found.size is None:
            return await anyio.to_thread.run_sync(self._open, found, method, headers, shared)
        reply = reply_to(
            method,
            headers,
            Content(found.size, found.etag, found.content_type, self._cache(found.cache), (*found.headers, *shared)),
        )
        spans = [piece for piece in reply.pieces if isinstance(piece, Span)]
        if not spans:
            return Sending(reply, self.tally)
        manifest = await self.in_thread(self.mirror.manifest, release)
        file = next(one for one in manifest.files if one.path == path)
        return await self._file(reply, manifest, file, spans)

    async def _file(self, reply: Reply, manifest: Manifest, file: File, spans: list[Span]) -> ASGIApp:
        start, end = min(span.start for span in spans), max(span.end for span in spans)

        def decoding() -> Chunks:
            return Chunks(manifest, file, self.mirror.hauler)

        try:
            source = await self.in_thread(self.mirror.assembler.file, manifest, file, start, end)
        except DiskError:
            return Flowing(self, reply, None, decoding)
        return await self._flowing(reply, source, spans[0].start, decoding)

    async def _flowing(self, reply: Reply, source: Source, first: int, decoding: Callable[[], Chunks] | None = None) -> ASGIApp:
        """Wait for the first byte, so that a fault still has a status of its own."""
        with ExitStack() as stack:
            stack.callback(source.close)
            try:
                if source.growing is not None:
                    await source.growing.wait(first, timeout_s=self.mirror.timeout_s)
            except DiskError:
                if decoding is None:
                    raise
                return Flowing(self, reply, None, decoding)
            stack.pop_all()
        return Flowing(self, reply, source, decoding)

    async def _tree_object(self, method: str, names: tuple[str, ...], headers: Mapping[str, str], shared: Headers) -> ASGIApp:
        key = "/".join(names)
        kind = object_kind(key)
        if kind is None:
            return plain_answer(not_found(), shared)
        about = headers_for(key)
        part = part_name(key)
        if part is not None:
            more = (*shared, *self._standing())
            return await self._part(
                method, part, Content(0, part, about.content_type, self._cache(about.cache_control), more), headers
            )
        role = role_version(key)
        if kind in {"timestamp", "role"} or (role is not None and kind == "root") or self.mirror.upstream.known is None:
            await self._refresh()
        data = await self.in_thread(self.mirror.document_at_once, key)
        if data is None:
            data = await anyio.to_thread.run_sync(self.mirror.document, key, limiter=self._waiting_threads)
        made = Made(data, about.content_type, self._cache(about.cache_control))
        return self._made(made, method, headers, (*shared, *self._standing()))

    async def _part(self, method: str, part: str, content: Content, headers: Mapping[str, str]) -> ASGIApp:
        # HEAD, and what was not changed, cost no transfer.
        little = method == "HEAD" or "if-none-match" in headers
        shape = await self.in_thread(self.mirror.manifests.shape_of, part) if little else None
        if shape is not None:
            reply = reply_to(method, headers, _sized(content, shape.size))
            if not any(isinstance(piece, Span) for piece in reply.pieces):
                return Sending(reply, self.tally)
        source = await self.in_thread(self.mirror.hauler.part_at_once, part)
        if source is None:
            source = await anyio.to_thread.run_sync(self.mirror.hauler.part, part, limiter=self._unnamed_threads)
        reply = reply_to(method, headers, _sized(content, source.size))
        spans = [piece for piece in reply.pieces if isinstance(piece, Span)]
        return await self._flowing(reply, source, spans[0].start if spans else 0)

    async def _refresh(self) -> None:
        """Ask the upstream how it is, if that was not done a moment ago; wait for it no longer than for what is known."""
        upstream = self.mirror.upstream
        if upstream.is_fresh:
            return
        if not self._asking:
            task = asyncio.create_task(self._ask())
            self._asking.add(task)
            task.add_done_callback(self._asking.discard)
        for task in list(self._asking):
            await asyncio.wait({task}, timeout=WAIT_S if upstream.known is not None else None)

    async def _ask(self) -> None:
        await anyio.to_thread.run_sync(self.mirror.upstream.refresh, limiter=self._asking_thread)

    async def in_thread(self, call: Callable[..., T], *arguments: object) -> T:
        """Let a thread do what waits for the disk, and seldom for the upstream."""
        return await anyio.to_thread.run_sync(call, *arguments, limiter=self._threads)

    def _standing(self) -> Headers:
        text = self.mirror.upstream.standing.header
        if self.mirror.shelf.is_full:
            text = f"{text}; cache=full" if text else "reachable; cache=full"
        return ((STANDING, text),) if text else ()


class Flowing:
    """A reply whose bytes may still be on their way; ``decoding`` gives them where the disk takes no more."""

    def __init__(self, app: MirrorApp, reply: Reply, source: Source | None, decoding: Callable[[], Chunks] | None) -> None:
        self._app = app
        self._reply = reply
        self._source = source
        self._decoding = decoding
        self._chunks: Chunks | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it; what cannot be finished is cut, so that nobody takes it for whole."""
        del receive
        sendfile: SendFile | None = scope.get("extensions", {}).get(SENDFILE)
        try:
            headers = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in self._reply.headers]
            await send({"type": "http.response.start", "status": int(self._reply.status), "headers": headers})
            for piece in self._reply.pieces:
                if isinstance(piece, bytes):
                    await self._body(send, piece)
                elif not await self._span(send, sendfile, piece):
                    return
            await send({"type": "http.response.body", "body": b"", "more_body": False})
        except (ModelportError, OSError):
            cut: Callable[[], None] | None = scope.get("extensions", {}).get(CUT)
            if cut is None:
                raise
            cut()
        finally:
            if self._source is not None:
                self._source.close()
            if self._chunks is not None:
                await self._app.in_thread(self._chunks.close)

    async def _span(self, send: Send, sendfile: SendFile | None, span: Span) -> bool:
        """Send a span as it comes; False when the reader went away."""
        at = span.start
        while at < span.end:
            if self._source is None:
                at += await self._decoded(send, at, span.end)
                continue
            try:
                upto = await self._verified(self._source, at, span.end)
            except DiskError:
                if self._decoding is None:
                    raise
                self._source.close()
                self._source = None
                continue
            if sendfile is not None:
                sent = await sendfile(self._source.descriptor, at, upto - at)
                self._app.tally.bytes += sent
                if sent < upto - at:
                    return False
                at = upto
            else:
                block = await self._app.in_thread(os.pread, self._source.descriptor, min(upto - at, 1 << 20), at)
                if not block:
                    raise OSError("a kept file became shorter while it was read")
                await self._body(send, block)
                at += len(block)
        return True

    async def _verified(self, source: Source, at: int, end: int) -> int:
        if source.growing is None:
            return end
        return min(await source.growing.wait(at, timeout_s=self._app.mirror.timeout_s), end)

    async def _decoded(self, send: Send, at: int, end: int) -> int:
        if self._chunks is None:
            if self._decoding is None:
                raise UnavailableError("nothing to read from")
            self._chunks = self._decoding()
        data = await self._app.in_thread(self._chunks.read, at, end)
        data = data[: end - at]
        await self._body(send, data)
        return len(data)

    async def _body(self, send: Send, data: bytes) -> None:
        self._app.tally.bytes += len(data)
        await send({"type": "http.response.body", "body": data, "more_body": True})


def _sized(content: Content, size: int) -> Content:
    return Content(size, content.etag, content.content_type, content.cache, content.headers)


def _refusal(error: ModelportError | InstallerError) -> Refused:
    """What the upstream's fault is to a client."""
    words = " ".join(str(error).split())
    if isinstance(error, ObjectMissing):
        return not_found(words)
    if isinstance(error, UnavailableError) and not isinstance(error, AccessDenied):
        return Refused(HTTPStatus.GATEWAY_TIMEOUT, words, (("Retry-After", "10"),))
    if isinstance(error, DiskError | InstallerError):
        return Refused(HTTPStatus.SERVICE_UNAVAILABLE, words, (("Retry-After", "5"),))
    return Refused(HTTPStatus.BAD_GATEWAY, words, (("Retry-After", "10"),))
