"""How the HTTP servers of tests listen: on loopback, a thread a connection, with or without TLS, and saying nothing."""

from __future__ import annotations

import contextlib
import http.client
import ssl
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Connection(BaseHTTPRequestHandler):
    """One connection of a client; with ``context`` it speaks TLS. A client that goes away is none of a test's business."""

    protocol_version = "HTTP/1.1"
    # Head and body are two writes: with Nagle's algorithm the second waits for a delayed acknowledgement of the first.
    disable_nagle_algorithm = True
    context: ssl.SSLContext | None = None

    def setup(self):
        if self.context is not None:
            self.request = self.context.wrap_socket(self.request, server_side=True)
        super().setup()

    def handle(self):
        with contextlib.suppress(OSError, http.client.HTTPException):
            super().handle()

    def finish(self):
        with contextlib.suppress(OSError):
            super().finish()
        # ThreadingHTTPServer closes the socket that it accepted, not the one wrapped around it.
        with contextlib.suppress(OSError):
            self.request.close()

    def log_message(self, *arguments):
        pass


class QueueingServer(ThreadingHTTPServer):
    """A thread a connection; twenty clients may connect at once, and none that stays connected holds the end up."""

    request_queue_size = 128
    daemon_threads = True
    block_on_close = False

    def handle_error(self, request, client_address):
        # A handshake that fails is the client's to tell; anything else is a fault of the server.
        if not isinstance(sys.exception(), OSError):
            super().handle_error(request, client_address)


@contextmanager
def listening(connection: type[BaseHTTPRequestHandler]) -> Iterator[int]:
    """Listen on a free port, which is given, until the block ends."""
    with QueueingServer(("127.0.0.1", 0), connection) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.005}, daemon=True)
        thread.start()
        try:
            yield server.server_port
        finally:
            server.shutdown()
            thread.join()
