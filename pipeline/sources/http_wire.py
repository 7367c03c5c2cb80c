"""One HTTP/1.1 connection: a request out, a head in, and the body straight from the socket into our own memory.

Takes a connected socket and a request, gives a ``Line`` whose answer is read with ``read_into``. The grammar is
``http.client``'s; what is ours is where the bytes go and how long they may take.

next: ``sources.http_pool``
"""

from __future__ import annotations

import http.client
import io
import selectors
import socket
import ssl
import time
from collections.abc import Iterable
from contextlib import suppress

from typing_extensions import Buffer

from pipeline.sources.answers import Head
from pipeline.sources.pace import Limits, Pace

# http.client bounds each line and the number of fields, but not how often a server says "100 Continue".
HEAD_BYTES = 256 << 10
# What is read ahead of a head; the rest of a body goes into the caller's memory at once.
AHEAD = 8 << 10


class _Watched(io.RawIOBase):
    """The reading end of a socket, watched for pace and, between two bytes of a body, for how much else comes."""

    def __init__(self, raw: socket.SocketIO, limits: Limits) -> None:
        super().__init__()
        self._raw = raw
        self._pace = Pace(limits)
        self.left = HEAD_BYTES

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Buffer) -> int | None:
        begun_s = time.monotonic()
        # The socket has a timeout, so None ("not now") never comes.
        size = self._raw.readinto(buffer) or 0
        self._pace.note(size, time.monotonic() - begun_s)
        self.left -= size
        if self.left < 0:
            raise http.client.HTTPException(f"more than {HEAD_BYTES} bytes that are no body")
        return size

    def close(self) -> None:
        self._raw.close()
        super().close()


class _Wire:
    """What ``http.client`` takes for a socket."""

    def __init__(self, connected: socket.socket, limits: Limits) -> None:
        self._connected = connected
        self._limits = limits
        self.watched: _Watched | None = None

    def sendall(self, data: bytes) -> None:
        self._connected.sendall(data)

    def makefile(self, mode: str) -> io.BufferedReader:
        del mode
        # Unbuffered below ours: a large read goes past every buffer but the caller's.
        self.watched = _Watched(self._connected.makefile("rb", buffering=0), self._limits)
        return io.BufferedReader(self.watched, AHEAD)

    def close(self) -> None:
        self._connected.close()


class _Answer(http.client.HTTPResponse):
    # More came than the head declared: what follows on this connection is no answer to anything.
    surplus = False

    def read_some(self, view: memoryview) -> int:
        if self.isclosed():
            return 0
        if self.chunked:
            data = self.read1(len(view))
            if len(data) > len(view):
                # http.client takes a chunk of -5 bytes for all that it has.
                raise http.client.HTTPException("a chunk of no possible size")
            view[: len(data)] = data
            return len(data)
        if self.length is None:
            return self.fp.readinto1(view)
        if not self.length:
            # Lets http.client see that the answer is over; looking ahead would wait for the next one.
            self.read()
            return 0
        if self.length <= AHEAD and len(self.fp.peek(1)) > self.length:
            self.surplus = True
        size = self.fp.readinto1(view[: self.length])
        self.length -= size
        if not size or not self.length:
            self.length = 0
            self.read()
        return size


class Line:
    """A connection for one request at a time. ``public``: its other end is on the Internet; ``used``: it has answered before."""

    def __init__(self, connected: socket.socket, limits: Limits, *, public: bool) -> None:
        connected.settimeout(limits.idle_s)
        self.connected = connected
        self.public = public
        self.used = False
        self._wire = _Wire(connected, limits)
        self._http = http.client.HTTPConnection("unused")
        self._http.auto_open = 0
        self._http.response_class = _Answer
        self._http.sock = self._wire
        self._answer: _Answer | None = None

    def ask(self, target: str, fields: Iterable[tuple[str, str]]) -> Head:
        """Send a request and read the head of its answer.

        Raises:
            OSError, http.client.HTTPException
        """
        self._http.putrequest("GET", target, skip_host=True, skip_accept_encoding=True)
        for name, value in fields:
            self._http.putheader(name, value)
        self._http.endheaders()
        answer = self._http.getresponse()
        if not isinstance(answer, _Answer):
            raise TypeError(f"http.client made a {type(answer).__name__}")
        self._answer = answer
        return Head(answer.status, tuple((name.lower(), value) for name, value in answer.getheaders()))

    def read_into(self, view: memoryview) -> int:
        """Read some bytes of the body to the start of ``view``, as many as one read of the socket gives; 0 at its end.

        Raises:
            OSError, http.client.HTTPException
        """
        if self._answer is None:
            return 0
        if self._wire.watched is not None:
            self._wire.watched.left = HEAD_BYTES + len(view)
        return self._answer.read_some(view)

    def reusable(self) -> bool:
        """Tell whether the answer was read to its end and the other side keeps the connection open."""
        answer = self._answer
        return answer is not None and answer.isclosed() and not answer.will_close and not answer.surplus and self.quiet()

    def quiet(self) -> bool:
        """Tell whether nothing came since: neither an end nor bytes that nobody asked for."""
        if isinstance(self.connected, ssl.SSLSocket) and self.connected.pending():
            return False
        try:
            with selectors.DefaultSelector() as selector:
                selector.register(self.connected, selectors.EVENT_READ)
                return not selector.select(0)
        except (OSError, ValueError):
            return False

    def close(self) -> None:
        """End the connection."""
        if self._answer is not None:
            self._answer.close()
        self._http.close()
        self.connected.close()

    def abort(self) -> None:
        """End the connection under the feet of whoever reads from it."""
        with suppress(OSError):
            self.connected.shutdown(socket.SHUT_RDWR)
