"""Fetching as people do it: a publisher's machine, a user's machine, and a web server between them."""

import json

import pytest

from pipeline.cli.program import make_program
from tests.fetch_world import contents
from tests.publish_world import lay_out
from tests.servers import hostile

FIELDS = ["release", "folder", "files", "bytes", "bytes_fetched", "bytes_reused", "requests", "sources", "warnings", "seconds"]


@pytest.fixture
def tmp_path(disk_path):
    """As users have it: what lands goes past the cache, in blocks that a disk takes."""
    return disk_path


@pytest.fixture
def machine(tmp_path, monkeypatch, capsys):
    """Make machines: each has a home and a working folder of its own."""

    class Machine:
        def __init__(self, name):
            self.home = tmp_path / name
            self.home.mkdir()

        def run(self, *words, code=0, report="json", **environ):
            with monkeypatch.context() as at:
                at.chdir(self.home)
                for variable in ("XDG_STATE_HOME", "XDG_DATA_HOME", "XDG_CACHE_HOME", "MODELPORT_STORE", "MODELPORT_SOURCE"):
                    at.delenv(variable, raising=False)
                for variable, text in {"HOME": str(self.home), **environ}.items():
                    at.setenv(variable, text)
                found = 0
                try:
                    make_program().run(["modelport", *words, "--report", report])
                except SystemExit as stopped:
                    found = stopped.code
            out, err = capsys.readouterr()
            assert found == code, err
            if report != "json":
                return out
            return json.loads(err.splitlines()[-1] if code else out)

    return Machine


@pytest.fixture
def publisher(machine):
    """A machine that published bert 1.0.0 and, on stable, 1.1.0 into its own directory."""
    made = machine("publisher")
    lay_out(made.home / "models" / "bert-v1.0.0", tensor_bytes=600 << 10)
    lay_out(made.home / "models" / "bert-v1.1.0", tensor_bytes=600 << 10, other=1)
    made.run("publish", "--model", "bert-v1.0.0")
    made.fingerprint = made.run("publish", "--model", "bert-v1.1.0", "--channel", "stable")["root_fingerprint"]
    return made


@pytest.fixture
def web(publisher):
    store = publisher.home / ".modelport" / "store"
    objects = {path.relative_to(store).as_posix(): path.read_bytes() for path in store.rglob("*") if path.is_file()}
    with hostile.run_hostile(objects) as server:
        yield server


def test_own_store_is_fetched_from_without_any_setting(publisher):
    done = publisher.run("fetch", "--model", "bert@stable", "--to", "out")
    assert [field for field in FIELDS if field not in done] == []
    assert done["release"] == "bert-v1.1.0"
    assert contents(publisher.home / "out") == contents(publisher.home / "models" / "bert-v1.1.0")
    assert publisher.run("fetch", "--model", "bert-v1.1.0")["already_there"]


def test_a_tree_that_is_not_pinned_is_refused_with_its_fingerprint_and_the_next_command(machine, web, publisher):
    user = machine("user")
    failed = user.run("fetch", "--source", web.url, "--model", "bert@stable", code=4)
    assert publisher.fingerprint in failed["error"]
    assert f"trust.pin --fingerprint {publisher.fingerprint}" in failed["hint"]
    user.run("trust.pin", "--source", web.url, "--fingerprint", publisher.fingerprint)
    done = user.run("fetch", "--source", web.url, "--model", "bert@stable")
    assert done["folder"] == str(user.home / "models" / "bert-v1.1.0")
    assert contents(user.home / "models" / "bert-v1.1.0") == contents(publisher.home / "models" / "bert-v1.1.0")
    assert [source["url"] for source in done["sources"]] == [web.url]


def test_one_override_redirects_every_request(machine, web, publisher):
    user = machine("user")
    with hostile.run_hostile(web.objects) as file_says, hostile.run_hostile(web.objects) as environment_says:
        (user.home / "modelport.yaml").write_text(f"source: {{url: {file_says.url}, channel: stable}}\n")
        user.run("trust.pin", "--source", web.url, "--fingerprint", publisher.fingerprint)
        user.run("fetch", "--source", web.url, "--model", "bert", MODELPORT_SOURCE=environment_says.url)
        assert (len(file_says.requests), len(environment_says.requests)) == (0, 0)
        user.run("trust.pin", "--source", environment_says.url, "--fingerprint", publisher.fingerprint)
        before = len(web.requests)
        user.run("fetch", "--model", "bert@stable", "--to", "two", MODELPORT_SOURCE=environment_says.url)
        assert environment_says.requests
        user.run("trust.pin", "--fingerprint", publisher.fingerprint)
        assert user.run("fetch", "--model", "bert", "--to", "three")["release"] == "bert-v1.1.0"
        assert file_says.requests
        assert len(web.requests) == before


def test_several_sources_of_a_file_are_mirrors_with_credentials_of_their_own(machine, web, publisher):
    user = machine("user")
    (user.home / "modelport.yaml").write_text(
        f"source:\n  - {{url: {web.url}, channel: stable, auth: {{kind: bearer, token: MODEL_TOKEN}}}}\n  - {publisher.home}/.modelport/store\n"
    )
    secret = {"MODEL_TOKEN": "canary-4711"}
    user.run("trust.pin", "--fingerprint", publisher.fingerprint, **secret)
    done = user.run("fetch", "--model", "bert", **secret)
    assert len(done["sources"]) == 2
    assert {request.field("authorization") for request in web.requests} == {"Bearer canary-4711"}
    kept = [path for path in user.home.rglob("*") if path.is_file() and b"canary-4711" in path.read_bytes()]
    assert kept == []
    failed = user.run("fetch", "--model", "bert", code=2)
    assert "MODEL_TOKEN is not set" in failed["error"]


def test_installed_folder_is_proved_and_repaired(machine, web, publisher):
    user = machine("user")
    user.run("trust.pin", "--source", web.url, "--fingerprint", publisher.fingerprint)
    user.run("fetch", "--source", web.url, "--model", "bert-v1.0.0")
    folder = user.home / "models" / "bert-v1.0.0"
    before = len(web.requests)
    assert user.run("verify", "--folder", "models/bert-v1.0.0")["release"] == "bert-v1.0.0"
    assert len(web.requests) == before
    user.run("cache.clean")
    (folder / "config.json").write_text("{}")
    failed = user.run("verify", "--folder", "models/bert-v1.0.0", code=3)
    assert "config.json" in failed["error"]
    assert "--repair" in failed["hint"]
    done = user.run("verify", "--folder", "models/bert-v1.0.0", "--source", web.url, "--repair")
    assert done["repaired"] == ["config.json"]
    assert contents(folder) == contents(publisher.home / "models" / "bert-v1.0.0")


def test_offline_runs_on_what_is_here(machine, web, publisher):
    user = machine("user")
    user.run("trust.pin", "--source", web.url, "--fingerprint", publisher.fingerprint)
    user.run("fetch", "--source", web.url, "--model", "bert@stable")
    before = len(web.requests)
    done = user.run("fetch", "--source", web.url, "--model", "bert@stable", "--to", "copy", "--offline")
    assert (done["bytes_fetched"], done["requests"], len(web.requests) - before) == (0, 0, 0)
    failed = user.run("fetch", "--source", web.url, "--model", "bert-v1.0.0", "--offline", code=5)
    assert "--offline" in failed["error"]


def test_cache_is_cleaned_to_a_size(machine, web, publisher):
    user = machine("user")
    user.run("trust.pin", "--source", web.url, "--fingerprint", publisher.fingerprint)
    user.run("fetch", "--source", web.url, "--model", "bert@stable")
    dry = user.run("cache.clean", "--leave", "1MiB")
    assert dry["left_bytes"] <= 1 << 20 < dry["bytes"] + dry["left_bytes"]
    assert user.run("cache.clean")["left_files"] == 0
    assert contents(user.home / "models" / "bert-v1.1.0") == contents(publisher.home / "models" / "bert-v1.1.0")
    assert user.run("cache.clean", "--leave", "much", code=2)["error"].startswith("--leave: 'much'")


@pytest.mark.parametrize(
    "words, code, said",
    [
        (("fetch", "--model", "bert-v9.0.0"), 2, "Did you mean bert-v1."),
        (("fetch", "--model", "Bert"), 2, "Bert"),
        (("fetch", "--model", "bert@stable", "--source", "gopher://x"), 2, "gopher"),
        (("verify", "--repair", "--model", "bert-v1.0.0"), 2, "--folder"),
        (("verify",), 2, "--model or --folder"),
        (("verify", "--folder", "none"), 2, "no folder"),
    ],
)
def test_what_cannot_be_is_said_in_one_line(publisher, words, code, said):
    failed = publisher.run(*words, code=code)
    assert said in failed["error"] + failed["hint"]


def test_a_person_reads_what_came_and_what_to_do_next(publisher):
    said = publisher.run("fetch", "--model", "bert@stable", "--to", "out", report="plain")
    assert said.startswith("fetched: bert-v1.1.0\n")
    assert said.rstrip().endswith(f"next: invoke verify --folder {publisher.home}/out")
    assert "is bert-v1.1.0" in publisher.run("verify", "--folder", "out", report="plain")
    assert "removed" in publisher.run("cache.clean", report="plain")
