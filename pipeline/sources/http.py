"""A tree behind a web server, an edge or a mirror.

Takes the base URL and how to reach it, gives a ``TreeReader``. Nothing here repeats a request, but for one on a kept
connection that the other side had closed; who reads decides that (``sources.mirrors``).

next: ``sources.hits``
"""

from __future__ import annotations

import http.client
import ssl
import threading
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TypeAlias, cast
from urllib.parse import quote, urlsplit

from pipeline.bodies import begun
from pipeline.errors import InvalidDocument, ModelportError, RedirectRefused, SettingsError, SourceLied, StoreUnavailable
from pipeline.layout import check_tree_key, content_type
from pipeline.ports import Fresh, NotModified, Take
from pipeline.sources.answers import REDIRECTS, Head, plain, refusal, telling_etag
from pipeline.sources.auth import Auth, NoAuth
from pipeline.sources.dialing import Dialler, congestion_of
from pipeline.sources.http_pool import USER_AGENT, Pool
from pipeline.sources.http_wire import Line
from pipeline.sources.pace import Limits
from pipeline.sources.proxies import Proxies
from pipeline.sources.ranges import Accepted, Asked, judge, range_field
from pipeline.sources.redirects import Origin, next_hop, origin_of, shown

# Read at once: what a socket holds, so that a range costs few calls and no copy.
BLOCK = 512 << 10
# Left over of a body: less is read to keep the connection, more is cheaper to cut off.
DRAIN_BYTES = 64 << 10
# Blocks out, memory for the next one in.
_Body: TypeAlias = Generator[memoryview, memoryview | None, None]


@dataclass(slots=True)
class _Exchange:
    """An answer whose body is still to be read."""

    line: Line
    head: Head
    origin: Origin
    public_only: bool


@dataclass(frozen=True, slots=True)
class Seen:
    """The head of an answer; of its connection the TLS version, who issued the certificate until when, and what paces it."""

    head: Head
    tls: str
    issuer: str
    until: str
    congestion: str


class HttpReader:
    """A ``TreeReader`` over http or https. Only ``url``'s host is asked, and, unless ``follow`` forbids it, where it redirects to."""

    def __init__(
        self,
        url: str,
        *,
        auth: Auth | None = None,
        proxies: Proxies | None = None,
        ca_file: str | None = None,
        limits: Limits | None = None,
        dialler: Dialler | None = None,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        follow: bool = True,
    ) -> None:
        limits = limits or Limits()
        origin = origin_of(url)
        parts = urlsplit(url)
        if origin is None or "@" in parts.netloc or parts.query or parts.fragment:
            raise SettingsError(
                "a source is no plain http or https URL: expected https://host/path without user, query and fragment",
                hint="Credentials of a source are given with source.auth.",
            )
        self._origin = origin
        self._path = quote(parts.path.rstrip("/"), safe="/-_.~%")
        self._auth = auth or NoAuth()
        self._now = now
        self._follow = follow
        self._pool = Pool(
            dialler=dialler or Dialler(limits.connect_s), limits=limits, proxies=proxies or Proxies(), ca_file=ca_file
        )
        self._memory = threading.local()
        self._lock = threading.Lock()
        self._requests = 0
        # None until a range was asked for: whether this source answers with the range alone.
        self.honours_ranges: bool | None = None

    @property
    def url(self) -> str:
        """Where this is; there is no credential in it."""
        return f"{self._origin}{self._path}"

    @property
    def requests(self) -> int:
        """Requests made so far, those that redirects led to among them."""
        return self._requests

    def get(self, key: str, *, start: int = 0, size: int | None = None) -> Iterator[bytes]:
        """Yield the bytes of an object; see ``ports.TreeReader.get``."""
        told = self._told("get", key)
        asked = Asked(start, size, exact=False, ranged=bool(start) or size is not None, html=_may_be_html(key))
        fields = [("Range", range_field(start, size))] if asked.ranged and size != 0 else []
        exchange = self._ask(key, fields, told)
        if exchange.head.status == 416 and asked.ranged:
            self._finish(exchange)
            return iter(())
        accepted = self._accept(exchange, asked, told)
        return begun(self._blocks(exchange, accepted, told))

    def _blocks(self, exchange: _Exchange, accepted: Accepted, told: str) -> Generator[bytes, None, None]:
        # Not the thread's memory: between two blocks the same thread may read a range.
        with closing(self._body(exchange, accepted, bytearray(64 << 10), told)) as blocks:
            for block in blocks:
                yield bytes(block)

    def read_range(self, key: str, start: int, size: int, take: Take, *, total: int | None = None) -> None:
        """Hand exactly these bytes to ``take``; see ``ports.TreeReader.read_range``."""
        told = self._told(f"bytes {start}-{start + size - 1} of", key)
        whole = start == 0 and total == size
        asked = Asked(start, size, total, ranged=not whole, html=_may_be_html(key))
        if size == 0:
            return
        exchange = self._ask(key, [] if whole else [("Range", range_field(start, size))], told)
        if exchange.head.status == 416:
            self._finish(exchange)
            raise _too_short(exchange.head, told)
        accepted = self._accept(exchange, asked, told)
        if not whole:
            self.honours_ranges = accepted.honoured
        came = 0
        try:
            with closing(self._body(exchange, accepted, self._block(), told)) as blocks:
                block = next(blocks, None)
                while block is not None:
                    room = take(block)
                    came += len(block)
                    block = _after(blocks, room)
        except StoreUnavailable as error:
            error.delivered = came
            raise
        if came < size:
            raise StoreUnavailable(
                f"{told}: {came} of {size} bytes came", hint="The source broke off: run it again.", delivered=came
            )

    def revalidate(self, key: str, etag: str, *, cap: int) -> Fresh | NotModified:
        """Read a small object unless it still has ``etag``; see ``ports.TreeReader.revalidate``."""
        told = self._told("get", key)
        exchange = self._ask(key, [("If-None-Match", etag)] if etag else [], told, conditional=bool(etag))
        if exchange.head.status == 304:
            self._finish(exchange)
            return NotModified(etag)
        accepted = self._accept(exchange, Asked(html=_may_be_html(key)), told)
        found: list[bytes] = []
        total = 0
        with closing(self._blocks(exchange, accepted, told)) as blocks:
            for block in blocks:
                total += len(block)
                if total > cap:
                    raise InvalidDocument(f"{told}: more than {cap} bytes came", hint="Try another source.")
                found.append(block)
        return Fresh(b"".join(found), telling_etag(exchange.head))

    def peek(self, key: str, at: int, *, total: int | None) -> tuple[Head, bool]:
        """Ask for the one byte at ``at`` of an object; give the head, and whether the byte came alone.

        ``total`` is the object's size, where the caller knows it.

        Raises:
            ObjectMissing, SourceLied, AccessDenied, UnavailableError, StoreUnavailable, RedirectRefused
        """
        told = self._told(f"byte {at} of", key)
        exchange = self._ask(key, [("Range", range_field(at, 1))], told)
        if exchange.head.status == 416:
            self._finish(exchange)
            raise _too_short(exchange.head, told)
        accepted = self._accept(exchange, Asked(at, 1, total, ranged=True, html=_may_be_html(key)), told)
        if accepted.honoured:
            self._finish(exchange)
        else:
            self._pool.drop(exchange.line)
        return exchange.head, accepted.honoured

    def look(self, key: str) -> Seen:
        """Ask for a small object and tell what its answer and its connection show: for those who look for faults.

        Raises:
            ObjectMissing, AccessDenied, UnavailableError, StoreUnavailable, RedirectRefused
        """
        exchange = self._ask(key, [], self._told("get", key))
        connected = exchange.line.connected
        tls, issuer, until = "", "", ""
        if isinstance(connected, ssl.SSLSocket):
            shown = connected.getpeercert() or {}
            tls, until = connected.version() or "", str(shown.get("notAfter", ""))
            issuer = ", ".join(plain("=".join(map(str, pair))) for names in shown.get("issuer", ()) for pair in names)
        seen = Seen(exchange.head, tls, issuer, until, congestion_of(connected))
        self._finish(exchange)
        return seen

    def forget(self) -> None:
        """Let go of kept connections: what an ill one brought is asked for on another."""
        self._pool.forget()

    def close(self) -> None:
        """End every connection at once."""
        self._pool.close()

    def _told(self, doing: str, key: str) -> str:
        return f"{self.url}: {doing} {key}"

    def _block(self) -> bytearray:
        memory: bytearray | None = getattr(self._memory, "block", None)
        if memory is None:
            memory = self._memory.block = bytearray(BLOCK)
        return memory

    def _ask(self, key: str, fields: list[tuple[str, str]], told: str, *, conditional: bool = False) -> _Exchange:
        """Ask for an object, following redirects, until there is an answer to be read, or raise what it means instead."""
        url = f"{self._origin}{self._path}/{quote(check_tree_key(key), safe='/-_.~')}"
        hops, public_only = 0, False
        while True:
            exchange = self._send(url, fields, told, public_only=public_only)
            head = exchange.head
            if head.status in {200, 206, 416} or (conditional and head.status == 304):
                return exchange
            location = head.first("location")
            public = exchange.line.public
            self._finish(exchange)
            if head.status not in REDIRECTS or not location:
                raise refusal(head, told, signed=self._auth.kind, at=self._now())
            if not self._follow:
                raise RedirectRefused(
                    f"{told}: HTTP {head.status} to {shown(location)}, expected the object itself",
                    hint="Name the URL where the objects are, without a redirect.",
                )
            hops += 1
            url = next_hop(url, location, hops=hops, public=public or public_only, told=told)
            # Once outside, always outside: a second redirect must not lead in either.
            public_only = public_only or public

    def _send(self, url: str, fields: list[tuple[str, str]], told: str, *, public_only: bool) -> _Exchange:
        # next_hop and the constructor let only such URLs through.
        origin = cast("Origin", origin_of(url))
        parts = urlsplit(url)
        path, query = parts.path or "/", parts.query
        proxy = self._pool.proxy_for(origin)
        sent = [("Host", str(origin).partition("://")[2]), USER_AGENT, ("Accept-Encoding", "identity"), *fields]
        if origin == self._origin:
            signed = self._auth.sign(path)
            sent += signed.fields
            query = "&".join(filter(None, (query, signed.query)))
        target = path + (f"?{query}" if query else "")
        if proxy is not None and origin.scheme == "http":
            target = f"{origin}{target}"
            if proxy.authorization:
                sent.append(("Proxy-Authorization", proxy.authorization))
        fresh = False
        while True:
            line = self._pool.take(origin, public_only=public_only, told=told, fresh=fresh)
            with self._lock:
                self._requests += 1
            try:
                return _Exchange(line, line.ask(target, sent), origin, public_only)
            except (OSError, http.client.HTTPException) as error:
                self._pool.drop(line)
                # A kept connection may have been closed just as we asked: that is nobody's fault, once.
                if line.used and not fresh and isinstance(error, ConnectionError):
                    fresh = True
                    continue
                raise _broken(error, told) from None

    def _accept(self, exchange: _Exchange, asked: Asked, told: str) -> Accepted:
        try:
            return judge(exchange.head, asked, told)
        except ModelportError:
            self._pool.drop(exchange.line)
            raise

    def _body(self, exchange: _Exchange, accepted: Accepted, memory: bytearray, told: str) -> _Body:
        """Yield the accepted part of a body, each block in ``memory`` or in what was sent for it; the caller counts."""
        view = memoryview(memory)
        skip, left = accepted.skip, accepted.size
        with self._ending(exchange, told):
            while skip > 0:
                size = exchange.line.read_into(view[: min(skip, len(view))])
                if not size:
                    return
                skip -= size
            came = 0
            while left is None or left > 0:
                size = exchange.line.read_into(view if left is None else view[: min(left, len(view))])
                if not size:
                    break
                left = None if left is None else left - size
                came += size
                view = (yield view[:size]) or view
            if left:
                raise StoreUnavailable(
                    f"{told}: the answer ended {left} bytes early", hint="The source broke off: run it again.", delivered=came
                )
            if accepted.ends and accepted.size is not None and exchange.line.read_into(view[:1]):
                raise SourceLied(f"{told}: more came than {came} bytes", hint="Use another source: this one sends without end.")

    @contextmanager
    def _ending(self, exchange: _Exchange, told: str) -> Iterator[None]:
        done = False
        try:
            yield
            done = True
        except (OSError, http.client.HTTPException) as error:
            raise _broken(error, told) from None
        finally:
            if done:
                self._finish(exchange)
            else:
                self._pool.drop(exchange.line)

    def _finish(self, exchange: _Exchange) -> None:
        """Read the little that is left of a body, so that its connection can be kept."""
        left = DRAIN_BYTES
        memory = memoryview(bytearray(DRAIN_BYTES))
        try:
            while left > 0 and (size := exchange.line.read_into(memory[:left])):
                left -= size
        except (OSError, http.client.HTTPException):
            self._pool.drop(exchange.line)
            return
        self._pool.give_back(exchange.line, exchange.origin, public_only=exchange.public_only)


def _after(blocks: _Body, room: memoryview | None) -> memoryview | None:
    """The next block, in ``room`` if there is any; None behind the last."""
    try:
        return blocks.send(room)
    except StopIteration:
        return None


def _broken(error: OSError | http.client.HTTPException, told: str) -> ModelportError:
    words = plain(str(error) or type(error).__name__, 200)
    if isinstance(error, http.client.HTTPException) and not isinstance(error, (http.client.IncompleteRead, ConnectionError)):
        return SourceLied(f"{told}: the answer is not HTTP: {words}", hint="Check the source's address.")
    return StoreUnavailable(f"{told}: {words}", hint="Check the network and the proxy, then run it again.")


def _too_short(head: Head, told: str) -> SourceLied:
    found = plain(head.first("content-range")) or "no size"
    return SourceLied(
        f"{told}: HTTP 416 ({found}), expected an object that has them", hint="Use another source: this one is damaged."
    )


def _may_be_html(key: str) -> bool:
    return content_type(key).startswith("text/html")
