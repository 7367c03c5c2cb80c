"""Real edges before a store: nginx, which keeps slices and purges by name, and Varnish, which bans by prefix.

Each acts on what a control plane was asked to do: a prefetch pulls the object through the edge, as vendors do, with
``Accept-Encoding: gzip``; a refresh evicts it, slice by slice where the edge keeps slices.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import urllib3

from pipeline.ports import Op
from tests.servers.listening import Connection, listening
from tests.servers.processes import free_port, program, running, says_ready, scratch

SLICE = 1 << 20
# No test has larger objects; slices beyond an object's end are not there, which a purge does not mind.
SLICES = 4

NGINX = """
load_module /usr/lib/nginx/modules/ngx_http_cache_purge_module.so;
daemon off; master_process off; worker_processes 1;
pid {folder}/nginx.pid; error_log stderr warn;
events {{ worker_connections 512; }}
http {{
  client_body_temp_path {folder}/b; proxy_temp_path {folder}/p; fastcgi_temp_path {folder}/f;
  uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
  log_format e '$request_method $uri $status range=$http_range cache=$upstream_cache_status by=$http_user_agent';
  access_log {folder}/access.log e;
  keepalive_requests 100000;
  proxy_cache_path {folder}/cache levels=1:2 keys_zone=edge:16m max_size=1g inactive=7d use_temp_path=off;
  upstream origin {{ server {origin}; keepalive 16; }}
  server {{
    listen 127.0.0.1:{port};
    location = /__ready {{ return 204; }}
    location ~ ^/__purge(?<pp>/.*)$ {{ allow 127.0.0.1; deny all; proxy_cache_purge edge "$pp$arg_s"; }}
    {special}
    location / {{
      {slices}
      proxy_cache edge;
      proxy_cache_key "$uri{key}";
      proxy_cache_valid 200 206 1h; proxy_cache_valid 404 {keeps_404};
      proxy_cache_lock on;
      proxy_set_header Host {origin}; proxy_set_header Connection ""; proxy_http_version 1.1;
      proxy_hide_header x-amz-request-id; proxy_hide_header Seaweed-X-Amz-ETag; proxy_hide_header Seaweed-X-Amz-Owner;
      proxy_ignore_headers Set-Cookie Vary{ignored};
      proxy_pass http://origin{path}$request_uri;
      add_header X-Cache $upstream_cache_status always;
      {more}
    }}
  }}
}}
"""
# What a badly set up edge does, as lines of its configuration.
VICES = {
    "gzip": {"more": "add_header Content-Encoding gzip always;"},
    "ranges": {"slices": 'proxy_set_header Range ""; max_ranges 0;', "key": ""},
    "rules": {"more": 'proxy_hide_header Cache-Control; add_header Cache-Control "max-age=60" always;'},
    "stale timestamp": {"ignored": " Cache-Control", "keeps_404": "1s"},
    "size": {"special": "location ~ ^/.*parts/ { default_type application/octet-stream; return 200 'short'; }"},
    "login page": {"special": "location ~ ^/.*parts/ { default_type text/html; return 200 '<html>log in</html>'; }"},
    "redirect": {"special": "location ~ ^/.*parts/ { return 302 http://other.example$request_uri; }"},
}


@dataclass
class EdgeServer:
    """A running edge. ``url`` is where users read; ``log`` holds one line a request."""

    url: str
    log: Path
    pid: int = 0
    acted: list[tuple[Op, str]] = field(default_factory=list)
    _pool: urllib3.PoolManager = field(default_factory=lambda: urllib3.PoolManager(maxsize=8), repr=False)

    def act(self, op: Op, urls: Sequence[str]) -> None:
        """Do what a control plane was asked for."""
        for url in urls:
            self.acted.append((op, url))
            if op is Op.PREFETCH:
                self.get(url, {"Accept-Encoding": "gzip", "User-Agent": "prefetch"})
            elif op is Op.REFRESH:
                self.evict(url)
            else:
                self.evict_prefix(url)

    def get(self, url: str, headers: dict[str, str] | None = None) -> urllib3.BaseHTTPResponse:
        """Ask the edge as a user does."""
        return self._pool.request("GET", url, headers=headers or {}, retries=False, decode_content=False)

    def evict(self, url: str) -> None:
        """Let the edge forget an object."""
        path = urlsplit(url).path
        where = f"{url.removesuffix(path)}/__purge{path}"
        for name in ("", *(f"?s=bytes={at * SLICE}-{(at + 1) * SLICE - 1}" for at in range(SLICES))):
            answer = self.get(where + name)
            # The module says 404 of what it does not have, a newer one 412.
            assert answer.status in {200, 404, 412}, answer.status

    def evict_prefix(self, url: str) -> None:
        """Let the edge forget all below a URL."""
        raise NotImplementedError("nginx's purge module knows no prefixes")

    def asked(self, pattern: str = "") -> list[str]:
        """The lines of its log that match."""
        return [line for line in self.log.read_text().splitlines() if re.search(pattern, line)]


@contextmanager
def run_nginx(origin: str, path: str, *, vice: str = "", keeps_404: str = "1h", token: str = "") -> Iterator[EdgeServer]:
    """nginx before ``origin`` (scheme and host) whose tree begins at ``path``; ``vice`` is one of ``VICES``.

    With ``token``, it serves only who brings it, and its own prefetch.
    """
    with scratch("nginx-") as folder:
        port = free_port()
        words = {
            "slices": "slice 1m; proxy_set_header Range $slice_range;",
            "key": "$slice_range",
            "ignored": "",
            "more": "",
            "special": "",
            "keeps_404": keeps_404,
            **VICES.get(vice, {}),
        }
        if token:
            words["more"] += ' proxy_set_header Authorization ""; set $who "$http_authorization$http_user_agent";'
            words["more"] += f' if ($who !~ "^Bearer {token}|^prefetch") {{ return 403; }}'
        config = NGINX.format(folder=folder, port=port, origin=urlsplit(origin).netloc, path=path, **words)
        (folder / "edge.conf").write_text(config)
        url = f"http://127.0.0.1:{port}"

        arguments = [program("nginx"), "-e", "stderr", "-c", str(folder / "edge.conf"), "-p", str(folder)]
        with running(arguments, folder=folder, ready=lambda: says_ready(url), environment=os.environ) as child:
            yield EdgeServer(url, folder / "access.log", child.pid)


VARNISH = """
vcl 4.1;
backend origin {{ .host = "127.0.0.1"; .port = "{port}"; }}
acl here {{ "127.0.0.1"; }}
sub vcl_recv {{
  if (req.url == "/__ready") {{ return (synth(204)); }}
  if (req.method == "PURGE" || req.method == "BAN") {{
    if (client.ip !~ here) {{ return (synth(405)); }}
    if (req.method == "PURGE") {{ return (purge); }}
    ban("obj.http.x-path ~ ^" + req.url);
    return (synth(200));
  }}
  return (hash);
}}
sub vcl_backend_fetch {{ set bereq.url = "{path}" + bereq.url; set bereq.http.Host = "127.0.0.1:{port}"; }}
sub vcl_backend_response {{
  set beresp.http.x-path = regsub(bereq.url, "^{path}", "");
  if (beresp.http.Cache-Control ~ "no-cache") {{ set beresp.uncacheable = true; set beresp.ttl = 0s; return (deliver); }}
  set beresp.ttl = 1h;
}}
sub vcl_deliver {{ unset resp.http.x-path; unset resp.http.Via; }}
"""


class VarnishServer(EdgeServer):
    """Varnish: it keeps whole objects, purges by method, and bans what begins with a path."""

    def evict(self, url: str) -> None:
        assert self._pool.request("PURGE", url, retries=False).status == 200

    def evict_prefix(self, url: str) -> None:
        assert self._pool.request("BAN", url, retries=False).status == 200


@contextmanager
def run_varnish(origin: str, path: str) -> Iterator[VarnishServer]:
    """Varnish, which newer Debians call Vinyl, before ``origin`` (scheme and host) whose tree begins at ``path``."""
    with scratch("varnish-") as folder:
        port = free_port()
        (folder / "edge.vcl").write_text(VARNISH.format(port=urlsplit(origin).port, path=path))
        url = f"http://127.0.0.1:{port}"

        arguments = [
            program("varnishd", "vinyld"), "-j", "none", "-F", "-n", str(folder / "work"), "-a", f"127.0.0.1:{port}", "-f", str(folder / "edge.vcl"),
            "-s", "malloc,256m", "-p", "thread_pools=1",
        ]  # fmt: skip
        with running(arguments, folder=folder, ready=lambda: says_ready(url), environment=os.environ) as child:
            yield VarnishServer(url, folder / "log", child.pid)


class _Hook(Connection):
    edge: EdgeServer

    def _act(self):
        urls = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["urls"]
        self.edge.act(Op(self.path.strip("/")), urls)
        self.send_response(204)
        self.end_headers()

    do_POST = _act  # noqa: N815 (http.server's names)


@contextmanager
def run_hook(edge: EdgeServer) -> Iterator[str]:
    """The plainest control plane there is: ``POST /<operation> {"urls": […]}``, done when it answers."""

    class Hook(_Hook):
        pass

    Hook.edge = edge
    with listening(Hook) as port:
        yield f"http://127.0.0.1:{port}"
