"""Stock clients at a site, unmodified: huggingface_hub, hf, pip, curl, modelport itself."""

import hashlib
import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.desk import CLEAN, Desk
from tests.fetch_world import contents
from tests.no_network import WITHOUT_NETWORK
from tests.site_nginx import SERVERS

CHECKOUT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module", params=list(SERVERS))
def alone(request, site_place, tmp_path_factory):
    """What clients of the hub found in a network that holds the site and nothing else."""
    scratch = tmp_path_factory.mktemp("alone")
    words = [
        *WITHOUT_NETWORK,
        sys.executable,
        "-m",
        "tests.site_alone",
        request.param,
        str(site_place.folder),
        str(scratch),
    ]
    ran = subprocess.run(words, cwd=CHECKOUT, env=CLEAN, capture_output=True, text=True, timeout=240, check=False)
    assert ran.returncode == 0, ran.stderr
    document = json.loads(ran.stdout)
    assert document["devices"] == ["lo"]
    assert document["client"], document["said"]
    return {**json.loads(document["client"]), "hf": document["hf"], "scratch": scratch}


def files_of(site_place, release):
    return sorted(contents(site_place.tree.sources[release]))


def test_hub_client_downloads_a_file_by_name_and_by_alias(alone, site_place):
    assert alone["file"] == len(site_place.source("bert-v1.1.0", "weights.bin"))
    # Its cache names a file by the ETag: the sha256 of what it is.
    assert alone["alias"] == hashlib.sha256(site_place.source("bert-v1.0.0", "onnx/noise.bin")).hexdigest()


def test_hub_client_downloads_snapshots_by_branch_version_and_commit(alone, site_place):
    assert alone["branch"] == files_of(site_place, "bert-v1.0.0")
    assert alone["version"] == files_of(site_place, "bert-v1.1.0")
    commit, folder = alone["commit"]
    assert commit == folder
    assert len(commit) == 40


def test_hub_client_downloads_by_patterns(alone):
    assert alone["patterns"] == ["config.json", "onnx/noise.bin"]


def test_hub_client_hears_what_is_missing_in_its_own_words(alone):
    assert alone["entry"] in {"EntryNotFoundError", "RemoteEntryNotFoundError"}
    assert alone["repo"] == "RepositoryNotFoundError"
    assert alone["revision"] == "RevisionNotFoundError"
    assert alone["refs"] == ["main", "stable"]


def test_hf_download_works(alone, site_place):
    assert alone["hf"] == 0
    assert (alone["scratch"] / "local" / "weights.bin").read_bytes() == site_place.source("bert-v1.0.0", "weights.bin")


@pytest.mark.parametrize("wanted, answer", [("tiny-thing", 42), ("Tiny.Thing==1.0", 1)])
def test_pip_installs_from_the_index(site_server, tmp_path, wanted, answer):
    words = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "--index-url",
        f"{site_server.url}/simple/",
        "--target",
        "there",
        "--no-cache-dir",
        wanted,
    ]
    environment = {**CLEAN, "HOME": str(tmp_path), "PIP_CONFIG_FILE": "/dev/null"}
    ran = subprocess.run(words, env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)
    assert ran.returncode == 0, ran.stderr
    assert (tmp_path / "there" / "Tiny_Thing.py").read_text() == f"answer = {answer}\n"


def test_curl_continues_a_download(site_server, site_place, tmp_path):
    data = site_place.source("bert-v1.1.0", "weights.bin")
    (tmp_path / "weights.bin").write_bytes(data[:1_000_000])
    words = [
        "curl",
        "--silent",
        "--fail",
        "--continue-at",
        "-",
        "--remote-name",
        f"{site_server.url}/models/bert-v1.1.0/weights.bin",
    ]
    subprocess.run(words, cwd=tmp_path, env=CLEAN, check=True, timeout=60)
    assert (tmp_path / "weights.bin").read_bytes() == data


def test_modelport_fetches_from_a_site_that_kept_its_tree(site_server, site_place, tmp_path):
    desk = Desk(tmp_path / "desk", tmp_path / "home")
    pin = desk.run("trust.pin", "--source", site_server.url, "--fingerprint", site_place.tree.site.fingerprint)
    assert pin.code == 0, pin.err
    done = desk.run("fetch", "--model", "bert-v1.1.0", "--source", site_server.url)
    assert done.code == 0, done.err
    assert contents(tmp_path / "desk" / "models" / "bert-v1.1.0") == contents(site_place.tree.sources["bert-v1.1.0"])


def test_setup_makes_pip_ask_the_site(site_server, site_place, tmp_path):
    desk = Desk(tmp_path / "desk", tmp_path / "home")
    found = desk.run("site.setup", "--site", str(site_place.folder), "--url", site_server.url).result
    (tmp_path / "pip.conf").write_text(found["files"]["pip.conf"])
    words = [sys.executable, "-m", "pip", "install", "--target", "there", "--no-cache-dir", "tiny-thing"]
    environment = {**CLEAN, "HOME": str(tmp_path), "PIP_CONFIG_FILE": str(tmp_path / "pip.conf")}
    ran = subprocess.run(words, env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)
    assert ran.returncode == 0, ran.stderr
    assert found["environment"]["HF_ENDPOINT"] == site_server.url
    unit = found["files"]["modelport-site.service"]
    assert f'site.serve --site "{site_place.folder}" --listen 0.0.0.0:{site_server.address[1]}' in unit
    assert f"User={site_place.folder.owner()}\n" in unit
    assert json.loads(found["files"]["daemon.json"]) == {"insecure-registries": ["{}:{}".format(*site_server.address)]}
    said = desk.run("site.setup", "--site", str(site_place.folder), "--url", site_server.url, report="plain").out
    assert f"export HF_ENDPOINT={site_server.url}" in said


@pytest.mark.parametrize("url", ["models.site:8080", "ftp://x", "http://x/path", "http://x y", 'http://x"', "http://"])
def test_setup_refuses_what_is_no_address(tmp_path, url):
    desk = Desk(tmp_path / "desk", tmp_path / "home")
    assert "is no address of a server" in desk.run("site.setup", "--site", "site", "--url", url).refused(2)


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (("--listen", "8080"), "is not host:port"),
        (("--upstream", "cdn.example/tree"), "is no address of a tree"),
        (("--upstream", "htps://cdn.example/tree"), "did you mean 'https'?"),
    ],
)
def test_setup_writes_no_unit_that_would_not_start(tmp_path, words, why):
    desk = Desk(tmp_path / "desk", tmp_path / "home")
    assert why in desk.run("site.setup", "--site", "site", "--url", "http://models.site", *words).refused(2)


def test_folders_with_a_space_stand_in_the_unit_in_quotes(tmp_path):
    desk = Desk(tmp_path / "desk", tmp_path / "home")
    unit = desk.run("site.setup", "--site", "a site", "--url", "http://models.site").result["files"]["modelport-site.service"]
    assert f'ReadOnlyPaths="{tmp_path}/desk/a site"' in unit
