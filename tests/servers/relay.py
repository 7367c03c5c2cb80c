"""A relay before an HTTP server that records every request and can spoil the nth one that matches.

It speaks HTTP/1.1, over TLS if it is given a certificate, and passes heads on as they came, so that
signatures stay good. One connection to the server behind is made for each request.
"""

from __future__ import annotations

import contextlib
import http.client
import socket
import ssl
import struct
import threading
import urllib.parse
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Literal

from pipeline.digest import sha256_of
from tests.servers.listening import Connection, listening

BLOCK = 256 << 10
RESET = struct.pack("ii", 1, 0)
How = Literal["answer", "reset", "lose answer", "cut answer", "hold", "hold answer"]


@dataclass(frozen=True)
class Request:
    """What came in. Header names are lower case; ``fields`` keeps repeated ones."""

    method: str
    path: str
    headers: dict[str, str]
    fields: tuple[tuple[str, str], ...] = ()


@dataclass
class Rule:
    """What happens to matching requests number ``nth`` to ``nth + times - 1`` (from 1).

    * ``answer``: ``status``, ``headers`` and ``body`` are the answer; nothing goes on.
    * ``reset``: the connection is reset before anything goes on.
    * ``lose answer``: the request goes on and is answered, then the connection is reset.
    * ``cut answer``: the head and ``keep`` bytes of the answer's body come back, then the connection is reset.
    * ``hold``: waits for ``release``, then goes on; ``held`` is set meanwhile.
    * ``hold answer``: goes on at once, and holds the answer back.
    """

    how: How
    method: str = ""
    path: str = ""
    nth: int = 1
    times: int = 1
    status: int = 503
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    keep: int = 0
    held: threading.Event = field(default_factory=threading.Event)
    release: threading.Event = field(default_factory=threading.Event)
    _seen: int = 0

    def hits(self, request: Request) -> bool:
        if self.method not in {"", request.method} or self.path not in request.path:
            return False
        self._seen += 1
        return self.nth <= self._seen < self.nth + self.times


def s3_error(code: str, message: str = "as planned", more: str = "") -> bytes:
    """An error document as S3 and OSS send it."""
    return f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>{message}</Message>{more}</Error>".encode()


class Relay:
    """A running relay: ``endpoint`` to use, ``rules`` to set, ``requests`` to look at."""

    def __init__(self, upstream: str, endpoint: str) -> None:
        self.upstream = urllib.parse.urlsplit(upstream).netloc
        self.endpoint = endpoint
        self.rules: list[Rule] = []
        self.requests: list[Request] = []
        self._lock = threading.Lock()

    def spoil(self, rule: Rule) -> Rule:
        """Add a rule; the first that hits counts."""
        with self._lock:
            self.rules.append(rule)
        return rule

    def take(self, request: Request) -> Rule | None:
        with self._lock:
            self.requests.append(request)
            return next((rule for rule in self.rules if rule.hits(request)), None)

    def forget(self) -> None:
        """Drop all rules, let go what they hold, and forget what was seen."""
        with self._lock:
            for rule in self.rules:
                rule.release.set()
            self.rules.clear()
            self.requests.clear()


class _Passing(Connection):
    relay: Relay

    def _pass(self):
        request = Request(
            self.command, self.path, {name.lower(): value for name, value in self.headers.items()}, tuple(self.headers.items())
        )
        rule = self.relay.take(request)
        how = None if rule is None else rule.how
        if how == "reset":
            self._reset()
            return
        if how == "answer":
            self._swallow()
            self._canned(rule)
            return
        if how == "hold":
            self._hold(rule)
        self._onward(rule)

    do_GET = do_PUT = do_HEAD = do_DELETE = do_POST = _pass  # noqa: N815 (http.server's names)

    def _onward(self, rule: Rule | None) -> None:
        with contextlib.closing(http.client.HTTPConnection(self.relay.upstream)) as connection:
            connection.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
            for name, value in self.headers.items():
                connection.putheader(name, value)
            connection.endheaders()
            for block in self._body():
                connection.send(block)
            answer = connection.getresponse()
            if rule is not None and rule.how == "lose answer":
                answer.read()
                self._reset()
                return
            if rule is not None and rule.how == "hold answer":
                self._hold(rule)
            self._give(answer, rule.keep if rule is not None and rule.how == "cut answer" else None)

    def _give(self, answer: http.client.HTTPResponse, keep: int | None) -> None:
        self.send_response_only(answer.status)
        length = answer.getheader("Content-Length")
        for name, value in answer.getheaders():
            if name.lower() not in {"transfer-encoding", "connection"}:
                self.send_header(name, value)
        bodiless = self.command == "HEAD" or answer.status in {204, 304}
        body = None if length is not None or bodiless else answer.read()
        if body is not None:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if keep is not None:
            self.wfile.write((answer.read() if body is None else body)[:keep])
            self._reset()
            return
        if body is not None:
            self.wfile.write(body)
            return
        while block := answer.read(BLOCK):
            self.wfile.write(block)

    def _canned(self, rule: Rule) -> None:
        self.send_response_only(rule.status)
        for name, value in rule.headers.items():
            self.send_header(name, value)
        if "Date" not in rule.headers:
            self.send_header("Date", self.date_time_string())
        self.send_header("Content-Length", str(len(rule.body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(rule.body)

    def _body(self) -> Iterator[bytes]:
        left = int(self.headers.get("Content-Length") or 0)
        while left:
            block = self.rfile.read1(min(BLOCK, left))
            if not block:
                raise ConnectionError("the client went away")
            left -= len(block)
            yield block

    def _swallow(self) -> None:
        for _ in self._body():
            pass

    def _hold(self, rule: Rule) -> None:
        rule.held.set()
        rule.release.wait(60)

    def _reset(self) -> None:
        self.close_connection = True
        # Nothing more is read or written: the kernel answers with RST.
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        self.connection.close()


@contextmanager
def run_relay(upstream: str, *, context: ssl.SSLContext | None = None, rules: Sequence[Rule] = ()) -> Iterator[Relay]:
    """Run a relay before ``upstream``; with ``context`` it speaks TLS."""

    class Passing(_Passing):
        pass

    with listening(Passing) as port:
        scheme = "http" if context is None else "https"
        relay = Relay(upstream, f"{scheme}://127.0.0.1:{port}")
        relay.rules.extend(rules)
        Passing.relay, Passing.context = relay, context
        try:
            yield relay
        finally:
            relay.forget()


def sends_through_a_stall(store, relay):
    """Put a body while the relay takes no bytes for a while; tell whether it waited and arrived whole."""
    # The second body goes out on a connection that is used again, under rules of its own.
    store.put("parts/before", b"hello", sha256=sha256_of(b"hello"))
    rule = relay.spoil(Rule("hold", "PUT"))
    data = bytes(32 << 20)
    thread = threading.Thread(target=store.put, args=("parts/slow", data), kwargs={"sha256": sha256_of(data)})
    thread.start()
    assert rule.held.wait(30)
    thread.join(0.7)
    waited = thread.is_alive()
    rule.release.set()
    thread.join()
    return waited and store.head("parts/slow").size == len(data)
