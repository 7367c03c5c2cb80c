"""Volcengine CDN: SubmitPreloadTask and SubmitRefreshTask, version 2021-03-01, signed like AWS version 4 but with words of its own.

A refusal may come with HTTP 200: what counts is ``ResponseMetadata.Error``.
API: https://www.volcengine.com/docs/6454/70436

next: ``cdns.qiniu``
"""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import quote

from pipeline.cdns.calling import Call, Calling, Reply, host_of
from pipeline.cdns.progress import UrlState, count_in, field_of, find_tasks, percent_in, status_of
from pipeline.cdns.verdicts import CHINA, Verdict, failure
from pipeline.plan.calls import next_day_at
from pipeline.ports import CallLimits, CdnTask, Op, Quota, TaskState, TaskStatus
from pipeline.providers import Credentials

VERSION = "2021-03-01"
ALGORITHM = "HMAC-SHA256"
SERVICE = "cdn"
REGION = "cn-north-1"
HISTORY = timedelta(days=7)
PAGE_ROWS = 100
PAGES = 50
LIMITS: Mapping[Op, CallLimits] = {
    Op.PREFETCH: CallLimits(urls=100, per_second=15.0, history=HISTORY, per_day=1000, day_ahead=CHINA),
    Op.REFRESH: CallLimits(urls=100, per_second=15.0, history=HISTORY, per_day=10_000, day_ahead=CHINA),
    Op.REFRESH_PREFIX: CallLimits(urls=50, per_second=15.0, history=HISTORY, per_day=50, day_ahead=CHINA),
}
_TYPES = {Op.PREFETCH: "preload", Op.REFRESH: "refresh_file", Op.REFRESH_PREFIX: "refresh_dir"}
# Op → the fields of DescribeContentQuota: a day's limit, what is left of it, the limit of a call.
_QUOTAS = {
    Op.PREFETCH: ("PreloadQuota", "PreloadRemain", "PreloadLimit"),
    Op.REFRESH: ("RefreshQuota", "RefreshRemain", "RefreshQuotaLimit"),
    Op.REFRESH_PREFIX: ("RefreshDirQuota", "RefreshDirRemain", "RefreshDirLimit"),
}
_STATES = {"complete": TaskState.DONE, "running": TaskState.RUNNING, "failed": TaskState.FAILED}
# https://www.volcengine.com/docs/6369/68677 (all services) and https://docs.byteplus.com/en/docs/byteplus-cdn/reference-api-error-codes.
VERDICTS: Mapping[str, Verdict] = {
    "AccessDenied": Verdict.DENIED,
    "AccountFlowLimitExceeded": Verdict.AGAIN,
    "FlowLimitExceeded": Verdict.AGAIN,
    "InternalError": Verdict.UNSURE,
    "InternalServiceError": Verdict.UNSURE,
    "InternalServiceTimeout": Verdict.UNSURE,
    "InvalidAccessKey": Verdict.DENIED,
    "InvalidAuthorization": Verdict.DENIED,
    "InvalidCredential": Verdict.DENIED,
    "InvalidParameter.NoActionQuota": Verdict.QUOTA,
    "InvalidSecurityToken": Verdict.DENIED,
    "InvalidTimestamp": Verdict.CLOCK,
    "LimitExceeded": Verdict.QUOTA,
    "MissingAuthenticationToken": Verdict.DENIED,
    "MissingSignature": Verdict.DENIED,
    "QuotaExceeded": Verdict.QUOTA,
    "ServiceUnavailableTemporarily": Verdict.AGAIN,
    "SignatureDoesNotMatch": Verdict.DENIED,
    "Throttling": Verdict.AGAIN,
}


def open_cdn(
    *, base_url: str, endpoint: str, credentials: Credentials, options: Mapping[str, Any], calling: Calling
) -> Volcengine:
    """Open the account that ``credentials`` belong to; nothing is sent."""
    return Volcengine(
        base_url,
        endpoint,
        credentials,
        calling,
        region=str(options.get("region") or REGION),
        area=str(options.get("area", "")),
    )


@dataclass(frozen=True, slots=True)
class Volcengine:
    """A ``Cdn``. The account in the ledger is the edge's domain, which is unique among Volcengine's customers."""

    base_url: str
    endpoint: str
    credentials: Credentials
    calling: Calling
    region: str = REGION
    area: str = ""
    limits: Mapping[Op, CallLimits] = field(default_factory=lambda: LIMITS)
    name: str = "volcengine"
    can_poll: bool = True

    @property
    def account(self) -> str:
        return host_of(self.base_url)

    def submit(self, op: Op, urls: Sequence[str], *, key: str) -> Sequence[CdnTask]:
        del key
        asked: dict[str, Any] = {"Urls": "\n".join(urls)}
        if op is Op.PREFETCH:
            asked |= {"Area": self.area} if self.area else {}
        else:
            asked["Type"] = "dir" if op is Op.REFRESH_PREFIX else "file"
        reply = self._call("SubmitPreloadTask" if op is Op.PREFETCH else "SubmitRefreshTask", asked, urls=urls)
        return [CdnTask(reply.need("Result", "TaskID"), op, tuple(urls), reply.text("ResponseMetadata", "RequestId"))]

    def poll(self, tasks: Sequence[CdnTask]) -> Mapping[str, TaskStatus]:
        return {task.id: status_of(task, map(_url_state, self._log(task.op, {"TaskID": task.id}))) for task in tasks}

    def quota(self) -> Mapping[Op, Quota] | None:
        reply = self._call("DescribeContentQuota", {}, asks=True)
        ends_at = next_day_at(self.calling.now(), LIMITS[Op.PREFETCH])
        found: dict[Op, Quota] = {}
        for op, names in _QUOTAS.items():
            limit, left, batch = (count_in(reply.text("Result", name)) for name in names)
            if limit is not None and left is not None:
                found[op] = Quota(limit, left, batch or None, ends_at)
        return found

    def find(self, op: Op, urls: Sequence[str], *, since: datetime) -> Sequence[CdnTask] | None:
        now = self.calling.now()
        start = int(max(since, now - HISTORY).timestamp())
        asked: dict[str, Any] = {"StartTime": start, "EndTime": int(now.timestamp()) + 300}
        asked |= {"Url": urls[0]} if len(urls) == 1 else {"DomainName": self.account}
        return find_tasks(op, urls, ((field_of(row, "TaskID"), field_of(row, "Url")) for row in self._log(op, asked)))

    def _log(self, op: Op, asked: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
        for page in range(1, PAGES + 1):
            fields = {**asked, "TaskType": _TYPES[op], "PageNum": page, "PageSize": PAGE_ROWS}
            rows = self._call("DescribeContentTasks", fields, asks=True).rows("Result", "Data")
            yield from rows
            if len(rows) < PAGE_ROWS:
                return

    def _call(self, action: str, asked: Mapping[str, Any], *, asks: bool = False, urls: Sequence[str] = ()) -> Reply:
        now = self.calling.now()
        body = json.dumps(asked).encode()
        query = f"Action={quote(action, safe='-_.~')}&Version={VERSION}"
        headers = {
            "content-type": "application/json",
            "host": host_of(self.endpoint),
            "x-content-sha256": hashlib.sha256(body).hexdigest(),
            "x-date": f"{now:%Y%m%dT%H%M%SZ}",
        }
        if token := self.credentials.get("session_token"):
            headers["x-security-token"] = token
        headers["Authorization"] = authorization(
            query,
            headers,
            region=self.region,
            key_id=self.credentials.need("access_key"),
            secret=self.credentials.need("secret_key"),
        )
        reply = self.calling.send(
            Call(
                f"volcengine {action}",
                "POST",
                f"{self.endpoint}/?{query}",
                headers,
                body,
                asks=asks,
                secrets=self.credentials.secrets,
                variables=self.credentials.places,
            )
        )
        code = reply.text("ResponseMetadata", "Error", "Code")
        if reply.status == 200 and not code:
            return reply
        raise failure(
            reply,
            VERDICTS,
            code=code,
            message=reply.text("ResponseMetadata", "Error", "Message"),
            now=now,
            request_id=reply.text("ResponseMetadata", "RequestId"),
            urls=urls,
            resets_at=next_day_at(now, LIMITS[Op.PREFETCH]),
        )


def authorization(query: str, headers: Mapping[str, str], *, region: str, key_id: str, secret: str) -> str:
    """Sign a ``POST /`` with its written ``query`` and lower-case ``headers``, which hold the digest of its body.

    https://www.volcengine.com/docs/6369/67269
    """
    names = sorted(headers)
    fields = "".join(f"{name}:{headers[name].strip()}\n" for name in names)
    request = "\n".join(["POST", "/", query, fields, ";".join(names), headers["x-content-sha256"]])
    day = headers["x-date"][:8]
    scope = f"{day}/{region}/{SERVICE}/request"
    to_sign = "\n".join([ALGORITHM, headers["x-date"], scope, hashlib.sha256(request.encode()).hexdigest()])
    key = secret.encode()
    for word in (day, region, SERVICE, "request"):
        key = hmac.new(key, word.encode(), hashlib.sha256).digest()
    signature = hmac.new(key, to_sign.encode(), hashlib.sha256).hexdigest()
    return f"{ALGORITHM} Credential={key_id}/{scope}, SignedHeaders={';'.join(names)}, Signature={signature}"


def _url_state(row: Mapping[str, Any]) -> UrlState:
    state = _STATES.get(field_of(row, "Status").lower(), TaskState.RUNNING)
    reason = field_of(row, "Remark") or (f"HTTP {row['StatusCode']}" if row.get("StatusCode") else "")
    return UrlState(field_of(row, "Url"), state, percent_in(row.get("Process")), reason)
