"""Web applications and wheelhouses travel as models do, and are laid out for those who use them."""

import errno
import os
import stat
import subprocess
import sys
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest

from bundles.installer.folders import Folder
from bundles.installer.preflight import Order
from bundles.installer.tools import Tools
from bundles.installer.verifying import verify_site
from bundles.installer.walk import install
from bundles.installing import install_bundle
from bundles.site_folders import installed_at_site
from pipeline.errors import VerifyFailed
from pipeline.events import ignore
from pipeline.release import Release
from pipeline.steps import modes
from pipeline.verify_folder import prove_folder
from tests.fetch_world import copy_of, make_tree
from tests.install_world import COLUMNS, Column
from tests.makers.releases import lay_files
from tests.media_world import pack


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


def test_wheelhouse_at_a_site_is_verified_with_the_index_that_was_made_for_it(tree, tmp_path):
    fetcher = tree.fetcher()
    order = Order((str(pack(tree, "house-v1.0.0").write(tmp_path / "media")),), str(tmp_path / "site"), tree.site.fingerprint)
    install_bundle(order, ignore, installs=fetcher.supply().installs)
    house = (tmp_path / "site" / "wheels" / "house-v1.0.0").resolve()
    assert fetcher.verify(house, offline=True).extra == []
    page = house / "simple" / "tiny-thing" / "index.html"
    whole = page.read_bytes()
    page.write_bytes(whole.replace(b"../../", b"http://evil.example/"))
    with pytest.raises(VerifyFailed, match="simple/tiny-thing/index"):
        fetcher.verify(house, offline=True)
    page.unlink()
    page.symlink_to("/etc/hostname")
    with pytest.raises(VerifyFailed, match="simple/tiny-thing/index"):
        fetcher.verify(house, offline=True)


def test_web_application_is_switched_with_everything_else(tree, column, tmp_path):
    site = tmp_path / "site"
    assert column.install(pack(tree, "app-v1.0.0").write(tmp_path / "one"), site, tree.site.fingerprint).code == 0
    served = site / "web" / "app"
    assert (served / "index.html").read_text() == "<p>1.0.0</p>"
    link = served.readlink()
    assert column.install(pack(tree, "app-v1.1.0").write(tmp_path / "two"), site).code == 0
    assert (served / "index.html").read_text() == "<p>1.1.0</p>"
    assert served.readlink() == link == Path("../current/app")


@pytest.mark.parametrize("fixed", [0o644, 0o755])
def test_file_system_without_executable_bits_is_told_once_and_nothing_is_taken_for_damaged(tree, tmp_path, monkeypatch, fixed):
    """FAT shows every file with one mode, and takes another one without a word."""
    tool = lay_files(tmp_path / "tool", {"run.sh": b"#!/bin/sh\n", "notes.txt": b"n"})
    (tool / "run.sh").chmod(0o755)
    tree = copy_of(tree, tmp_path / "other")
    tree.publish("tool-v1.0.0", tool)
    chmod = os.fchmod
    monkeypatch.setattr(os, "fchmod", lambda fd, mode: chmod(fd, fixed))
    site, media = tmp_path / "site", pack(tree, "tool-v1.0.0").write(tmp_path / "media")
    order = Order((str(media),), str(site), tree.site.fingerprint)
    assert any("executable" in warning for warning in install(order, Tools()).warnings)
    (site / "models" / "tool-v1.0.0" / "notes.txt").write_bytes(b"altered")
    for repaired in (["tool-v1.0.0: notes.txt"], []):
        assert install(order, Tools()).repaired == repaired
    assert verify_site(Folder(str(site), make=False)) == {"tool-v1.0.0": []}
    fetcher = tree.fetcher()
    folder = (site / "models" / "tool-v1.0.0").resolve()
    installs = replace(fetcher.supply().installs, elsewhere=installed_at_site)
    prove_folder(folder, replace(fetcher.supply(), installs=installs), ignore)
    install_bundle(order, ignore, installs=fetcher.supply().installs)
    assert fetcher.verify(folder, offline=True).extra == []


@pytest.mark.parametrize("fixed", [0o644, 0o755, errno.ENOSYS])
def test_a_fetch_onto_a_file_system_without_executable_bits_is_whole(tree, tmp_path, monkeypatch, fixed):
    """Some take a mode without a word, some refuse it."""
    tool = lay_files(tmp_path / "tool", {"run.sh": b"#!/bin/sh\n", "notes.txt": b"n"})
    (tool / "run.sh").chmod(0o755)
    tree = copy_of(tree, tmp_path / "other")
    tree.publish("tool-v1.0.0", tool)
    chmod = os.fchmod

    def bare(fd, mode):
        if fixed == errno.ENOSYS:
            raise OSError(fixed, os.strerror(fixed))
        chmod(fd, fixed | (mode & 0o111 if stat.S_ISDIR(os.fstat(fd).st_mode) else 0))

    monkeypatch.setattr(os, "fchmod", bare)
    fetcher = tree.fetcher()
    fetcher.fetch("tool-v1.0.0")
    folder = fetcher.home / "models" / "tool-v1.0.0"
    assert fetcher.verify(folder, offline=True).altered == []
    assert fetcher.fetch("tool-v1.0.0").bytes_fetched == 0
    (folder / "notes.txt").write_bytes(b"x")
    with pytest.raises(VerifyFailed, match=r"notes\.txt"):
        fetcher.verify(folder, offline=True)


def test_a_folder_on_fat_that_no_record_tells_of_is_not_held_to_bits(tree, tmp_path, monkeypatch):
    """As after ``cp -r`` onto a stick: all files look alike there."""
    tree = copy_of(tree, tmp_path / "other")
    source = lay_files(tmp_path / "tool", {"run.sh": b"#!/bin/sh\n", "notes.txt": b"n"})
    tree.publish("tool-v1.0.0", source)
    for path in source.iterdir():
        path.chmod(0o755)
    fetcher = tree.fetcher()
    with pytest.raises(VerifyFailed, match="it is executable"):
        fetcher.verify(source, release=Release.parse("tool-v1.0.0"))
    device = source.stat().st_dev
    table = tmp_path / "mountinfo"
    table.write_text(f"42 27 {os.major(device)}:{os.minor(device)} / /media/a\\040b rw,relatime shared:5 - vfat /dev/sdb1 rw\n")
    monkeypatch.setattr(modes, "MOUNTS", table)
    assert fetcher.verify(source, release=Release.parse("tool-v1.0.0")).altered == []


def test_a_bit_that_was_kept_and_is_gone_is_put_right(tree, tmp_path):
    tool = lay_files(tmp_path / "tool", {"run.sh": b"#!/bin/sh\n"})
    (tool / "run.sh").chmod(0o755)
    tree = copy_of(tree, tmp_path / "other")
    tree.publish("tool-v1.0.0", tool)
    site, media = tmp_path / "site", pack(tree, "tool-v1.0.0").write(tmp_path / "media")
    order = Order((str(media),), str(site), tree.site.fingerprint)
    assert install(order, Tools()).warnings == []
    (site / "models" / "tool-v1.0.0" / "run.sh").chmod(0o644)
    assert install(order, Tools()).repaired == ["tool-v1.0.0: run.sh"]
    assert (site / "models" / "tool-v1.0.0" / "run.sh").stat().st_mode & 0o111


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
