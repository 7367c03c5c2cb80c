"""Akamai: Fast Purge (CCU v3) by URL.

Takes URLs, gives the id of a purge that takes about five seconds and cannot be asked for. Akamai has no prefetch. A purge that
is sent twice is harmless. Calls are signed by EdgeGrid (EG1-HMAC-SHA256).
API: https://techdocs.akamai.com/purge-cache/reference/api, https://techdocs.akamai.com/developer/docs/edgegrid

next: ``cdns.dragonfly``
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from urllib.parse import urlsplit

from pipeline.cdns.calling import Call, Calling, Reply, host_of
from pipeline.cdns.verdicts import Verdict, failure
from pipeline.errors import CdnUnavailable, ModelportError, SettingsError
from pipeline.ports import CallLimits, CdnTask, Op, Quota, TaskState, TaskStatus
from pipeline.providers import Credentials

# A body has at most 50,000 bytes, of which 14 stand around the URLs. The bucket holds 10,000 URLs and fills by 200 a second.
LIMITS = {Op.REFRESH: CallLimits(urls=1000, url_chars=8192, body_bytes=50_000 - 14, per_second=20.0)}
SIGNED_BYTES = 131_072
# What a refused call is told to wait where no header says more: a bucket has filled by a thousand URLs.
WAIT_S = 5.0
# By the title of the problem, in lower case.
VERDICTS = {
    "unauthorized arl": Verdict.REFUSED,
    "unauthorized cp code": Verdict.REFUSED,
    "invalid timestamp": Verdict.CLOCK,
    "507": Verdict.AGAIN,
}


@dataclass(frozen=True, slots=True)
class EdgeGridKeys:
    """AKAMAI_CLIENT_TOKEN, AKAMAI_CLIENT_SECRET and AKAMAI_ACCESS_TOKEN."""

    client_token: str = field(repr=False)
    client_secret: str = field(repr=False)
    access_token: str = field(repr=False)

    @property
    def secrets(self) -> tuple[str, ...]:
        """All that must not be shown."""
        return (self.client_secret, self.client_token, self.access_token)


def _new_nonce() -> str:
    return str(uuid.uuid4())


@dataclass(frozen=True, slots=True)
class Akamai:
    """A ``Cdn`` over one API client, whose ``endpoint`` Akamai gives together with its keys.

    ``action``: ``invalidate`` makes copies stale, ``delete`` removes them. ``network``: ``production`` or ``staging``.
    """

    base_url: str
    keys: EdgeGridKeys
    calling: Calling
    endpoint: str
    action: str = "invalidate"
    network: str = "production"
    limits: Mapping[Op, CallLimits] = field(default_factory=lambda: LIMITS)
    nonce: Callable[[], str] = _new_nonce
    name: str = "akamai"
    can_poll: bool = False

    @property
    def account(self) -> str:
        return f"{urlsplit(self.endpoint).netloc}/{self.network}"

    def submit(self, op: Op, urls: Sequence[str], *, key: str) -> Sequence[CdnTask]:
        del key
        url = f"{self.endpoint.rstrip('/')}/ccu/v3/{self.action}/url/{self.network}"
        body = body_of(urls)
        signed = authorization(self.keys, url, at=self.calling.now(), nonce=self.nonce(), body=body)
        headers = {"Content-Type": "application/json", "Authorization": signed}
        reply = self.calling.send(Call(f"akamai {self.action}", "POST", url, headers, body, secrets=self.keys.secrets))
        if reply.status >= 300:
            raise self._failure(reply, urls)
        return [CdnTask(id=reply.need("purgeId"), op=op, urls=tuple(urls), request_id=reply.text("supportId"))]

    def poll(self, tasks: Sequence[CdnTask]) -> Mapping[str, TaskStatus]:
        return {task.id: TaskStatus(TaskState.ACCEPTED) for task in tasks}

    def quota(self) -> Mapping[Op, Quota] | None:
        """Answer None: Akamai limits the rate, not the day."""
        return None

    def find(self, op: Op, urls: Sequence[str], *, since: datetime) -> Sequence[CdnTask] | None:
        del op, urls, since
        return None

    def _failure(self, reply: Reply, urls: Sequence[str]) -> ModelportError:
        title, detail = reply.text("title"), reply.text("detail")
        # "Invalid timestamp" stands in the detail, a title elsewhere; 507 has words of its own each time.
        known = (
            word for word in VERDICTS if title.lower() == word or detail.lower().startswith(word) or word == str(reply.status)
        )
        error = failure(
            reply,
            VERDICTS,
            code=next(known, title),
            message=detail,
            now=self.calling.now(),
            request_id=reply.text("supportId"),
            urls=urls,
        )
        if isinstance(error, CdnUnavailable) and error.retry_after_s is None:
            error.retry_after_s = WAIT_S
        return error


def open_cdn(*, base_url: str, endpoint: str, credentials: Credentials, options: Mapping[str, Any], calling: Calling) -> Akamai:
    """Open an API client, at ``endpoint`` or the host of its credentials; nobody is called.

    Raises:
        AccessDenied: a credential is not set.
        SettingsError: neither gives a host.
    """
    keys = EdgeGridKeys(*(credentials.need(name) for name in ("client_token", "client_secret", "access_token")))
    host = credentials.get("host")
    if not endpoint and not host:
        raise SettingsError(
            "cdn: akamai has no endpoint", hint="Set cdn.endpoint or AKAMAI_HOST to the host that came with the credentials."
        )
    return Akamai(base_url, keys, calling, endpoint or f"https://{host}", action=options["action"], network=options["network"])


def body_of(urls: Sequence[str]) -> bytes:
    """Write the body of a call."""
    return json.dumps({"objects": list(urls)}, separators=(",", ":")).encode()


def authorization(keys: EdgeGridKeys, url: str, *, at: datetime, nonce: str, body: bytes) -> str:
    """Sign a POST by EdgeGrid; no header but this one is part of it."""
    parts = urlsplit(url)
    timestamp = f"{at:%Y%m%dT%H:%M:%S}+0000"
    prefix = (
        f"EG1-HMAC-SHA256 client_token={keys.client_token};access_token={keys.access_token};timestamp={timestamp};nonce={nonce};"
    )
    digest = base64.b64encode(hashlib.sha256(body[:SIGNED_BYTES]).digest()).decode() if body else ""
    target = parts.path + (f"?{parts.query}" if parts.query else "")
    signed = "\t".join(("POST", parts.scheme, host_of(url), target, "", digest, prefix))
    day_key = _hmac(keys.client_secret, timestamp)
    return f"{prefix}signature={_hmac(day_key, signed)}"


def _hmac(key: str, text: str) -> str:
    return base64.b64encode(hmac.new(key.encode(), text.encode(), hashlib.sha256).digest()).decode()
