"""Web applications and wheelhouses travel as models do, and are laid out for those who use them."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from bundles.installer.preflight import Order
from bundles.installer.tools import Tools
from bundles.installer.walk import install
from tests.fetch_world import make_tree
from tests.install_world import COLUMNS, Column
from tests.media_world import pack
from tests.trust_world import quick_folder


def write_wheel(folder: Path, name: str, version: str, requires: str = "") -> None:
    """A wheel that pip installs: one module and its metadata."""
    stem = f"{name}-{version}"
    metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n" + (f"Requires-Dist: {requires}\n" if requires else "")
    with zipfile.ZipFile(folder / f"{stem}-py3-none-any.whl", "w") as wheel:
        wheel.writestr(f"{name}.py", f"VERSION = {version!r}\n")
        wheel.writestr(f"{stem}.dist-info/METADATA", metadata)
        wheel.writestr(
            f"{stem}.dist-info/WHEEL", "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        wheel.writestr(f"{stem}.dist-info/RECORD", "")


@pytest.fixture
def tmp_path():
    """In memory: what is synced at every step would wait for a busy disk."""
    with quick_folder() as folder:
        yield folder


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tree")
    tree = make_tree(folder / "tree")
    for version in ("1.0.0", "1.1.0"):
        app = folder / f"app-{version}"
        (app / "assets").mkdir(parents=True)
        (app / "index.html").write_text(f"<p>{version}</p>")
        (app / "assets" / "app.3f9c0a1b2c4d.js").write_text(f"export const version = '{version}'\n")
        tree.publish(f"app-v{version}", app, kind="web", profile="web")
    house = folder / "house"
    house.mkdir()
    write_wheel(house, "tiny_thing", "1.0", "other_thing>=2")
    write_wheel(house, "other_thing", "2.5")
    write_wheel(house, "other_thing", "1.5")
    tree.publish("house-v1.0.0", house, kind="wheels")
    return tree


@pytest.fixture(params=COLUMNS)
def column(request, tmp_path):
    return Column(request.param, tmp_path)


def pip(tmp_path: Path, *words: object) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-m", "pip", "install", "--disable-pip-version-check", "--no-cache-dir", "--target", tmp_path / "out", *words],
        env={"PATH": os.environ["PATH"], "PIP_CONFIG_FILE": os.devnull, "HOME": str(tmp_path)},
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip


@pytest.mark.parametrize("how", ["find-links", "index-url"])
def test_pip_installs_from_a_wheelhouse_at_the_site(tree, column, tmp_path, how):
    done = column.install(pack(tree, "house-v1.0.0").write(tmp_path / "media"), tmp_path / "site", tree.site.fingerprint)
    assert done.code == 0, done.said
    house = tmp_path / "site" / "wheels" / "house-v1.0.0"
    flags = ["--no-index", "--find-links", house] if how == "find-links" else ["--index-url", (house / "simple").as_uri() + "/"]
    ran = pip(tmp_path, *flags, "tiny-thing")
    assert ran.returncode == 0, ran.stderr
    assert (tmp_path / "out" / "other_thing.py").read_text() == "VERSION = '2.5'\n"


def test_index_holds_the_digest_that_pip_compares(tree, column, tmp_path):
    column.install(pack(tree, "house-v1.0.0").write(tmp_path / "media"), tmp_path / "site", tree.site.fingerprint)
    house = tmp_path / "site" / "wheels" / "house-v1.0.0"
    (house / "other_thing-2.5-py3-none-any.whl").write_bytes(b"altered")
    ran = pip(tmp_path, "--index-url", (house / "simple").as_uri() + "/", "other-thing")
    assert ran.returncode != 0
    assert "hash" in ran.stderr.lower()


def test_altered_wheel_is_put_right_and_the_index_stays(tree, column, tmp_path):
    media, site = pack(tree, "house-v1.0.0").write(tmp_path / "media"), tmp_path / "site"
    column.install(media, site, tree.site.fingerprint)
    wheel = site / "wheels" / "house-v1.0.0" / "other_thing-2.5-py3-none-any.whl"
    whole = wheel.read_bytes()
    wheel.write_bytes(b"altered")
    done = column.install(media, site)
    assert (done.code, done.done["repaired"]) == (0, [f"house-v1.0.0: {wheel.name}"])
    assert wheel.read_bytes() == whole
    assert (site / "wheels" / "house-v1.0.0" / "simple" / "tiny-thing" / "index.html").is_file()


def test_web_application_is_switched_with_everything_else(tree, column, tmp_path):
    site = tmp_path / "site"
    assert column.install(pack(tree, "app-v1.0.0").write(tmp_path / "one"), site, tree.site.fingerprint).code == 0
    served = site / "web" / "app"
    assert (served / "index.html").read_text() == "<p>1.0.0</p>"
    link = served.readlink()
    assert column.install(pack(tree, "app-v1.1.0").write(tmp_path / "two"), site).code == 0
    assert (served / "index.html").read_text() == "<p>1.1.0</p>"
    assert served.readlink() == link == Path("../current/app")


def test_file_system_without_links_gets_pointer_files(tree, tmp_path, monkeypatch):
    site = tmp_path / "site"

    def symlink(*args, **named):
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "symlink", symlink)
    for number, release in enumerate(["app-v1.0.0", "app-v1.1.0"], 1):
        media = pack(tree, release, "house-v1.0.0").write(tmp_path / f"media{number}")
        done = install(Order((str(media),), str(site), tree.site.fingerprint, keep=1), Tools())
        assert (done.generation, done.missing) == (number, [])
        assert any("cannot be a link" in warning for warning in done.warnings)
        assert (site / "current").read_text() == f"generations/{number}\n"
        assert (site / "generations" / str(number) / "app").read_text() == f"../../models/{release}\n"
    assert [path.name for path in (site / "models").iterdir()] == ["app-v1.1.0"]
