"""Requests that the vendors' official clients once sent: the planes still take them, and our signers still write them."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from pipeline.cdns import akamai as our_akamai
from pipeline.cdns import aliyun as our_aliyun
from pipeline.cdns import huawei as our_huawei
from pipeline.cdns import qiniu as our_qiniu
from pipeline.cdns import tencent as our_tencent
from pipeline.cdns import volcengine as our_volcengine
from tests.official_clients import CLIENTS
from tests.servers.control_planes import akamai, aliyun, huawei, qiniu, tencent, volcengine
from tests.servers.control_planes.plane import Asked

# Kept alone: it is too large to install for a test.
KEPT = {**CLIENTS, "volcengine universal": CLIENTS["volcengine"]}
REQUESTS = Path(__file__).parent / "vectors" / "cdn_requests"


def captured(name):
    document = json.loads((REQUESTS / f"{name.replace(' ', '-')}.json").read_text(encoding="utf-8"))
    at = datetime.strptime(document["at"], "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)
    asked = [Asked(one["method"], one["target"], one["headers"], one["body"].encode()) for one in document["requests"]]
    return at, asked


@pytest.mark.parametrize("name", KEPT)
def test_captured_request_is_accepted(name):
    at, requests = captured(name)
    plane = KEPT[name].plane(now=at)
    for asked in requests:
        assert not plane.refuses(plane.answer(asked)[0])
    assert [job.op for job in plane.jobs.values()] == list(plane.allowed)


@pytest.mark.parametrize("name", [name for name, client in KEPT.items() if client.signs])
def test_captured_request_with_one_byte_changed_is_refused(name):
    at, (asked, *_) = captured(name)
    changed = [replace(asked, target=asked.target + ("&" if "?" in asked.target else "?") + "a=b")]
    if asked.body:
        changed.append(replace(asked, body=asked.body.replace(b"aa", b"ab", 1)))
    if KEPT[name].signs_host:
        changed.append(replace(asked, headers={**asked.headers, "host": "127.0.0.1:1"}))
    for other in changed:
        plane = KEPT[name].plane(now=at)
        assert plane.refuses(plane.answer(other)[0])
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


def signed_headers(asked):
    """The headers that a request says are signed."""
    names = asked.headers["authorization"].partition("SignedHeaders=")[2].partition(",")[0].split(";")
    return {name: asked.headers[name] for name in names}


def test_our_acs3_signature_is_that_of_the_official_client():
    _, (_, *forms) = captured("aliyun")
    assert len(forms) == 2
    for asked in forms:
        made = our_aliyun.authorization(signed_headers(asked), key_id=aliyun.ACCESS_KEY_ID, secret=aliyun.ACCESS_KEY_SECRET)
        assert made == asked.headers["authorization"]


def test_our_tc3_signature_is_that_of_the_official_client():
    _, requests = captured("tencent")
    for asked in requests:
        at = datetime.fromtimestamp(int(asked.headers["x-tc-timestamp"]), UTC)
        made = our_tencent.authorization(
            signed_headers(asked), asked.body, at=at, key_id=tencent.SECRET_ID, secret=tencent.SECRET_KEY
        )
        assert made == asked.headers["authorization"]


def test_our_sdk_hmac_signature_is_that_of_the_official_client():
    _, requests = captured("huawei")
    for asked in requests:
        made = our_huawei.authorization(
            asked.method, asked.path, "", signed_headers(asked), asked.body, key_id=huawei.AK, secret=huawei.SK
        )
        assert made == asked.headers["authorization"]


def test_our_volcengine_signature_is_that_of_the_official_client():
    _, requests = captured("volcengine universal")
    for asked in requests:
        made = our_volcengine.authorization(
            asked.target.partition("?")[2],
            signed_headers(asked),
            region=volcengine.REGION,
            key_id=volcengine.ACCESS_KEY,
            secret=volcengine.SECRET_KEY,
        )
        assert made == asked.headers["authorization"]
