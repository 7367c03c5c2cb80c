"""The one caller of control planes: a signed request goes out once, and what comes back is JSON or an error that says so.

Takes a ``Call`` that an adapter has signed, gives a ``Reply``. It follows no redirect, repeats nothing, and tells a call that
was never sent from one that may have been carried out: for that, each call has a connection of its own.

next: ``cdns.verdicts``
"""

from __future__ import annotations

import http.client
import json
import socket
import ssl
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import cache
from typing import Any
from urllib.parse import urlsplit

from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import HTTPError

from pipeline.clocks import utc_now
from pipeline.errors import (
    AccessDenied,
    CallRefused,
    CallUnanswered,
    CdnUnavailable,
    ModelportError,
    RedirectRefused,
    SettingsError,
    UnavailableError,
)
from pipeline.sources.answers import plain, proxy_wants, read_date, read_retry_after
from pipeline.sources.certificates import trust
from pipeline.sources.proxies import Proxies, Proxy
from pipeline.sources.redirects import Origin, origin_of, shown

# An answer tells of at most a thousand URLs of 4,096 characters.
ANSWER_BYTES = 16 << 20
SHOWN_CHARS = 200
STARS = "***"
# Nobody has begun to work on such a call (RFC 9110 §15.5.9, §15.6.4, RFC 6585 §4, RFC 8470 §5.2).
NOT_BEGUN = frozenset({408, 425, 429, 503})


@dataclass(frozen=True, slots=True)
class Call:
    """One request, signed and ready.

    ``told`` names it for people. ``asks``: it changes nothing over there, so that a lost answer costs nothing; such calls keep
    to ``per_second``, because one look at many tasks may take many of them. ``may_be_empty``: success needs no document.
    ``secrets`` are taken out of whatever the other side says; ``variables`` are those that hold them.
    """

    told: str
    method: str
    url: str
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    body: bytes = field(default=b"", repr=False)
    asks: bool = False
    per_second: float = 10.0
    may_be_empty: bool = False
    secrets: tuple[str, ...] = field(default=(), repr=False)
    variables: tuple[str, ...] = ()

    def shown(self, text: str) -> str:
        """Make text of the other side fit for a message: one line, short, without what this call keeps secret."""
        sent = (value for name, value in self.headers.items() if name.lower() == "authorization")
        for secret in sorted({*self.secrets, *sent}, key=len, reverse=True):
            if secret:
                text = text.replace(secret, STARS)
        return plain(text, SHOWN_CHARS)

    def lost(self, message: str, *, hint: str = "") -> ModelportError:
        """Make the error of a call that went out and has no clear answer."""
        if self.asks:
            return CdnUnavailable(f"{self.told}: {message}", hint=hint or "Run it again later.")
        return CallUnanswered(
            f"{self.told}: {message}; it may have been carried out", hint=hint or "Ask what became of it before sending it again."
        )


@dataclass(frozen=True, slots=True)
class Reply:
    """What a control plane answered. Header names are lower case; ``document`` is {} where an empty body was allowed."""

    call: Call
    status: int
    headers: Mapping[str, str]
    document: Mapping[str, Any]

    def text(self, *path: str) -> str:
        """The text or number under ``path``, "" where there is none."""
        found = self._at(path)
        return str(found) if isinstance(found, str | int) and not isinstance(found, bool) else ""

    def need(self, *path: str) -> str:
        """As ``text``, of an answer that means nothing without it.

        Raises:
            CallUnanswered, CdnUnavailable: it is missing, as ``Call.lost``.
        """
        found = self.text(*path)
        if not found:
            raise self.call.lost(f"HTTP {self.status}, expected {'.'.join(path)} in the answer, found none")
        return found

    def rows(self, *path: str) -> list[Mapping[str, Any]]:
        """The list of objects under ``path``, empty where there is none.

        Raises:
            CallUnanswered, CdnUnavailable: something else is there, as ``Call.lost``.
        """
        found = self._at(path)
        if found is None:
            return []
        if not isinstance(found, list) or not all(isinstance(row, dict) for row in found):
            raise self.call.lost(f"HTTP {self.status}, expected a list of objects at {'.'.join(path)} in the answer")
        return found

    def _at(self, path: Sequence[str]) -> Any:
        found: Any = self.document
        for name in path:
            found = found.get(name) if isinstance(found, dict) else None
        return found

    @property
    def date(self) -> datetime | None:
        """The other side's time (RFC 9110 §6.6.1), or None."""
        return read_date(self.headers.get("date", ""))

    @property
    def retry_after_s(self) -> float | None:
        """Seconds that it asks to wait (RFC 9110 §10.2.3), or None."""
        return read_retry_after(self.headers.get("retry-after", "").strip(), self.date)


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back, whatever it is. Header names are lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


def host_of(url: str) -> str:
    """The Host field of a request to ``url``, as it is signed: without a port that its scheme has anyway."""
    return str(_origin(url, url)).partition("://")[2]


class Turns:
    """Gives the calls to each origin their turns, so far apart as a rate demands."""

    def __init__(self, steady: Callable[[], float] = time.monotonic) -> None:
        self._steady = steady
        self._next: dict[Origin, float] = {}
        self._lock = threading.Lock()

    def wait_s(self, origin: Origin, per_second: float) -> float:
        """Take the next turn, and say in how many seconds it comes."""
        with self._lock:
            now = self._steady()
            turn = max(now, self._next.get(origin, now))
            self._next[origin] = turn + 1.0 / per_second
        return turn - now


@dataclass(frozen=True, slots=True)
class Calling:
    """Sends calls. Methods may be called from several threads at once.

    ``ca_file``: authorities instead of the system's. ``connect_s`` bounds the connection, ``answer_s`` all that follows.
    ``now`` is the clock that adapters sign with; ``sleep`` waits for a turn.
    """

    proxies: Proxies = field(default_factory=Proxies)
    ca_file: str | None = None
    connect_s: float = 10.0
    answer_s: float = 60.0
    now: Callable[[], datetime] = utc_now
    sleep: Callable[[float], None] = time.sleep
    turns: Turns = field(default_factory=Turns, repr=False)

    def send(self, call: Call) -> Reply:
        """Send ``call`` once and give what was answered, whatever its status, if it is a JSON object.

        Raises:
            CdnUnavailable: it was never sent; or its answer was lost, and it only asks; or HTTP 429 or 503 without a document.
            CallUnanswered: its answer was lost, cut, too long or no JSON.
            RedirectRefused: it was sent elsewhere.
            AccessDenied, CallRefused: HTTP 401, 403, 407, another 4xx without a document; a credential that no header takes.
            UnavailableError: the certificate is not trusted.
        """
        call = self._guarded(call)
        return _judge(call, self.exchange(call))

    def exchange(self, call: Call) -> Answer:
        """Send ``call`` once and give what was answered, for an adapter whose vendor does not speak JSON.

        Raises:
            CdnUnavailable, CallUnanswered, RedirectRefused, AccessDenied, UnavailableError: as ``send``, of what is not in the body.
        """
        origin = _origin(call.url, call.told)
        call = self._guarded(call)
        _check_headers(call)
        proxy = self.proxies.pick(origin)
        if call.asks and (wait_s := self.turns.wait_s(origin, call.per_second)) > 0:
            self.sleep(wait_s)
        connection = self._connection(origin, proxy)
        try:
            self._connect(connection, call, origin, proxy)
            connected = connection.sock
            # A timeout of the socket begins anew with each byte; this does not.
            watch = threading.Timer(self.answer_s, _end, (connected,))
            watch.daemon = True
            watch.start()
            try:
                answer = _exchange(connection, call, origin, proxy)
            finally:
                watch.cancel()
        finally:
            connection.close()
        _stay_here(call, answer)
        return answer

    def _guarded(self, call: Call) -> Call:
        # A page of the proxy may repeat its password, and what is said of a call stands in the ledger.
        return replace(call, secrets=tuple(dict.fromkeys((*call.secrets, *self.proxies.secrets))))

    def _connection(self, origin: Origin, proxy: Proxy | None) -> HTTPConnection:
        host, port = (origin.host, origin.port) if proxy is None else (proxy.host, proxy.port)
        if origin.scheme == "http":
            return HTTPConnection(host, port, timeout=self.connect_s)
        made = HTTPSConnection(host, port, timeout=self.connect_s, ssl_context=_trusted(self.ca_file))
        if proxy is not None:
            headers = {"Proxy-Authorization": proxy.authorization} if proxy.authorization else {}
            made.set_tunnel(origin.host, origin.port, headers=headers)
        return made

    def _connect(self, connection: HTTPConnection, call: Call, origin: Origin, proxy: Proxy | None) -> None:
        through = f" through the proxy {proxy.host}:{proxy.port}" if proxy is not None else ""
        told = f"{call.told}: {origin}{through}"
        try:
            connection.connect()
        except ssl.SSLCertVerificationError as error:
            raise UnavailableError(
                f"{told}: its certificate is not trusted: {error.verify_message}; nothing was sent",
                hint="If your network replaces certificates, give its authority with SSL_CERT_FILE; "
                "verification is never switched off.",
            ) from None
        except (OSError, HTTPError, http.client.HTTPException) as error:
            if " 407 " in f"{error} " and proxy is not None:
                raise proxy_wants(told) from None
            reason = call.shown(getattr(error, "strerror", None) or str(error))
            raise CdnUnavailable(
                f"{told} cannot be reached: {reason}; nothing was sent", hint="Check the endpoint, the network and the proxy."
            ) from None
        # The library gives it to the socket again with each request.
        connection.timeout = self.answer_s


@cache
def _trusted(ca_file: str | None) -> ssl.SSLContext:
    # Reading the system's authorities takes longer than a call.
    return trust(ca_file)


def _origin(url: str, told: str) -> Origin:
    found = origin_of(url)
    if found is None:
        raise SettingsError(f"{told}: the endpoint {shown(url)} is no http or https URL", hint="Check cdn.endpoint.")
    return found


def _check_headers(call: Call) -> None:
    # The library's own words for it would repeat the value.
    for name, value in call.headers.items():
        if not (value.isascii() and value.isprintable()):
            raise AccessDenied(
                f"{call.told}: what goes into {name} holds characters that no header takes; nothing was sent",
                hint=f"Look for a line break or a stray character in {' and '.join(call.variables) or 'the credentials'}.",
            )


def _end(connected: socket.socket | None) -> None:
    if connected is not None:
        with suppress(OSError):
            connected.shutdown(socket.SHUT_RDWR)


def _exchange(connection: HTTPConnection, call: Call, origin: Origin, proxy: Proxy | None) -> Answer:
    parts = urlsplit(call.url)
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    headers = {"User-Agent": "modelport", "Host": host_of(call.url), "Accept": "application/json", **call.headers}
    headers["Connection"] = "close"
    if proxy is not None and origin.scheme == "http":
        # RFC 9112 §3.2.2: a proxy is told the whole URL.
        target = f"{origin}{target}"
        if proxy.authorization:
            headers["Proxy-Authorization"] = proxy.authorization
    try:
        connection.request(call.method, target, body=call.body or None, headers=headers, preload_content=False)
        answer = connection.getresponse()
        body = bytearray()
        for block in answer.stream(64 << 10, decode_content=False):
            body += block
            if len(body) > ANSWER_BYTES:
                raise call.lost(f"the answer has more than {ANSWER_BYTES} bytes")
    except (OSError, HTTPError, http.client.HTTPException) as error:
        reason = call.shown(str(error)) or type(error).__name__
        raise call.lost(f"no whole answer came: {reason}") from None
    return Answer(answer.status, {name.lower(): value for name, value in answer.headers.items()}, bytes(body))


def _stay_here(call: Call, answer: Answer) -> None:
    if 300 <= answer.status < 400:
        to = shown(answer.headers.get("location", ""))
        raise RedirectRefused(
            f"{call.told}: HTTP {answer.status}, redirected to {to}; a signed call goes nowhere else",
            hint="Check cdn.endpoint, and whether the network wants a login.",
        )
    if answer.status == 407:
        raise proxy_wants(call.told)


def _judge(call: Call, answer: Answer) -> Reply:
    status, headers, body = answer.status, answer.headers, answer.body
    if not body.strip() and call.may_be_empty and 200 <= status < 300:
        return Reply(call, status, headers, {})
    document = _object_in(body)
    if document is None:
        raise _meaningless(Reply(call, status, headers, {}), body)
    return Reply(call, status, headers, document)


def _object_in(body: bytes) -> dict[str, Any] | None:
    try:
        found = json.loads(body.decode("utf-8"))
    # A hostile document nests too deep for the parser, or holds a number of too many digits.
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _meaningless(reply: Reply, body: bytes) -> ModelportError:
    """Say what an answer without a document means: by its status alone."""
    call, status = reply.call, reply.status
    said = call.shown(body.decode("utf-8", "replace"))
    found = f"HTTP {status}, expected a JSON object, found {said!r}"
    if status in {401, 403}:
        return AccessDenied(f"{call.told}: {found}", hint="Check the credentials, the endpoint, and what stands before it.")
    if status in NOT_BEGUN:
        return CdnUnavailable(f"{call.told}: {found}", hint="It is busy: run it again later.", retry_after_s=reply.retry_after_s)
    if 400 <= status < 500:
        return CallRefused(f"{call.told}: {found}", hint="Check cdn.endpoint.", code=f"HTTP {status}")
    return call.lost(found, hint="Check cdn.endpoint, and whether the network wants a login.")
