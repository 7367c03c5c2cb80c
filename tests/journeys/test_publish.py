"""The main job as a person does it: a model folder becomes a release that anyone can fetch, prove and build on."""

import json
import os
import re
import shutil
import stat
import time
from pathlib import Path

import pytest

from pipeline.events import Progress
from pipeline.release import Release
from pipeline.sources.folder import scan_folder
from pipeline.sources.stat_cache import StatCache
from pipeline.steps.identify import hash_files
from pipeline.stores.directory import DirectoryStore
from tests.desk import Desk
from tests.publish_world import Site, directory_shelf, lay_out
from tests.trust_world import Client

CHECKOUT = Path(__file__).resolve().parents[2]
FIELDS = {
    "release",
    "manifest",
    "root_fingerprint",
    "store",
    "bases",
    "already_published",
    "files",
    "bytes",
    "bytes_stored",
    "bytes_uploaded",
    "parts",
    "chunks",
    "channel",
    "warnings",
    "seconds",
}


@pytest.fixture
def desk(tmp_path) -> Desk:
    return Desk(tmp_path / "desk", tmp_path / "home")


def reader(desk, folder):
    """The reference client over the default directory store, begun with its first root."""
    store = DirectoryStore(desk.folder / ".modelport" / "store")
    return Client(store, folder, b"".join(store.get("metadata/1.root.json")))


def test_sample_is_published_into_the_default_store_and_read_back(desk, tmp_path):
    desk.run("-r", str(CHECKOUT), "sample", program="invoke")
    said = desk.run("-r", str(CHECKOUT), "publish", "--model", "bert-v2.1.0", program="invoke")
    first = said.result
    assert set(first) >= FIELDS
    assert set(first["manifest"]) >= {"path", "sha256"}
    assert set(first["parts"]) == set(first["chunks"]) == {"total", "new", "reused"}
    assert first["release"] == "bert-v2.1.0"
    assert first["store"] == (desk.folder / ".modelport" / "store").as_uri()
    assert first["bytes"] > 90_000_000 > first["bytes_stored"]
    assert first["bytes_stored"] < first["bytes_uploaded"] < first["bytes_stored"] + 1_000_000
    assert (first["already_published"], first["bases"], first["channel"]) == (False, [], "")
    manifest = desk.folder / ".modelport" / "store" / first["manifest"]["path"]
    assert json.loads(manifest.read_bytes())["model"] == "bert"
    assert all(json.loads(line)["event"] for line in said.err.splitlines())
    client = reader(desk, tmp_path / "client")
    client.check(Release.parse("bert-v2.1.0"))

    again = desk.run("publish", "--model", "bert-v2.1.0").result
    assert (again["already_published"], again["manifest"]) == (True, first["manifest"])
    assert again["bytes_uploaded"] == 0
    assert again["parts"] == {"total": first["parts"]["total"], "new": 0, "reused": first["parts"]["total"]}

    proved = desk.run("verify", "--model", "bert-v2.1.0", "--all").result
    assert (proved["objects"], proved["read"]) == (first["parts"]["total"],) * 2
    assert proved["bytes_read"] == first["bytes_stored"]
    assert proved["root_fingerprint"] == first["root_fingerprint"]


def test_versions_reuse_what_did_not_change_and_channels_move_with_them(desk, tmp_path):
    lay_out(desk.folder / "models" / "bert-v1.0.0", tensor_bytes=3 << 20)
    lay_out(desk.folder / "models" / "bert-v1.1.0", tensor_bytes=3 << 20, other=1)
    flags = ["--part-size", "4MiB"]
    first = desk.run("publish", "--model", "bert-v1.0.0", "--channel", "stable", *flags).result
    assert (first["channel"], first["parts"]["reused"]) == ("stable", 0)
    second = desk.run("publish", "--model", "bert-v1.1.0", "--channel", "stable", *flags).result
    assert second["bases"] == ["bert-v1.0.0"]
    assert second["parts"]["reused"] >= 2
    assert second["chunks"]["reused"] == second["chunks"]["total"] - second["chunks"]["new"] > 3
    # One of three tensors changed.
    assert second["bytes_uploaded"] < 1.05 * (3 << 20) + 100_000
    shown = desk.run("show").result
    assert shown["models"][0]["channels"] == {"stable": "bert-v1.1.0"}
    assert [found["release"] for found in shown["models"][0]["releases"]] == ["bert-v1.0.0", "bert-v1.1.0"]
    release = desk.run("show", "--model", "bert-v1.1.0").result
    assert release["bases"][0]["base"] == "bert-v1.0.0"
    assert release["bases"][0]["parts"] == second["parts"]["reused"]
    assert release["channels"] == ["stable"]
    assert [move["to"] for move in release["history"]["stable"]] == ["bert-v1.0.0", "bert-v1.1.0"]
    assert release["ranges_per_gib"] > 0
    assert desk.run("verify", "--model", "bert-v1.1.0", "--sample", "50%").result["read"] >= 1
    # Back to the first: the release stands, only the channel moves.
    back = desk.run("publish", "--model", "bert-v1.0.0", "--channel", "stable", *flags).result
    assert (back["already_published"], back["channel"]) == (True, "stable")
    assert desk.run("show").result["models"][0]["channels"] == {"stable": "bert-v1.0.0"}
    reader(desk, tmp_path / "client").check(Release.parse("bert-v1.0.0"), Release.parse("bert-v1.1.0"))


def test_summary_for_people_says_what_was_done_and_what_to_type_next(desk):
    lay_out(desk.folder / "models" / "bert-v1.0.0")
    said = desk.run("publish", "--model", "bert-v1.0.0", "--channel", "stable", report="plain")
    assert said.code == 0
    fingerprint = desk.run("trust.show").result["fingerprint"]
    for words in ("published bert-v1.0.0", "files", "parts", "new", "reused", "stored", fingerprint, ".modelport/store"):
        assert words in said.out, words
    assert re.search(r"^next: modelport \w+", said.out, re.MULTILINE)
    assert "already published" in desk.run("publish", "--model", "bert-v1.0.0", report="plain").out


def test_same_version_with_other_content_is_refused(desk):
    folder = lay_out(desk.folder / "models" / "bert-v1.0.0")
    desk.run("publish", "--model", "bert-v1.0.0")
    (folder / "config.json").write_text("{}")
    assert "config.json differs" in desk.run("publish", "--model", "bert-v1.0.0").refused(8)
    (folder / "config.json").unlink()
    assert "config.json is missing" in desk.run("publish", "--model", "bert-v1.0.0").refused(8)


def test_unchanged_folder_is_known_by_its_stats_and_rehash_reads_it_again(tmp_path):
    folder = lay_out(tmp_path / "model")
    site = Site(tmp_path, directory_shelf(tmp_path / "store"))
    machine = site.machine()
    # Within two seconds of its last change a file can change without a trace, so it is read again.
    machine.publish("bert-v1.0.0", folder)
    cache = StatCache(tmp_path / machine.home.name / "cache", folder)
    found = scan_folder(folder, kind="model")
    cache.remember(found, hash_files(found, {}, lambda _: None), read_at_ns=time.time_ns() + 3 * 10**9)

    def read(**flags):
        machine.events.clear()
        assert machine.publish("bert-v1.0.0", folder, **flags).already_published
        return sum(event.bytes for event in machine.events if isinstance(event, Progress) and event.step == "identify")

    assert read() == 0
    assert read(rehash=True) == sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["--model", "bert"], 2, "bert"),
        (["--model", "bert-v1.0.1"], 2, "bert-v1.0.0"),
        (["--model", "bert-v1.0.0", "--source", "nowhere"], 2, "nowhere"),
        (["--model", "bert-v1.0.0", "--kind", "modle"], 2, "model"),
        (["--model", "bert-v1.0.0", "--channel", "Stable"], 2, "Stable"),
        (["--model", "bert-v1.0.0", "--base", "bert-v0.9.0"], 2, "no model bert"),
        (["--model", "bert-v1.0.0", "--base", "bert-v1.0.0"], 2, "own base"),
        (["--model", "bert-v1.0.0", "--part-size", "1KiB"], 2, "part-size"),
        (["--model", "bert-v1.0.0", "--profile", "raw", "--encoding", "auto"], 2, "--encoding"),
        (["--model", "bert-v1.0.0", "--store", "ftp://x/y"], 2, "ftp"),
        (["--model", "bert-v1.0.0", "--plan", "nowhere.json"], 2, "nowhere.json"),
    ],
)
def test_unusable_order_is_one_clear_line(desk, words, code, said):
    lay_out(desk.folder / "models" / "bert-v1.0.0", tensor_bytes=4096)
    assert said in desk.run("publish", *words).refused(code)


# --- keys and trust on first use --------------------------------------------------------------------


def test_first_use_makes_private_keys_away_from_the_tree(desk):
    lay_out(desk.folder / "models" / "bert-v1.0.0")
    fingerprint = desk.run("publish", "--model", "bert-v1.0.0").result["root_fingerprint"]
    keys = desk.home / "data" / "modelport" / "keys" / fingerprint
    assert {path.name for path in keys.iterdir()} == {"root.pem", "targets.pem", "release.pem"}
    assert {stat.S_IMODE(path.stat().st_mode) for path in keys.iterdir()} == {0o600}
    assert stat.S_IMODE(keys.stat().st_mode) == stat.S_IMODE(keys.parent.stat().st_mode) == 0o700
    assert [path for path in desk.folder.rglob("*") if path.is_file() and b"PRIVATE KEY" in path.read_bytes()] == []
    assert desk.run("trust.show").result["pins"] == [fingerprint]


def test_second_machine_without_the_keys_is_told_so(desk, tmp_path):
    lay_out(desk.folder / "models" / "bert-v1.0.0")
    lay_out(desk.folder / "models" / "bert-v1.1.0", other=1)
    fingerprint = desk.run("publish", "--model", "bert-v1.0.0").result["root_fingerprint"]
    other = Desk(desk.folder, tmp_path / "other home")
    assert fingerprint in other.run("publish", "--model", "bert-v1.1.0").refused(4)
    assert fingerprint in other.run("show").refused(4)
    other.run("trust.pin", "--fingerprint", fingerprint)
    assert other.run("show").result["root_fingerprint"] == fingerprint
    assert "key" in other.run("publish", "--model", "bert-v1.1.0").refused(4)
    assert not list((tmp_path / "other home" / "data").rglob("*.pem"))


def test_store_that_was_copied_elsewhere_is_not_trusted_by_itself(desk, tmp_path):
    lay_out(desk.folder / "models" / "bert-v1.0.0")
    fingerprint = desk.run("publish", "--model", "bert-v1.0.0").result["root_fingerprint"]
    shutil.copytree(desk.folder / ".modelport" / "store", tmp_path / "carried")
    stranger = Desk(tmp_path / "elsewhere", tmp_path / "stranger")
    refused = stranger.run("verify", "--model", "bert-v1.0.0", "--store", str(tmp_path / "carried")).refused(4)
    assert fingerprint in refused
    assert "trust.pin" in refused


# --- determinism ----------------------------------------------------------------------------------


def test_two_machines_make_one_manifest_whatever_their_habits(tmp_path):
    made = []
    for number, environment in enumerate(
        [
            {"LC_ALL": "C", "PYTHONHASHSEED": "1", "TZ": "UTC"},
            {"LC_ALL": "C.UTF-8", "PYTHONHASHSEED": "2", "TZ": "Asia/Shanghai", "PYTHONUTF8": "1"},
            {"LC_ALL": "tr_TR.UTF-8", "LANG": "tr_TR.UTF-8", "PYTHONHASHSEED": "77", "TZ": "America/St_Johns"},
        ]
    ):
        desk = Desk(tmp_path / f"desk {number}", tmp_path / f"home{number}", environment)
        folder = lay_out(tmp_path / f"fresh{number}", tensor_bytes=2 << 20)
        (folder / "größe-İı.txt").write_text("names, too")
        # Made in another order, with other times, elsewhere.
        copy = desk.folder / "deep" / "models" / "bert-v1.0.0"
        copy.mkdir(parents=True)
        paths = sorted(path for path in folder.rglob("*") if path.is_file())
        for path in paths if number else reversed(paths):
            (copy / path.relative_to(folder)).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, copy / path.relative_to(folder))
            os.utime(copy / path.relative_to(folder), (number * 1e8, number * 1e8))
        desk.folder = copy.parent.parent
        made.append(desk.run("publish", "--model", "bert-v1.0.0", "--part-size", "4MiB").result)
    assert len({one["manifest"]["sha256"] for one in made}) == 1
    assert len({one["root_fingerprint"] for one in made}) == 3
