"""A site with a model in two releases, a web application and a wheelhouse; and its server, in a process of its own."""

from __future__ import annotations

import base64
import hashlib
import http.client
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import zipfile
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from bundles.installing import install_bundle
from pipeline.events import ignore
from tests.desk import BIN, CLEAN
from tests.fetch_world import Tree, make_tree
from tests.install_world import order_for
from tests.media_world import pack
from tests.publish_world import STABLE, lay_out

ALIAS = "acme/bert-base"
APP_SCRIPT = "assets/app.0123456789ab.js"


@dataclass
class SitePlace:
    """An installed site, and the folders that it was made of."""

    folder: Path
    tree: Tree

    def source(self, release: str, path: str) -> bytes:
        return (self.tree.sources[release] / path).read_bytes()


def write_wheel(folder: Path, name: str, version: str, code: str) -> Path:
    """A wheel that pip installs, the smallest there is."""
    info = f"{name}-{version}.dist-info"
    files = {
        f"{name}.py": code,
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    rows = []
    for path, text in files.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()
        rows.append(f"{path},sha256={digest},{len(text.encode())}")
    files[f"{info}/RECORD"] = "\n".join([*rows, f"{info}/RECORD,,"]) + "\n"
    path = folder / f"{name}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as wheel:
        for inner, text in files.items():
            wheel.writestr(inner, text)
    return path


def publish_all(folder: Path) -> Tree:
    tree = make_tree(folder / "tree")
    for version, other in (("1.0.0", 0), ("1.1.0", 1)):
        source = lay_out(folder / "sources" / f"bert-v{version}", other=other)
        (source / "model.yaml").write_text(f"display_name: Bert <b>{version}</b>\naliases: [{ALIAS}]\n")
        # More than the kernel keeps for a reader who does not read.
        (source / "weights.bin").write_bytes(random.Random(version).randbytes(12 << 20 if other else 1 << 20))
        (source / "näme &amp; ünd.txt").write_text("a name that needs quoting")
        tree.publish(f"bert-v{version}", source, **({"channel": STABLE} if version == "1.0.0" else {}))
    app = folder / "sources" / "app"
    (app / "assets").mkdir(parents=True)
    (app / "docs").mkdir()
    (app / "index.html").write_text("<p>hello</p>")
    (app / "docs" / "index.html").write_text("<p>docs</p>")
    (app / APP_SCRIPT).write_text("export {}")
    tree.publish("app-v1.0.0", app, kind="web", profile="web")
    house = folder / "sources" / "house"
    house.mkdir()
    write_wheel(house, "Tiny_Thing", "1.0", "answer = 1\n")
    write_wheel(house, "Tiny_Thing", "1.1", "answer = 42\n")
    tree.publish("house-v1.0.0", house, kind="wheels")
    return tree


def install_all(tree: Tree, site: Path, **flags) -> SitePlace:
    """Both releases of bert one after the other, so that the newer one is live; then the others."""
    media = site.with_name(f"{site.name}.media")
    for number, names in enumerate((["bert-v1.0.0"], ["bert-v1.1.0", "app-v1.0.0", "house-v1.0.0"])):
        pack(tree, *names).write(media / str(number))
        order = order_for((media / str(number),), site, tree.site.fingerprint)
        install_bundle(type(order)(**{**vars(order), **flags}), ignore)
    shutil.rmtree(media)
    return SitePlace(site, tree)


@dataclass
class Answered:
    """What a server answered; headers by lower-case name."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self):
        return json.loads(self.body)


@dataclass
class SiteServer:
    """A server of a site in a process of its own."""

    url: str
    process: subprocess.Popen[str]
    said: list[str] = field(default_factory=list)
    # Where nginx keeps its logs; the embedded server has none.
    folder: Path | None = None

    @property
    def address(self) -> tuple[str, int]:
        host, _, port = self.url.partition("://")[2].rpartition(":")
        return host, int(port)

    def ask(self, target: str, method: str = "GET", body: bytes | None = None, **headers: str) -> Answered:
        connection = http.client.HTTPConnection(*self.address, timeout=30)
        try:
            spelled = {name.replace("_", "-"): value for name, value in headers.items()}
            connection.request(method, target, body=body, headers=spelled)
            reply = connection.getresponse()
            fields: dict[str, str] = {}
            for name, value in reply.getheaders():
                fields[name.lower()] = value
            return Answered(reply.status, fields, reply.read())
        finally:
            connection.close()

    def stop(self) -> tuple[int, str]:
        """Ctrl-C; the exit code, and what stood on stdout."""
        self.process.send_signal(signal.SIGINT)
        out = self.process.stdout.read()
        return self.process.wait(timeout=30), out


@contextmanager
def serving(site: Path, *words: str, environment: Mapping[str, str] = {}) -> Iterator[SiteServer]:
    """Serve ``site`` by the real command line at a free port, until the block ends."""
    home = site.with_name("server-home")
    places = {f"XDG_{name}_HOME": str(home / name.lower()) for name in ("STATE", "CACHE", "DATA")}
    listen = () if "--listen" in words else ("--listen", "127.0.0.1:0")
    child = subprocess.Popen(
        [BIN / "modelport", "site.serve", "--site", str(site), *listen, *words, "--report", "json"],
        env={**CLEAN, "HOME": str(home), **places, **environment},
        cwd=site.parent,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    said: list[str] = []
    try:
        with ThreadPoolExecutor(1) as listener:
            try:
                url = _url_of(child, said)
                # A pipe that nobody reads fills up, and then the server waits.
                listening = listener.submit(said.extend, child.stderr)
                yield SiteServer(url, child, said)
            finally:
                child.kill()
            listening.result(timeout=30)
    finally:
        child.kill()
        child.wait()
        child.stdout.close()
        child.stderr.close()
    assert not [line for line in said if not line.startswith("{")], "".join(said)


def _url_of(child: subprocess.Popen[str], said: list[str]) -> str:
    for line in child.stderr:
        said.append(line)
        event = json.loads(line) if line.startswith("{") else {}
        if event.get("event") == "serving":
            return event["url"]
    raise AssertionError(f"the server did not start: {''.join(said)}")


def python(code: str, *, environment: Mapping[str, str], folder: Path) -> subprocess.CompletedProcess[str]:
    """Run a program of Python with this environment alone."""
    return subprocess.run(
        [sys.executable, "-c", code],
        env={"PATH": os.environ["PATH"], "HOME": str(folder), **environment},
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
