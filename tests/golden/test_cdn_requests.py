"""Requests that the vendors' official clients once sent: the planes still take them, and our signers still write them."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from pipeline.cdns import akamai as our_akamai
from pipeline.cdns import qiniu as our_qiniu
from tests.official_clients import CLIENTS
from tests.servers.control_planes import akamai, qiniu
from tests.servers.control_planes.plane import Asked

REQUESTS = Path(__file__).parent / "vectors" / "cdn_requests"


def captured(name):
    document = json.loads((REQUESTS / f"{name.replace(' ', '-')}.json").read_text(encoding="utf-8"))
    at = datetime.strptime(document["at"], "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)
    asked = [Asked(one["method"], one["target"], one["headers"], one["body"].encode()) for one in document["requests"]]
    return at, asked


@pytest.mark.parametrize("name", CLIENTS)
def test_captured_request_is_accepted(name):
    at, requests = captured(name)
    plane = CLIENTS[name].plane(now=at)
    for asked in requests:
        assert plane.answer(asked)[0].status in {200, 201}
    assert [job.op for job in plane.jobs.values()] == list(plane.allowed)


@pytest.mark.parametrize("name", [name for name, client in CLIENTS.items() if client.signs])
def test_captured_request_with_one_byte_changed_is_refused(name):
    at, (asked, *_) = captured(name)
    for other in (
        replace(asked, body=asked.body.replace(b"aa", b"ab", 1)),
        replace(asked, headers={**asked.headers, "host": "127.0.0.1:1"}),
        replace(asked, target=asked.target + "?a=b"),
    ):
        plane = CLIENTS[name].plane(now=at)
        assert plane.answer(other)[0].status >= 400
        assert plane.jobs == {}


def test_our_signature_of_the_qiniu_scheme_is_that_of_the_official_client():
    _, (asked, *_) = captured("qiniu mac")
    keys = our_qiniu.QiniuKeys(qiniu.ACCESS, qiniu.SECRET)
    url = f"http://{asked.headers['host']}{asked.target}"
    made = our_qiniu.authorization(keys, url, dated=asked.headers["x-qiniu-date"], body=asked.body)
    assert made == asked.headers["authorization"]


def test_our_signature_of_edgegrid_is_that_of_the_official_client():
    _, (asked, *_) = captured("akamai")
    keys = our_akamai.EdgeGridKeys(akamai.CLIENT, akamai.SECRET, akamai.ACCESS)
    fields = dict(part.partition("=")[::2] for part in asked.headers["authorization"].partition(" ")[2].split(";"))
    at = datetime.strptime(fields["timestamp"], "%Y%m%dT%H:%M:%S%z")
    url = f"http://{asked.headers['host']}{asked.target}"
    made = our_akamai.authorization(keys, url, at=at, nonce=fields["nonce"], body=asked.body)
    assert made == asked.headers["authorization"]
