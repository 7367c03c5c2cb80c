"""Ctrl-C and SIGTERM in the middle: exit code 130 at once, the lease stays, and the next run goes on."""

import json
import signal
import threading
import time

import pytest

from tests.desk import Desk
from tests.publish_calm import finish
from tests.publish_world import STABLE, lay_out
from tests.servers import hostile
from tests.servers.relay import Rule

# What it waits for would take a minute; a busy machine takes seconds for the rest.
QUICK_S = 15.0


def desk_for(site, relay, server, calm):
    keys = {f"MODELPORT_KEYS__{slot.upper()}": f"file2:{site.keys}/{slot}.pem" for slot in ("root", "targets", "release")}
    places = {"MODELPORT_STORE": site.store.url, "MODELPORT_ENDPOINT": relay.endpoint}
    desk = Desk(site.folder / "desk", site.folder / "home", {**server.environment, **places, **keys})
    desk.run("trust.pin", "--fingerprint", site.fingerprint)
    return desk, [
        "publish",
        "--model",
        calm.release(0),
        "--source",
        str(calm.sources[0]),
        "--profile",
        "raw",
        "--channel",
        "stable",
    ]


# Either signal has the same way in, so not every place needs both.
@pytest.mark.parametrize(
    ("number", "method", "path"),
    [
        (signal.SIGINT, "PUT", "/parts/"),
        (signal.SIGTERM, "PUT", "/parts/"),
        (signal.SIGTERM, "PUT", "snapshot.json"),
        (signal.SIGINT, "GET", "root.json"),
    ],
)
def test_interrupted_publish_ends_at_once_though_the_store_hangs(
    calm, make_site, seaweedfs, seaweedfs_relay, number, method, path
):
    site = make_site("seaweedfs", endpoint=seaweedfs_relay.endpoint)
    desk, words = desk_for(site, seaweedfs_relay, seaweedfs, calm)
    hung = seaweedfs_relay.spoil(Rule("hold", method, path, times=99))
    child = desk.start(*words, "--report", "json")
    assert hung.held.wait(30), "it never came so far"
    asked_s = time.monotonic()
    child.send_signal(number)
    out, err = child.communicate(timeout=60)
    assert time.monotonic() - asked_s < QUICK_S
    assert child.returncode == 130
    assert out == ""
    assert json.loads(err.splitlines()[-1]) == {
        "event": "failed",
        "code": 130,
        "error": "interrupted",
        "hint": "Run it again: it goes on with what is missing.",
    }
    assert "Traceback" not in err
    seaweedfs_relay.forget()
    leases = site.leases()
    assert len(leases) == (0 if path == "root.json" else 1)
    if path == "snapshot.json":
        assert site.parts() == calm.parts[0]
    again = desk.run(*words).result
    assert (again["manifest"]["sha256"], again["channel"]) == (calm.manifests[0].sha256, STABLE)
    finish(calm, site, 0, site.machine(), None)


def test_ctrl_c_while_files_are_read_ends_at_once(tmp_path):
    desk = Desk(tmp_path / "desk", tmp_path / "home")
    (tmp_path / "model").mkdir()
    with (tmp_path / "model" / "huge.bin").open("wb") as huge:
        huge.truncate(64 << 30)
    child = desk.start("publish", "--model", "bert-v1.0.0", "--source", str(tmp_path / "model"), "--report", "json")
    for line in child.stderr:
        if json.loads(line)["event"] == "progress":
            break
    asked_s = time.monotonic()
    child.send_signal(signal.SIGINT)
    out, err = child.communicate(timeout=60)
    assert time.monotonic() - asked_s < QUICK_S
    assert (child.returncode, out) == (130, "")
    assert json.loads(err.splitlines()[-1])["code"] == 130


@pytest.mark.parametrize(
    ("number", "words"),
    [(signal.SIGINT, ("mirror", "--to", "copy")), (signal.SIGTERM, ("fetch", "--model", "bert", "--to", "here"))],
)
def test_interrupted_copy_ends_at_once_though_its_source_hangs(tmp_path, words, number):
    publisher = Desk(tmp_path / "publisher", tmp_path / "publisher-home")
    lay_out(publisher.folder / "models" / "bert-v1.0.0", tensor_bytes=64 << 10)
    published = publisher.run("publish", "--model", "bert-v1.0.0", "--channel", "stable").result
    store = publisher.folder / ".modelport" / "store"
    objects = {path.relative_to(store).as_posix(): path.read_bytes() for path in store.rglob("*") if path.is_file()}
    with hostile.run_hostile(objects) as server:
        desk = Desk(tmp_path / "desk", tmp_path / "home", {"MODELPORT_SOURCE": server.url})
        desk.run("trust.pin", "--fingerprint", published["root_fingerprint"])
        hung = threading.Event()

        def hang(talk):
            if not talk.request.target.startswith("/parts/"):
                return hostile.honest(talk)
            hung.set()
            return hostile.silent(talk)

        server.behave(hang)
        child = desk.start(*words, "--report", "json")
        assert hung.wait(30), "it never came so far"
        asked_s = time.monotonic()
        child.send_signal(number)
        out, err = child.communicate(timeout=60)
        assert time.monotonic() - asked_s < QUICK_S
        assert (child.returncode, out) == (130, "")
        assert json.loads(err.splitlines()[-1])["code"] == 130
        assert "Traceback" not in err
        assert not (desk.folder / "here").exists()
        assert not (desk.folder / "copy" / "metadata" / "timestamp.json").exists()
