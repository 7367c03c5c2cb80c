"""Canaries: no secret ever stands in what is printed, logged, stored or kept, even when everything goes wrong."""

from pathlib import Path

import pytest

from pipeline.trust.keyfolder import make_keys
from tests.desk import Desk
from tests.publish_world import lay_out
from tests.servers.relay import Rule, s3_error

TOKEN = "session-token-canary-4711"
PROXY_PASSWORD = "proxy-canary-0815"


def desk_with_keys(folder, server_environment, store, endpoint):
    keys = make_keys(folder / "keys")
    slots = {f"MODELPORT_KEYS__{slot.upper()}": f"file2:{keys}/{slot}.pem" for slot in ("root", "targets", "release")}
    places = {"MODELPORT_STORE": store, "MODELPORT_ENDPOINT": endpoint, "NO_PROXY": "127.0.0.1"}
    proxies = {"HTTPS_PROXY": f"http://me:{PROXY_PASSWORD}@127.0.0.1:9"}
    desk = Desk(folder / "desk", folder / "home", {**server_environment, **places, **proxies, **slots})
    lay_out(desk.folder / "models" / "bert-v1.0.0")
    return desk, keys


def private_lines(keys: Path) -> list[str]:
    """The secret half of every key file, and what a person might paste of it."""
    return [line for path in keys.glob("*.pem") for line in path.read_text().splitlines() if "-----" not in line]


def check_silent(desk, said, store, secrets):
    """Nothing that was said, stored or kept holds a secret."""
    assert said.out or said.err
    for text in (said.out, said.err):
        assert [secret for secret in secrets if secret in text] == []
    kept = [path for path in desk.home.rglob("*") if path.is_file()]
    kept += [path for path in desk.folder.rglob("*") if path.is_file()]
    for path in kept:
        data = path.read_bytes()
        assert [secret for secret in secrets if secret.encode() in data] == [], path
    for info in store.list(""):
        data = b"".join(store.get(info.key))
        assert [secret for secret in secrets if secret.encode() in data] == [], info.key


FAILURES = [
    None,
    Rule("answer", "PUT", "/parts/", times=99, status=403, body=s3_error("AccessDenied")),
    Rule("answer", "PUT", "/parts/", times=99, status=403, body=s3_error("SignatureDoesNotMatch")),
    Rule("answer", "GET", "", times=99, status=400, body=s3_error("ExpiredToken", "The provided token has expired.")),
    Rule("answer", "GET", "", times=99, status=200, body=b"<html>log in</html>"),
    Rule("reset", "PUT", "snapshot.json", times=2),
]


@pytest.mark.parametrize("debug", [False, True], ids=["plain", "debug"])
@pytest.mark.parametrize("number", range(len(FAILURES)))
def test_secrets_of_s3_are_nowhere(make_site, seaweedfs, seaweedfs_relay, number, debug):
    site = make_site("seaweedfs", begun=False)
    secrets = [seaweedfs.secret_key, PROXY_PASSWORD]
    desk, keys = desk_with_keys(site.folder, seaweedfs.environment, site.store.url, seaweedfs_relay.endpoint)
    secrets += private_lines(keys)
    assert desk.run("trust.init").code == 0
    if FAILURES[number] is not None:
        rule = FAILURES[number]
        seaweedfs_relay.spoil(Rule(rule.how, rule.method, rule.path, times=rule.times, status=rule.status, body=rule.body))
    words = ["publish", "--model", "bert-v1.0.0"]
    said = desk.run(*(["--debug", *words] if debug else words), report="plain" if debug else "json")
    # A page of somebody else is no document of a tree: 3; what the store itself refuses: 5.
    assert said.code == {0: 0, 4: 3, 5: 0}.get(number, 5), said.err
    check_silent(desk, said, site.store, secrets)


def test_session_token_and_secret_of_oss_are_nowhere(make_site, oss_server):
    site = make_site("oss", begun=False)
    token = {"OSS_SESSION_TOKEN": TOKEN}
    desk, keys = desk_with_keys(site.folder, {**oss_server.environment, **token}, site.store.url, oss_server.endpoint)
    secrets = [oss_server.access_key_secret, TOKEN, PROXY_PASSWORD, *private_lines(keys)]
    # The server does not know this token: refused, and refused again under --debug.
    for words in (["trust.init"], ["--debug", "trust.init"]):
        said = desk.run(*words, report="plain")
        assert said.code == 5, said.err
        check_silent(desk, said, site.store, secrets)
    del desk.environment["OSS_SESSION_TOKEN"]
    assert desk.run("trust.init").code == 0
    said = desk.run("--debug", "publish", "--model", "bert-v1.0.0", report="plain")
    assert said.code == 0, said.err
    check_silent(desk, said, site.store, secrets)


def test_keys_made_on_first_use_are_nowhere_but_in_their_folder(tmp_path):
    desk = Desk(tmp_path / "desk", tmp_path / "home")
    lay_out(desk.folder / "models" / "bert-v1.0.0")
    said = desk.run("--debug", "publish", "--model", "bert-v1.0.0", report="plain")
    assert said.code == 0
    [keys] = (desk.home / "data" / "modelport" / "keys").iterdir()
    secrets = private_lines(keys)
    assert len(secrets) == 3
    others = [path for path in tmp_path.rglob("*") if path.is_file() and path.parent != keys]
    assert len(others) > 10
    for path in others:
        assert [secret for secret in secrets if secret.encode() in path.read_bytes()] == [], path
    assert [secret for secret in secrets if secret in said.out + said.err] == []


def test_key_that_others_can_read_is_refused_without_showing_it(tmp_path):
    desk = Desk(tmp_path / "desk", tmp_path / "home")
    for number in (0, 1):
        lay_out(desk.folder / "models" / f"bert-v1.{number}.0", other=number)
    desk.run("publish", "--model", "bert-v1.0.0")
    [keys] = (desk.home / "data" / "modelport" / "keys").iterdir()
    (keys / "release.pem").chmod(0o644)
    refused = desk.run("publish", "--model", "bert-v1.1.0").refused(4)
    assert "release.pem" in refused
    assert [secret for secret in private_lines(keys) if secret in refused] == []
