"""The report: a page about a release that says what is so, and nothing that a stranger slipped into it."""

import json
import re

import pytest

from tests.browser_world import noise
from tests.desk import Desk


@pytest.fixture(scope="module")
def desk(tmp_path_factory) -> Desk:
    folder = tmp_path_factory.mktemp("report")
    desk = Desk(folder / "desk", folder / "home")
    weights = noise(12_000_000, 1)
    for version, files in (
        ("1.0.0", {"a.bin": weights, "notes.txt": b"first\n"}),
        (
            "1.1.0",
            {"a.bin": weights[:6_000_000] + noise(10_000, 2) + weights[6_010_000:], "b.bin": weights, "notes.txt": b"first\n"},
        ),
    ):
        place = desk.folder / "models" / f"bert-v{version}"
        place.mkdir(parents=True)
        for name, data in files.items():
            (place / name).write_bytes(data)
        assert desk.run("publish", "--model", f"bert-v{version}", "--channel", "stable").code == 0
    return desk


def test_page_asks_no_network_and_runs_nothing(desk):
    assert desk.run("report", "--model", "bert-v1.1.0").result == {"release": "bert-v1.1.0", "page": "bert-v1.1.0.html"}
    page = (desk.folder / "bert-v1.1.0.html").read_text(encoding="utf-8")
    assert not re.search(r"<script|<link|<img|<iframe|url\(|@import|\bsrc=|\bhref=", page)
    assert "default-src &#x27;none&#x27;" in page or "default-src 'none'" in page


def test_dry_run_writes_no_page_and_sends_nobody_to_it(desk):
    said = desk.run("--dry", "report", "--model", "bert-v1.1.0", "--to", "none.html", report="plain").out
    assert said.splitlines()[-1] == "next: the same without --dry"
    assert "browser" not in said
    assert not (desk.folder / "none.html").exists()


def test_page_and_json_say_the_same(desk):
    desk.run("report", "--model", "bert-v1.1.0", "--to", "page.html")
    page = (desk.folder / "page.html").read_text(encoding="utf-8")
    shown = desk.run("show", "--model", "bert-v1.1.0").result
    for fact in (shown["release"], shown["root_fingerprint"], shown["manifest_sha256"], *shown["fetch"]):
        assert fact in page
    for file in shown["files"]:
        assert file["path"] in page
        assert file["sha256"] in page
    for role in shown["roles"]:
        assert role["expires_at"] in page
    assert "@stable" in page
    assert "from bert-v1.0.0" in page


def test_spans_of_a_file_are_its_bytes_and_say_where_they_came_from(desk):
    shown = desk.run("show", "--model", "bert-v1.1.0").result
    for file in shown["files"]:
        assert sum(size for size, _ in file["spans"]) == file["size"]
    by_path = {file["path"]: [origin for _, origin in file["spans"]] for file in shown["files"]}
    assert by_path["b.bin"] == ["bert-v1.0.0"]
    assert by_path["notes.txt"] == ["bert-v1.0.0"]
    assert by_path["a.bin"] == ["bert-v1.0.0", "", "bert-v1.0.0"]
    # What b.bin has in common with a.bin stands in the release once.
    assert 0 < shown["repeated"] < 12_000_000
    assert shown["added"] == sum(part["size"] for part in shown["part_list"] if not part["origin"])
    assert shown["served"] == sum(part["used"] for part in shown["part_list"])


def test_what_people_wrote_is_no_markup(desk):
    desk.run("yank", "--model", "bert-v1.0.0", "--reason", "<img src=x onerror=alert(1)>")
    desk.run("report", "--model", "bert-v1.0.0")
    page = (desk.folder / "bert-v1.0.0.html").read_text(encoding="utf-8")
    assert "<img" not in page
    assert "&lt;img src=x onerror=alert(1)&gt;" in page
    desk.run("yank", "--model", "bert-v1.0.0", "--undo")


def test_page_that_cannot_be_written_leaves_what_was_there(desk):
    (desk.folder / "taken").mkdir(exist_ok=True)
    assert "cannot write the page to taken" in desk.run("report", "--model", "bert-v1.1.0", "--to", "taken").refused(6)
    assert "cannot write the page to ." in desk.run("report", "--model", "bert-v1.1.0", "--to", ".").refused(6)
    assert "--to" in desk.run("report", "--model", "bert-v1.1.0", "--to", "no/such/folder/page.html").refused(6)
    assert not [*desk.folder.glob(".*.partial")]


def test_report_under_dry_writes_nothing(desk):
    done = desk.run("--dry", "report", "--model", "bert-v1.1.0", "--to", "dry.html")
    assert done.code == 0
    assert not (desk.folder / "dry.html").exists()


def test_unknown_release_is_answered_with_the_nearest(desk):
    assert "Did you mean bert-v1.1.0?" in desk.run("report", "--model", "bert-v1.1.1").refused(2)
    assert json.loads(desk.run("report", "--model", "brt-v1.1.0").err.splitlines()[-1])["hint"] == "Did you mean bert?"
