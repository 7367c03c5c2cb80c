"""A bundle is installed at a site, by both installers: what people find there."""

import hashlib
import json
import shutil
from pathlib import Path

import pytest

from bundles.installer.layout import kept_manifest
from bundles.verifying import verify_bundle
from bundles.zipped import installer_bytes
from pipeline.events import ignore
from tests.fetch_world import Reader, contents, copy_of
from tests.install_world import COLUMNS, Column, make_bundle_tree, site_files
from tests.media_world import pack
from tests.open_files import open_below


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    return make_bundle_tree(tmp_path_factory.mktemp("tree") / "tree")


@pytest.fixture(params=COLUMNS)
def column(request, tmp_path):
    return Column(request.param, tmp_path)


def live(site: Path) -> dict[str, str]:
    return {entry.name: entry.resolve().name for entry in (site / "current").iterdir()}


def test_bundle_becomes_releases_that_are_live_together(tree, column, tmp_path):
    media = pack(tree, "bert-v1.0.0", "top-v1.0.0", volumes=2).write(tmp_path / "media")
    done = column.install(media, tmp_path / "site", tree.site.fingerprint)
    assert done.code == 0, done.said
    for release in ("bert-v1.0.0", "top-v1.0.0"):
        assert contents(tmp_path / "site" / "models" / release) == contents(tree.sources[release])
    assert live(tmp_path / "site") == {"bert": "bert-v1.0.0", "top": "top-v1.0.0"}
    assert (tmp_path / "site" / "current").readlink() == Path("generations/1")
    assert (tmp_path / "site" / "bin" / "install.pyz").read_bytes() == installer_bytes()
    assert not (tmp_path / "site" / "state" / "staging").exists()


def test_release_that_stands_whole_without_a_record_is_recorded(tree, column, tmp_path):
    media, site = pack(tree, "bert-v1.0.0").write(tmp_path / "media"), tmp_path / "site"
    assert column.install(media, site, tree.site.fingerprint).code == 0
    (site / "state" / "installed" / "bert-v1.0.0.json").unlink()
    assert column.install(media, site).code == 0
    (site / "models" / "bert-v1.0.0" / "config.json").unlink()
    assert column.install(media, site).done["repaired"] == ["bert-v1.0.0: config.json"]


def test_both_installers_leave_the_same_site(tree, tmp_path):
    media = pack(tree, "bert-v1.0.0", "raw-v1.0.0", volumes=2).write(tmp_path / "media")
    left = {}
    for name in COLUMNS:
        assert Column(name, tmp_path).install(media, tmp_path / f"site-{name}", tree.site.fingerprint).code == 0
        found = site_files(tmp_path / f"site-{name}")
        receipt = next(key for key in found if key.startswith("state/receipts/"))
        told = json.loads(found.pop(receipt))
        left[name] = (
            found,
            {key: told[key] for key in told if key not in {"at", "by", "decoder", "installer", "python", "encoder"}},
        )
    assert left[COLUMNS[0]] == left[COLUMNS[1]]


def test_once_pinned_site_needs_no_fingerprint_and_switches_the_closure_at_once(tree, column, tmp_path):
    site = tmp_path / "site"
    first = pack(tree, "bert-v1.0.0", "top-v1.0.0").write(tmp_path / "one")
    assert column.install(first, site, tree.site.fingerprint).code == 0
    second = pack(tree, "bert-v1.1.0").write(tmp_path / "two")
    done = column.install(second, site)
    assert done.code == 0, done.said
    assert live(site) == {"bert": "bert-v1.1.0", "top": "top-v1.0.0"}
    assert {entry.name: entry.resolve().name for entry in (site / "generations" / "1").iterdir()}["bert"] == "bert-v1.0.0"
    assert contents(site / "models" / "bert-v1.1.0") == contents(tree.sources["bert-v1.1.0"])


def test_volumes_come_one_at_a_time_in_any_order_and_it_says_which_are_missing(tree, column, tmp_path):
    site, media = tmp_path / "site", pack(tree, "bert-v1.0.0", "raw-v1.0.0", volumes=3)
    for step, (number, missing) in enumerate([(3, [1, 2]), (1, [2])]):
        folder = media.write(tmp_path / f"medium{step}", only=[number])
        done = column.install(folder, site, tree.site.fingerprint)
        assert (done.code, done.done["missing"]) == (7, missing)
        assert not (site / "current").exists()
        shutil.rmtree(folder)
    done = column.install(media.write(tmp_path / "last", only=[2]), site)
    assert done.code == 0, done.said
    for release in ("bert-v1.0.0", "raw-v1.0.0"):
        assert contents(site / "models" / release) == contents(tree.sources[release])


def test_several_media_at_once_are_one_bundle(tree, column, tmp_path):
    media = pack(tree, "bert-v1.0.0", volumes=2)
    folders = [
        media.write(tmp_path / "a", only=[1]),
        media.write(tmp_path / "b", only=[2]),
        media.write(tmp_path / "c", only=[2]),
    ]
    assert column.install(folders, tmp_path / "site", tree.site.fingerprint).code == 0


def test_second_run_changes_nothing(tree, column, tmp_path):
    site, media = tmp_path / "site", pack(tree, "bert-v1.0.0").write(tmp_path / "media")
    assert column.install(media, site, tree.site.fingerprint).code == 0
    before = site_files(site)
    done = column.install(media, site)
    assert (done.code, done.done["bytes_written"], done.done["generation"]) == (0, 0, 1)
    assert site_files(site) == before


def test_check_writes_nothing(tree, column, tmp_path):
    media = pack(tree, "bert-v1.0.0", volumes=2).write(tmp_path / "media", only=[1])
    done = column.install(media, tmp_path / "site", tree.site.fingerprint, check=True)
    assert (done.code, done.done["missing"], done.done["dry"]) == (0, [2], True)
    assert not (tmp_path / "site").exists()


def test_fingerprint_is_taken_as_it_was_read_out_and_written_down(tree, column, tmp_path):
    media = pack(tree, "bert-v1.0.0").write(tmp_path / "media")
    refused = column.install(media, tmp_path / "site", tree.site.fingerprint[:-1])
    assert (refused.code, "expected 64 hex digits" in refused.error) == (2, True), refused.said
    assert not (tmp_path / "site").exists()
    grouped = " ".join(tree.site.fingerprint[at : at + 8].upper() for at in range(0, 64, 8))
    done = column.install(media, tmp_path / "site", grouped)
    assert done.code == 0, done.said


def test_check_names_what_was_altered_and_leaves_it(tree, tmp_path):
    site, media = tmp_path / "site", pack(tree, "bert-v1.0.0").write(tmp_path / "media")
    column = Column("install.pyz", tmp_path)
    assert column.install(media, site, tree.site.fingerprint).code == 0
    (site / "models" / "bert-v1.0.0" / "config.json").write_text("altered")
    ran = column.run("--from", str(media), "--site", str(site), "--check")
    assert (ran.returncode, "bert-v1.0.0: config.json, would be put right" in ran.stdout) == (0, True), ran.stderr
    assert (site / "models" / "bert-v1.0.0" / "config.json").read_text() == "altered"


def test_altered_files_of_a_live_release_are_put_right_one_by_one(tree, column, tmp_path):
    site, media = tmp_path / "site", pack(tree, "bert-v1.0.0").write(tmp_path / "media")
    assert column.install(media, site, tree.site.fingerprint).code == 0
    release = site / "models" / "bert-v1.0.0"
    whole = (release / "model.safetensors").stat().st_ino
    (release / "config.json").write_text("altered")
    (release / "onnx" / "noise.bin").unlink()
    done = column.install(media, site)
    assert done.code == 0, done.said
    assert done.done["repaired"] == ["bert-v1.0.0: config.json", "bert-v1.0.0: onnx/noise.bin"]
    assert contents(release) == contents(tree.sources["bert-v1.0.0"])
    assert (release / "model.safetensors").stat().st_ino == whole


def test_generations_are_kept_and_then_removed_with_their_releases(tree, column, tmp_path):
    site = tmp_path / "site"
    for index, release in enumerate(["bert-v1.0.0", "bert-v1.1.0"]):
        media = pack(tree, release).write(tmp_path / f"media{index}")
        done = column.install(media, site, tree.site.fingerprint, keep=1)
        assert done.code == 0, done.said
    assert done.done["removed"] == ["bert-v1.0.0"]
    assert [path.name for path in (site / "models").iterdir()] == ["bert-v1.1.0"]
    assert [path.name for path in (site / "generations").iterdir()] == ["2"]


def test_kept_parts_go_with_the_last_release_that_needs_them(tree, column, tmp_path):
    site = tmp_path / "site"
    stray = site / "parts" / "00" / ("00" * 32)
    for index, release in enumerate(["bert-v1.1.0", "bert-v1.0.0"]):
        media = pack(tree, release).write(tmp_path / f"media{index}")
        assert column.install(media, site, tree.site.fingerprint, keep=1, keep_parts=True).code == 0
        stray.parent.mkdir(exist_ok=True)
        stray.write_bytes(b"somebody else's")
    needed = {name for name, _, _ in pack(tree, "bert-v1.0.0").plan["volumes"][0]}
    before = {name for name, _, _ in pack(tree, "bert-v1.1.0").plan["volumes"][0]}
    assert needed & before
    assert before - needed
    there = {path.relative_to(site).as_posix() for path in (site / "parts").rglob("*") if path.is_file()}
    assert there == needed | {stray.relative_to(site).as_posix()}
    fetcher = tree.fetcher(Reader(site))
    fetcher.fetch("bert-v1.0.0")


def test_two_versions_in_one_bundle_are_both_kept_and_the_newest_is_live(tree, column, tmp_path):
    site, media = tmp_path / "site", pack(tree, "bert-v1.0.0", "bert-v1.1.0").write(tmp_path / "media")
    assert column.install(media, site, tree.site.fingerprint, keep=1).code == 0
    assert live(site) == {"bert": "bert-v1.1.0"}
    assert sorted(path.name for path in (site / "models").iterdir()) == ["bert-v1.0.0", "bert-v1.1.0"]


def test_differential_takes_the_rest_from_the_installed_base(tree, column, tmp_path):
    site = tmp_path / "site"
    assert column.install(pack(tree, "bert-v1.0.0").write(tmp_path / "one"), site, tree.site.fingerprint).code == 0
    small = pack(tree, "bert-v1.1.0", bases=["bert-v1.0.0"])
    whole = pack(tree, "bert-v1.1.0")
    assert sum(size for _, size, _ in small.plan["volumes"][0]) < sum(size for _, size, _ in whole.plan["volumes"][0]) / 2
    done = column.install(small.write(tmp_path / "two"), site)
    assert done.code == 0, done.said
    assert contents(site / "models" / "bert-v1.1.0") == contents(tree.sources["bert-v1.1.0"])
    assert contents(site / "models" / "bert-v1.0.0") == contents(tree.sources["bert-v1.0.0"])


def test_older_differential_that_carries_its_bases_manifest_is_installed(tree, column, tmp_path):
    site = tmp_path / "site"
    assert column.install(pack(tree, "bert-v1.0.0").write(tmp_path / "one"), site, tree.site.fingerprint).code == 0
    media = pack(tree, "bert-v1.1.0", bases=["bert-v1.0.0"], base_manifests=True).write(tmp_path / "two")
    assert verify_bundle([media], ignore, fingerprint=tree.site.fingerprint).warnings == []
    done = column.install(media, site)
    assert done.code == 0, done.said
    assert contents(site / "models" / "bert-v1.1.0") == contents(tree.sources["bert-v1.1.0"])


@pytest.mark.parametrize("spoil", ["altered", "gone"])
def test_base_whose_kept_manifest_is_not_right_is_named_and_its_medium_mends_it(tree, column, tmp_path, spoil):
    site = tmp_path / "site"
    one = pack(tree, "bert-v1.0.0")
    assert column.install(one.write(tmp_path / "one"), site, tree.site.fingerprint).code == 0
    kept = site / kept_manifest(one.plan["releases"][0]["manifest_sha256"])
    right = kept.read_bytes()
    if spoil == "gone":
        kept.unlink()
    else:
        kept.write_bytes(right.replace(b"bert", b"bort"))
    before = site_files(site)
    small = pack(tree, "bert-v1.1.0", bases=["bert-v1.0.0"]).write(tmp_path / "two")
    refused = column.install(small, site)
    assert (refused.code, "the manifest kept of bert-v1.0.0 was altered or is gone" in refused.error) == (3, True), refused.said
    assert site_files(site) == before
    assert column.install(tmp_path / "one", site).code == 0
    assert kept.read_bytes() == right
    done = column.install(small, site)
    assert done.code == 0, done.said
    assert contents(site / "models" / "bert-v1.1.0") == contents(tree.sources["bert-v1.1.0"])


def test_wrong_base_says_which_is_wanted_and_which_is_there_before_anything_is_written(tree, column, tmp_path):
    site = tmp_path / "site"
    small = pack(tree, "bert-v1.1.0", bases=["bert-v1.0.0"]).write(tmp_path / "two")
    refused = column.install(small, site, tree.site.fingerprint)
    assert refused.code == 2
    assert "bert-v1.0.0; installed here: nothing" in refused.error
    assert not site.exists()
    assert column.install(pack(tree, "raw-v1.0.0").write(tmp_path / "one"), site, tree.site.fingerprint).code == 0
    before = site_files(site)
    refused = column.install(small, site)
    assert (refused.code, "bert-v1.0.0; installed here: raw-v1.0.0" in refused.error) == (2, True)
    assert site_files(site) == before


def test_base_that_is_another_release_of_that_name_is_told_by_its_digest(tree, column, tmp_path):
    site, base = tmp_path / "site", pack(tree, "bert-v1.0.0")
    assert column.install(base.write(tmp_path / "one"), site, tree.site.fingerprint).code == 0
    record = site / "state" / "installed" / "bert-v1.0.0.json"
    wanted = base.plan["releases"][0]["manifest_sha256"]
    record.write_text(record.read_text().replace(wanted, "ab" * 32))
    refused = column.install(pack(tree, "bert-v1.1.0", bases=["bert-v1.0.0"]).write(tmp_path / "two"), site)
    assert refused.code == 2, refused.said
    told = f"installed here: bert-v1.0.0 ({'ab' * 8}, another release of that name than {wanted[:16]})"
    assert told in refused.error


def test_receipt_says_who_when_what_and_which_warnings(tree, column, tmp_path):
    media = pack(tree, "bert-v1.0.0")
    done = column.install(media.write(tmp_path / "media"), tmp_path / "site", tree.site.fingerprint)
    told = json.loads(Path(done.done["receipt"]).read_bytes())
    assert told["format"] == "modelport-receipt"
    assert (told["bundle"], told["generation"], told["warnings"]) == (media.bundle, 1, [])
    assert told["releases"] == [{"release": "bert-v1.0.0", "manifest_sha256": media.plan["releases"][0]["manifest_sha256"]}]
    assert "@" in told["by"]
    assert told["at"].endswith("Z")
    assert hashlib.sha256(installer_bytes()).hexdigest() in told["installer"]


def test_kept_parts_are_a_tree_that_others_fetch_from(tree, column, tmp_path):
    media = pack(tree, "bert-v1.0.0", "raw-v1.0.0", volumes=2).write(tmp_path / "media")
    done = column.install(media, tmp_path / "site", tree.site.fingerprint, keep_parts=True)
    assert done.code == 0, done.said
    fetcher = tree.fetcher(Reader(tmp_path / "site"))
    for release in ("bert-v1.0.0", "raw-v1.0.0"):
        fetcher.fetch(release)
        assert contents(fetcher.models / release) == contents(tree.sources[release])


def test_parts_kept_from_one_bundle_serve_the_next(tree, column, tmp_path):
    site = tmp_path / "site"
    first = pack(tree, "bert-v1.0.0").write(tmp_path / "one")
    assert column.install(first, site, tree.site.fingerprint, keep_parts=True).code == 0
    shutil.rmtree(site / "models")
    done = column.install(pack(tree, "bert-v1.0.0", volumes=2).write(tmp_path / "two", only=[2]), site, keep_parts=True)
    assert done.code == 0, done.said
    assert contents(site / "models" / "bert-v1.0.0") == contents(tree.sources["bert-v1.0.0"])


def test_open_dependency_is_refused_before_anything_is_written(tree, column, tmp_path):
    refused = column.install(pack(tree, "top-v1.0.0").write(tmp_path / "media"), tmp_path / "site", tree.site.fingerprint)
    assert (refused.code, "top-v1.0.0 needs bert ^1.0" in refused.error) == (2, True)
    assert not (tmp_path / "site").exists()


def test_inventory_of_a_bare_machine_is_a_document_of_the_format(tree, tmp_path):
    column = Column("install.pyz", tmp_path)
    media = pack(tree, "bert-v1.0.0")
    assert column.install(media.write(tmp_path / "media"), tmp_path / "site", tree.site.fingerprint).code == 0
    ran = column.run("--site", str(tmp_path / "site"), "--inventory", str(tmp_path / "inventory.json"))
    assert ran.returncode == 0, ran.stderr
    told = json.loads((tmp_path / "inventory.json").read_bytes())
    assert told["signatures"] == []
    assert told["signed"]["releases"] == [
        {"release": "bert-v1.0.0", "manifest_sha256": media.plan["releases"][0]["manifest_sha256"]}
    ]
    assert told["signed"]["root_fingerprint"] == tree.site.fingerprint


def test_release_that_stays_live_and_loses_what_it_needs_is_warned_of(tree, column, tmp_path):
    site = tmp_path / "site"
    tree = copy_of(tree, tmp_path / "other")
    assert column.install(pack(tree, "bert-v1.0.0", "top-v1.0.0").write(tmp_path / "one"), site, tree.site.fingerprint).code == 0
    tree.lay_out("bert-v2.0.0", seed=3)
    done = column.install(pack(tree, "bert-v2.0.0").write(tmp_path / "two"), site)
    assert done.code == 0, done.said
    assert done.done["warnings"] == ["top-v1.0.0 stays live and needs bert ^1.0; live would be 2.0.0"]
    assert json.loads(Path(done.done["receipt"]).read_bytes())["warnings"] == done.done["warnings"]


def test_refusals_leave_no_file_open(tree, tmp_path):
    media = pack(tree, "bert-v1.0.0", volumes=2).write(tmp_path / "media")
    before = open_below(tmp_path)
    for fingerprint in ("", "0" * 64):
        assert Column("bundle.install", tmp_path).install(media, tmp_path / "site", fingerprint).code == 4
    assert Column("bundle.install", tmp_path).install(media, tmp_path / "site", tree.site.fingerprint).code == 0
    assert open_below(tmp_path) == before
