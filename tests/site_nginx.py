"""nginx before a site, by the configuration that ``site.nginx`` writes."""

from __future__ import annotations

import http.client
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bundles.site.nginx_site import NginxOrder, write_nginx
from bundles.site.terms import Terms
from tests.servers.processes import free_port, program, running, scratch
from tests.site_world import SiteServer, serving

AROUND = """
daemon off; master_process off; worker_processes 1; user root root;
pid {folder}/nginx.pid; error_log stderr error;
events {{ worker_connections 1024; }}
http {{
  client_body_temp_path {folder}/b; proxy_temp_path {folder}/p; fastcgi_temp_path {folder}/f;
  uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
  log_format asked '$request_method $request_uri $status $upstream_cache_status'; access_log {folder}/access.log asked;
  include {configuration};
}}
"""


@contextmanager
def nginx_serving(site: Path, *, upstream: str = "", **terms) -> Iterator[SiteServer]:
    """Serve ``site`` by nginx at a free port, until the block ends."""
    port = free_port()
    written = write_nginx(NginxOrder(Terms(site, f"127.0.0.1:{port}", **terms), upstream))
    with nginx_running(Path(written.configuration), port) as server:
        yield server


@contextmanager
def nginx_running(configuration: Path, port: int) -> Iterator[SiteServer]:
    with scratch("site-nginx-") as folder:
        (folder / "nginx.conf").write_text(AROUND.format(folder=folder, configuration=configuration))

        def ready() -> bool:
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
            try:
                connection.request("GET", "/healthz")
                return connection.getresponse().status == 200
            except OSError:
                return False
            finally:
                connection.close()

        words = [program("nginx"), "-e", "stderr", "-c", str(folder / "nginx.conf"), "-p", str(folder)]
        with running(words, folder=folder, ready=ready, environment=os.environ) as child:
            server = SiteServer(f"http://127.0.0.1:{port}", child, folder=folder)
            yield server
            bad = [
                line
                for line in (folder / "log").read_text().splitlines()
                if "[crit]" in line or "[emerg]" in line or "[alert]" in line
            ]
            assert not bad, bad[:5]


# Every server of a site, by name: called with its folder, it serves it until the block ends.
SERVERS = {"embedded": serving, "nginx": nginx_serving}
