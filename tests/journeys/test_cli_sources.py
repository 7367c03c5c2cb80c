"""mirror, doctor, bench and export as a person starts them."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.loopback import loopback_of

MODELPORT = Path(sys.executable).with_name("modelport")


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A working folder with a published release of profile raw, and how to run a task there."""
    folder = tmp_path_factory.mktemp("place")
    (folder / "models" / "bert-v1.0.0").mkdir(parents=True)
    (folder / "models" / "bert-v1.0.0" / "weights.bin").write_bytes(os.urandom(300_000))

    def run(*words, **environ):
        clean = {name: value for name, value in os.environ.items() if not name.startswith("MODELPORT_")}
        homes = {"HOME": str(folder / "home"), "XDG_STATE_HOME": "", "XDG_DATA_HOME": "", "XDG_CACHE_HOME": ""}
        return subprocess.run(
            [MODELPORT, *words],
            cwd=folder,
            env=clean | homes | environ,
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            timeout=120,
            check=False,
        )

    run.folder = folder
    assert run("publish", "--model", "bert-v1.0.0", "--profile", "raw", "--channel", "stable").returncode == 0
    return run


def answer(shown):
    assert shown.returncode == 0, shown.stderr
    return json.loads(shown.stdout)


def test_mirror_is_a_source_for_fetch_and_shows_what_it_would_delete(place):
    done = answer(place("mirror", "--all", "--to", "copy", "--delete", "--report", "json"))
    assert (done["moved"], done["garbage"], done["releases"]) == (True, [], ["bert-v1.0.0"])
    copy = str(place.folder / "copy")
    assert place("trust.pin", "--source", copy, "--fingerprint", done["root_fingerprint"]).returncode == 0
    fetched = answer(place("fetch", "--model", "bert", "--source", copy, "--to", "elsewhere", "--report", "json"))
    assert fetched["release"] == "bert-v1.0.0"
    again = place("mirror", "--model", "bert", "--to", "copy")
    assert "copied 0, 0 B" in again.stdout


@pytest.mark.parametrize(
    "words, said",
    [
        (["--to", "copy", "--model", "bert", "--all"], "--model and --all"),
        (["--to", "copy", "--all", "--apply"], "--apply goes with --delete"),
    ],
)
def test_mirror_refuses_what_does_not_go_together(place, words, said):
    shown = place("mirror", *words)
    assert (shown.returncode, shown.stdout) == (2, "")
    assert said in shown.stderr


def test_dry_mirror_writes_nothing(place):
    done = answer(place("--dry", "mirror", "--to", "never", "--report", "json"))
    assert done["objects_copied"] == done["objects"] > 0
    assert not (place.folder / "never").exists()


def test_doctor_reports_a_dead_source_and_every_setting_without_failing(place):
    store = str(place.folder / ".modelport" / "store")
    words = {"MODELPORT_SOURCE": f"http://127.0.0.1:9/tree {store}", "HTTPS_PROXY": "http://ada:s3cr3t-pw@127.0.0.1:9"}
    shown = place("doctor", "--report", "json", **words)
    found = answer(shown)
    assert [source["works"] for source in found["sources"]] == [False, True]
    origins = {row["name"]: row["origin"] for row in found["settings"]}
    assert (origins["source"], origins["store"]) == ("MODELPORT_SOURCE", "default")
    assert "s3cr3t-pw" not in shown.stdout + shown.stderr
    table = place("doctor", **words).stdout
    for word in ("does not work", "latency", "window scaling", "MODELPORT_SOURCE", "congestion"):
        assert word in table


def test_doctor_fails_when_no_source_works_and_reports_all_the_same(place):
    shown = place("doctor", "--source", "http://127.0.0.1:9/tree", "--report", "json")
    assert shown.returncode == 5
    assert json.loads(shown.stdout)["working"] == 0
    assert json.loads(shown.stderr.splitlines()[-1])["code"] == 5


def test_bench_measures_ours_beside_what_is_installed(place):
    done = answer(place("bench", "--repeat", "1", "--at", "1", "--at", "3", "--report", "json"))
    assert [(row["program"], row["connections"]) for row in done["rows"]] == [
        (program, connections) for connections in (1, 3) for program in ("modelport", "curl", "aria2c")
    ]
    assert all(row["bytes"] == 300_000 and row["seconds"] > 0 and row["cpu_seconds"] > 0 for row in done["rows"])
    assert (done["warnings"], done["not_installed"]) == ([], [])


def test_bench_without_peers_shows_ours_alone(place, tmp_path):
    shown = place("bench", "--repeat", "1", "--at", "2", PATH=str(tmp_path))
    assert shown.returncode == 0, shown.stderr
    assert "not installed: curl, aria2c" in shown.stdout
    assert "every byte" in shown.stdout


def test_bench_runs_where_a_folder_has_the_name_of_our_package(place):
    foreign = place.folder / "pipeline"
    foreign.mkdir()
    (foreign / "__init__.py").write_text("raise SystemExit('this is not modelport')\n")
    try:
        done = answer(place("bench", "--repeat", "1", "--at", "2", "--report", "json"))
    finally:
        shutil.rmtree(foreign)
    assert done["rows"][0]["bytes"] == 300_000


def test_bench_names_a_work_folder_that_is_not_there(place):
    shown = place("bench", "--repeat", "1", "--at", "2", "--work", "nowhere")
    assert shown.returncode == 6
    assert f"cannot write into {place.folder / 'nowhere'}: No such file or directory" in shown.stderr
    assert "--work" in shown.stderr


def test_bench_measures_peers_in_a_work_folder_that_is_named_from_here(place):
    (place.folder / "here").mkdir()
    done = answer(place("bench", "--repeat", "1", "--at", "2", "--work", "here", "--report", "json"))
    assert [row["program"] for row in done["rows"]] == ["modelport", "curl", "aria2c"]
    assert list((place.folder / "here").iterdir()) == []


def test_export_names_the_next_command(place):
    shown = place("export", "--model", "bert", "--format", "aria2", "--to", "out", "--url", "https://cdn.example/tree")
    assert shown.returncode == 0, shown.stderr
    assert "aria2c --input-file=parts.aria2" in shown.stdout
    assert sorted(path.name for path in (place.folder / "out").iterdir()) == [
        "PARTS.sha256",
        "SHA256SUMS",
        "assemble.sh",
        "parts.aria2",
    ]


def test_export_without_an_address_says_what_is_missing(place):
    shown = place("export", "--model", "bert", "--format", "curl", "--to", "o2")
    assert (shown.returncode, shown.stdout) == (2, "")
    assert "--url https://" in shown.stderr
    assert not (place.folder / "o2").exists()


@pytest.fixture
def served(place):
    """The tree of ``place`` over http, its root trusted there."""
    shown = answer(place("trust.show", "--report", "json"))
    with loopback_of(place.folder / ".modelport" / "store") as url:
        assert place("trust.pin", "--source", url, "--fingerprint", shown["fingerprint"]).returncode == 0
        yield url


def test_slip_in_the_pin_of_a_source_costs_nothing_that_was_trusted(place, served):
    before = answer(place("trust.show", "--source", served, "--report", "json"))
    refused = place("trust.pin", "--source", served, "--fingerprint", "0" * 64)
    assert refused.returncode == 4
    assert f"no root of {served} has the fingerprint {'0' * 64}; its newest root is 1 with fingerprint" in refused.stderr
    assert "Nothing was changed" in refused.stderr
    assert answer(place("trust.show", "--source", served, "--report", "json")) == before


@pytest.mark.parametrize("by", ["flag", "file"])
def test_bench_measures_the_source_that_was_named(place, served, by):
    if by == "file":
        (place.folder / "modelport.yaml").write_text(f"source: {served}\n")
    words = ["--source", served] if by == "flag" else []
    try:
        done = answer(place("bench", "--repeat", "1", "--at", "2", *words, "--report", "json"))
    finally:
        (place.folder / "modelport.yaml").unlink(missing_ok=True)
    assert done["url"] == served
    assert done["rows"][0]["bytes"] == 300_000


def test_source_is_repeated_for_mirrors_and_a_dead_one_is_named(place, served):
    dead = "http://127.0.0.1:9/tree"
    words = ["fetch", "--model", "bert", "--to", "mirrored", "--cache-limit", "0", "--report", "json"]
    done = answer(place(*words, "--source", served, "--source", dead))
    assert [use["url"] for use in done["sources"]] == [served, dead]
    other = place(*words, "--source", dead, "--source", served, XDG_STATE_HOME=str(place.folder / "nowhere"))
    assert other.returncode == 4
    # What to type next pins what was asked, not the store.
    assert f"--source {dead} --source {served}" in other.stderr


def test_dry_fetch_claims_nothing_that_was_not_done(place, served):
    shown = place("--dry", "fetch", "--model", "bert", "--source", served, "--to", "never", "--cache-limit", "0")
    assert shown.returncode == 0, shown.stderr
    assert "would fetch: bert-v1.0.0" in shown.stdout
    assert "verified" not in shown.stdout
    assert not (place.folder / "never").exists()


def test_model_without_channels_leads_to_a_release(place):
    (place.folder / "models" / "tok-v1.0.0").mkdir(parents=True)
    (place.folder / "models" / "tok-v1.0.0" / "t.json").write_text("{}")
    assert place("publish", "--model", "tok-v1.0.0").returncode == 0
    shown = place("fetch", "--model", "tok")
    assert shown.returncode == 2
    assert "--model tok-v1.0.0" in shown.stderr


@pytest.mark.parametrize("content", [None, "no certificate"])
def test_authorities_that_cannot_be_read_are_one_clear_line(place, content):
    path = place.folder / "own.pem"
    path.unlink(missing_ok=True)
    if content:
        path.write_text(content)
    shown = place("fetch", "--model", "bert", "--source", "https://127.0.0.1:9/tree", "--ca-bundle", "own.pem")
    assert (shown.returncode, shown.stdout) == (2, "")
    assert str(path) in shown.stderr
    assert "Traceback" not in shown.stderr
