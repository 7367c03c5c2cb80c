"""A web server on raw sockets that serves a few objects honestly, or lies in one of the ways of ``LIES``.

Nothing between the test and the wire corrects a wrong length, a missing end or a second Content-Length.
"""

from __future__ import annotations

import contextlib
import gzip
import re
import socket
import ssl
import struct
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

RESET = struct.pack("ii", 1, 0)
ETAG = '"one"'


@dataclass(frozen=True)
class Request:
    """What came in. Field names are lower case; ``via`` numbers the connection."""

    method: str
    target: str
    fields: tuple[tuple[str, str], ...]
    via: int

    def field(self, name: str) -> str:
        return next((value for found, value in self.fields if found == name), "")

    @property
    def span(self) -> tuple[int, int | None] | None:
        match = re.fullmatch(r"bytes=([0-9]+)-([0-9]*)", self.field("range"))
        return (int(match[1]), int(match[2]) if match[2] else None) if match else None


class Talk:
    """One request and the means to answer it wrongly."""

    def __init__(self, server: Hostile, wire: socket.socket, request: Request) -> None:
        self.server = server
        self.wire = wire
        self.request = request
        path = request.target.partition("?")[0]
        path = re.sub(r"^https?://[^/]+", "", path)
        self.found = server.objects.get(path.removeprefix("/"))
        self.body = b"" if self.found is None else self.found

    @property
    def first(self) -> int:
        return self.request.span[0] if self.request.span else 0

    @property
    def last(self) -> int:
        end = self.request.span[1] if self.request.span else None
        return len(self.body) - 1 if end is None else min(end, len(self.body) - 1)

    @property
    def asked(self) -> bytes:
        return self.body[self.first : self.last + 1]

    def send(self, data: bytes) -> None:
        self.wire.sendall(data)

    def head(self, status: int, *fields: str) -> None:
        lines = [f"HTTP/1.1 {status} As planned", f"ETag: {ETAG}", *fields]
        self.send("\r\n".join([*lines, "", ""]).encode())

    def plain(self, status: int, body: bytes, *fields: str) -> bool:
        self.head(status, f"Content-Length: {len(body)}", *fields)
        self.send(body)
        return True

    def span(self, first: int | None = None, last: int | None = None, total: int | str | None = None) -> str:
        first = self.first if first is None else first
        last = self.last if last is None else last
        return f"Content-Range: bytes {first}-{last}/{len(self.body) if total is None else total}"

    def drip(self, data: bytes) -> bool:
        """Send byte after byte until the client has had enough."""
        for at in range(len(data)):
            if self.server.stopping.wait(self.server.drip_s):
                break
            self.send(data[at : at + 1])
        return False

    def reset(self) -> bool:
        self.wire.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        return False


Lie = Callable[[Talk], bool]


def honest(talk: Talk) -> bool:
    request = talk.request
    if talk.found is None:
        return talk.plain(404, b"not here")
    if request.field("if-none-match") == ETAG:
        talk.head(304)
        return True
    if request.span is None:
        return talk.plain(200, talk.body)
    if talk.first >= len(talk.body):
        return talk.plain(416, b"", f"Content-Range: bytes */{len(talk.body)}")
    return talk.plain(206, talk.asked, talk.span())


def whole(talk: Talk) -> bool:
    return talk.plain(200, talk.body)


def whole_chunked(talk: Talk) -> bool:
    talk.head(200, "Transfer-Encoding: chunked")
    for at in range(0, len(talk.body), 50_000):
        piece = talk.body[at : at + 50_000]
        talk.send(b"%x\r\n%b\r\n" % (len(piece), piece))
    talk.send(b"0\r\n\r\n")
    return True


def whole_until_close(talk: Talk) -> bool:
    talk.head(200, "Connection: close")
    talk.send(talk.body)
    return False


def ok_with_span(talk: Talk) -> bool:
    return talk.plain(200, talk.asked, talk.span())


def ok_with_other_span(talk: Talk) -> bool:
    return talk.plain(200, talk.body[: len(talk.asked)], talk.span(0, len(talk.asked) - 1))


def earlier(talk: Talk) -> bool:
    first = max(0, talk.first - 10)
    return talk.plain(206, talk.body[first : talk.last + 1], talk.span(first))


def later(talk: Talk) -> bool:
    return talk.plain(206, talk.body[talk.first + 10 : talk.last + 1], talk.span(talk.first + 10))


def other_total(talk: Talk) -> bool:
    return talk.plain(206, talk.asked, talk.span(total=len(talk.body) + 5))


def star_span(talk: Talk) -> bool:
    return talk.plain(206, talk.asked, f"Content-Range: bytes */{len(talk.body)}")


def no_span(talk: Talk) -> bool:
    return talk.plain(206, talk.asked)


def two_spans(talk: Talk) -> bool:
    return talk.plain(206, talk.asked, talk.span(), talk.span(0, 9))


def multipart(talk: Talk) -> bool:
    text = b"--x\r\n" + talk.span().encode() + b"\r\n\r\n" + talk.asked + b"\r\n--x--\r\n"
    return talk.plain(206, text, "Content-Type: multipart/byteranges; boundary=x")


def not_satisfiable(talk: Talk) -> bool:
    return talk.plain(416, b"", f"Content-Range: bytes */{len(talk.body) // 2}")


def short(talk: Talk) -> bool:
    talk.head(206, f"Content-Length: {len(talk.asked)}", talk.span())
    talk.send(talk.asked[: len(talk.asked) // 2])
    return False


def short_span(talk: Talk) -> bool:
    half = len(talk.asked) // 2
    return talk.plain(206, talk.asked[:half], talk.span(last=talk.first + half - 1))


def short_reset(talk: Talk) -> bool:
    talk.head(206, f"Content-Length: {len(talk.asked)}", talk.span())
    talk.send(talk.asked[: len(talk.asked) // 2])
    return talk.reset()


def longer(talk: Talk) -> bool:
    talk.head(206, f"Content-Length: {len(talk.asked)}", talk.span())
    talk.send(talk.asked + b"more and more")
    return True


def longer_declared(talk: Talk) -> bool:
    return talk.plain(206, talk.asked + b"more", talk.span())


def endless(talk: Talk) -> bool:
    talk.head(206, "Transfer-Encoding: chunked", talk.span())
    talk.send(b"%x\r\n%b\r\n" % (len(talk.asked), talk.asked))
    while not talk.server.stopping.is_set():
        talk.send(b"400\r\n" + bytes(1024) + b"\r\n")
    return False


def chunked_without_end(talk: Talk) -> bool:
    half = talk.asked[: len(talk.asked) // 2]
    talk.head(206, "Transfer-Encoding: chunked", talk.span())
    talk.send(b"%x\r\n%b\r\n" % (len(half), half))
    return False


def negative_chunk(talk: Talk) -> bool:
    talk.head(206, "Transfer-Encoding: chunked", talk.span())
    half = len(talk.asked) // 2
    talk.send(b"%x\r\n%b\r\n-5\r\n" % (half, talk.asked[:half]))
    for _ in range(1000):
        talk.send(b"!" * 8192)
    return False


def endless_trailers(talk: Talk) -> bool:
    talk.head(206, "Transfer-Encoding: chunked", talk.span())
    talk.send(b"%x\r\n%b\r\n0\r\n" % (len(talk.asked), talk.asked))
    while not talk.server.stopping.is_set():
        talk.send(b"X-More: more\r\n" * 64)
    return False


def endless_continue(talk: Talk) -> bool:
    while not talk.server.stopping.is_set():
        talk.send(b"HTTP/1.1 100 Continue\r\n\r\n" * 64)
    return False


def many_fields(talk: Talk) -> bool:
    talk.head(206, f"Content-Length: {len(talk.asked)}", talk.span(), *(f"X-{number}: y" for number in range(500)))
    talk.send(talk.asked)
    return True


def encoded(talk: Talk) -> bool:
    return talk.plain(200, gzip.compress(talk.body), "Content-Encoding: gzip")


def encoded_range(talk: Talk) -> bool:
    return talk.plain(206, talk.asked, talk.span(), "Content-Encoding: br")


def encoded_transfer(talk: Talk) -> bool:
    talk.head(206, "Transfer-Encoding: gzip, chunked", talk.span())
    talk.send(b"%x\r\n%b\r\n0\r\n\r\n" % (len(talk.asked), talk.asked))
    return True


def web_page(talk: Talk) -> bool:
    return talk.plain(200, b"<html>Please log in</html>", "Content-Type: text/html; charset=utf-8")


def other_length(talk: Talk) -> bool:
    return talk.plain(200, talk.body + b"!")


def two_lengths(talk: Talk) -> bool:
    return talk.plain(206, talk.asked, talk.span(), f"Content-Length: {len(talk.asked) - 1}")


def length_and_chunks(talk: Talk) -> bool:
    talk.head(206, "Transfer-Encoding: chunked", f"Content-Length: {len(talk.asked)}", talk.span())
    talk.send(b"%x\r\n%b\r\n0\r\n\r\n" % (len(talk.asked), talk.asked))
    return True


def bad_length(talk: Talk) -> bool:
    talk.head(206, "Content-Length: -5", talk.span())
    talk.send(talk.asked)
    return False


def not_http(talk: Talk) -> bool:
    talk.send(b"SSH-2.0-OpenSSH_9.2\r\n" * 4)
    return False


def bit_flip(talk: Talk) -> bool:
    wrong = bytearray(talk.asked)
    wrong[len(wrong) // 2] ^= 1
    return talk.plain(206 if talk.request.span else 200, bytes(wrong), *([talk.span()] if talk.request.span else []))


def slow_body(talk: Talk) -> bool:
    talk.head(206, f"Content-Length: {len(talk.asked)}", talk.span())
    return talk.drip(talk.asked)


def slow_head(talk: Talk) -> bool:
    return talk.drip(b"HTTP/1.1 206 As planned\r\n" + b"X-Slow: y\r\n" * 1000)


def silent(talk: Talk) -> bool:
    talk.server.stopping.wait(60)
    return False


def hang_up(talk: Talk) -> bool:
    return False


def reset(talk: Talk) -> bool:
    return talk.reset()


def answers(status: int, *fields: str, body: bytes = b"") -> Lie:
    """An answer of this status, with these fields."""
    return lambda talk: talk.plain(status, body, *fields)


def redirects(location: str, status: int = 302) -> Lie:
    """A redirect to ``location``, in which ``{target}`` is what was asked for."""
    return lambda talk: talk.plain(status, b"", f"Location: {location.format(target=talk.request.target)}")


class Hostile:
    """A running server: ``objects`` to serve, ``behave`` to change how, ``requests`` and ``connections`` to look at."""

    def __init__(self, url: str, objects: Mapping[str, bytes]) -> None:
        self.url = url
        self.objects = dict(objects)
        self.requests: list[Request] = []
        self.connections = 0
        self.drip_s = 0.01
        self.stopping = threading.Event()
        self._lies: list[tuple[str, Lie, int | None]] = []
        self._lock = threading.Lock()

    def behave(self, lie: Lie, *, key: str = "", times: int | None = None) -> None:
        """Answer requests whose target holds ``key`` with ``lie``, ``times`` times; then as said before."""
        with self._lock:
            self._lies.append((key, lie, times))

    def take(self, request: Request) -> Lie:
        with self._lock:
            self.requests.append(request)
            for place in reversed(range(len(self._lies))):
                key, lie, times = self._lies[place]
                if key in request.target:
                    if times is not None:
                        self._lies[place : place + 1] = [(key, lie, times - 1)] if times > 1 else []
                    return lie
        return honest


def _read_request(wire: socket.socket, kept: bytes, via: int) -> tuple[Request, bytes] | None:
    while b"\r\n\r\n" not in kept:
        more = wire.recv(65536)
        if not more:
            return None
        kept += more
    head, _, kept = kept.partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    method, target, _ = first.split(" ", 2)
    fields = tuple((name.lower(), value.strip()) for name, _, value in (line.partition(":") for line in lines))
    return Request(method, target, fields, via), kept


def _serve(server: Hostile, accepted: socket.socket, context: ssl.SSLContext | None) -> None:
    wire = accepted
    with contextlib.suppress(OSError), contextlib.ExitStack() as stack:
        stack.callback(accepted.close)
        accepted.settimeout(60)
        # A head and its body go out in two pieces: without this each answer would wait for an acknowledgement.
        accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if context is not None:
            wire = stack.enter_context(context.wrap_socket(accepted, server_side=True))
        with server._lock:
            server.connections += 1
            via = server.connections
        kept = b""
        while (found := _read_request(wire, kept, via)) is not None:
            request, kept = found
            if not server.take(request)(Talk(server, wire, request)):
                break


@contextmanager
def run_hostile(
    objects: Mapping[str, bytes], *, context: ssl.SSLContext | None = None, host: str = "127.0.0.1", name: str = ""
) -> Iterator[Hostile]:
    """Serve ``objects`` until the block ends; with ``context`` over TLS. ``name`` stands in the URL instead of ``host``."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, 0))
        listener.listen(128)
        port = listener.getsockname()[1]
        shown = name or (f"[{host}]" if ":" in host else host)
        server = Hostile(f"{'http' if context is None else 'https'}://{shown}:{port}", objects)
        wires: list[socket.socket] = []

        def accept() -> None:
            with contextlib.suppress(OSError):
                while True:
                    accepted, _ = listener.accept()
                    wires.append(accepted)
                    threading.Thread(target=_serve, args=(server, accepted, context), daemon=True).start()

        thread = threading.Thread(target=accept, daemon=True)
        thread.start()
        try:
            yield server
        finally:
            server.stopping.set()
            with contextlib.suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)
            for wire in wires:
                with contextlib.suppress(OSError):
                    wire.shutdown(socket.SHUT_RDWR)
            thread.join()
