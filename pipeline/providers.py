"""The providers of CDNs, as facts: where their control planes are, whose variables hold their credentials, what can be set.

Takes nothing, gives ``PROVIDERS``, from which settings are checked, adapters opened and the tables of docs/reference/cdns.md
are written. The adapter of a provider is ``pipeline.cdns.<name>``; it gives::

    def open_cdn(*, base_url: str, endpoint: str, credentials: Credentials, options: Mapping[str, Any], calling: Calling) -> Cdn

``options`` hold the keys of its row that were set, and the defaults of the others that have one.

next: ``setting_keys``
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from pipeline.errors import AccessDenied

OptionKind = Literal["text", "count", "switch", "list", "url", "numbers"]


@dataclass(frozen=True, slots=True)
class Credential:
    """One credential of a provider. The first of ``variables`` that is set holds it; ``secret`` ones are masked everywhere."""

    name: str
    variables: tuple[str, ...]
    needed: bool = True
    secret: bool = True


@dataclass(frozen=True, slots=True)
class Option:
    """One settings key of a provider; ``default`` None has none, ``one_of`` empty takes anything of its kind."""

    meaning: str
    kind: OptionKind = "text"
    needed: bool = False
    default: str | int | bool | None = None
    one_of: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Provider:
    """What is true of a provider before anybody calls it. An ``endpoint`` of "" must be set, unless ``own_endpoint``."""

    title: str
    credentials: tuple[Credential, ...] = ()
    endpoint: str = ""
    own_endpoint: bool = False
    prefetches: bool = True
    options: Mapping[str, Option] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Credentials:
    """The credentials of one CDN by name; never shown. ``variables`` says where each is looked for."""

    values: Mapping[str, str] = field(repr=False)
    variables: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def get(self, name: str) -> str:
        """The credential, "" if it is not set."""
        return self.values.get(name, "")

    def need(self, name: str) -> str:
        """The credential.

        Raises:
            AccessDenied: none of its variables is set.
        """
        found = self.get(name)
        if not found:
            named = " or ".join(self.variables.get(name, (name,)))
            raise AccessDenied(f"the credential {name} of the CDN is not set", hint=f"Set {named}.")
        return found

    def check(self, provider: Provider) -> None:
        """See that those are set without which the provider takes no call.

        Raises:
            AccessDenied: one is not.
        """
        for one in provider.credentials:
            if one.needed:
                self.need(one.name)

    @property
    def places(self) -> tuple[str, ...]:
        """The variables of those that are set, for hints."""
        return tuple(" or ".join(self.variables[name]) for name, value in self.values.items() if value and name in self.variables)

    @property
    def secrets(self) -> tuple[str, ...]:
        """All values, for masks."""
        return tuple(value for value in self.values.values() if value)


_REGION = Option("region of the signature", default="cn-north-1")

PROVIDERS: Mapping[str, Provider] = {
    "aliyun": Provider(
        "Alibaba Cloud CDN",
        (
            Credential("access_key_id", ("ALIBABA_CLOUD_ACCESS_KEY_ID",)),
            Credential("access_key_secret", ("ALIBABA_CLOUD_ACCESS_KEY_SECRET",)),
            Credential("security_token", ("ALIBABA_CLOUD_SECURITY_TOKEN",), needed=False),
        ),
        "https://cdn.aliyuncs.com",
        options={
            "area": Option("where to prefetch", one_of=("domestic", "overseas")),
            "l2_preload": Option("prefetch to the second level only", "switch"),
        },
    ),
    "tencent": Provider(
        "Tencent Cloud CDN",
        (
            Credential("secret_id", ("TENCENTCLOUD_SECRET_ID",)),
            Credential("secret_key", ("TENCENTCLOUD_SECRET_KEY",)),
            Credential("token", ("TENCENTCLOUD_SESSION_TOKEN", "TENCENTCLOUD_TOKEN"), needed=False),
        ),
        "https://cdn.tencentcloudapi.com",
        options={"area": Option("where; `global` uses the quota of both", one_of=("mainland", "overseas", "global"))},
    ),
    "huawei": Provider(
        "Huawei Cloud CDN",
        (
            Credential("ak", ("HUAWEICLOUD_SDK_AK",)),
            Credential("sk", ("HUAWEICLOUD_SDK_SK",)),
            Credential("security_token", ("HUAWEICLOUD_SDK_SECURITY_TOKEN",), needed=False),
        ),
        "https://cdn.myhuaweicloud.com",
        options={
            "domain_id": Option("account (domain) id"),
            "enterprise_project_id": Option("enterprise project; sub-accounts need it"),
        },
    ),
    "volcengine": Provider(
        "Volcengine CDN",
        (
            Credential("access_key", ("VOLC_ACCESSKEY", "VOLCENGINE_ACCESS_KEY")),
            Credential("secret_key", ("VOLC_SECRETKEY", "VOLCENGINE_SECRET_KEY")),
            Credential("session_token", ("VOLC_SESSION_TOKEN", "VOLCENGINE_SESSION_TOKEN"), needed=False),
        ),
        "https://cdn.volcengineapi.com",
        options={"region": _REGION, "area": Option("where to prefetch")},
    ),
    "qiniu": Provider(
        "Qiniu Cloud CDN",
        (Credential("access_key", ("QINIU_ACCESS_KEY",)), Credential("secret_key", ("QINIU_SECRET_KEY",))),
        "https://fusion.qiniuapi.com",
    ),
    "cloudfront": Provider(
        "Amazon CloudFront",
        (
            Credential("access_key_id", ("AWS_ACCESS_KEY_ID",), needed=False),
            Credential("secret_access_key", ("AWS_SECRET_ACCESS_KEY",), needed=False),
            Credential("session_token", ("AWS_SESSION_TOKEN",), needed=False),
        ),
        own_endpoint=True,
        prefetches=False,
        options={"distribution": Option("id of the distribution", needed=True)},
    ),
    "cloudflare": Provider(
        "Cloudflare",
        (Credential("api_token", ("CLOUDFLARE_API_TOKEN",)),),
        "https://api.cloudflare.com",
        prefetches=False,
        options={"zone": Option("id of the zone", needed=True)},
    ),
    "fastly": Provider(
        "Fastly",
        (Credential("api_token", ("FASTLY_API_TOKEN", "FASTLY_API_KEY")),),
        "https://api.fastly.com",
        prefetches=False,
        options={
            "service": Option("id of the service, for refreshes of a prefix"),
            "soft": Option("mark as stale instead of evicting", "switch"),
        },
    ),
    "akamai": Provider(
        "Akamai",
        (
            Credential("client_token", ("AKAMAI_CLIENT_TOKEN",)),
            Credential("client_secret", ("AKAMAI_CLIENT_SECRET",)),
            Credential("access_token", ("AKAMAI_ACCESS_TOKEN",)),
            Credential("host", ("AKAMAI_HOST",), needed=False, secret=False),
        ),
        own_endpoint=True,
        prefetches=False,
        options={
            "network": Option("network", default="production", one_of=("production", "staging")),
            "action": Option("what a refresh does", default="invalidate", one_of=("invalidate", "delete")),
        },
    ),
    "dragonfly": Provider(
        "Dragonfly (peer-to-peer)",
        (Credential("token", ("DRAGONFLY_ACCESS_TOKEN",)),),
        options={
            "scope": Option("who preheats", default="all_seed_peers", one_of=("single_seed_peer", "all_seed_peers", "all_peers")),
            "tag": Option("tag of the tasks"),
            "application": Option("application of the tasks"),
            "filtered_query_params": Option("query fields that do not count, with & between"),
            "scheduler_cluster_ids": Option("clusters that preheat", "numbers"),
        },
    ),
    "webhook": Provider(
        "Webhook (an in-house CDN)",
        (
            Credential("token", ("CDN_WEBHOOK_TOKEN",), needed=False),
            Credential("secret", ("CDN_WEBHOOK_SECRET",), needed=False),
        ),
        options={
            "method": Option("HTTP method", default="POST", one_of=("POST", "PUT")),
            "path": Option("path of every operation below the endpoint", default=""),
            "prefetch_path": Option("path for prefetches"),
            "refresh_path": Option("path for refreshes"),
            "refresh_prefix_path": Option("path for refreshes of a prefix"),
            "operations": Option("operations it has: `prefetch`, `refresh`, `refresh_prefix`", "list"),
            "field": Option("name of the list of URLs in the body", default="urls"),
            "op_field": Option("name of the operation in the body"),
            "id_field": Option("name of the task id in the answer; without it `task_id`, `id` or `taskId`"),
            "signature_header": Option("header of the HMAC, where CDN_WEBHOOK_SECRET is set", default="X-Signature"),
            "timestamp_header": Option("header of the signed time, Unix seconds", default="X-Timestamp"),
            "poll": Option("URL or path that tells a task's state, with `{id}` in it; without it, accepted is all that is known"),
            "state_field": Option("name of the state in that answer", default="state"),
            "done": Option("states that mean done", "list"),
            "failed": Option("states that mean failed", "list"),
        },
    ),
    "memory": Provider(
        "In memory, for trying out", options={"name": Option("name of the pretended CDN", default="memory")}, own_endpoint=True
    ),
}
