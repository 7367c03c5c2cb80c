"""A folder served over http on this machine alone, with ranges and ETags: something to measure against.

Takes a folder, prints its address and serves until its standard input ends: ``python -m pipeline.loopback FOLDER``. It is
no server for others: it listens on 127.0.0.1, and whoever may connect may read.

next: ``pipeline.bench``
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar

from pipeline.errors import UnavailableError
from pipeline.layout import KEY_BYTES, headers_for
from pipeline.release import path_fault

_RANGE = re.compile(r"bytes=([0-9]{1,18})-([0-9]{0,18})")


class _Requests(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    # Head and body in one packet each, without waiting for an answer in between (RFC 1122 §4.2.3.4).
    disable_nagle_algorithm = True
    wbufsize = 64 << 10
    root: ClassVar[Path]

    def do_GET(self) -> None:
        """Answer with an object, a range of it, or that it is unchanged."""
        key = self.path.removeprefix("/")
        if path_fault(key, limit=KEY_BYTES):
            self._refuse(HTTPStatus.NOT_FOUND)
            return
        try:
            with (self.root / key).open("rb") as file:
                self._serve(key, file.fileno())
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
            self._refuse(HTTPStatus.NOT_FOUND)

    def _serve(self, key: str, descriptor: int) -> None:
        status = os.fstat(descriptor)
        tag = f'"{status.st_mtime_ns:x}-{status.st_size:x}"'
        if self.headers.get("If-None-Match") == tag:
            self._head(HTTPStatus.NOT_MODIFIED, {"ETag": tag})
            return
        start, end = 0, status.st_size
        code = HTTPStatus.OK
        fields = {"ETag": tag, "Content-Type": headers_for(key).content_type, "Accept-Ranges": "bytes"}
        asked = _RANGE.fullmatch(self.headers.get("Range", ""))
        if asked:
            start, end = int(asked[1]), min(end, int(asked[2]) + 1 if asked[2] else end)
            if start >= end:
                fields = {"Content-Range": f"bytes */{status.st_size}", "Content-Length": "0"}
                self._head(HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE, fields)
                return
            code = HTTPStatus.PARTIAL_CONTENT
            fields["Content-Range"] = f"bytes {start}-{end - 1}/{status.st_size}"
        self._head(code, {**fields, "Content-Length": str(end - start)})
        self.wfile.flush()
        while start < end:
            sent = os.sendfile(self.connection.fileno(), descriptor, start, end - start)
            if not sent:
                self.close_connection = True
                return
            start += sent

    def _refuse(self, code: HTTPStatus) -> None:
        self._head(code, {"Content-Length": "0"})

    def _head(self, code: HTTPStatus, fields: dict[str, str]) -> None:
        self.send_response(code)
        for name, value in fields.items():
            self.send_header(name, value)
        self.end_headers()

    def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002 (the library's name)
        """Say nothing: requests are counted by who asks."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    # As many as connect at once before the first is taken.
    request_queue_size = 256

    def handle_error(self, request: object, client_address: object) -> None:
        """Whoever goes away in the middle of an answer is none of our business."""


@contextmanager
def loopback_of(folder: Path) -> Iterator[str]:
    """Serve ``folder`` from a process of its own, so that its work is not counted as ours; gives the base URL.

    Raises:
        UnavailableError: it did not start.
    """
    # -P: a folder of this package's name may lie where somebody works.
    words = [sys.executable, "-P", "-m", "pipeline.loopback", str(folder)]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as child:
        try:
            url = child.stdout.readline().strip() if child.stdout else ""
            if not url:
                raise UnavailableError(f"cannot serve {folder} on this machine", hint="Its words stand above.")
            yield url
        finally:
            child.kill()


def serve(folder: Path) -> None:
    """Serve ``folder`` until standard input ends; the address is printed first."""
    requests = type("_Here", (_Requests,), {"root": folder})
    with _Server(("127.0.0.1", 0), requests) as server:
        print(f"http://127.0.0.1:{server.server_address[1]}", flush=True)  # noqa: T201 (how the parent learns the port)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        sys.stdin.read()
        server.shutdown()


if __name__ == "__main__":
    serve(Path(sys.argv[1]))
