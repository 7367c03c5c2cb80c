"""Compression dictionaries in a real browser: what it had of a script is what the next version is sent against."""

import threading
from contextlib import contextmanager

import pytest

from sw.serve import open_server
from tests.web_world import Site


@pytest.fixture
def site(tmp_path):
    site = Site(tmp_path)
    lines = [f"export const value{line} = {line * 7919 % 10007};" for line in range(4000)]
    for number in (1, 2):
        changed = [*lines[:2000], f"export const version = {number};", *lines[2000:]]
        site.write({"index.html": "<title>dictionary</title>", "js/app.js": "\n".join(changed)})
        site.build(f"1.{number}.0")
    return site


@contextmanager
def serving(site):
    with open_server(site.to, ("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://localhost:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()


ASK = """async (url) => {
  const answer = await fetch(url, { cache: "reload" });
  const data = await answer.arrayBuffer();
  const hash = [...new Uint8Array(await crypto.subtle.digest("SHA-256", data))];
  const digest = hash.map((byte) => byte.toString(16).padStart(2, "0")).join("");
  return [answer.headers.get("Content-Encoding"), Number(answer.headers.get("Content-Length")), digest];
}"""


def test_changed_script_travels_against_the_one_before(page, site):
    (patch,) = site.manifest.patches
    after = f"/{site.names()['js/app.js']}"
    before = f"/js/app.{patch.origin[:16]}.js"
    with serving(site) as url:
        # By this name it is a secure context; in others no dictionary is kept.
        page.goto(url)
        size = len((site.to / before[1:]).read_bytes())
        encoding, sent, digest = page.evaluate(ASK, before)
        assert (encoding, sent, digest[:16]) == (None, size, patch.origin)
        # A browser keeps a dictionary a moment after it has the file.
        found = page.wait_for_function(
            f"async (url) => {{ const found = await ({ASK})(url); return found[0] && found; }}", arg=after
        )
        encoding, sent, digest = found.json_value()
    assert (encoding, digest) == ("dcz", patch.to.sha256)
    assert sent < size / 50
