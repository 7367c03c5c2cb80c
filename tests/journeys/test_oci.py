"""skopeo, unmodified, with an exported image layout and with a site: both hold the same artifact."""

import hashlib
import json
import subprocess

import pytest

from tests.desk import CLEAN, Desk
from tests.servers.processes import free_port
from tests.site_nginx import SERVERS
from tests.site_world import ALIAS, install_all, publish_all


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("site")
    return install_all(publish_all(folder), folder / "site")


@pytest.fixture(scope="module", params=list(SERVERS))
def server(request, place):
    with SERVERS[request.param](place.folder) as server:
        yield server


@pytest.fixture(scope="module")
def desk(tmp_path_factory, place):
    folder = tmp_path_factory.mktemp("desk")
    desk = Desk(folder / "work", folder / "home")
    source = str(place.tree.store)
    assert desk.run("trust.pin", "--source", source, "--fingerprint", place.tree.site.fingerprint).code == 0
    return desk


@pytest.fixture(scope="module")
def layout(place, desk):
    """Both releases in one layout, the older one first; what the exports said."""
    words = ("--format", "oci", "--to", "layout", "--source", str(place.tree.store))
    said = [desk.run("export", "--model", release, *words).result for release in ("bert-v1.0.0", "bert-v1.1.0")]
    return desk.folder / "layout", said


def skopeo(*words, folder):
    ran = subprocess.run(
        ["skopeo", "--insecure-policy", *words],
        env={**CLEAN, "HOME": str(folder)}, cwd=folder, capture_output=True, timeout=60, check=False,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr.decode()
    return ran.stdout


def files_in(folder):
    """Path → bytes, by the manifest of a folder that skopeo wrote with dir:."""
    manifest = json.loads((folder / "manifest.json").read_bytes())
    found = {}
    for layer in manifest["layers"]:
        data = (folder / layer["digest"].partition(":")[2]).read_bytes()
        assert f"sha256:{hashlib.sha256(data).hexdigest()}" == layer["digest"]
        found[layer["annotations"]["org.cncf.model.filepath"]] = data
    return found


def source_files(place, release):
    folder = place.tree.sources[release]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("number, release", [(0, "bert-v1.0.0"), (1, "bert-v1.1.0")])
def test_exported_layout_is_inspected_and_copied(layout, place, tmp_path, number, release):
    folder, said = layout
    (name,) = said[number]["names"]
    raw = skopeo("inspect", "--raw", f"oci:{folder}:{name}", folder=tmp_path)
    assert f"sha256:{hashlib.sha256(raw).hexdigest()}" == said[number]["digest"]
    assert json.loads(raw)["artifactType"] == "application/vnd.cncf.model.manifest.v1+json"
    skopeo("copy", f"oci:{folder}:{name}", f"dir:{tmp_path / 'out'}", folder=tmp_path)
    assert files_in(tmp_path / "out") == source_files(place, release)


def test_second_release_brings_only_what_changed(layout, place):
    folder, (first, second) = layout
    old, new = source_files(place, "bert-v1.0.0"), source_files(place, "bert-v1.1.0")
    same = [path for path in new if old.get(path) == new[path]]
    assert first["reused"] == 0
    assert second["reused"] == len(same) > 3
    blobs = {path.name for path in (folder / "blobs" / "sha256").iterdir()}
    assert blobs >= {hashlib.sha256(data).hexdigest() for data in (*old.values(), *new.values())}
    assert sorted(path.name for path in folder.iterdir()) == ["blobs", "index.json", "oci-layout"]


def test_export_again_changes_nothing(layout, desk, place):
    folder, said = layout
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    again = desk.run(
        "export", "--model", "bert-v1.1.0", "--format", "oci", "--to", "layout", "--source", str(place.tree.store)
    ).result
    assert (again["digest"], again["bytes_fetched"]) == (said[1]["digest"], 0)
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before


def test_folder_that_is_no_layout_is_left_alone(desk, place):
    other = desk.folder / "other"
    other.mkdir()
    (other / "mine.txt").write_text("mine")
    said = desk.run("export", "--model", "bert-v1.1.0", "--format", "oci", "--to", "other", "--source", str(place.tree.store))
    assert "something else than an OCI image layout" in said.refused(2)
    assert [path.name for path in other.iterdir()] == ["mine.txt"]
    said = desk.run(
        "export", "--model", "bert-v1.1.0", "--format", "oci", "--to", "other/mine.txt", "--source", str(place.tree.store)
    )
    assert "mine.txt is a file, expected a folder" in said.refused(2)


@pytest.mark.parametrize("reference, number", [("bert:1.0.0", 0), ("bert:stable", 0), ("bert:latest", 1), (f"{ALIAS}:1.1.0", 1)])
def test_site_holds_the_very_same_artifact(server, layout, tmp_path, reference, number):
    host = "{}:{}".format(*server.address)
    raw = skopeo("inspect", "--tls-verify=false", "--raw", f"docker://{host}/{reference}", folder=tmp_path)
    assert f"sha256:{hashlib.sha256(raw).hexdigest()}" == layout[1][number]["digest"]


@pytest.mark.parametrize("form", ["oci", "dir"])
def test_skopeo_copies_from_the_site(server, layout, place, tmp_path, form):
    host = "{}:{}".format(*server.address)
    digest = layout[1][0]["digest"]
    tag = ":x" if form == "oci" else ""
    skopeo("copy", "--src-tls-verify=false", f"docker://{host}/bert@{digest}", f"{form}:{tmp_path / 'out'}{tag}", folder=tmp_path)
    if form == "oci":
        index = json.loads((tmp_path / "out" / "index.json").read_bytes())
        assert index["manifests"][0]["digest"] == digest
    else:
        assert files_in(tmp_path / "out") == source_files(place, "bert-v1.0.0")


def test_tags_are_channels_and_versions(server, tmp_path):
    host = "{}:{}".format(*server.address)
    document = json.loads(skopeo("list-tags", "--tls-verify=false", f"docker://{host}/bert", folder=tmp_path))
    assert document["Tags"] == ["1.0.0", "1.1.0", "latest", "stable"]


@pytest.mark.parametrize(
    "target, code",
    [
        ("/v2/none/manifests/latest", "NAME_UNKNOWN"),
        ("/v2/bert/manifests/9.9.9", "MANIFEST_UNKNOWN"),
        (f"/v2/bert/manifests/sha256:{'0' * 64}", "MANIFEST_UNKNOWN"),
        (f"/v2/bert/blobs/sha256:{'0' * 64}", "BLOB_UNKNOWN"),
        ("/v2/bert/blobs/md5:0123", "DIGEST_INVALID"),
        ("/v2/bert/uploads/x", "NAME_INVALID"),
    ],
)
def test_registry_refuses_in_its_own_words(server, target, code):
    got = server.ask(target)
    assert (got.status, got.json["errors"][0]["code"]) == (404, code)
    assert got.headers["content-type"] == "application/json"


def test_blob_is_served_in_ranges_with_its_digest(server, place):
    data = place.source("bert-v1.1.0", "weights.bin")
    digest = hashlib.sha256(data).hexdigest()
    got = server.ask(f"/v2/bert/blobs/sha256:{digest}", Range="bytes=5-9")
    assert (got.status, got.body) == (206, data[5:10])
    assert got.headers["docker-content-digest"] == f"sha256:{digest}"
    assert server.ask("/v2/").headers["docker-distribution-api-version"] == "registry/2.0"


def test_source_that_is_away_is_told_in_the_result(place, desk):
    sources = ("--source", f"http://127.0.0.1:{free_port()}", "--source", str(place.tree.store))
    assert desk.run("trust.pin", *sources, "--fingerprint", place.tree.site.fingerprint).code == 0
    said = desk.run("export", "--model", "bert-v1.1.0", "--format", "oci", "--to", "told", *sources)
    assert said.code == 0, said.err
    assert len([line for line in said.result["warnings"] if "127.0.0.1" in line]) == 1
