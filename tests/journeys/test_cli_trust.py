"""The trust tasks as people use them: keys made, pinned, delegated, rotated, and signed by several."""

import json

import pytest

from pipeline.cli.program import make_program
from pipeline.trust import rotate


@pytest.fixture
def machine(tmp_path, monkeypatch, capsys):
    """Make machines: each has a home of its own, and all of them one store."""
    # Readers on their way are the subject of other tests.
    monkeypatch.setattr(rotate, "SETTLE_S", 0.0)

    class Machine:
        def __init__(self, name):
            self.home = tmp_path / name
            self.home.mkdir()
            self.err = ""

        def run(self, *words, code=0, **environ):
            with monkeypatch.context() as at:
                at.chdir(self.home)
                for variable in ("XDG_STATE_HOME", "XDG_DATA_HOME", "XDG_CACHE_HOME"):
                    at.delenv(variable, raising=False)
                for variable, text in {"HOME": str(self.home), "MODELPORT_STORE": str(tmp_path / "store"), **environ}.items():
                    at.setenv(variable, text)
                found = 0
                try:
                    make_program().run(["modelport", *words, "--report", "json"])
                except SystemExit as stopped:
                    found = stopped.code
            out, err = capsys.readouterr()
            self.err = err
            assert found == code, err
            if code:
                assert out == ""
                return json.loads(err.splitlines()[-1])
            return json.loads(out)

        @property
        def keys(self):
            return next((self.home / ".local/share/modelport/keys").iterdir())

    return Machine


def roles(shown):
    return {role["role"]: role for role in shown["roles"]}


def test_init_makes_keys_and_pins_and_is_done_once(machine):
    publisher = machine("publisher")
    first = publisher.run("trust.init")
    assert first["root"] == 1
    assert first["pins"] == [first["fingerprint"]]
    assert {role: found["threshold"] for role, found in roles(first).items()} == {
        "root": 1,
        "targets": 1,
        "snapshot": 1,
        "timestamp": 1,
    }
    assert sorted(file.name for file in publisher.keys.iterdir()) == ["release.pem", "root.pem", "targets.pem"]
    assert {file.stat().st_mode & 0o777 for file in publisher.keys.iterdir()} == {0o600}
    again = publisher.run("trust.init")
    assert (again["fingerprint"], again["root"]) == (first["fingerprint"], 1)


def test_another_machine_trusts_only_what_it_is_told_to(machine):
    publisher, reader = machine("publisher"), machine("reader")
    fingerprint = publisher.run("trust.init")["fingerprint"]
    refused = reader.run("trust.show", code=4)
    assert fingerprint in refused["error"] + refused["hint"]
    assert reader.run("trust.pin", "--fingerprint", "nonsense", code=2)["error"]
    reader.run("trust.pin", "--fingerprint", "0" * 64, code=4)
    # As it was read out and written down: in groups, in capitals.
    grouped = " ".join(fingerprint[at : at + 8].upper() for at in range(0, 64, 8))
    assert reader.run("trust.pin", "--fingerprint", grouped)["pins"] == [fingerprint]
    assert reader.run("trust.show")["fingerprint"] == fingerprint
    # A slip costs nothing that was trusted or seen before.
    assert fingerprint in reader.run("trust.pin", "--fingerprint", "0" * 64, code=4)["error"]
    assert reader.run("trust.show")["pins"] == [fingerprint]
    # It trusts, and still cannot sign.
    assert reader.run("trust.renew", code=4)["hint"]


def test_lost_first_root_is_told_when_a_later_one_is_pinned(machine, tmp_path):
    publisher, reader, another = (machine(name) for name in ("publisher", "reader", "another"))
    publisher.run("trust.init")
    second = publisher.run("trust.rotate", "--role", "snapshot")["fingerprint"]
    (tmp_path / "store" / "metadata" / "1.root.json").unlink()
    refused = reader.run("trust.pin", "--fingerprint", second, code=4)
    assert "a tree whose root 1 is lost; root 2 has fingerprint" in refused["error"]
    assert "put them back" in refused["hint"]
    # What is there must not be taken for a place where nobody began.
    (another.home / "models" / "bert-v1.0.0").mkdir(parents=True)
    (another.home / "models" / "bert-v1.0.0" / "w.bin").write_bytes(b"weights")
    assert "root 1 is lost" in another.run("publish", "--model", "bert-v1.0.0", code=4)["error"]
    assert "root 1 is lost" in another.run("trust.init", code=4)["error"]


def test_delegate_and_renew_make_new_snapshots(machine):
    publisher = machine("publisher")
    publisher.run("trust.init")
    first = publisher.run("trust.delegate", "--model", "bert")
    assert (first["changed"], first["roles"]) == (True, ["bert"])
    assert not publisher.run("trust.delegate", "--model", "bert")["changed"]
    renewed = publisher.run("trust.renew")
    assert renewed["snapshot"] > first["snapshot"]
    assert {"targets", "bert", "snapshot", "timestamp"} <= set(renewed["roles"])
    assert "bert" in roles(publisher.run("trust.show"))


def test_role_for_a_name_that_reads_like_another_is_told(machine):
    publisher = machine("publisher")
    publisher.run("trust.init")
    publisher.run("trust.delegate", "--model", "bert")
    assert "new-model" not in publisher.err
    publisher.run("trust.delegate", "--model", "brt")
    assert "brt is a new model of this tree: did you mean bert?" in publisher.err
    publisher.run("trust.delegate", "--model", "brt")
    assert "new-model" not in publisher.err
    key = f"file2:{publisher.keys}/targets.pem"
    for mistyped, near in (("brtt", "brt"), ("tagrets", "targets")):
        publisher.run("trust.stage", "--to", "change.json", "--key", f"{mistyped}={key}")
        assert f"{mistyped} is a new model of this tree: did you mean {near}?" in publisher.err
    assert publisher.run("trust.stage", "--to", "change.json", "--key", f"Bert={key}", code=2)["hint"] == "Did you mean bert?"


def test_key_that_is_not_there_is_looked_for_where_it_was_named(machine):
    publisher = machine("publisher")
    publisher.run("trust.init")
    refused = publisher.run("trust.stage", "--to", "change.json", "--key", "root=file2:x", code=4)
    assert (refused["error"], refused["hint"]) == ("signing key x: No such file or directory", "Check the path of the key.")


@pytest.mark.parametrize("role", ["targets", "root", "bert"])
def test_rotation_replaces_a_key_that_modelport_made(machine, role):
    publisher = machine("publisher")
    publisher.run("trust.init")
    publisher.run("trust.delegate", "--model", "bert")
    before = roles(publisher.run("trust.show"))[role]["keys"]
    publisher.run("trust.rotate", "--role", role)
    after = roles(publisher.run("trust.show"))[role]["keys"]
    assert after != before
    # The key in use is the new one.
    publisher.run("trust.renew")
    assert not list(publisher.keys.glob("*.next.pem"))


def test_rotation_of_named_keys_asks_for_the_new_one(machine):
    publisher = machine("publisher")
    publisher.run("trust.init")
    named = {f"MODELPORT_KEYS__{slot.upper()}": f"file2:{publisher.keys}/{slot}.pem" for slot in ("root", "targets", "release")}
    refused = publisher.run("trust.rotate", "--role", "targets", code=4, **named)
    assert "--key" in refused["hint"]


def test_dry_runs_leave_store_state_and_keys_alone(machine, tmp_path):
    publisher = machine("publisher")
    publisher.run("trust.init")

    def everything():
        return {
            str(path): path.read_bytes()
            for path in tmp_path.rglob("*")
            if path.is_file() and ".tmp" not in path.parts and path.name != "lock"
        }

    before = everything()
    assert publisher.run("--dry", "trust.delegate", "--model", "bert")["changed"]
    assert publisher.run("--dry", "trust.renew")["changed"]
    assert everything() == before
    assert publisher.run("trust.delegate", "--model", "bert")["changed"]


def test_a_change_travels_to_two_key_holders_and_back(machine, tmp_path):
    publisher, alice = machine("publisher"), machine("alice")
    publisher.run("trust.init")
    root = publisher.keys / "root.pem"
    alice.run("trust.init", "--store", str(tmp_path / "elsewhere"))
    second = alice.keys / "root.pem"
    change = str(tmp_path / "change.json")

    staged = publisher.run(
        "trust.stage", "--to", change, "--key", f"root=file2:{root}", "--key", f"root=file2:{second}", "--threshold", "root=2"
    )
    assert any("threshold 1 becomes 2" in line for line in staged["changes"])
    assert publisher.run("trust.apply", "--change", change, code=4)["error"]

    here = publisher.run("trust.sign", "--change", change)
    assert (len(here["signed"]), here["complete"]) == (1, False)
    assert publisher.run("trust.apply", "--change", change, code=4)["error"]

    there = alice.run("trust.sign", "--change", change, MODELPORT_STORE="s3://no-such-bucket-is-asked/x")
    assert there["complete"]
    assert publisher.run("trust.apply", "--change", change)["changed"]
    shown = roles(publisher.run("trust.show"))["root"]
    assert (shown["version"], shown["threshold"], len(shown["keys"])) == (2, 2, 2)


def test_threshold_that_the_keys_can_never_meet_is_refused_before_anything_is_staged(machine, tmp_path):
    publisher = machine("publisher")
    publisher.run("trust.init")
    key = f"file2:{publisher.keys / 'release.pem'}"
    to = ("trust.stage", "--to", str(tmp_path / "change.json"))
    for role, words in (
        ("root", ("--threshold", "root=2")),
        ("snapshot", ("--threshold", "snapshot=2")),
        ("bert", ("--key", f"bert={key}", "--threshold", "bert=2")),
        ("targets", ("--key", f"targets={key}", "--key", f"targets={key}", "--threshold", "targets=2")),
    ):
        refused = publisher.run(*to, *words, code=2)
        assert refused["error"] == f"{role}: 1 key is too few for a threshold of 2"
    assert not (tmp_path / "change.json").exists()


def test_key_that_is_named_twice_counts_once(machine):
    publisher = machine("publisher")
    publisher.run("trust.init")
    twice = ("--role-key", f"file2:{publisher.keys / 'release.pem'}") * 2
    refused = publisher.run("trust.delegate", "--model", "bert", *twice, "--threshold", "2", code=2)
    assert refused["error"] == "bert: 1 key is too few for a threshold of 2"
    assert publisher.run("trust.delegate", "--model", "bert", *twice)["changed"]


def test_role_that_cannot_be_a_model_is_refused_before_anything_is_staged(machine, tmp_path):
    publisher = machine("publisher")
    publisher.run("trust.init")
    key = f"Targets=file2:{publisher.keys / 'release.pem'}"
    refused = publisher.run("trust.stage", "--to", str(tmp_path / "change.json"), "--key", key, code=2)
    assert "'Targets' is refused" in refused["error"]
    assert not (tmp_path / "change.json").exists()


def test_staged_change_that_is_damaged_is_refused(machine, tmp_path):
    publisher = machine("publisher")
    publisher.run("trust.init")
    change = tmp_path / "change.json"
    assert publisher.run("trust.sign", "--change", str(change), code=2)["error"]
    change.write_text("{}")
    assert publisher.run("trust.sign", "--change", str(change), code=3)["error"]
    assert publisher.run("trust.stage", "--to", str(change), "--key", "root", code=2)["hint"]
    assert publisher.run("trust.stage", "--to", str(change), "--threshold", "root=two", code=2)["hint"]


def test_unusable_keys_are_one_clear_line(machine):
    publisher = machine("publisher")
    publisher.run("trust.init")
    release = publisher.keys / "release.pem"
    release.chmod(0o644)
    refused = publisher.run("trust.renew", code=4)
    assert "0600" in refused["error"]
    assert "chmod 600" in refused["hint"]


def test_rotating_what_does_not_exist_names_the_nearest(machine):
    publisher = machine("publisher")
    publisher.run("trust.init")
    publisher.run("trust.delegate", "--model", "bert")
    for role, near in (("rleease", "release"), ("bret", "bert")):
        refused = publisher.run("trust.rotate", "--role", role, code=2)
        assert near in refused["hint"]


def test_file_that_is_no_staged_change_is_named(machine, tmp_path):
    one = machine("one")
    one.run("trust.init")
    (tmp_path / "garbage").write_text("garbage")
    said = one.run("trust.sign", "--change", str(tmp_path / "garbage"), code=3)
    assert f"{tmp_path}/garbage is not strict JSON" in said["error"]
    assert "trust.stage" in said["hint"]
