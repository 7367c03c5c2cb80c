"""Serve a built folder for trying it, with the headers that a real server should give.

Takes a folder and an address, gives a server. For trying a release in a browser: it answers ranges and conditional requests,
sends a patch to browsers that have the file before as a dictionary (RFC 9842), and nothing that lies outside the folder.

next: ``sw.check``
"""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Mapping
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

from pipeline.errors import UnavailableError, UsageError
from pipeline.layout import headers_for, web_key
from pipeline.release import ModelName, path_fault
from sw.manifest import PATCHES

BLOCK = 1 << 20
_RANGE = re.compile(r"bytes=([0-9]{0,18})-([0-9]{0,18})")
# What a browser may keep as a dictionary for the next version of the same file: its name around the hash.
_HASHED = re.compile(r"(?P<stem>[\w./-]+)\.(?P<hash>[0-9a-f]{16})\.(?P<ending>[a-z0-9]+)")
_DICTIONARY = re.compile(r"\"([0-9a-f]{16})\"")
# The tree's rules are those of any place below web/; the name plays no part in them.
_ANY = ModelName("app")


def open_server(folder: Path, address: tuple[str, int], *, isolate: bool = False) -> ThreadingHTTPServer:
    """Open a server of ``folder`` at (host, port); port 0 takes a free one. ``isolate`` adds the headers of cross-origin isolation.

    Raises:
        UsageError: no such folder, or the host is none of this machine's.
        UnavailableError: the port is in use.
    """
    host, port = address
    if not folder.is_dir():
        raise UsageError(f"--to {folder} is no folder", hint="Build first: invoke web.build --assets dist/ --to public/")

    class _OfFolder(_Requests):
        root = folder.resolve()
        isolated = isolate

    class _Server(ThreadingHTTPServer):
        address_family = socket.AF_INET6 if ":" in host else socket.AF_INET

    try:
        return _Server(address, _OfFolder)
    except socket.gaierror as error:
        raise UsageError(f"--listen {host}: {error.strerror}", hint="Name an address of this machine.") from None
    except OSError as error:
        raise UnavailableError(
            f"cannot listen at {host}:{port}: {error.strerror}",
            hint="Choose another port: --listen 127.0.0.1:0 takes any that is free.",
        ) from None


def url_of(server: ThreadingHTTPServer) -> str:
    """Where a server answers."""
    host, port = str(server.server_address[0]), server.server_address[1]
    return f"http://{f'[{host}]' if ':' in host else host}:{port}/"


class _Requests(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    root = Path()
    isolated = False

    def do_GET(self) -> None:
        """Answer with a file, a range or a patch of it, or that it is unchanged."""
        self._answer(with_body=True)

    def do_HEAD(self) -> None:
        """Answer as GET does, without the body."""
        self._answer(with_body=False)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 (the name in http.server)
        """Say nothing: the browser's own tools show each request."""

    def _answer(self, *, with_body: bool) -> None:
        path = self._path(unquote(urlsplit(self.path).path, errors="replace"))
        if path is None:
            self._head(HTTPStatus.NOT_FOUND, {"Content-Length": "0", "Cache-Control": "no-cache"})
            return
        fields = self._fields(path)
        patch = self._patch(path)
        if patch:
            fields["Content-Encoding"] = "dcz"
        with (self.root / (patch or path)).open("rb") as file:
            status = os.fstat(file.fileno())
            fields["ETag"] = f'"{status.st_mtime_ns:x}-{status.st_size:x}"'
            if self.headers.get("If-None-Match") == fields["ETag"]:
                self._head(HTTPStatus.NOT_MODIFIED, fields)
                return
            start, end = 0, status.st_size
            code = HTTPStatus.OK
            asked = None if patch else _RANGE.fullmatch(self.headers.get("Range", ""))
            if asked and (asked[1] or asked[2]):
                start = int(asked[1]) if asked[1] else max(0, end - int(asked[2]))
                end = min(end, int(asked[2]) + 1) if asked[1] and asked[2] else end
                if start >= end:
                    fields = {"Content-Range": f"bytes */{status.st_size}", "Content-Length": "0"}
                    self._head(HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE, fields)
                    return
                code = HTTPStatus.PARTIAL_CONTENT
                fields["Content-Range"] = f"bytes {start}-{end - 1}/{status.st_size}"
            self._head(code, {**fields, "Content-Length": str(end - start)})
            file.seek(start)
            while with_body and start < end:
                block = file.read(min(BLOCK, end - start))
                if not block:
                    self.close_connection = True
                    return
                self.wfile.write(block)
                start += len(block)

    def _path(self, asked: str) -> str | None:
        """The file that a URL names: itself, a folder's index, or the page without its ending."""
        path = asked.removeprefix("/")
        for found in (path, f"{path}index.html") if not path or path.endswith("/") else (path, f"{path}.html"):
            if found and not path_fault(found, limit=1000) and (self.root / found).is_file():
                # A link may lead out of the folder; what it leads to was not built.
                return found if (self.root / found).resolve().is_relative_to(self.root) else None
        return None

    def _fields(self, path: str) -> dict[str, str]:
        headers = headers_for(web_key(_ANY, path))
        fields = {
            "Content-Type": headers.content_type,
            "Cache-Control": headers.cache_control,
            "Accept-Ranges": "bytes",
            "X-Content-Type-Options": "nosniff",
        }
        if self.isolated:
            fields |= {
                "Cross-Origin-Opener-Policy": "same-origin",
                "Cross-Origin-Embedder-Policy": "require-corp",
                "Cross-Origin-Resource-Policy": "same-origin",
            }
        hashed = _HASHED.fullmatch(path)
        if hashed and not path.startswith(PATCHES):
            fields["Use-As-Dictionary"] = f'match="/{hashed["stem"]}.*.{hashed["ending"]}", id="{hashed["hash"]}"'
            fields["Vary"] = "accept-encoding, available-dictionary, dictionary-id"
        return fields

    def _patch(self, path: str) -> str | None:
        """The patch from what this browser has, where it can read one and it is there."""
        hashed, kept = _HASHED.fullmatch(path), _DICTIONARY.fullmatch(self.headers.get("Dictionary-ID", ""))
        if not hashed or not kept or "dcz" not in self.headers.get("Accept-Encoding", ""):
            return None
        patch = f"{PATCHES}{kept[1]}.{hashed['hash']}.dcz"
        return patch if (self.root / patch).is_file() else None

    def _head(self, code: HTTPStatus, fields: Mapping[str, str]) -> None:
        self.send_response(code)
        for name, value in fields.items():
            self.send_header(name, value)
        self.end_headers()
