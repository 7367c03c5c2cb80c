"""Sites for tests of the worker: small applications, built by the product's own build, and pages that note what happens."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from random import Random
from typing import Any

from blake3 import blake3
from playwright.sync_api import Page

from sw.assemble import engine_files
from sw.build import BuildOrder, Built, build_web
from sw.manifest import WebModel
from sw.options import WebOptions

CHROMIUM = "/usr/bin/chromium"
PART = 1 << 20
# Ends of a run of the walk; each comes once.
ENDS = ("current", "ready", "failed", "killed", "engine", "paused")

INDEX = """<!doctype html>
<html lang="en">
<title>{version}</title>
<link rel="icon" href="data:,">
<link rel="stylesheet" href="style.css">
<script type="module">
  import {{ start }} from "./sw-client.js";
  window.log = [];
  start().then((client) => {{
    for (const type of ["checking", "update", "progress", "fault", "current", "ready", "failed", "paused", "killed", "engine", "model"])
      client.on(type, (detail) => log.push([type, detail]));
    window.client = client;
  }}, (error) => log.push(["refused", {{ message: error.message }}]));
</script>
<script type="module" src="app.js"></script>
<p id="said"></p>
</html>
"""
APP = """export const version = "{version}";
document.querySelector("#said").textContent = version;
window.lazy = () => import("./lazy.js").then(({{ part }}) => part);
window.inWorker = () => new Promise((done) => {{
  new Worker(new URL("./side.js", import.meta.url), {{ type: "module" }}).onmessage = ({{ data }}) => done(data);
}});
"""


def noise(size: int, seed: int = 1) -> bytes:
    """Bytes that do not compress."""
    return Random(seed).randbytes(size)


def assets(version: str = "1.0.0", more: Mapping[str, bytes] | None = None) -> dict[str, bytes]:
    """A small application: its page says its version, as do its lazy chunk and its worker."""
    texts = {
        "index.html": INDEX.format(version=version),
        "about.html": f"<!doctype html><title>about {version}</title>",
        "docs/index.html": f"<!doctype html><title>docs {version}</title>",
        "style.css": "p { color: rgb(1, 2, 3) }\n",
        "app.js": APP.format(version=version),
        "lazy.js": f'export const part = "lazy {version}";\n',
        "side.js": 'import { part } from "./lazy.js";\npostMessage(part);\nfetch("/data.json");\n',
        "data.json": f'{{"version":"{version}"}}\n',
        "robots.txt": f"# {version}\n",
    }
    return {name: text.encode() for name, text in texts.items()} | dict(more or {})


def build(folder: Path, files: Mapping[str, bytes], version: str = "1.0.0", **options: Any) -> Built:
    """Build ``files`` into ``folder``, over what an earlier build left there."""
    source = folder.parent / f"{folder.name}-{version}-assets"
    for name, data in files.items():
        path = source / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    order = BuildOrder(source, folder, "shop", version, engine_files(), WebOptions(keep=("data.json",), **options))
    return build_web(order, lambda event: None)


def served(folder: Path, source: str) -> str:
    """The one name below ``folder`` that a source file is served under."""
    stem, dot, ending = source.rpartition(".")
    found = [*folder.glob(f"{stem}.????????????????{dot}{ending}")] or [folder / source]
    return max(found, key=lambda path: path.stat().st_mtime_ns).relative_to(folder).as_posix()


def outcome(page: Page, *ends: str, timeout_s: float = 60) -> Any:
    """Wait for one of the ends; gives [type, detail] of the first."""
    wanted = list(ends or ENDS)
    page.wait_for_function("wanted => window.log?.some(([type]) => wanted.includes(type))", arg=wanted, timeout=1000 * timeout_s)
    return page.evaluate("wanted => log.find(([type]) => wanted.includes(type))", wanted)


def until(page: Page, expression: str, arg: object = None, timeout_s: float = 60) -> None:
    """Wait until an expression, which may be a promise, is true. What the store holds is announced by nobody."""
    deadline = time.monotonic() + timeout_s
    while not page.evaluate(expression, arg):
        assert time.monotonic() < deadline, expression
        page.wait_for_timeout(100)


def opened(page: Page, url: str, *ends: str) -> Any:
    """Open the application and wait until it has looked for a version."""
    page.goto(url)
    return outcome(page, *ends)


def again(page: Page, *ends: str) -> Any:
    """Look once more, as an application would after a while."""
    page.evaluate("log.length = 0, client.update()")
    return outcome(page, *ends)


def controlled(page: Page, url: str) -> None:
    """Open the application so that it is installed and served by the worker."""
    assert opened(page, url)[0] == "ready"
    page.reload()
    outcome(page)


def text(page: Page, url: str) -> Any:
    """[status, body as text] of a fetch by the page."""
    return page.evaluate("url => fetch(url).then(async (answer) => [answer.status, await answer.text()])", url)


def stored(page: Page) -> Any:
    """The digests in the store."""
    return page.evaluate(
        """async () => {
          const name = (await caches.keys()).find((name) => name.startsWith("modelport:"));
          return name ? (await (await caches.open(name)).keys()).map(({ url }) => url.split("/").at(-1)).filter((name) => name.length === 64) : [];
        }"""
    )


def age(page: Page) -> None:
    """Let every note of which tab shows which version be an old one."""
    page.evaluate(
        """async () => {
          const records = await caches.open((await caches.keys()).find((name) => name.startsWith("modelport:")));
          for (const key of await records.keys())
            if (key.url.includes("/client/"))
              await records.put(key, new Response(JSON.stringify({ ...(await (await records.match(key)).json()), at: 0 })));
        }"""
    )


def sizes(page: Page) -> list[int]:
    """How many bytes each entry of the store has; one that is being swept meanwhile has none."""
    found: list[int] = page.evaluate(
        """async () => {
          const bytes = await caches.open((await caches.keys()).find((name) => name.startsWith("modelport:")));
          const all = await Promise.all((await bytes.keys()).map(async (key) => (await (await bytes.match(key))?.blob())?.size));
          return all.filter((size) => size !== undefined);
        }"""
    )
    return found


def publish_model(tree: Path, release: str, files: Mapping[str, bytes]) -> WebModel:
    """Lay a release of profile web into a tree, as far as a page reads it; gives what a web manifest says of it."""
    parts: dict[str, dict[str, Any]] = {}
    listed = []
    for path, data in sorted(files.items()):
        chunks = []
        for at in range(0, len(data), PART):
            part = data[at : at + PART]
            name = blake3(part).hexdigest()
            place = tree / "parts" / name[:2] / name
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(part)
            parts.setdefault(name, {"blake3": name, "sha256": sha256(part).hexdigest(), "size": len(part)})
            # A part that comes twice is listed once.
            chunks.append([list(parts).index(name), 0, len(part), 0, len(part), "raw"])
        listed.append({"path": path, "size": len(data), "sha256": sha256(data).hexdigest(), "chunks": chunks})
    manifest = json.dumps({"files": listed, "parts": [*parts.values()]}).encode()
    place = tree / "manifests" / f"{release}.json"
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_bytes(manifest)
    digest = sha256(manifest).hexdigest()
    return WebModel(release=release, tree="", manifest=f"manifests/{release}.json", sha256=digest, size=len(manifest))
