"""Cloudflare: purges by URL and by prefix.

Takes URLs, gives what the purge call accepted: "200 does not confirm", and there is no task to ask for. Cloudflare has no
prefetch. A purge that is sent twice is harmless.
API: https://developers.cloudflare.com/api/resources/cache/methods/purge/

next: ``cdns.fastly``
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from urllib.parse import quote, urlsplit

from pipeline.cdns.calling import Call, Calling, Reply
from pipeline.cdns.verdicts import Verdict, failure
from pipeline.errors import ModelportError
from pipeline.ports import CallLimits, CdnTask, Op, Quota, TaskState, TaskStatus
from pipeline.providers import Credentials

# 30 URLs and 5 calls a minute are what every plan has; Enterprise takes 500 URLs and 50 calls a second.
LIMITS = {
    Op.REFRESH: CallLimits(urls=30, url_chars=8192, per_second=5 / 60),
    Op.REFRESH_PREFIX: CallLimits(urls=30, url_chars=8192, per_second=5 / 60),
}
# Their numbers are the same at every call (https://developers.cloudflare.com/api/, "errors").
VERDICTS = {
    "971": Verdict.AGAIN,
    "6003": Verdict.DENIED,
    "6111": Verdict.DENIED,
    "7003": Verdict.REFUSED,
    "9103": Verdict.DENIED,
    "9106": Verdict.DENIED,
    "9109": Verdict.DENIED,
    "10000": Verdict.DENIED,
}


@dataclass(frozen=True, slots=True)
class Cloudflare:
    """A ``Cdn`` over one zone; ``token`` may purge its cache."""

    base_url: str
    zone: str
    token: str = field(repr=False)
    calling: Calling
    endpoint: str
    limits: Mapping[Op, CallLimits] = field(default_factory=lambda: LIMITS)
    name: str = "cloudflare"
    can_poll: bool = False

    @property
    def account(self) -> str:
        return self.zone

    def submit(self, op: Op, urls: Sequence[str], *, key: str) -> Sequence[CdnTask]:
        del key
        document = {"prefixes": [prefix_of(url) for url in urls]} if op is Op.REFRESH_PREFIX else {"files": list(urls)}
        reply = self.calling.send(
            Call(
                f"cloudflare purge_cache {self.zone}",
                "POST",
                f"{self.endpoint.rstrip('/')}/client/v4/zones/{quote(self.zone, safe='')}/purge_cache",
                {"Authorization": f"Bearer {self.token}", "Content-Type": "application/json"},
                json.dumps(document).encode(),
                secrets=(self.token,),
            )
        )
        if reply.status >= 300 or reply.document.get("success") is not True:
            raise self._failure(reply, urls)
        return [CdnTask(id=reply.text("result", "id"), op=op, urls=tuple(urls), request_id=reply.headers.get("cf-ray", ""))]

    def poll(self, tasks: Sequence[CdnTask]) -> Mapping[str, TaskStatus]:
        return {task.id: TaskStatus(TaskState.ACCEPTED) for task in tasks}

    def quota(self) -> Mapping[Op, Quota] | None:
        return None

    def find(self, op: Op, urls: Sequence[str], *, since: datetime) -> Sequence[CdnTask] | None:
        del op, urls, since
        return None

    def _failure(self, reply: Reply, urls: Sequence[str]) -> ModelportError:
        listed = reply.document.get("errors")
        errors = [error for error in listed if isinstance(error, dict)] if isinstance(listed, list) else []
        # The first is the reason; the others repeat it in more general words.
        codes = [str(error.get("code", "")) for error in errors]
        code = next((code for code in codes if code in VERDICTS), codes[0] if codes else "")
        return failure(
            reply,
            VERDICTS,
            code=code,
            message="; ".join(str(error.get("message", "")) for error in errors),
            now=self.calling.now(),
            request_id=reply.headers.get("cf-ray", ""),
            urls=urls,
        )


def open_cdn(
    *, base_url: str, endpoint: str, credentials: Credentials, options: Mapping[str, Any], calling: Calling
) -> Cloudflare:
    """Open a zone; nobody is called.

    Raises:
        AccessDenied: a credential is not set.
    """
    return Cloudflare(base_url, options["zone"], credentials.need("api_token"), calling, endpoint)


def prefix_of(url: str) -> str:
    """Spell a URL as Cloudflare's prefix: host and path without the scheme."""
    parts = urlsplit(url)
    return parts.netloc + parts.path
