"""nginx with the rules that docs/guides/web.md prints, as they are printed but for the port and the folder."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import urllib3

from tests.servers.processes import free_port, program, running, scratch

GUIDE = Path(__file__).resolve().parents[2] / "docs" / "guides" / "web.md"
AROUND = """
daemon off; master_process off; worker_processes 1;
pid {folder}/nginx.pid; error_log stderr warn;
events {{ worker_connections 64; }}
http {{
  client_body_temp_path {folder}/b; proxy_temp_path {folder}/p; fastcgi_temp_path {folder}/f;
  uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s; access_log off;
  {rules}
}}
"""


@contextmanager
def run_web_nginx(root: Path) -> Iterator[int]:
    """Serve ``root`` on a free port of the loopback, which is given, until the block ends."""
    printed = re.search(r"```nginx\n(.*?)```", GUIDE.read_text(), re.DOTALL)
    assert printed
    with scratch("nginx-") as folder:
        port = free_port()
        rules = printed[1].replace("127.0.0.1:8080", f"127.0.0.1:{port}").replace("/srv/shop", str(root))
        rules = rules.replace("include mime.types", "include /etc/nginx/mime.types")
        (folder / "web.conf").write_text(AROUND.format(folder=folder, rules=rules))

        def ready() -> bool:
            try:
                return urllib3.request("GET", f"http://127.0.0.1:{port}/", retries=False, timeout=5.0).status in {200, 404}
            except urllib3.exceptions.HTTPError:
                return False

        words = [program("nginx"), "-p", str(folder), "-c", str(folder / "web.conf")]
        with running(words, folder=folder, ready=ready, environment={}):
            yield port
