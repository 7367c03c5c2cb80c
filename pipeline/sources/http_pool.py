"""Connections kept alive: one is taken for each request, and given back if it may serve another.

Takes an ``Origin``, gives a ``Line`` to it: a used one that is still quiet, or a new one, through the proxy where there is
one. There is no limit here: as many are open as threads ask at once.

next: ``sources.http``
"""

from __future__ import annotations

import re
import socket
import ssl
import threading
from collections import defaultdict

from pipeline.errors import StoreUnavailable
from pipeline.sources.answers import Head, refusal
from pipeline.sources.certificates import trust
from pipeline.sources.dialing import Dialler, secure
from pipeline.sources.http_wire import Line
from pipeline.sources.pace import Limits
from pipeline.sources.proxies import Proxies, Proxy
from pipeline.sources.redirects import Origin, names_inside

USER_AGENT = ("User-Agent", "modelport")
# Most of a proxy's answer that is read.
TUNNEL_BYTES = 16 << 10


class Pool:
    """Lines to any origin. Methods may be called from several threads at once."""

    def __init__(self, *, dialler: Dialler, limits: Limits, proxies: Proxies, ca_file: str | None) -> None:
        self._dialler = dialler
        self._limits = limits
        self._proxies = proxies
        self._ca_file = ca_file
        self._context: ssl.SSLContext | None = None
        self._idle: dict[tuple[Origin, bool], list[Line]] = defaultdict(list)
        self._live: set[Line] = set()
        self._lock = threading.Lock()
        self._closed = False

    def take(self, origin: Origin, *, public_only: bool, told: str, fresh: bool = False) -> Line:
        """Give a line to ``origin``; ``fresh``: not one that was used before.

        Raises:
            StoreUnavailable, UnavailableError, RedirectRefused, AccessDenied: as ``Dialler.dial`` and ``secure``; 407 of a proxy.
        """
        while not fresh:
            with self._lock:
                kept = self._idle[origin, public_only]
                line = kept.pop() if kept else None
                if line is not None:
                    self._live.add(line)
            if line is None:
                break
            if line.quiet():
                return line
            self.drop(line)
        line = self._open(origin, public_only=public_only, told=told)
        with self._lock:
            self._live.add(line)
            closed = self._closed
        if closed:
            self.drop(line)
            raise StoreUnavailable(f"{told}: the source was closed")
        return line

    def give_back(self, line: Line, origin: Origin, *, public_only: bool) -> None:
        """Keep ``line`` for another request if that is possible, else end it."""
        if not line.reusable():
            self.drop(line)
            return
        line.used = True
        with self._lock:
            self._live.discard(line)
            if not self._closed:
                self._idle[origin, public_only].append(line)
                return
        line.close()

    def drop(self, line: Line) -> None:
        """End ``line``."""
        with self._lock:
            self._live.discard(line)
        line.close()

    def forget(self) -> None:
        """End every line that nobody uses just now: the next request takes a new one."""
        with self._lock:
            idle = [line for lines in self._idle.values() for line in lines]
            self._idle.clear()
        for line in idle:
            line.close()

    def close(self) -> None:
        """End every line; whoever reads from one gets an error."""
        with self._lock:
            self._closed = True
            live = list(self._live)
        for line in live:
            line.abort()
        self.forget()

    def proxy_for(self, origin: Origin) -> Proxy | None:
        """The proxy that requests to ``origin`` take."""
        return self._proxies.pick(origin)

    def _open(self, origin: Origin, *, public_only: bool, told: str) -> Line:
        proxy = self.proxy_for(origin)

        def dial() -> socket.socket:
            if proxy is None:
                connected = self._dialler.dial(origin.host, origin.port, public_only=public_only, told=told)
                connected.settimeout(self._limits.idle_s)
                return connected
            # A proxy is a person's own choice, so it may stand inside; what lies behind it is judged by its name alone.
            connected = self._dialler.dial(proxy.host, proxy.port, public_only=False, told=f"{told}: proxy")
            connected.settimeout(self._limits.idle_s)
            if origin.scheme == "https":
                self._tunnel(connected, origin, proxy, told)
            return connected

        if origin.scheme == "https":
            with self._lock:
                if self._context is None:
                    self._context = trust(self._ca_file)
            connected: socket.socket = secure(dial, origin.host, self._context, told)
        else:
            connected = dial()
        public = self._is_outside(connected) if proxy is None else not names_inside(origin.host)
        return Line(connected, self._limits, public=public)

    @staticmethod
    def _tunnel(connected: socket.socket, origin: Origin, proxy: Proxy, told: str) -> None:
        """Ask the proxy for a connection to ``origin`` (RFC 9110 §9.3.6)."""
        target = f"[{origin.host}]:{origin.port}" if ":" in origin.host else f"{origin.host}:{origin.port}"
        lines = [f"CONNECT {target} HTTP/1.1", f"Host: {target}", ": ".join(USER_AGENT)]
        if proxy.authorization:
            lines.append(f"Proxy-Authorization: {proxy.authorization}")
        where = f"{told}: proxy {proxy.host}:{proxy.port}"
        head = bytearray()
        try:
            connected.sendall("\r\n".join([*lines, "", ""]).encode("ascii"))
            # Nothing of ours comes before TLS begins on this side, so nothing is read too far.
            while b"\r\n\r\n" not in head and len(head) < TUNNEL_BYTES and (more := connected.recv(TUNNEL_BYTES)):
                head += more
        except OSError as error:
            connected.close()
            raise StoreUnavailable(f"{where}: {error}", hint="Check HTTPS_PROXY and NO_PROXY.") from None
        status = re.match(rb"HTTP/1\.[01] ([0-9]{3}) ?[^\r\n]*\r\n", head)
        if status is None or not 200 <= int(status[1]) < 300:
            connected.close()
            if status is None:
                raise StoreUnavailable(f"{where}: it does not answer as a proxy does", hint="Check HTTPS_PROXY.")
            raise refusal(Head(int(status[1])), where)

    def _is_outside(self, connected: socket.socket) -> bool:
        try:
            return self._dialler.is_public(connected.getpeername()[0])
        except OSError:
            # It went away already; the stricter answer.
            return True
