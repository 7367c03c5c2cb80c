"""A caching mirror before a real upstream: nginx with a log of what it sent, and the mirror in a process of its own."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.fetch_world import Fetcher, Tree
from tests.servers.processes import free_port, program, running, says_ready, scratch
from tests.site_world import SiteServer, serving

NGINX = """
daemon off; master_process off; worker_processes 1; pid {folder}/nginx.pid; error_log stderr warn;
events {{ worker_connections 512; }}
http {{
  client_body_temp_path {folder}/b; proxy_temp_path {folder}/p; fastcgi_temp_path {folder}/f; uwsgi_temp_path {folder}/u;
  scgi_temp_path {folder}/s; log_format e '$uri $status $body_bytes_sent'; access_log {folder}/access.log e;
  sendfile on; default_type application/octet-stream;
  server {{ listen 127.0.0.1:{port}; location = /__ready {{ access_log off; return 204; }}
    location / {{ root {root}; {rate} }} }}
}}
"""


@dataclass
class Upstream:
    """A running nginx over a tree."""

    url: str
    log: Path

    def sent(self, prefix: str = "/") -> list[tuple[str, int, int]]:
        """(path, status, bytes of the body) of each answer, in order."""
        rows = [line.split() for line in self.log.read_text().splitlines()]
        return [(path, int(status), int(size)) for path, status, size in rows if path.startswith(prefix)]


@contextmanager
def run_upstream(root: Path, *, port: int = 0, rate: str = "") -> Iterator[Upstream]:
    """Serve a tree's folder; ``rate`` bytes a second a connection, such as 1m."""
    with scratch("upstream-") as folder:
        port = port or free_port()
        config = folder / "nginx.conf"
        config.write_text(NGINX.format(folder=folder, port=port, root=root, rate=f"limit_rate {rate};" if rate else ""))
        url = f"http://127.0.0.1:{port}"

        words = [program("nginx"), "-e", "stderr", "-c", str(config), "-p", str(folder)]
        with running(words, folder=folder, ready=lambda: says_ready(url), environment=os.environ):
            yield Upstream(url, folder / "access.log")


@contextmanager
def run_mirror(tree: Tree, upstream: str, place: Path, *words: str) -> Iterator[SiteServer]:
    """A caching mirror in ``place``; it is new, or goes on with what is there."""
    place.parent.mkdir(parents=True, exist_ok=True)
    pinned = ("--root-fingerprint", tree.site.fingerprint) if not (place / "state").exists() else ()
    with serving(place, "--upstream", upstream, *pinned, *words) as server:
        yield server


def parts_of(tree: Tree) -> dict[str, Path]:
    """Every part of the tree, by its name."""
    return {path.name: path for path in (tree.store / "parts").glob("??/*")}


def kept(place: Path, kind: str) -> set[str]:
    """The names of what a mirror keeps."""
    return {path.name for path in (place / "cache" / kind).glob("??/*")}


def settle(place: Path) -> None:
    """Wait until all that was answered is kept, too."""
    deadline = time.monotonic() + 30
    while any((place / "cache" / "new").iterdir()):
        assert time.monotonic() < deadline
        threading.Event().wait(0.01)


def fetcher_of(tree: Tree, url: str) -> Fetcher:
    from pipeline.sources.http import HttpReader

    return tree.fetcher(HttpReader(url))
