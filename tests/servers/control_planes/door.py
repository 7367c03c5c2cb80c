"""The door of a control plane: HTTP/1.1 on loopback, with and without TLS, and what a fault does to an answer on its way."""

from __future__ import annotations

import contextlib
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from email.utils import format_datetime

from tests.servers.control_planes.plane import Asked, Plane, Told
from tests.servers.listening import Connection, listening

# Longer than http.server takes: an SDK that puts a hundred URLs into the query is genuine.
LINE_BYTES = 1 << 20


class _Door(Connection):
    plane: Plane

    def handle_one_request(self):
        # As the inherited one, which refuses request lines over 64 KiB.
        self.raw_requestline = self.rfile.readline(LINE_BYTES)
        if not self.raw_requestline or not self.parse_request():
            self.close_connection = True
            return
        self._serve()
        self.wfile.flush()

    def _serve(self):
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        headers = {name.lower(): value for name, value in self.headers.items()}
        asked = Asked(self.command, self.path, headers, body, secure=self.context is not None)
        told, fault = self.plane.answer(asked)
        how = "" if fault is None else fault.how
        if how in {"reset", "lost"}:
            self.close_connection = True
            return
        if how == "hang":
            while not (fault.release.wait(0.05) or self.plane.over.is_set()):
                pass
        if how == "500":
            told = Told(b"", 500)
        self._tell(told, how)

    def _tell(self, told: Told, how: str) -> None:
        body = told.body[: len(told.body) // 2] if how == "truncated" else told.body
        self.send_response_only(told.status)
        self.send_header("Date", format_datetime(self.plane.now, usegmt=True))
        for name, value in {"Content-Type": "application/json", **told.headers}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if how == "cut":
            self.wfile.write(body[: len(body) // 2])
            self.close_connection = True
            return
        if how == "slow":
            for index in range(len(body) - 1):
                self.wfile.write(body[index : index + 1])
                self.wfile.flush()
                if self.plane.over.wait(0.05):
                    break
            self.plane.over.wait(30)
            self.close_connection = True
            return
        self.wfile.write(body)


@contextmanager
def run_plane(plane: Plane, context: ssl.SSLContext | None = None) -> Iterator[Plane]:
    """Let ``plane`` listen: at ``plane.http``, and with ``context`` also at ``plane.https``."""
    with contextlib.ExitStack() as stack:
        for scheme, tls in (("http", None), ("https", context)):
            if scheme == "https" and tls is None:
                continue
            door = type("Door", (_Door,), {"plane": plane, "context": tls})
            port = stack.enter_context(listening(door))
            setattr(plane, scheme, f"{scheme}://127.0.0.1:{port}")
        stack.callback(plane.over.set)
        yield plane
