"""Fastly: purges by URL, and by surrogate key where the service sets them.

Takes URLs, gives the ids of purges, which take effect at once and cannot be asked for. Fastly has no prefetch. A purge that is
sent twice is harmless.

A prefix is purged by the surrogate key that is its path without slashes at both ends. The service must set these keys, one for
each folder that an object lies in: ``Surrogate-Key: targets targets/bert targets/bert/2.1.0``.
API: https://www.fastly.com/documentation/reference/api/purging/

next: ``cdns.akamai``
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from urllib.parse import quote, urlsplit

from pipeline.cdns.calling import Call, Calling
from pipeline.cdns.verdicts import failure
from pipeline.errors import CallRefused
from pipeline.ports import CallLimits, CdnTask, Op, Quota, TaskState, TaskStatus
from pipeline.providers import Credentials

URLS = CallLimits(urls=1, url_chars=4096, per_second=25.0)
KEYS = CallLimits(urls=256, url_chars=1024, per_second=25.0)


@dataclass(frozen=True, slots=True)
class Fastly:
    """A ``Cdn`` over one service.

    Without ``service`` there are no surrogate keys, so no prefixes. ``soft``: a purged object becomes stale, and may be served
    while it is fetched anew, where the service allows that.
    """

    base_url: str
    token: str = field(repr=False)
    calling: Calling
    endpoint: str
    service: str = ""
    soft: bool = False
    name: str = "fastly"
    can_poll: bool = False

    @property
    def account(self) -> str:
        return self.service or urlsplit(self.base_url).netloc

    @property
    def limits(self) -> Mapping[Op, CallLimits]:
        return {Op.REFRESH: URLS, Op.REFRESH_PREFIX: KEYS} if self.service else {Op.REFRESH: URLS}

    def submit(self, op: Op, urls: Sequence[str], *, key: str) -> Sequence[CdnTask]:
        del key
        if op is Op.REFRESH_PREFIX:
            if nameless := tuple(url for url in urls if not surrogate_key_of(url)):
                raise CallRefused(
                    f"fastly purge: {nameless[0]} is the whole host, which no surrogate key names",
                    hint="Name a folder, or purge all in Fastly's own interface.",
                    urls=nameless,
                )
            target = f"/service/{quote(self.service, safe='')}/purge"
            body = json.dumps({"surrogate_keys": [surrogate_key_of(url) for url in urls]}).encode()
        else:
            if len(urls) != 1:
                raise CallRefused(
                    f"fastly purge: {len(urls)} URLs, expected one",
                    hint="Leave cdn.urls_per_call away: Fastly has no larger call.",
                )
            target, body = f"/purge/{cached_url_of(urls[0])}", b""
        headers = {"Fastly-Key": self.token, "Content-Type": "application/json"}
        if self.soft:
            headers["Fastly-Soft-Purge"] = "1"
        reply = self.calling.send(
            Call(f"fastly purge {self.account}", "POST", self.endpoint.rstrip("/") + target, headers, body, secrets=(self.token,))
        )
        if op is Op.REFRESH_PREFIX and reply.status < 300:
            # {"a key": "the id of its purge", …}
            purges = [CdnTask(id=reply.text(surrogate_key_of(url)), op=op, urls=(url,)) for url in urls]
            taken = [purge for purge in purges if purge.id]
            if not taken:
                raise reply.call.lost("the answer names no key")
            return taken
        if reply.status < 300 and reply.need("status") == "ok":
            return [CdnTask(id=reply.text("id"), op=op, urls=tuple(urls))]
        raise failure(
            reply,
            {},
            code="",
            message=": ".join(filter(None, map(reply.text, ("msg", "detail", "status")))),
            now=self.calling.now(),
            request_id=reply.headers.get("x-request-id", ""),
            urls=urls,
        )

    def poll(self, tasks: Sequence[CdnTask]) -> Mapping[str, TaskStatus]:
        return {task.id: TaskStatus(TaskState.ACCEPTED) for task in tasks}

    def quota(self) -> Mapping[Op, Quota] | None:
        return None

    def find(self, op: Op, urls: Sequence[str], *, since: datetime) -> Sequence[CdnTask] | None:
        del op, urls, since
        return None


def open_cdn(*, base_url: str, endpoint: str, credentials: Credentials, options: Mapping[str, Any], calling: Calling) -> Fastly:
    """Open a service; nobody is called.

    Raises:
        AccessDenied: a credential is not set.
    """
    service, soft = options.get("service", ""), options.get("soft", False)
    return Fastly(base_url, credentials.need("api_token"), calling, endpoint, service=service, soft=soft)


def cached_url_of(url: str) -> str:
    """Spell a URL as Fastly's purge call wants it: without the scheme."""
    parts = urlsplit(url)
    return parts.netloc + (parts.path or "/") + (f"?{parts.query}" if parts.query else "")


def surrogate_key_of(url: str) -> str:
    """Name the surrogate key of all that lies below a URL."""
    return urlsplit(url).path.strip("/")
