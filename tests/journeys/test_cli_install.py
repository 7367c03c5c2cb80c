"""The tasks of a site, from the store to the site and back, as a person types them."""

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from bundles.installer import program
from bundles.zipped import installer_bytes
from pipeline.trust.keyfolder import make_keys
from tests.fetch_world import contents, copy_of
from tests.install_world import COLUMNS, Column, make_bundle_tree
from tests.media_world import pack


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
    assert "volume 1 of 2 is missing" in ran.stderr
    dry = modelport("--dry", "bundle.install", "--from", packed.write(tmp_path / "two", only=[1]), "--site", "site")
    assert "nothing was written" in dry.stdout
    ran = modelport("bundle.install", "--from", tmp_path / "two", "--site", "site")
    assert "generation 1" in ran.stdout
    assert contents(tmp_path / "site" / "models" / "raw-v1.0.0") == contents(tree.sources["raw-v1.0.0"])


@pytest.mark.parametrize(
    "words, code, said",
    [
        (["--site", "site"], 2, "--from is needed"),
        (["--from", "nowhere", "--site", "site"], 2, "nowhere"),
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
    # As it was read out and written down.
    groups = " ".join(re.findall("....", tree.site.fingerprint.upper()))
    modelport("bundle.install", "--from", media, "--site", "site", "--root-fingerprint", groups)
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


@pytest.mark.parametrize("installer", COLUMNS)
def test_what_any_installer_put_there_is_verified_without_a_source(tree, modelport, tmp_path, installer):
    """On a machine that never fetched: nothing is known here but what the site itself keeps."""
    media = pack(tree, "bert-v1.0.0").write(tmp_path / "usb")
    assert Column(installer, tmp_path).install(media, tmp_path / "site", tree.site.fingerprint).code == 0
    live, folder = tmp_path / "site" / "current" / "bert", tmp_path / "site" / "models" / "bert-v1.0.0"
    for way in (live, folder, tmp_path / "site" / "generations" / "1" / "bert"):
        told = json.loads(modelport("verify", "--folder", way, "--offline", "--report", "json").stdout)
        assert (told["folder"], told["release"], told["requests"]) == (str(folder), "bert-v1.0.0", 0)
    name = modelport("verify", "--folder", folder, "--model", "gpt-v1.0.0", "--offline", ok=False)
    assert name.returncode != 0
    (folder / "config.json").write_bytes(b"{}")
    (folder / "mine.txt").write_bytes(b"mine")
    found = modelport("verify", "--folder", live, "--offline", ok=False)
    assert (found.returncode, "config.json" in found.stderr, "mine.txt" in found.stderr) == (3, True, True)
    for manifest in (tmp_path / "site" / "state" / "installed" / "manifests").iterdir():
        manifest.write_bytes(manifest.read_bytes() + b" ")
    altered = modelport("verify", "--folder", live, "--offline", ok=False)
    assert (altered.returncode, "was altered or is gone" in altered.stderr) == (3, True)


def test_a_folder_that_only_looks_like_a_site_is_asked_for_as_any_other(modelport, tmp_path):
    (tmp_path / "site" / "models" / "bert-v1.0.0").mkdir(parents=True)
    (tmp_path / "site" / "state").mkdir()
    (tmp_path / "site" / "state" / "lock").touch()
    for way in ("models/bert-v1.0.0", "current/bert"):
        ran = modelport("verify", "--folder", tmp_path / "site" / way, "--offline", ok=False)
        assert (ran.returncode in {2, 5}, "Traceback" in ran.stderr) == (True, False), ran.stderr


CASES = {
    "done": (0, ["--from", "{media}", "--site", "{site}", "--root-fingerprint", "{fingerprint}"]),
    "checked": (0, ["{dry}", "--from", "{media}", "--site", "{site}", "--root-fingerprint", "{fingerprint}"]),
    "no medium named": (2, ["--site", "{site}"]),
    "no number": (2, ["--from", "{media}", "--site", "{site}", "--keep", "none"]),
    "no volume there": (2, ["--from", "{nothing}", "--site", "{site}"]),
    "damaged": (3, ["--from", "{damaged}", "--site", "{site}", "--root-fingerprint", "{fingerprint}"]),
    "no root": (4, ["--from", "{media}", "--site", "{site}"]),
    "wrong root": (4, ["--from", "{media}", "--site", "{site}", "--root-fingerprint", "0" * 64]),
    "no disk": (6, ["--from", "{media}", "--site", "/proc/site", "--root-fingerprint", "{fingerprint}"]),
    "volumes missing": (7, ["--from", "{first}", "--site", "{site}", "--root-fingerprint", "{fingerprint}"]),
}


@pytest.mark.parametrize("case", CASES)
def test_both_programs_report_the_same_as_json_on_every_exit(tree, modelport, tmp_path, case):
    code, words = CASES[case]
    packed = pack(tree, "raw-v1.0.0", volumes=2)
    damaged = packed.write(tmp_path / "damaged")
    volume = sorted(damaged.glob("*.tar"))[1]
    data = bytearray(volume.read_bytes())
    data[-2000] ^= 1
    volume.write_bytes(data)
    (tmp_path / "nothing").mkdir()
    places = {"media": packed.write(tmp_path / "usb"), "first": packed.write(tmp_path / "first", only=[1]), "damaged": damaged}
    places |= {"nothing": tmp_path / "nothing", "fingerprint": tree.site.fingerprint}
    spelled = {}
    for name in COLUMNS:
        given = [word.format(**places, site=tmp_path / f"site of {name}", dry="--check") for word in words] + ["--report", "json"]
        if name == "install.pyz":
            ran = Column(name, tmp_path).run(*given)
        else:
            dry = ["--dry"] if "--check" in given else []
            ran = modelport(*dry, "bundle.install", *(word for word in given if word != "--check"), ok=False)
        assert ran.returncode == code, ran.stderr
        document = json.loads(ran.stdout) if ran.stdout else {}
        last = json.loads(ran.stderr.splitlines()[-1]) if code else {}
        spelled[name] = (document, last)
    (alone, failed), (ours, our_failed) = spelled.values()
    assert alone.keys() == ours.keys()
    assert bool(alone) == (code in {0, 7})
    own = {"site", "decoder", "receipt"}
    assert {key: value for key, value in alone.items() if key not in own} == {
        key: value for key, value in ours.items() if key not in own
    }
    assert (failed.get("event"), failed.get("code")) == (our_failed.get("event"), our_failed.get("code"))
    assert failed.keys() == our_failed.keys()
    if code in {3, 4, 7}:
        told = [one["error"].replace("site of install.pyz", "site of bundle.install") for one in (failed, our_failed)]
        assert told[0] == told[1]


def test_what_else_install_pyz_does_is_json_too(tree, tmp_path):
    alone, site = Column("install.pyz", tmp_path), tmp_path / "site"
    assert alone.install(pack(tree, "raw-v1.0.0").write(tmp_path / "usb"), site, tree.site.fingerprint).code == 0
    proven = alone.run("--site", str(site), "--verify", "--report", "json")
    assert json.loads(proven.stdout)["releases"] == ["raw-v1.0.0"]
    told = json.loads(alone.run("--site", str(site), "--inventory", "have.json", "--report", "json").stdout)
    assert (told["releases"], told["root_fingerprint"], told["keyid"]) == (["raw-v1.0.0"], tree.site.fingerprint, "")
    (site / "models" / "raw-v1.0.0" / "config.json").write_bytes(b"")
    damaged = alone.run("--site", str(site), "--verify", "--report=json")
    failed = json.loads(damaged.stderr)
    assert (damaged.returncode, damaged.stdout, failed["code"]) == (3, "", 3)
    assert "raw-v1.0.0/config.json" in failed["error"]
    wrong = alone.run("--report", "json", "--nonsense")
    assert (wrong.returncode, wrong.stdout, json.loads(wrong.stderr)["code"]) == (2, "", 2)


def test_one_looks_into_an_older_medium_on_purpose(tree, modelport, tmp_path):
    tree = copy_of(tree, tmp_path / "tree")
    old = pack(tree, "bert-v1.1.0").write(tmp_path / "old")
    tree.lay_out("bert-v1.2.0", seed=3, tensor_bytes=8 << 10)
    new = pack(tree, "bert-v1.2.0").write(tmp_path / "new")
    modelport("trust.pin", "--source", new, "--fingerprint", tree.site.fingerprint)
    modelport("show", "--source", new)
    looks = (["show"], ["show", "--model", "bert-v1.1.0"], ["verify", "--model", "bert-v1.1.0", "--all"])
    for words in looks:
        refused = modelport(*words, "--source", old, ok=False)
        assert (refused.returncode, "--allow-downgrade" in refused.stderr) == (4, True), refused.stderr
        told = json.loads(modelport(*words, "--source", old, "--allow-downgrade", "--report", "json").stdout)
        assert words == looks[1] or any("allowed by --allow-downgrade" in warning for warning in told["warnings"])
    assert "bert-v1.2.0" in modelport("show", "--source", new).stdout


def test_interrupt_and_bug_of_install_pyz_are_told_as_modelport_tells_them(monkeypatch, capsys):
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)
    before = signal.getsignal(signal.SIGTERM)
    words = ["--from", "x", "--site", "y", "--report", "json"]
    try:
        monkeypatch.setattr(program, "install", lambda *_, **__: signal.raise_signal(signal.SIGTERM))
        assert program.main(words) == 130
        told = json.loads(capsys.readouterr().err)
        assert (told["event"], told["code"], told["error"]) == ("failed", 130, "interrupted")
        monkeypatch.setattr(program, "install", lambda *_, **__: {}["bug"])
        with pytest.raises(KeyError) as bug:
            program.main(words)
        sys.excepthook(bug.type, bug.value, bug.tb)
        *trace, last = capsys.readouterr().err.splitlines()
        assert "Traceback" in trace[0]
        assert json.loads(last)["code"] == 1
    finally:
        signal.signal(signal.SIGTERM, before)


@pytest.fixture
def installing(tree, tmp_path):
    """The words that install a bundle into a folder of any name, by either program."""
    media = pack(tree, "bert-v1.0.0").write(tmp_path / "media")
    (tmp_path / "install.pyz").write_bytes(installer_bytes())
    programs = {
        "install.pyz": [sys.executable, "-I", "-S", tmp_path / "install.pyz"],
        "bundle.install": [Path(sys.executable).with_name("modelport"), "bundle.install"],
    }

    def start(name, site, *more, **streams):
        words = [*programs[name], "--from", media, "--site", site, "--root-fingerprint", tree.site.fingerprint, *more]
        places = {one: str(tmp_path / one) for one in ("HOME", "XDG_STATE_HOME", "XDG_CACHE_HOME", "XDG_DATA_HOME")}
        environment = {"PATH": "/usr/bin:/bin", **places}
        return subprocess.run(words, cwd=tmp_path, env=environment, timeout=120, check=False, **streams)

    return start


@pytest.mark.parametrize("name", COLUMNS)
def test_reader_of_the_result_may_leave(installing, tmp_path, name):
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write, "wb") as nobody:
        ran = installing(name, "site", stdout=nobody, stderr=subprocess.PIPE, text=True)
    assert (ran.returncode, "error" in ran.stderr) == (0, False), ran.stderr
    assert (tmp_path / "site" / "current" / "bert").is_dir()


@pytest.mark.parametrize("name", COLUMNS)
def test_result_that_cannot_be_written_is_no_bug(installing, tmp_path, name):
    with Path("/dev/full").open("wb") as full:
        ran = installing(name, "site", stdout=full, stderr=subprocess.PIPE, text=True)
    assert (ran.returncode, "the result cannot be written: No space left" in ran.stderr) == (6, True), ran.stderr
    assert "Traceback" not in ran.stderr
    assert "It was done all the same." in ran.stderr
    with Path("/dev/full").open("wb") as full:
        ran = installing(name, "other", stdout=subprocess.PIPE, stderr=full, text=True)
    assert (ran.returncode, "live" in ran.stdout) == (0, True), ran.stdout


def test_reader_of_the_help_of_install_pyz_may_leave(tmp_path):
    (tmp_path / "install.pyz").write_bytes(installer_bytes())
    words = [sys.executable, "-I", "-S", tmp_path / "install.pyz", "--help"]
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write, "wb") as nobody:
        ran = subprocess.run(words, stdout=nobody, stderr=subprocess.PIPE, text=True, timeout=60, check=False)
    assert (ran.returncode, ran.stderr) == (0, "")
    assert "Exit codes: 0 done" in subprocess.run(words, capture_output=True, text=True, timeout=60, check=True).stdout


@pytest.mark.parametrize("name", COLUMNS)
@pytest.mark.parametrize("mode", ["plain", "json"])
def test_site_whose_name_is_no_text_is_installed_and_told(installing, tmp_path, name, mode):
    site = os.fsdecode(b"site-\xff")
    ran = installing(name, site, "--report", mode, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    assert (json.loads(ran.stdout)["site"] == site) if mode == "json" else ("\\udcff" in ran.stdout)
    assert (tmp_path / site / "current" / "bert").is_dir()
