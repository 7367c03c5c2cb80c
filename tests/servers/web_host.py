"""A host of static files that can be slow, broken, deployed anew in the middle, and that counts what it sends.

A rule answers instead of the file: it gets the ``Talk`` and says whether it dealt with the request.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

from pipeline.layout import content_type

# A browser asks for these by itself, whenever it likes: no page and no worker of ours does.
BROWSERS_OWN = ("favicon.ico", "sw.js")
LOGIN = b"<!doctype html><title>Log in</title><script>window.portal = true</script>"


@dataclass(frozen=True)
class Asked:
    """One request that was answered. ``sent`` counts bytes of the body."""

    method: str
    path: str
    status: int
    sent: int
    range: str = ""


@dataclass
class WebHost:
    """``root`` is what is deployed now. ``rules`` are tried in order; each is a pattern on the path and what is done."""

    root: Path
    port: int = 0
    rules: list[tuple[str, Callable[[Talk], bool]]] = field(default_factory=list)
    asked: list[Asked] = field(default_factory=list)
    delay_s: float = 0.0
    ranges: bool = True
    cors: bool = False
    most_at_once: int = 0
    ended: threading.Event = field(default_factory=threading.Event)
    changed: threading.Condition = field(default_factory=threading.Condition)
    _under_way: int = 0

    @property
    def url(self) -> str:
        return f"http://localhost:{self.port}/"

    def rule(self, pattern: str, does: Callable[[Talk], bool], *, times: int | None = None) -> None:
        """Let ``does`` answer what fits the pattern, so many times."""
        left = [times]
        lock = threading.Lock()

        def counted(talk: Talk) -> bool:
            with lock:
                if left[0] == 0:
                    return False
                if left[0] is not None:
                    left[0] -= 1
            return does(talk)

        self.rules.insert(0, (pattern, counted))

    def forget(self) -> None:
        """Count from zero."""
        self.asked.clear()
        self.most_at_once = 0

    def paths(self, *, but: tuple[str, ...] = BROWSERS_OWN) -> list[str]:
        return [one.path for one in self.asked if one.path.rpartition("/")[2] not in but]

    @property
    def sent(self) -> int:
        return sum(one.sent for one in self.asked)

    @property
    def cost(self) -> int:
        """What was sent, but for what the browser asks for by itself."""
        return sum(one.sent for one in self.asked if one.path.rpartition("/")[2] not in BROWSERS_OWN)

    def wait_until(self, holds: Callable[[], bool], timeout_s: float = 60) -> None:
        """Wait until what was asked for is as it should be."""
        with self.changed:
            assert self.changed.wait_for(holds, timeout=timeout_s), self.paths()

    def wait_for(self, pattern: str, times: int = 1, timeout_s: float = 60) -> None:
        """Wait until so many requests came in for what fits."""
        with self.changed:
            assert self.changed.wait_for(
                lambda: sum(fnmatchcase(one.path, pattern) for one in self.asked) >= times, timeout=timeout_s
            ), (pattern, self.paths())

    def note(self, one: Asked) -> None:
        with self.changed:
            self.asked.append(one)
            self.changed.notify_all()

    def step(self, by: int) -> None:
        with self.changed:
            self._under_way += by
            self.most_at_once = max(self.most_at_once, self._under_way)


class Talk(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    # Head and body are two writes: with Nagle's algorithm the second waits 40 ms for a delayed acknowledgement of the first.
    disable_nagle_algorithm = True
    host: WebHost

    def log_message(self, *said: object) -> None:
        """Say nothing."""

    @property
    def name(self) -> str:
        path = unquote(urlsplit(self.path).path).lstrip("/")
        return f"{path}index.html" if path == "" or path.endswith("/") else path

    @property
    def body(self) -> bytes | None:
        file = self.host.root / self.name
        return file.read_bytes() if file.is_file() else None

    def do_GET(self) -> None:
        self.host.step(1)
        try:
            with suppress(BrokenPipeError, ConnectionResetError):
                if self.host.delay_s:
                    self.host.ended.wait(self.host.delay_s)
                for pattern, does in list(self.host.rules):
                    if fnmatchcase(self.name, pattern) and does(self):
                        return
                self.honest()
        finally:
            self.host.step(-1)

    do_HEAD = do_GET  # noqa: N815 - the name is the library's

    def honest(self) -> None:
        """Answer as a good static host would."""
        body = self.body
        if body is None:
            self.reply(404, b"not here\n", media="text/plain")
            return
        etag = f'"{hash(body):x}"'
        asked = self.headers.get("Range", "")
        if self.headers.get("If-None-Match") == etag:
            self.reply(304, b"", ETag=etag)
        elif asked and self.host.ranges:
            first, _, last = asked.removeprefix("bytes=").partition("-")
            start, end = int(first), min(int(last or len(body) - 1), len(body) - 1) + 1
            span = f"bytes {start}-{end - 1}/{len(body)}"
            self.reply(206, body[start:end], ETag=etag, Content_Range=span)
        else:
            self.reply(200, body, ETag=etag)

    def reply(self, status: int, body: bytes, *, media: str = "", length: int | None = None, **fields: str) -> None:
        """Answer; ``length`` may promise more than is sent, and then the connection ends."""
        self.note(status, len(body))
        self.send_response(status)
        immutable = self.name.count(".") > 1 or self.name.startswith(("packs/", "patches/"))
        self.send_header("Cache-Control", "public, max-age=31536000, immutable" if immutable else "no-cache")
        self.send_header("Content-Type", media or content_type(self.name))
        self.send_header("Content-Length", str(len(body) if length is None else length))
        if self.host.cors:
            self.send_header("Access-Control-Allow-Origin", "*")
            self.send_header("Access-Control-Allow-Headers", "*")
        for name, value in fields.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD" and status != 304:
            self.wfile.write(body)
            self.wfile.flush()
        if length is not None:
            self.close_connection = True

    def do_OPTIONS(self) -> None:
        self.reply(204, b"")

    def note(self, status: int, sent: int) -> None:
        sent = 0 if self.command == "HEAD" else sent
        self.host.note(Asked(self.command, self.name, status, sent, self.headers.get("Range", "")))


@contextmanager
def run_web_host(root: Path) -> Iterator[WebHost]:
    """Serve ``root`` on a free port of the loopback until the block ends."""
    host = WebHost(root)
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("BoundTalk", (Talk,), {"host": host}))
    server.daemon_threads = True
    host.port = server.server_port
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield host
    finally:
        host.ended.set()
        server.shutdown()
        server.server_close()
        thread.join()


# --- what a rule may do ---------------------------------------------------------------------------


def status(code: int) -> Callable[[Talk], bool]:
    """Refuse."""

    def does(talk: Talk) -> bool:
        talk.reply(code, b"no\n", media="text/plain")
        return True

    return does


def login(talk: Talk) -> bool:
    """Answer as a hotel's network does: a page, whatever was asked for."""
    talk.reply(200, LOGIN, media="text/html")
    return True


def corrupt(talk: Talk) -> bool:
    """One byte is another; the size is right."""
    body = talk.body or b"?"
    middle = len(body) // 2
    talk.reply(200, body[:middle] + bytes([body[middle] ^ 1]) + body[middle + 1 :])
    return True


def truncate(talk: Talk) -> bool:
    """Half of it, as if that were all."""
    body = talk.body or b""
    talk.reply(200, body[: len(body) // 2])
    return True


def cut(talk: Talk) -> bool:
    """Half of what was promised, then the connection ends."""
    body = talk.body or b""
    talk.reply(200, body[: len(body) // 2], length=len(body))
    return True


def reset(talk: Talk) -> bool:
    """No answer at all."""
    talk.note(0, 0)
    talk.close_connection = True
    return True


def hang(talk: Talk) -> bool:
    """A head, half a body, and then nothing until the test ends."""
    body = talk.body or b""
    half = body[: len(body) // 2]
    talk.note(200, len(half))
    talk.send_response(200)
    talk.send_header("Content-Length", str(len(body)))
    talk.end_headers()
    talk.wfile.write(half)
    talk.wfile.flush()
    talk.host.ended.wait()
    talk.close_connection = True
    return True
