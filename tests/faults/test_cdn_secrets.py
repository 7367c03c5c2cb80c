"""Canaries in every credential of every CDN: the real command line shows, logs and stores none of them, whatever goes wrong."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
import yaml

from pipeline.providers import PROVIDERS
from pipeline.stores.directory import DirectoryStore
from tests.desk import Desk
from tests.our_cdns import ACCOUNTS, BASE_URL
from tests.servers.control_planes.door import run_plane

PROXY_PASSWORD = "proxy-canary-0815"
WITHOUT_REFRESH = ("dragonfly",)
WRONG = "wrong-credential-canary-99"


@pytest.fixture(params=ACCOUNTS)
def name(request):
    return request.param


@pytest.fixture
def plane(name):
    with run_plane(ACCOUNTS[name].plane(now=datetime.now(UTC), takes_s=0)) as running:
        yield running


def desk_before(tmp_path, name, plane, credentials):
    """A person whose settings name the CDN and whose environment holds its credentials, as the vendor calls them."""
    variables = {one.name: one.variables[0] for one in PROVIDERS[name].credentials}
    environment = {variables[credential]: value for credential, value in credentials.items()}
    proxies = {"HTTPS_PROXY": f"http://me:{PROXY_PASSWORD}@127.0.0.1:9", "NO_PROXY": "127.0.0.1"}
    desk = Desk(tmp_path / "desk", tmp_path / "home", {**environment, **proxies, "MODELPORT_STORE": str(tmp_path / "store")})
    options = {key: list(value) if isinstance(value, tuple) else value for key, value in ACCOUNTS[name].options.items()}
    settings = {"cdn": {"provider": name, "base_url": BASE_URL, "endpoint": plane.http, **options}}
    (desk.folder / "modelport.yaml").write_text(yaml.safe_dump(settings), encoding="utf-8")
    return desk


def words_for(name):
    """A command that makes each CDN do something."""
    return ["cdn.prefetch" if name in WITHOUT_REFRESH else "cdn.refresh", "--path", "metadata/timestamp.json"]


def check_silent(tmp_path, said, secrets):
    for text in (said.out, said.err):
        assert [secret for secret in secrets if secret in text] == []
    for path in (tmp_path / "home", tmp_path / "desk", tmp_path / "store"):
        for file in path.rglob("*"):
            assert not file.is_file() or [secret for secret in secrets if secret.encode() in file.read_bytes()] == [], file


def test_credentials_are_nowhere_when_all_is_logged(tmp_path, name, plane):
    account = ACCOUNTS[name]
    desk = desk_before(tmp_path, name, plane, account.credentials)
    said = desk.run("--debug", *words_for(name), report="plain")
    assert said.code == 0, said.err
    assert plane.jobs
    check_silent(tmp_path, said, [*account.canaries, PROXY_PASSWORD])


def test_credentials_that_the_vendor_repeats_are_masked(tmp_path, name, plane):
    account = ACCOUNTS[name]
    desk = desk_before(tmp_path, name, plane, account.credentials)
    plane.spoil("status", status=403, body=" ".join(["<html>", *account.canaries, f"me:{PROXY_PASSWORD}"]))
    said = desk.run(*words_for(name))
    assert said.refused(5)
    assert len(plane.calls) == 1
    check_silent(tmp_path, said, [*account.canaries, PROXY_PASSWORD])
    assert list(DirectoryStore(tmp_path / "store").list("control/ledger/"))


def test_a_wrong_credential_is_tried_once_and_shown_nowhere(tmp_path, name, plane):
    account = ACCOUNTS[name]
    # The last one is the secret, the token or the session's token.
    wrong = {**account.credentials, list(account.credentials)[-1]: WRONG}
    said = desk_before(tmp_path, name, plane, wrong).run("--debug", *words_for(name), report="plain")
    assert said.code == 5, said.err
    assert len(plane.calls) == 1
    assert plane.jobs == {}
    check_silent(tmp_path, said, [*wrong.values(), PROXY_PASSWORD])
