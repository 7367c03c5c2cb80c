"""Keys read back, and nothing else is taken for one; content types do not hang on the machine."""

import mimetypes

import pytest

from pipeline import layout

NAME = "ab" + "0" * 62


def test_part_key_reads_back():
    assert layout.part_name(layout.part_key(NAME)) == NAME


@pytest.mark.parametrize(
    "key",
    [f"parts/cd/{NAME}", f"parts/ab/{NAME.upper()}", f"parts/ab/{NAME[:-1]}", f"parts/ab/{NAME}\n", f"/parts/ab/{NAME}", f"parts/{NAME}", f"parts/ab/{NAME}.tmp", "parts/", ""],
)  # fmt: skip
def test_what_is_no_part_has_no_name(key):
    assert layout.part_name(key) is None


@pytest.mark.parametrize("role", ["root", "targets", "snapshot", "bert", "qwen2.5-0.5b", "a_b"])
@pytest.mark.parametrize("version", [1, 42, 10**15])
def test_role_key_reads_back(role, version):
    assert layout.role_version(layout.role_key(role, version)) == (role, version)


@pytest.mark.parametrize(
    "key",
    ["metadata/timestamp.json", "metadata/0.root.json", "metadata/01.root.json", "metadata/-1.root.json", "metadata/1.Root.json", "metadata/1.a/b.json", "metadata/1..json", "metadata/1.root.json.tmp", "metadata/99999999999999999.root.json", "x/metadata/1.root.json"],
)  # fmt: skip
def test_what_is_no_numbered_role_has_no_version(key):
    assert layout.role_version(key) is None


def test_content_types_do_not_hang_on_the_machines_tables(monkeypatch):
    monkeypatch.setattr(mimetypes, "types_map", {".js": "text/plain", ".bin": "text/html"})
    assert layout.content_type("a.js") == "text/javascript; charset=utf-8"
    assert layout.content_type("A.JS") == "text/javascript; charset=utf-8"
    assert layout.content_type("a.bin") == "application/octet-stream"
    assert layout.content_type("no-ending") == "application/octet-stream"
