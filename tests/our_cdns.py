"""Our own adapters, opened before a control plane of ours, with the credentials that it takes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib import import_module
from typing import Any

from botocore.session import Session, get_session

from pipeline.cdns.calling import Calling
from pipeline.cdns.cloudfront import CloudFront
from pipeline.ports import Cdn
from pipeline.providers import PROVIDERS, Credentials
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
    webhook,
)
from tests.servers.control_planes.plane import Plane

BASE_URL = "https://cdn.example.com"


@dataclass(frozen=True)
class Account:
    """What an adapter needs to be taken by the plane of its vendor. ``canaries`` are secrets that must never be seen."""

    plane: type[Plane]
    credentials: Mapping[str, str]
    options: Mapping[str, Any] = field(default_factory=dict)
    # botocore signs with the real clock.
    real_clock: bool = False

    @property
    def canaries(self) -> list[str]:
        return list(self.credentials.values())


ACCOUNTS: Mapping[str, Account] = {
    "aliyun": Account(aliyun.AliyunPlane, {"access_key_id": aliyun.ACCESS_KEY_ID, "access_key_secret": aliyun.ACCESS_KEY_SECRET}),
    "tencent": Account(tencent.TencentPlane, {"secret_id": tencent.SECRET_ID, "secret_key": tencent.SECRET_KEY}),
    "huawei": Account(huawei.HuaweiPlane, {"ak": huawei.AK, "sk": huawei.SK}),
    "volcengine": Account(volcengine.VolcenginePlane, {"access_key": volcengine.ACCESS_KEY, "secret_key": volcengine.SECRET_KEY}),
    "qiniu": Account(qiniu.QiniuPlane, {"access_key": qiniu.ACCESS, "secret_key": qiniu.SECRET}),
    "cloudfront": Account(
        cloudfront.CloudFrontPlane,
        {"access_key_id": cloudfront.ACCESS, "secret_access_key": cloudfront.SECRET, "session_token": cloudfront.TOKEN},
        {"distribution": cloudfront.DISTRIBUTION},
        real_clock=True,
    ),
    "cloudflare": Account(cloudflare.CloudflarePlane, {"api_token": cloudflare.TOKEN}, {"zone": cloudflare.ZONE}),
    "fastly": Account(fastly.FastlyPlane, {"api_token": fastly.TOKEN}, {"service": fastly.SERVICE}),
    "akamai": Account(
        akamai.AkamaiPlane, {"client_token": akamai.CLIENT, "client_secret": akamai.SECRET, "access_token": akamai.ACCESS}
    ),
    "dragonfly": Account(dragonfly.DragonflyPlane, {"token": dragonfly.TOKEN}),
    "webhook": Account(webhook.WebhookPlane, {"token": webhook.TOKEN, "secret": webhook.SECRET}, webhook.OPTIONS),
}


def open_ours(
    name: str,
    plane: Plane,
    *,
    endpoint: str = "",
    ca_file: str | None = None,
    credentials: Mapping[str, str] | None = None,
    answer_s: float = 5,
    calling: Any = None,
    **options: Any,
) -> Cdn:
    """Open the adapter of a provider before ``plane``, whose clock it goes by; ``credentials`` and ``options`` change its account's."""
    account = ACCOUNTS[name]
    defaults = {key: option.default for key, option in PROVIDERS[name].options.items() if option.default is not None}
    cdn: Cdn = import_module(f"pipeline.cdns.{name}").open_cdn(
        base_url=BASE_URL,
        endpoint=endpoint or plane.http,
        credentials=Credentials({**account.credentials, **(credentials or {})}),
        options={**defaults, **account.options, **options},
        calling=calling or Calling(ca_file=ca_file, answer_s=answer_s, now=lambda: plane.now, sleep=lambda _: None),
    )
    if isinstance(cdn, CloudFront):
        cdn.open_session = one_session
    return cdn


@cache
def one_session() -> Session:
    """The one session of botocore: each keeps what it has read of a service's description, which is slow to read."""
    return get_session()
