"""The vendors' official clients, pointed at a control plane of ours: what they send is genuine.

Each function makes one call and lets the client's own error out, or ``NotTaken`` where a client only returns one.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tests.servers.control_planes import (
    akamai,
    aliyun,
    cloudflare,
    cloudfront,
    dragonfly,
    fastly,
    huawei,
    qiniu,
    tencent,
    volcengine,
)
from tests.servers.control_planes.plane import PREFETCH, REFRESH, REFRESH_PREFIX, Plane

HOST = "https://cdn.example.com"
WRONG = "a-secret-that-is-wrong"


class NotTaken(Exception):
    """The client returned an error instead of raising one."""


def call_qiniu(endpoint: str, ca_file: str, op: str, urls: Sequence[str], *, secret: str = qiniu.SECRET) -> Any:
    """By qiniu.CdnManager, which signs by QBox."""
    from qiniu import Auth, CdnManager

    manager = CdnManager(Auth(qiniu.ACCESS, secret))
    manager.server = endpoint
    calls = {PREFETCH: manager.prefetch_urls, REFRESH: manager.refresh_urls, REFRESH_PREFIX: manager.refresh_dirs}
    told, about = calls[op](list(urls))
    if told is None or told.get("code") != 200:
        raise NotTaken(about)
    return told


def call_qiniu_mac(endpoint: str, ca_file: str, op: str, urls: Sequence[str], *, secret: str = qiniu.SECRET) -> Any:
    """By qiniu's own signer of the newer scheme, "Qiniu"."""
    from qiniu import QiniuMacAuth, http

    field = "dirs" if op == REFRESH_PREFIX else "urls"
    told, about = http._post_with_qiniu_mac_and_headers(
        f"{endpoint}/v2/tune/{'prefetch' if op == PREFETCH else 'refresh'}",
        json.dumps({field: list(urls)}),
        QiniuMacAuth(qiniu.ACCESS, secret),
        {"Content-Type": "application/json"},
    )
    if told is None or told.get("code") != 200:
        raise NotTaken(about)
    return told


def call_akamai(endpoint: str, ca_file: str, op: str, urls: Sequence[str], *, secret: str = akamai.SECRET) -> Any:
    import requests
    from akamai.edgegrid import EdgeGridAuth

    auth = EdgeGridAuth(client_token=akamai.CLIENT, client_secret=secret, access_token=akamai.ACCESS)
    answer = requests.post(
        f"{endpoint}/ccu/v3/invalidate/url/production", json={"objects": list(urls)}, auth=auth, verify=ca_file, timeout=30
    )
    answer.raise_for_status()
    return answer.json()


def call_cloudflare(endpoint: str, ca_file: str, op: str, urls: Sequence[str], *, secret: str = cloudflare.TOKEN) -> Any:
    import ssl

    import httpx
    from cloudflare import Cloudflare

    trust = ssl.create_default_context(cafile=ca_file)
    with (
        httpx.Client(verify=trust) as line,
        Cloudflare(api_token=secret, base_url=f"{endpoint}/client/v4", max_retries=0, http_client=line) as client,
    ):
        if op == REFRESH_PREFIX:
            return client.cache.purge(zone_id=cloudflare.ZONE, prefixes=[url.removeprefix("https://") for url in urls])
        return client.cache.purge(zone_id=cloudflare.ZONE, files=list(urls))


def call_fastly(endpoint: str, ca_file: str, op: str, urls: Sequence[str], *, secret: str = fastly.TOKEN) -> Any:
    from fastly import ApiClient, Configuration
    from fastly.api.purge_api import PurgeApi

    settings = Configuration(host=endpoint, ssl_ca_cert=ca_file)
    settings.api_token = secret
    with ApiClient(settings) as client:
        api = PurgeApi(client)
        if op == REFRESH_PREFIX:
            keys = " ".join(url.removeprefix(f"{HOST}/").strip("/") for url in urls)
            # The client checks the answer against a model that knows one key only.
            return api.bulk_purge_tag(service_id=fastly.SERVICE, surrogate_key=keys, _check_return_type=False)
        return [api.purge_single_url(cached_url=url.removeprefix("https://")) for url in urls][-1]


def call_cloudfront(endpoint: str, ca_file: str, op: str, urls: Sequence[str], *, secret: str = cloudfront.SECRET) -> Any:
    import boto3

    client = boto3.client(
        "cloudfront",
        region_name="us-east-1",
        endpoint_url=endpoint,
        verify=ca_file,
        aws_access_key_id=cloudfront.ACCESS,
        aws_secret_access_key=secret,
    )
    star = "*" if op == REFRESH_PREFIX else ""
    paths = [f"{url.removeprefix(HOST)}{star}" for url in urls]
    batch = {"Paths": {"Quantity": len(paths), "Items": paths}, "CallerReference": f"by hand {paths}"}
    try:
        return client.create_invalidation(DistributionId=cloudfront.DISTRIBUTION, InvalidationBatch=batch)
    finally:
        client.close()


def call_dragonfly(endpoint: str, ca_file: str, op: str, urls: Sequence[str], *, secret: str = dragonfly.TOKEN) -> Any:
    """Dragonfly has no client for Python: the request of its manual, by plain HTTP."""
    import requests

    answer = requests.post(
        f"{endpoint}/oapi/v1/jobs",
        headers={"Authorization": f"Bearer {secret}", "Content-Type": "application/json"},
        data=json.dumps({"type": "preheat", "args": {"type": "file", "urls": list(urls), "scope": "single_seed_peer"}}),
        verify=ca_file,
        timeout=30,
    )
    answer.raise_for_status()
    return answer.json()


def call_aliyun(endpoint: str, ca_file: str, op: str, urls: Sequence[str], *, secret: str = aliyun.ACCESS_KEY_SECRET) -> Any:
    """By the client of today, which signs by ACS3 and puts what it prefetches into the query."""
    from alibabacloud_cdn20180510.client import Client as CdnClient
    from alibabacloud_cdn20180510.models import PushObjectCacheRequest, RefreshObjectCachesRequest
    from alibabacloud_tea_openapi.models import Config

    scheme, _, host = endpoint.partition("://")
    client = CdnClient(
        Config(access_key_id=aliyun.ACCESS_KEY_ID, access_key_secret=secret, endpoint=host, protocol=scheme, ca=ca_file)
    )
    paths = "\n".join(urls)
    if op == PREFETCH:
        return client.push_object_cache(PushObjectCacheRequest(object_path=paths))
    kind = "Directory" if op == REFRESH_PREFIX else "File"
    return client.refresh_object_caches(RefreshObjectCachesRequest(object_path=paths, object_type=kind))


def call_aliyun_rpc(endpoint: str, ca_file: str, op: str, urls: Sequence[str], *, secret: str = aliyun.ACCESS_KEY_SECRET) -> Any:
    """By the client before it, which signs parameters alone."""
    from aliyunsdkcdn.request.v20180510.PushObjectCacheRequest import PushObjectCacheRequest
    from aliyunsdkcdn.request.v20180510.RefreshObjectCachesRequest import RefreshObjectCachesRequest
    from aliyunsdkcore.client import AcsClient
    from aliyunsdkcore.http import protocol_type

    scheme, _, host = endpoint.partition("://")
    client = AcsClient(aliyun.ACCESS_KEY_ID, secret, "cn-hangzhou", auto_retry=False, verify=ca_file)
    if op == PREFETCH:
        request = PushObjectCacheRequest()
    else:
        request = RefreshObjectCachesRequest()
        request.set_ObjectType("Directory" if op == REFRESH_PREFIX else "File")
    request.set_ObjectPath("\n".join(urls))
    request.set_endpoint(host)
    # It compares by identity.
    request.set_protocol_type(protocol_type.HTTPS if scheme == "https" else protocol_type.HTTP)
    return client.do_action_with_exception(request)


def call_tencent(endpoint: str, ca_file: str, op: str, urls: Sequence[str], *, secret: str = tencent.SECRET_KEY) -> Any:
    from tencentcloud.cdn.v20180606 import models
    from tencentcloud.cdn.v20180606.cdn_client import CdnClient
    from tencentcloud.common.credential import Credential
    from tencentcloud.common.profile.client_profile import ClientProfile
    from tencentcloud.common.profile.http_profile import HttpProfile

    scheme, _, host = endpoint.partition("://")
    profile = ClientProfile(httpProfile=HttpProfile(protocol=scheme, endpoint=host, certification=ca_file))
    client = CdnClient(Credential(tencent.SECRET_ID, secret), "", profile)
    if op == REFRESH_PREFIX:
        request = models.PurgePathCacheRequest()
        request.Paths, request.FlushType = list(urls), "delete"
        return client.PurgePathCache(request)
    request = models.PushUrlsCacheRequest() if op == PREFETCH else models.PurgeUrlsCacheRequest()
    request.Urls = list(urls)
    return client.PushUrlsCache(request) if op == PREFETCH else client.PurgeUrlsCache(request)


def call_huawei(endpoint: str, ca_file: str, op: str, urls: Sequence[str], *, secret: str = huawei.SK) -> Any:
    from huaweicloudsdkcdn.v2 import (
        CdnClient,
        CreatePreheatingTasksRequest,
        CreateRefreshTasksRequest,
        PreheatingTaskRequest,
        PreheatingTaskRequestBody,
        RefreshTaskRequest,
        RefreshTaskRequestBody,
    )
    from huaweicloudsdkcore.auth.credentials import GlobalCredentials
    from huaweicloudsdkcore.http.http_config import HttpConfig

    settings = HttpConfig.get_default_config()
    settings.ssl_ca_cert = ca_file
    credentials = GlobalCredentials(huawei.AK, secret, "a-domain-id")
    client = CdnClient.new_builder().with_credentials(credentials).with_endpoints([endpoint]).with_http_config(settings).build()
    if op == PREFETCH:
        body = PreheatingTaskRequest(PreheatingTaskRequestBody(urls=list(urls)))
        told = client.create_preheating_tasks(CreatePreheatingTasksRequest(body=body))
        return told.preheating_task
    kind = "directory" if op == REFRESH_PREFIX else "file"
    body = RefreshTaskRequest(RefreshTaskRequestBody(type=kind, mode="all", urls=list(urls)))
    return client.create_refresh_tasks(CreateRefreshTasksRequest(body=body)).refresh_task


def call_volcengine(endpoint: str, ca_file: str, op: str, urls: Sequence[str], *, secret: str = volcengine.SECRET_KEY) -> Any:
    from volcengine.cdn.service import CDNService

    service = CDNService()
    service.set_ak(volcengine.ACCESS_KEY)
    service.set_sk(secret)
    service.service_info.scheme, _, host = endpoint.partition("://")
    service.set_host(host)
    given = {"Urls": "\n".join(urls)}
    if op == PREFETCH:
        return service.submit_preload_task(given)
    return service.submit_refresh_task({**given, "Type": "dir" if op == REFRESH_PREFIX else "file"})


@dataclass(frozen=True)
class Client:
    """A client of a vendor. ``package`` is the distribution it comes from.

    ``signs``: a changed body is noticed; ``signs_host``: another host, too; ``once``: a request cannot be sent twice.
    """

    package: str
    plane: Callable[..., Plane]
    call: Callable[..., Any]
    op: str = REFRESH
    signs: bool = False
    signs_host: bool = True
    once: bool = False


CLIENTS: Mapping[str, Client] = {
    "aliyun": Client("alibabacloud-cdn20180510", aliyun.AliyunPlane, call_aliyun, PREFETCH, signs=True, once=True),
    "aliyun rpc": Client(
        "aliyun-python-sdk-cdn", aliyun.AliyunPlane, call_aliyun_rpc, PREFETCH, signs=True, signs_host=False, once=True
    ),
    "tencent": Client("tencentcloud-sdk-python-cdn", tencent.TencentPlane, call_tencent, PREFETCH, signs=True),
    "huawei": Client("huaweicloudsdkcdn", huawei.HuaweiPlane, call_huawei, PREFETCH, signs=True),
    "volcengine": Client("volcengine", volcengine.VolcenginePlane, call_volcengine, PREFETCH, signs=True),
    "qiniu": Client("qiniu", qiniu.QiniuPlane, call_qiniu, PREFETCH),
    "qiniu mac": Client("qiniu", qiniu.QiniuPlane, call_qiniu_mac, PREFETCH, signs=True),
    "cloudfront": Client("boto3", cloudfront.CloudFrontPlane, call_cloudfront, signs=True),
    "cloudflare": Client("cloudflare", cloudflare.CloudflarePlane, call_cloudflare),
    "fastly": Client("fastly", fastly.FastlyPlane, call_fastly),
    "akamai": Client("edgegrid-python", akamai.AkamaiPlane, call_akamai, signs=True, once=True),
    "dragonfly": Client("requests", dragonfly.DragonflyPlane, call_dragonfly, PREFETCH),
}
