"""Looking after a site: list, use, remove, verify; and a server beside them that follows."""

from contextlib import suppress
from dataclasses import replace

import pytest

from bundles.installer.folders import Folder
from bundles.installing import install_bundle
from bundles.site.tending import list_site, remove_release
from pipeline.events import ignore
from pipeline.wire import decode_manifest
from tests.desk import Desk
from tests.fetch_world import contents, make_tree
from tests.install_world import order_for
from tests.media_world import pack
from tests.publish_world import lay_out
from tests.site_world import serving


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    """bert in two releases, and top, which needs the newer one."""
    tree = make_tree(tmp_path_factory.mktemp("tree"))
    for version, other in (("1.0.0", 0), ("1.1.0", 1)):
        tree.publish(f"bert-v{version}", lay_out(tree.folder / "sources" / version, other=other))
    tree.lay_out("top-v1.0.0", seed=5, needs={"bert": "^1.1"})
    return tree


@pytest.fixture
def site(tree, tmp_path):
    for number, names in enumerate((["bert-v1.0.0"], ["bert-v1.1.0"])):
        media = pack(tree, *names).write(tmp_path / f"media{number}")
        install_bundle(order_for((media,), tmp_path / "site", tree.site.fingerprint), ignore)
    return tmp_path / "site"


@pytest.fixture
def desk(tmp_path):
    return Desk(tmp_path / "desk", tmp_path / "home")


def test_list_says_what_is_there_and_what_is_live(site, desk):
    found = desk.run("site.list", "--site", str(site)).result
    assert {row["release"]: row["live"] for row in found["releases"]} == {"bert-v1.0.0": False, "bert-v1.1.0": True}
    assert found["generation"] == 2
    assert "live  bert-v1.1.0 (model)" in desk.run("site.list", "--site", str(site), report="plain").out


def test_use_switches_back_and_a_server_follows(site, desk):
    with serving(site) as server:
        new = server.ask("/api/models/bert/revision/main").json["sha"]
        done = desk.run("site.use", "--site", str(site), "--model", "bert-v1.0.0").result
        assert (done["before"], done["generation"], done["changed"]) == ("bert-v1.1.0", 3, True)
        old = server.ask("/api/models/bert/revision/main").json["sha"]
        assert old != new
        assert server.ask("/api/models/bert/revision/1.0.0").json["sha"] == old
    assert (site / "current" / "bert").resolve().name == "bert-v1.0.0"
    again = desk.run("site.use", "--site", str(site), "--model", "bert-v1.0.0").result
    assert (again["generation"], again["changed"]) == (3, False)


def test_use_under_dry_changes_nothing(site, desk):
    before = (site / "current").readlink()
    child = desk.start("--dry", "site.use", "--site", str(site), "--model", "bert-v1.0.0", "--report", "json")
    out, err = child.communicate(timeout=60)
    assert child.returncode == 0, err
    assert '"changed": true' in out
    assert (site / "current").readlink() == before


def test_use_leaves_no_dependency_open(site, desk, tree, tmp_path):
    media = pack(tree, "top-v1.0.0").write(tmp_path / "top")
    install_bundle(order_for((media,), site, tree.site.fingerprint), ignore)
    said = desk.run("site.use", "--site", str(site), "--model", "bert-v1.0.0").refused(8)
    assert "top-v1.0.0 needs bert ^1.1; live would be bert-v1.0.0" in said
    assert (site / "current" / "bert").resolve().name == "bert-v1.1.0"


def test_remove_takes_what_is_not_live_and_nothing_else(site, desk):
    assert "is live" in desk.run("site.remove", "--site", str(site), "--model", "bert-v1.1.0").refused(8)
    done = desk.run("site.remove", "--site", str(site), "--model", "bert-v1.0.0").result
    assert done["bytes"] > 0
    assert sorted(path.name for path in (site / "models").iterdir()) == ["bert-v1.1.0"]
    assert [row["release"] for row in desk.run("site.list", "--site", str(site)).result["releases"]] == ["bert-v1.1.0"]
    assert sorted(path.name for path in (site / "generations").iterdir()) == ["2"]
    assert desk.run("site.verify", "--site", str(site)).code == 0


def kept_parts(site):
    return {path.name for path in (site / "parts").rglob("*") if path.is_file()}


def test_remove_takes_the_kept_parts_that_nothing_else_needs(tree, desk, tmp_path):
    site = tmp_path / "site"
    for number, name in enumerate(["bert-v1.0.0", "bert-v1.1.0"]):
        media = pack(tree, name).write(tmp_path / f"media{number}")
        install_bundle(replace(order_for((media,), site, tree.site.fingerprint), keep_parts=True), ignore)
    sha256 = next(row.manifest_sha256 for row in list_site(site).releases if row.release == "bert-v1.1.0")
    kept = decode_manifest((site / "state" / "installed" / "manifests" / f"{sha256}.json").read_bytes())
    needed = {part.blake3 for part in kept.parts}
    assert kept_parts(site) > needed
    desk.run("site.remove", "--site", str(site), "--model", "bert-v1.0.0")
    assert kept_parts(site) == needed
    assert desk.run("site.verify", "--site", str(site)).code == 0


@pytest.mark.parametrize("at", range(9))
def test_removal_that_was_killed_leaves_a_release_whole_or_none(tree, site, tmp_path, monkeypatch, at):
    """Wherever it stops: what is listed is whole, and the same release can be installed again."""
    left = iter(range(at))

    def stopping(call):
        def called(self, *names, **more):
            if next(left, None) is None:
                raise KeyboardInterrupt
            return call(self, *names, **more)

        return called

    with monkeypatch.context() as patched:
        for name in ("remove", "rename", "write"):
            patched.setattr(Folder, name, stopping(getattr(Folder, name)))
        with suppress(KeyboardInterrupt):
            remove_release(site, "bert-v1.0.0")
    if (site / "models" / "bert-v1.0.0").exists():
        assert contents(site / "models" / "bert-v1.0.0") == contents(tree.folder / "sources" / "1.0.0")
    assert list_site(site).releases[-1].release == "bert-v1.1.0"
    install_bundle(order_for((tmp_path / "media0",), site), ignore)
    assert {row.release for row in list_site(site).releases} == {"bert-v1.0.0", "bert-v1.1.0"}
    assert list((site / "state").glob("staging/*")) == []


def test_removed_release_is_no_longer_served(site, desk):
    with serving(site) as server:
        assert server.ask("/models/bert-v1.0.0/config.json").status == 200
        assert desk.run("site.remove", "--site", str(site), "--model", "bert-v1.0.0").code == 0
        assert server.ask("/models/bert-v1.0.0/config.json").status == 404
        assert server.ask("/models/bert-v1.1.0/config.json").status == 200


@pytest.mark.parametrize("task", ["site.use", "site.remove"])
def test_release_that_is_not_installed_is_unknown(site, desk, task):
    assert "bert-v9.9.9 is not installed" in desk.run(task, "--site", str(site), "--model", "bert-v9.9.9").refused(2)


@pytest.mark.parametrize(
    "task", [("site.list",), ("site.verify",), ("site.use", "--model", "bert-v1.0.0"), ("site.remove", "--model", "x-v1.0.0")]
)
def test_folder_that_is_no_site_is_refused(desk, task):
    assert "nothing was installed into nowhere" in desk.run(*task, "--site", "nowhere").refused(2)


def test_verify_names_what_was_altered(site, desk):
    assert desk.run("site.verify", "--site", str(site)).result["damaged"] == {}
    noise = site / "models" / "bert-v1.1.0" / "onnx" / "noise.bin"
    data = bytearray(noise.read_bytes())
    data[5] ^= 1
    noise.write_bytes(data)
    (site / "models" / "bert-v1.1.0" / "config.json").unlink()
    said = desk.run("site.verify", "--site", str(site))
    assert said.code == 3
    assert '"bert-v1.1.0": ["config.json", "onnx/noise.bin"]' in said.out
    assert "was altered since it was installed" in said.err


def test_altered_manifest_is_found(site, desk):
    manifest = next((site / "state" / "installed" / "manifests").iterdir())
    manifest.write_bytes(manifest.read_bytes() + b" ")
    for task in ("site.verify", "site.list"):
        assert "was altered or is gone" in desk.run(task, "--site", str(site)).refused(3)
