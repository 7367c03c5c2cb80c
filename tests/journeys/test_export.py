"""People without modelport: an empty folder, the real aria2c or curl, a POSIX shell, and the files are there."""

from __future__ import annotations

import hashlib
import os
import subprocess
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from pipeline.errors import UsageError
from pipeline.export import ExportOrder, export_release
from pipeline.loopback import loopback_of
from pipeline.plan.wants import read_want
from tests.mirror_world import supply_of
from tests.publish_world import Site, directory_shelf
from tests.servers.processes import program

ODD = ["a file's $name; & (1).json", "sub folder/ü.txt", "`id`.txt", "tab!.bin", "%41.txt"]
START = {
    "metalink": ["aria2c", "--quiet", "--no-conf", "--metalink-file=parts.meta4"],
    "aria2": ["aria2c", "--quiet", "--no-conf", "--input-file=parts.aria2"],
    "curl": ["curl", "--silent", "--show-error", "--config", "parts.curl"],
}


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    """A release of profile raw: a file of many parts, the same bytes twice, odd names, an empty and an executable file."""
    folder = tmp_path_factory.mktemp("export")
    model = folder / "model"
    (model / "sub folder").mkdir(parents=True)
    (model / "weights.bin").write_bytes(hashlib.shake_128(b"w").digest(9_000_000))
    (model / "again.bin").write_bytes(hashlib.shake_128(b"w").digest(9_000_000))
    for number, name in enumerate(ODD):
        (model / name).write_bytes(f"content {number}".encode())
    (model / "empty.txt").write_bytes(b"")
    (model / "run.sh").write_text("#!/bin/sh\n")
    (model / "run.sh").chmod(0o755)
    site = Site(folder, directory_shelf(folder / "store"))
    machine = site.begin()
    machine.publish("bert-v1.0.0", model, profile="raw", part_size=4 << 20, channel="stable")
    machine.publish("bert-v1.1.0", model)
    machine.publish("bert-v1.2.0", model, profile="web")
    return site


@pytest.fixture(scope="module")
def url(tree):
    with loopback_of(tree.folder / "store") as address:
        yield address


def exported(tree, to, form, *urls, model="bert@stable"):
    order = ExportOrder(read_want(model), to, form, urls)
    return export_release(order, supply_of(tree.store, folder=tree.folder, pins=[tree.fingerprint]), lambda _: None)


def run(words, folder, **environ):
    return subprocess.run(words, cwd=folder, env={**os.environ, **environ}, capture_output=True, text=True, check=False)


def files_in(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("form", START)
def test_release_is_whole_from_an_empty_folder(tree, url, tmp_path, form):
    done = exported(tree, tmp_path, form, url)
    assert sorted(path.name for path in tmp_path.iterdir()) == done.written
    got = run([program(START[form][0]), *START[form][1:]], tmp_path)
    assert got.returncode == 0, got.stderr
    made = run(["sh", "assemble.sh"], tmp_path)
    assert made.returncode == 0, made.stderr
    folder = tmp_path / "bert-v1.0.0"
    assert files_in(folder) == files_in(tree.folder / "model")
    assert os.access(folder / "run.sh", os.X_OK)
    assert not os.access(folder / "weights.bin", os.X_OK)
    assert run(["sha256sum", "--check", "--strict", "--quiet", "../SHA256SUMS"], folder).returncode == 0
    assert not (tmp_path / "bert-v1.0.0.building").exists()
    again = run(["sh", "assemble.sh"], tmp_path)
    assert (again.returncode, again.stdout) == (0, "bert-v1.0.0 is there and whole\n")


@pytest.mark.parametrize("form", ["metalink", "aria2"])
def test_aria2_refuses_altered_parts_by_the_list_alone(tree, tmp_path, form):
    """Every part has the right size and wrong bytes."""
    served = tmp_path / "served"
    for path in (tree.folder / "store" / "parts").rglob("*"):
        if path.is_file():
            copy = served / path.relative_to(tree.folder / "store")
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_bytes(bytes(path.stat().st_size))
    with loopback_of(served) as lying:
        exported(tree, tmp_path / "out", form, lying)
        got = run([program(START[form][0]), *START[form][1:]], tmp_path / "out")
    assert got.returncode == 32


def test_metalink_names_every_source_and_takes_the_second_when_the_first_is_dead(tree, url, tmp_path):
    exported(tree, tmp_path, "metalink", "http://127.0.0.1:9/dead", url)
    names = {"m": "urn:ietf:params:xml:ns:metalink"}
    root = ET.parse(tmp_path / "parts.meta4").getroot()
    assert [one.get("priority") for one in root.findall("m:file[1]/m:url", names)] == ["1", "2"]
    got = run([program("aria2c"), *START["metalink"][1:]], tmp_path)
    assert got.returncode == 0, got.stdout
    assert run(["sh", "assemble.sh"], tmp_path).returncode == 0


def test_script_refuses_altered_and_missing_parts_and_leaves_no_folder(tree, url, tmp_path):
    exported(tree, tmp_path, "aria2", url)
    assert run([program("aria2c"), *START["aria2"][1:]], tmp_path).returncode == 0
    part = max((tmp_path / "parts").rglob("*"), key=lambda path: path.stat().st_size if path.is_file() else -1)
    good = part.read_bytes()
    for spoil in (lambda: part.write_bytes(b"x" + good[1:]), part.unlink):
        spoil()
        made = run(["sh", "assemble.sh"], tmp_path)
        assert made.returncode == 1
        assert "missing or altered" in made.stderr
        assert not (tmp_path / "bert-v1.0.0").exists()
    part.write_bytes(good)
    assert run(["sh", "assemble.sh"], tmp_path).returncode == 0


def test_script_refuses_a_folder_that_is_there_and_not_whole(tree, url, tmp_path):
    exported(tree, tmp_path, "aria2", url)
    (tmp_path / "bert-v1.0.0").mkdir()
    (tmp_path / "bert-v1.0.0" / "mine.txt").write_text("keep")
    made = run(["sh", "assemble.sh"], tmp_path)
    assert made.returncode == 1
    assert "move it away" in made.stderr
    assert (tmp_path / "bert-v1.0.0" / "mine.txt").read_text() == "keep"


def test_script_runs_where_only_shasum_is(tree, url, tmp_path):
    """As on macOS; the script is started from elsewhere too."""
    exported(tree, tmp_path / "out", "curl", url)
    assert run([program("curl"), *START["curl"][1:]], tmp_path / "out").returncode == 0
    tools = tmp_path / "tools"
    tools.mkdir()
    for name in ("sh", "cat", "mkdir", "mv", "rm", "chmod", "dirname"):
        (tools / name).symlink_to(program(name))
    (tools / "shasum").write_text(f'#!/bin/sh\n[ "$1 $2" = "-a 256" ] || exit 9\nshift 2\nexec {program("sha256sum")} "$@"\n')
    (tools / "shasum").chmod(0o755)
    made = run([program("sh"), "out/assemble.sh"], tmp_path, PATH=str(tools))
    assert made.returncode == 0, made.stderr
    assert files_in(tmp_path / "out" / "bert-v1.0.0") == files_in(tree.folder / "model")


@pytest.mark.parametrize("release, profile", [("bert-v1.1.0", "default"), ("bert-v1.2.0", "web")])
def test_other_profiles_are_refused_with_the_remedy(tree, tmp_path, release, profile):
    with pytest.raises(UsageError, match=f"profile {profile}") as caught:
        exported(tree, tmp_path / "out", "aria2", "https://cdn.example/tree", model=release)
    assert "--profile raw" in caught.value.hint
    assert not (tmp_path / "out").exists()


def test_release_of_empty_files_alone_is_made_without_parts(tmp_path):
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "empty.txt").write_bytes(b"")
    site = Site(tmp_path, directory_shelf(tmp_path / "store"))
    site.begin().publish("bert-v1.0.0", tmp_path / "model", profile="raw")
    exported(site, tmp_path / "out", "curl", "https://cdn.example/tree", model="bert-v1.0.0")
    for _ in range(2):
        made = run(["sh", "out/assemble.sh"], tmp_path)
        assert made.returncode == 0, made.stderr
    assert files_in(tmp_path / "out" / "bert-v1.0.0") == {"empty.txt": b""}


def test_script_stays_where_it_is_whatever_cd_looks_through(tree, url, tmp_path):
    exported(tree, tmp_path / "out", "curl", url)
    assert run(START["curl"], tmp_path / "out").returncode == 0
    (tmp_path / "elsewhere" / "out").mkdir(parents=True)
    made = run(["sh", "out/assemble.sh"], tmp_path, CDPATH=str(tmp_path / "elsewhere"))
    assert made.returncode == 0, made.stderr
    assert files_in(tmp_path / "out" / "bert-v1.0.0") == files_in(tree.folder / "model")


@pytest.mark.parametrize(
    "url",
    [
        "file:///srv/tree",
        "s3://bucket",
        "/srv/tree",
        'https://x/"y',
        "https://x/a\nb",
        "https://x/a\rb",
        "https://",
        "https://[x",
    ],
)
def test_address_that_other_programs_cannot_use_is_refused(tree, tmp_path, url):
    with pytest.raises(UsageError, match="no http or https address"):
        exported(tree, tmp_path / "out", "aria2", url)


def test_sums_are_those_of_the_published_files(tree, tmp_path):
    exported(tree, tmp_path, "curl", "https://cdn.example/tree/")
    sums = dict(reversed(line.split("  ", 1)) for line in (tmp_path / "SHA256SUMS").read_text(encoding="utf-8").splitlines())
    assert sums == {path: hashlib.sha256(data).hexdigest() for path, data in files_in(tree.folder / "model").items()}
    assert "https://cdn.example/tree/parts/" in (tmp_path / "parts.curl").read_text()
