"""The tasks of a site, from the store to the site and back, as a person types them."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from bundles.zipped import installer_bytes
from pipeline.trust.keyfolder import make_keys
from tests.fetch_world import contents
from tests.install_world import COLUMNS, Column, make_bundle_tree
from tests.media_world import pack
from tests.trust_world import quick_folder


@pytest.fixture
def tmp_path():
    """In memory: what is synced at every step would wait for a busy disk."""
    with quick_folder() as folder:
        yield folder


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    return make_bundle_tree(tmp_path_factory.mktemp("tree") / "tree")


@pytest.fixture
def modelport(tmp_path):
    """Run the program in a folder of its own."""
    environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path)}
    environment |= {name: str(tmp_path / name) for name in ("XDG_STATE_HOME", "XDG_CACHE_HOME", "XDG_DATA_HOME")}

    def run(*words: object, ok: bool = True) -> subprocess.CompletedProcess:
        program = Path(sys.executable).with_name("modelport")
        ran = subprocess.run(
            [program, *words], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120, check=False
        )
        assert not ok or ran.returncode == 0, ran.stderr
        return ran

    return run


@pytest.mark.parametrize("installer", COLUMNS)
def test_store_to_bundle_to_site_to_fetch_and_to_the_next_bundle(tree, modelport, tmp_path, installer):
    store, fingerprint = f"file://{tree.store}", tree.site.fingerprint
    (tmp_path / "wheels").mkdir()
    modelport("trust.pin", "--store", store, "--fingerprint", fingerprint)
    modelport(
        "bundle.build", "--store", store, "--model", "top-v1.0.0", "--to", "usb", "--volume-size", "5MB", "--wheels", "wheels"
    )
    assert len(list((tmp_path / "usb").glob("*.tar"))) > 1
    assert (tmp_path / "usb" / "install.pyz").read_bytes() == installer_bytes()
    words = ["--from", tmp_path / "usb", "--site", tmp_path / "site", "--root-fingerprint", fingerprint, "--keep-parts"]
    if installer == "bundle.install":
        told = json.loads(modelport(installer, *words, "--report", "json").stdout)
        assert (told["generation"], told["missing"]) == (1, [])
        assert [one["release"] for one in told["releases"]] == ["bert-v1.1.0", "top-v1.0.0"]
    else:
        pyz = tmp_path / "usb" / "install.pyz"
        ran = subprocess.run(
            [sys.executable, "-I", "-S", pyz, *words], env={"PATH": "/usr/bin"}, capture_output=True, timeout=60, check=False
        )
        assert ran.returncode == 0, ran.stderr
    modelport("trust.pin", "--source", tmp_path / "site", "--fingerprint", fingerprint)
    modelport("fetch", "--model", "top-v1.0.0", "--source", tmp_path / "site")
    for release in ("bert-v1.1.0", "top-v1.0.0"):
        assert contents(tmp_path / "models" / release) == contents(tree.sources[release])
        modelport("verify", "--folder", tmp_path / "models" / release)
    modelport("bundle.build", "--source", tmp_path / "site", "--model", "bert-v1.1.0", "--to", "next", "--wheels", "wheels")
    modelport("bundle.install", "--from", "next", "--site", "site2", "--root-fingerprint", fingerprint)
    assert contents(tmp_path / "site2" / "models" / "bert-v1.1.0") == contents(tree.sources["bert-v1.1.0"])


def test_missing_volumes_end_with_7_and_the_next_medium_finishes(tree, modelport, tmp_path):
    packed = pack(tree, "raw-v1.0.0", volumes=2)
    words = ["--site", "site", "--root-fingerprint", tree.site.fingerprint]
    ran = modelport("bundle.install", "--from", packed.write(tmp_path / "one", only=[2]), *words, ok=False)
    assert ran.returncode == 7
    assert "volumes 1 of 2" in ran.stderr
    dry = modelport("--dry", "bundle.install", "--from", packed.write(tmp_path / "two", only=[1]), "--site", "site")
    assert "nothing was written" in dry.stdout
    ran = modelport("bundle.install", "--from", tmp_path / "two", "--site", "site")
    assert "generation 1" in ran.stdout
    assert contents(tmp_path / "site" / "models" / "raw-v1.0.0") == contents(tree.sources["raw-v1.0.0"])


@pytest.mark.parametrize(
    "words, code, said",
    [
        (["--site", "site"], 2, "--from is needed"),
        (["--from", "nowhere", "--site", "site"], 6, "nowhere"),
        (["--from", ".", "--site", "site"], 2, "no volume"),
        (["--from", ".", "--site", "site", "--keep", "none"], 2, "--keep none is not a number"),
        (["--from", ".", "--site", "site", "--root-fingerprint", "abc"], 2, "64 lower-case hex"),
    ],
)
def test_what_cannot_be_is_one_line_and_its_exit_code(modelport, words, code, said):
    ran = modelport("bundle.install", *words, ok=False)
    assert (ran.returncode, said in ran.stderr) == (code, True), ran.stderr
    assert "Traceback" not in ran.stderr


def test_signed_inventory_is_taken_by_the_builder(tree, modelport, tmp_path):
    media = pack(tree, "bert-v1.0.0").write(tmp_path / "usb")
    modelport("bundle.install", "--from", media, "--site", "site", "--root-fingerprint", tree.site.fingerprint)
    keys = make_keys(tmp_path / "keys")
    ran = modelport(
        "bundle.inventory", "--site", "site", "--to", "inventory.json", "--key", f"file2:{keys / 'root.pem'}", "--report", "json"
    )
    keyid = json.loads(ran.stdout)["keyid"]
    told = json.loads((tmp_path / "inventory.json").read_bytes())
    assert [one["keyid"] for one in told["signatures"]] == [keyid]
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    public = load_pem_private_key((keys / "root.pem").read_bytes(), None).public_key().public_bytes_raw().hex()
    store = f"file://{tree.store}"
    modelport("trust.pin", "--store", store, "--fingerprint", tree.site.fingerprint)
    planned = modelport(
        "bundle.plan",
        "--store",
        store,
        "--model",
        "bert-v1.1.0",
        "--have",
        "inventory.json",
        "--site-key",
        public,
        "--report",
        "json",
    )
    assert json.loads(planned.stdout)["bases"] == ["bert-v1.0.0"]
    again = modelport("bundle.inventory", "--site", "site", "--to", "inventory.json", ok=False)
    assert (again.returncode, "inventory.json" in again.stderr) == (6, True)
    nowhere = modelport("bundle.inventory", "--site", "usb", "--to", "x.json", ok=False)
    assert (nowhere.returncode, "nothing was installed" in nowhere.stderr) == (2, True)


def test_both_programs_say_the_same_of_a_wrong_root(tree, modelport, tmp_path):
    media = pack(tree, "raw-v1.0.0").write(tmp_path / "usb")
    alone = Column("install.pyz", tmp_path)
    for fingerprint in ("", "0" * 64):
        flags = ["--root-fingerprint", fingerprint] if fingerprint else []
        ran = modelport("bundle.install", "--from", media, "--site", "site", "--report", "json", *flags, ok=False)
        said = json.loads(ran.stderr.splitlines()[-1])
        other = alone.install(media, tmp_path / "site", fingerprint)
        assert (ran.returncode, said["error"]) == (other.code, other.error) == (4, other.error)
        assert tree.site.fingerprint in said["error"]
        assert not (tmp_path / "site").exists()


def test_installed_folders_are_verified_offline_and_put_right_from_a_medium(tree, modelport, tmp_path):
    media = pack(tree, "bert-v1.0.0").write(tmp_path / "usb")
    modelport("bundle.install", "--from", media, "--site", "site", "--root-fingerprint", tree.site.fingerprint)
    folder = tmp_path / "site" / "models" / "bert-v1.0.0"
    modelport("verify", "--folder", folder, "--offline")
    weights = bytearray((folder / "weights.safetensors").read_bytes())
    weights[3 << 20] ^= 1
    (folder / "weights.safetensors").write_bytes(weights)
    found = modelport("verify", "--folder", folder, "--offline", ok=False)
    assert (found.returncode, "weights.safetensors" in found.stderr) == (3, True)
    alone = Column("install.pyz", tmp_path).run("--site", str(tmp_path / "site"), "--verify")
    assert (alone.returncode, "bert-v1.0.0 is damaged: weights.safetensors" in alone.stdout) == (3, True)
    modelport("trust.pin", "--source", media, "--fingerprint", tree.site.fingerprint)
    done = modelport("verify", "--folder", folder, "--source", media, "--repair", "--report", "json")
    told = json.loads(done.stdout)
    assert told["repaired"] == ["weights.safetensors"]
    assert 0 < told["bytes_fetched"] < 4 << 20
    assert contents(folder) == contents(tree.sources["bert-v1.0.0"])
    assert Column("install.pyz", tmp_path).run("--site", str(tmp_path / "site"), "--verify").returncode == 0
