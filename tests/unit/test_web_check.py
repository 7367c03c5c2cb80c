"""A built folder that somebody damaged: every way of it is named; and what is right is said to be right."""

import json
import tomllib
from pathlib import Path

import pytest

from pipeline.digest import sha256_of
from pipeline.errors import UsageError
from pipeline.wire import encode_document
from sw.assemble import engine_files
from sw.build import BuildOrder, build_web
from sw.check import check_folder
from tests.web_world import Site

CHECKOUT = Path(__file__).resolve().parents[2]


@pytest.fixture
def site(tmp_path):
    site = Site(tmp_path)
    script = "\n".join(f"export const value{line} = {line * 7919};" for line in range(900))
    for number in (1, 2):
        site.write(
            {
                "index.html": '<script src="a.js"></script>',
                "a.js": f"{script}\n// {number}",
                "b.css": "a{background:url(c.png)}",
                "c.png": b"1" * 100,
                "big.bin": bytes(9 << 20),
            }
        )
        site.build(f"1.{number}.0")
    return site


def test_folder_as_it_was_built_is_right(site):
    checked = check_folder(site.to)
    assert checked.findings == []
    assert (checked.name, checked.version, checked.files, checked.references) == ("shop", "1.2.0", 7, 2)
    assert checked.sizes.release == len((site.to / "release.json").read_bytes())
    assert checked.sizes.patches > 0


def test_folder_without_a_release_is_refused(tmp_path):
    with pytest.raises(UsageError, match="holds no web release"):
        check_folder(tmp_path)


def alter(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("a.js", "has other bytes"),
        ("index.html", "has other bytes"),
        ("big.bin", "has other bytes"),
        ("c.png", "has other bytes"),
    ],
)
def test_altered_file_is_named(site, source, words):
    alter(site.to / site.names()[source])
    assert any(one.startswith(site.names()[source]) and words in one for one in check_folder(site.to).findings)


@pytest.mark.parametrize("source", ["a.js", "index.html", "big.bin"])
def test_missing_file_is_named(site, source):
    (site.to / site.names()[source]).unlink()
    assert any(one.startswith(f"{site.names()[source]} is missing") for one in check_folder(site.to).findings)


@pytest.mark.parametrize("what", ["packs", "patches"])
def test_altered_pack_or_patch_is_named(site, what):
    path = getattr(site.manifest, what)[0].path
    alter(site.to / path)
    assert any(one.startswith(path) for one in check_folder(site.to).findings)


def test_altered_manifest_is_named(site):
    alter(site.to / site.pointer.manifest)
    assert check_folder(site.to).findings[0].startswith(f"{site.pointer.manifest} is not what release.json says")


def rewrite(site, change):
    """Change the manifest, and let the pointer vouch for it."""
    document = json.loads((site.to / site.pointer.manifest).read_bytes())
    change(document)
    data = encode_document(document)
    digest = sha256_of(data)
    pointer = json.loads((site.to / "release.json").read_bytes())
    pointer |= {"manifest": f"manifest.{digest[:16]}.json", "sha256": digest, "size": len(data), "from": []}
    (site.to / pointer["manifest"]).write_bytes(data)
    (site.to / "release.json").write_bytes(encode_document(pointer))


def wrong_type(document):
    document["types"] = sorted(["text/x-wrong", *document["types"][1:]])


def wrong_group(document):
    document["files"][0][4] = "nobody"


def wrong_parts(document):
    file = next(file for file in document["files"] if "parts" in file[5])
    file[5]["parts"][1][0] = "0" * 64


def wrong_order(document):
    document["files"][:2] = document["files"][1::-1]


def wrong_count(document):
    document["packed"][0][1] -= 1


def wrong_digits(document):
    document["packed"][0][0] = "0" * 16


def strange_path(document):
    document["files"][0][0] = "../secret"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (wrong_type, "has type"),
        (wrong_group, "is of group nobody"),
        (wrong_parts, "its parts are not those"),
        (wrong_order, "is not at its place in it"),
        (wrong_count, ".bin is missing or has other bytes"),
        (wrong_digits, "0.bin is missing or has other bytes"),
        (strange_path, "secret"),
    ],
    ids=lambda one: getattr(one, "__name__", ""),
)
def test_manifest_that_lies_is_named(site, change, words):
    rewrite(site, change)
    assert any(words in one for one in check_folder(site.to).findings)


def test_reference_that_leads_nowhere_is_named(site):
    data = b'<img src="gone.png">'
    (site.to / "index.html").write_bytes(data)

    def vouch(document):
        file = next(file for file in document["files"] if file[0] == "index.html")
        file[1], file[2] = len(data), sha256_of(data)
        document["packed"] = []

    rewrite(site, vouch)
    assert "index.html:1: 'gone.png' leads to no file" in check_folder(site.to).findings


def test_page_that_was_put_there_by_hand_is_named(site):
    (site.to / "planted.html").write_text("x")
    assert check_folder(site.to).findings == ["planted.html belongs to no release: it was put there by hand, or shop lost it"]


def test_worker_that_is_no_script_is_named(site):
    (site.to / "sw.js").write_bytes(b"<!doctype html><title>Log in</title>")
    assert "sw.js is not JavaScript" in check_folder(site.to).findings


def test_our_own_worker_keeps_its_budget(tmp_path):
    (tmp_path / "dist").mkdir()
    (tmp_path / "dist" / "index.html").write_text("x")
    build_web(BuildOrder(tmp_path / "dist", tmp_path / "public", "shop", "1.0.0", engine_files()), lambda _: None)
    checked = check_folder(tmp_path / "public")
    assert checked.findings == []
    assert 0 < checked.sizes.worker <= 6 << 10
    assert 0 < checked.sizes.client <= 3 << 10


def test_worker_is_part_of_what_is_installed():
    patterns = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["tool"]["setuptools"]["package-data"]["sw"]
    found = {path for pattern in patterns for path in (CHECKOUT / "sw").glob(pattern)}
    assert found == {path for path in (CHECKOUT / "sw").rglob("*") if path.is_file() and path.suffix not in {".py", ".pyc"}}
