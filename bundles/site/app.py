"""The application: a request of ASGI in, an answer out (starlette).

Takes ``Holdings`` and a ``Guard``, gives an ASGI application. A file is opened before a header is sent and read from
that one descriptor to the end of the answer: a release that is replaced or removed meanwhile changes nothing for
those who read it. What stands there with another size than was signed is not served.

next: ``sending``
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from urllib.parse import parse_qsl

import anyio.to_thread
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Mount
from starlette.types import ASGIApp, Receive, Scope, Send

from bundles.installer.faults import ModelportError as InstallerError
from bundles.site.answers import EXPOSED, TEXT, Headers, Made, Moved, Refused, Stored, not_found
from bundles.site.catalogue import Catalogue
from bundles.site.guard import Guard
from bundles.site.holdings import Holdings
from bundles.site.ranges import Span
from bundles.site.replies import Content, Reply, reply_to
from bundles.site.routes import HEALTH, find
from bundles.site.routes import Request as Asked
from bundles.site.sending import SENDFILE, SendFile
from pipeline.errors import ModelportError
from pipeline.layout import PRIVATE, REVALIDATE

BLOCK = 1 << 20
METHODS = ("GET", "HEAD")
_SINGLE = frozenset({"range", "if-range", "authorization", "host"})


@dataclass
class Tally:
    """What was served since the start."""

    requests: int = 0
    bytes: int = 0


@dataclass(frozen=True)
class SiteApp:
    """One site. ``origins`` are web origins whose pages may read it, ``*`` for all."""

    holdings: Holdings
    guard: Guard = field(default_factory=Guard)
    origins: tuple[str, ...] = ()
    tally: Tally = field(default_factory=Tally)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        request = Request(scope, receive)
        self.tally.requests += 1
        headers, doubled = _headers_of(request)
        shared = self._shared(headers.get("origin", ""))
        response: ASGIApp
        if doubled:
            response = plain_answer(Refused(HTTPStatus.BAD_REQUEST, f"the header {doubled} may stand once"), shared)
        elif request.method == "OPTIONS" and self.origins:
            allowed = (
                ("Access-Control-Allow-Methods", ", ".join(METHODS)),
                ("Access-Control-Allow-Headers", "Range, Authorization"),
            )
            response = Response(status_code=HTTPStatus.NO_CONTENT, headers=dict((*shared, *allowed)))
        elif request.method not in METHODS:
            response = plain_answer(
                Refused(HTTPStatus.METHOD_NOT_ALLOWED, "only reading", (("Allow", ", ".join(METHODS)),)), shared
            )
        elif scope["path"] != HEALTH and not self.guard.admits(headers.get("authorization", "")):
            asks = (("WWW-Authenticate", 'Basic realm="site", charset="UTF-8"'),)
            response = plain_answer(Refused(HTTPStatus.UNAUTHORIZED, "bring a token of this site", asks), shared)
        else:
            response = await self._answer(request, headers, shared)
        await response(scope, receive, send)

    async def _answer(self, request: Request, headers: Mapping[str, str], shared: Headers) -> ASGIApp:
        try:
            catalogue = await self._look()
        except (ModelportError, InstallerError) as error:
            return plain_answer(Refused(HTTPStatus.SERVICE_UNAVAILABLE, str(error), (("Retry-After", "5"),)), shared)
        found = find(catalogue, asked_for(request, headers), tree=self.holdings.keeps_tree)
        if isinstance(found, Stored):
            return await anyio.to_thread.run_sync(self._open, found, request.method, headers, shared)
        return self._made(found, request.method, headers, shared)

    async def _look(self) -> Catalogue:
        known = self.holdings.known()
        # Reading manifests takes a while; nobody else has to wait for it.
        return known if known is not None else await anyio.to_thread.run_sync(self.holdings.look)

    def _made(self, found: Made | Moved | Refused, method: str, headers: Mapping[str, str], shared: Headers) -> ASGIApp:
        if isinstance(found, Made):
            content = Content(
                len(found.body), found.etag, found.content_type, self._cache(found.cache), (*found.headers, *shared), found.status
            )
            return Sending(reply_to(method, headers, content), self.tally, data=found.body)
        if isinstance(found, Moved):
            return Response(status_code=HTTPStatus.PERMANENT_REDIRECT, headers=dict((*shared, ("Location", found.to))))
        return plain_answer(found, shared)

    def _open(self, found: Stored, method: str, headers: Mapping[str, str], shared: Headers) -> ASGIApp:
        try:
            descriptor = self.holdings.open(found.path)
        except OSError:
            return plain_answer(not_found("it is named here, but cannot be read"), shared)
        size = os.fstat(descriptor).st_size
        if found.size not in {None, size} or (not found.etag and size > found.cap):
            os.close(descriptor)
            why = "what stands there is not what was signed: invoke site.verify says more"
            return plain_answer(Refused(HTTPStatus.INTERNAL_SERVER_ERROR, why), shared)
        if not found.etag:
            with os.fdopen(descriptor, "rb") as file:
                data = file.read(found.cap)
            return self._made(Made(data, found.content_type, found.cache, headers=found.headers), method, headers, shared)
        content = Content(size, found.etag, found.content_type, self._cache(found.cache), (*found.headers, *shared))
        reply = reply_to(method, headers, content)
        if not any(isinstance(piece, Span) for piece in reply.pieces):
            os.close(descriptor)
            descriptor = -1
        return Sending(reply, self.tally, descriptor=descriptor)

    def _cache(self, rule: str) -> str:
        """What caches may do with an answer; those that others share keep nothing that needs a token (RFC 9111 §3.5)."""
        return rule if self.guard.is_open else rule.replace("public", "private")

    def _shared(self, origin: str) -> Headers:
        if not self.origins:
            return ()
        if "*" in self.origins:
            return (("Access-Control-Allow-Origin", "*"), ("Access-Control-Expose-Headers", EXPOSED))
        vary = (("Vary", "Origin"),)
        if origin not in self.origins:
            return vary
        return (*vary, ("Access-Control-Allow-Origin", origin), ("Access-Control-Expose-Headers", EXPOSED))


class Sending:
    """A reply on its way: from ``data``, or from a descriptor that is closed at the end, whatever happens."""

    def __init__(self, reply: Reply, tally: Tally, *, data: bytes = b"", descriptor: int = -1) -> None:
        self._reply = reply
        self._tally = tally
        self._data = data
        self._descriptor = descriptor

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it."""
        del receive
        try:
            headers = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in self._reply.headers]
            await send({"type": "http.response.start", "status": int(self._reply.status), "headers": headers})
            sendfile: SendFile | None = scope.get("extensions", {}).get(SENDFILE)
            for piece in self._reply.pieces:
                if isinstance(piece, bytes):
                    await self._send(send, piece)
                elif self._descriptor < 0:
                    await self._send(send, self._data[piece.start : piece.end])
                elif sendfile is not None:
                    self._tally.bytes += await sendfile(self._descriptor, piece.start, piece.size)
                else:
                    await self._send_blocks(send, piece)
            await send({"type": "http.response.body", "body": b"", "more_body": False})
        finally:
            if self._descriptor >= 0:
                os.close(self._descriptor)

    async def _send(self, send: Send, data: bytes) -> None:
        self._tally.bytes += len(data)
        await send({"type": "http.response.body", "body": data, "more_body": True})

    async def _send_blocks(self, send: Send, span: Span) -> None:
        at = span.start
        while at < span.end:
            block = await anyio.to_thread.run_sync(os.pread, self._descriptor, min(BLOCK, span.end - at), at)
            if not block:
                # Shorter than it was: the connection is cut, so that nobody takes it for whole.
                raise OSError("a file became shorter while it was read")
            await self._send(send, block)
            at += len(block)


def asked_for(request: Request, headers: Mapping[str, str]) -> Asked:
    """What of a request decides its answer."""
    query = dict(parse_qsl(request.scope["query_string"].decode("ascii", "replace"), max_num_fields=100))
    return Asked(request.scope["raw_path"], query, headers.get("accept", ""))


def make_app(site: SiteApp) -> Starlette:
    """The whole application, for any ASGI server."""
    return Starlette(routes=[Mount("/", app=site)])


def _headers_of(request: Request) -> tuple[dict[str, str], str]:
    """The request's headers by name in lower case; and one that came twice and may not, or ""."""
    found: dict[str, str] = {}
    doubled = ""
    for raw, value in request.scope["headers"]:
        name, text = raw.decode("latin-1").lower(), value.decode("latin-1")
        doubled = name if name in found and name in _SINGLE else doubled
        found[name] = f"{found[name]}, {text}" if name in found else text
    return found, doubled


def plain_answer(refused: Refused, shared: Headers) -> Response:
    """A refusal as text."""
    body = f"{refused.why}\n".encode()
    headers = dict(
        (
            *shared,
            *refused.headers,
            ("Cache-Control", PRIVATE if refused.status >= HTTPStatus.INTERNAL_SERVER_ERROR else REVALIDATE),
        )
    )
    return Response(body, refused.status, headers, media_type=TEXT)
