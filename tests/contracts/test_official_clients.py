"""Each vendor's official client is accepted by our control plane; a wrong key and a changed request are not.

So the planes judge as the vendors do, and what they accept of our own clients is genuine.
"""

from __future__ import annotations

import ast
import gc
from dataclasses import replace
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import pytest

from pipeline.providers import PROVIDERS
from tests.official_clients import CLIENTS, HOST, WRONG
from tests.our_cdns import ACCOUNTS
from tests.servers import control_planes
from tests.servers.control_planes.door import run_plane
from tests.servers.control_planes.plane import REFRESH_PREFIX

SCHEMES = ("http", "https")
# Some clients leave their sockets to the garbage collector, and one speaks TLS in an outdated way.
pytestmark = [
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings(r"ignore:ssl\..* is deprecated:DeprecationWarning"),
]


@pytest.fixture(autouse=True)
def trusted(monkeypatch, ca_file):
    # What requests trusts where a client leaves no other way.
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(ca_file))
    yield
    # Else what clients leave open would be collected, and complain, in a test that did not open it.
    gc.collect()
    # The clients' modules are large; what is left after a collection need not be looked through again.
    gc.freeze()


@pytest.fixture(autouse=True, scope="module")
def thawed():
    yield
    gc.unfreeze()


@pytest.fixture(params=CLIENTS)
def client(request):
    return CLIENTS[request.param]


@pytest.fixture
def plane(client, server_tls):
    # The clients sign with the real clock.
    with run_plane(client.plane(now=datetime.now(UTC)), server_tls) as running:
        yield running


def one_url(op):
    return [f"{HOST}/parts/aa/{'bb/' if op == REFRESH_PREFIX else 'bb'}"]


@pytest.mark.parametrize("scheme", SCHEMES)
def test_official_client_is_accepted(client, plane, ca_file, scheme):
    assert version(client.package)
    for op in plane.allowed:
        client.call(getattr(plane, scheme), str(ca_file), op, one_url(op))
    assert [(job.op, job.urls) for job in plane.jobs.values()] == [(op, one_url(op)) for op in plane.allowed]


@pytest.mark.parametrize("scheme", SCHEMES)
def test_wrong_key_is_refused(client, plane, ca_file, scheme):
    # Each client has its own family of errors, and some return them.
    with pytest.raises(Exception, match=r"401|403|[Ss]ignature|[Uu]nauthorized"):
        client.call(getattr(plane, scheme), str(ca_file), client.op, one_url(client.op), secret=WRONG)
    assert plane.jobs == {}


def changed(asked):
    """The same request with one byte of its body changed; where there is none, of its path."""
    if asked.body:
        return replace(asked, body=asked.body.replace(b"aa", b"ab", 1))
    return replace(asked, target=asked.target.replace("aa", "ab", 1))


def test_changed_request_is_refused_where_the_vendor_signs_it(client, plane, ca_file):
    client.call(plane.http, str(ca_file), client.op, one_url(client.op))
    ((_, asked),) = plane.calls
    told, _ = plane.answer(changed(asked))
    # A bearer token, and Qiniu's older QBox, sign no body: there TLS alone protects it.
    assert plane.refuses(told) == client.signs
    assert (len(plane.jobs) == 1) == client.signs


def test_request_to_another_account_is_refused(client, plane, ca_file):
    client.call(plane.http, str(ca_file), client.op, one_url(client.op))
    ((_, asked),) = plane.calls
    for other in (
        replace(
            asked, headers={**asked.headers, "authorization": asked.headers.get("authorization", "") + "x", "fastly-key": "x"}
        ),
        replace(
            asked, headers={name: value for name, value in asked.headers.items() if name not in {"authorization", "fastly-key"}}
        ),
    ):
        assert plane.refuses(plane.answer(other)[0])
    assert len(plane.jobs) == 1


def test_request_of_an_hour_ago_is_refused_where_its_time_is_signed(client, plane, ca_file):
    client.call(plane.http, str(ca_file), client.op, one_url(client.op))
    ((_, asked),) = plane.calls
    plane.advance(3600)
    assert plane.refuses(plane.answer(asked)[0]) == client.signs


def test_every_vendor_has_a_client_that_judges_its_plane():
    # The webhook and the one in memory are ours.
    assert {name.split()[0] for name in CLIENTS} == set(PROVIDERS) - {"webhook", "memory"}


def test_request_sent_twice_is_refused_where_it_has_a_nonce(client, plane, ca_file):
    client.call(plane.http, str(ca_file), client.op, one_url(client.op))
    ((_, asked),) = plane.calls
    again = plane.answer(asked)[0]
    assert plane.refuses(again) == client.once


def test_every_provider_has_a_plane_that_takes_its_adapter():
    assert set(ACCOUNTS) == set(PROVIDERS) - {"memory"}


def test_planes_share_no_code_with_the_adapters():
    folder = Path(control_planes.__path__[0])
    modules = sorted(folder.glob("*.py"))
    assert {module.stem for module in modules} >= set(ACCOUNTS)
    for module in modules:
        names = {
            name
            for node in ast.walk(ast.parse(module.read_text(encoding="utf-8")))
            for name in ([node.module or ""] if isinstance(node, ast.ImportFrom) else [])
            + ([alias.name for alias in node.names] if isinstance(node, ast.Import) else [])
        }
        # The edge is told what to do by the port's own word.
        assert {name for name in names if name.startswith("pipeline")} <= {"pipeline.ports"}
        clients = (
            "aliyunsdk",
            "alibabacloud",
            "tencentcloud",
            "huaweicloud",
            "volcengine",
            "qiniu",
            "akamai",
            "cloudflare",
            "boto",
        )
        assert not [name for name in names if name.startswith(clients)]
