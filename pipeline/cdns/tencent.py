"""Tencent Cloud CDN: PushUrlsCache, PurgeUrlsCache, PurgePathCache, version 2018-06-06, signed with TC3-HMAC-SHA256.

Refusals come with HTTP 200 and ``Response.Error``. A prefetch does not replace what the edge still holds: what may change is
refreshed first. ``area: global`` spends the quota of both areas.
API: https://www.tencentcloud.com/document/product/228/33600

next: ``cdns.huawei``
"""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from typing import Any

from pipeline.cdns.calling import Call, Calling, Reply, host_of
from pipeline.cdns.progress import UrlState, count_in, field_of, find_tasks, percent_in, status_of
from pipeline.cdns.verdicts import CHINA, Verdict, failure
from pipeline.plan.calls import next_day_at
from pipeline.ports import CallLimits, CdnTask, Op, Quota, TaskState, TaskStatus
from pipeline.providers import Credentials

VERSION = "2018-06-06"
ALGORITHM = "TC3-HMAC-SHA256"
SERVICE = "cdn"
CONTENT_TYPE = "application/json; charset=utf-8"
HISTORY = timedelta(days=7)
PAGE_ROWS = 100
PAGES = 50
# Times of this API are those of its home.
HOME = timezone(CHINA)
LIMITS: Mapping[Op, CallLimits] = {
    Op.PREFETCH: CallLimits(urls=500, per_second=15.0, history=HISTORY, per_day=1000, day_ahead=CHINA),
    Op.REFRESH: CallLimits(urls=1000, per_second=15.0, history=HISTORY, per_day=10_000, day_ahead=CHINA),
    Op.REFRESH_PREFIX: CallLimits(urls=500, per_second=15.0, history=HISTORY, per_day=100, day_ahead=CHINA),
}
_ACTIONS = {Op.PREFETCH: "PushUrlsCache", Op.REFRESH: "PurgeUrlsCache", Op.REFRESH_PREFIX: "PurgePathCache"}
_PURGE_TYPES = {Op.REFRESH: "url", Op.REFRESH_PREFIX: "path"}
_STATES = {
    "done": TaskState.DONE,
    "process": TaskState.RUNNING,
    "fail": TaskState.FAILED,
    "invalid": TaskState.FAILED,
}
VERDICTS: Mapping[str, Verdict] = {
    "AuthFailure": Verdict.DENIED,
    "AuthFailure.SignatureExpire": Verdict.CLOCK,
    "FailedOperation": Verdict.UNSURE,
    "InternalError": Verdict.UNSURE,
    "InternalError.CamSystemError": Verdict.AGAIN,
    "InternalError.ProxyServer": Verdict.UNSURE,
    "LimitExceeded": Verdict.REFUSED,
    "LimitExceeded.CdnPurgeExceedDayLimit": Verdict.QUOTA,
    "LimitExceeded.CdnPurgePathExceedDayLimit": Verdict.QUOTA,
    "LimitExceeded.CdnPurgeUrlExceedDayLimit": Verdict.QUOTA,
    "LimitExceeded.CdnPushExceedDayLimit": Verdict.QUOTA,
    "OperationDenied": Verdict.DENIED,
    "RequestLimitExceeded": Verdict.AGAIN,
    "ResourceInUse.CdnOpInProgress": Verdict.AGAIN,
    "UnauthorizedOperation": Verdict.DENIED,
    "UnauthorizedOperation.CdnHostUnauthorized": Verdict.REFUSED,
    "UnauthorizedOperation.OperationTooOften": Verdict.AGAIN,
}


def open_cdn(*, base_url: str, endpoint: str, credentials: Credentials, options: Mapping[str, Any], calling: Calling) -> Tencent:
    """Open the account that ``credentials`` belong to; nothing is sent."""
    return Tencent(base_url, endpoint, credentials, calling, area=str(options.get("area", "")))


@dataclass(frozen=True, slots=True)
class Tencent:
    """A ``Cdn``. The account in the ledger is the edge's domain, which is unique among Tencent's customers."""

    base_url: str
    endpoint: str
    credentials: Credentials
    calling: Calling
    area: str = ""
    limits: Mapping[Op, CallLimits] = field(default_factory=lambda: LIMITS)
    name: str = "tencent"
    can_poll: bool = True

    @property
    def account(self) -> str:
        return host_of(self.base_url)

    def submit(self, op: Op, urls: Sequence[str], *, key: str) -> Sequence[CdnTask]:
        del key
        asked: dict[str, Any] = {"Paths" if op is Op.REFRESH_PREFIX else "Urls": list(urls)}
        if op is Op.REFRESH_PREFIX:
            asked["FlushType"] = "delete"
        # A purge takes no "global": without an area it is made wherever the domain is served.
        if self.area and (op is Op.PREFETCH or self.area != "global"):
            asked["Area"] = self.area
        reply = self._call(_ACTIONS[op], asked, urls=urls)
        return [CdnTask(reply.need("Response", "TaskId"), op, tuple(urls), reply.text("Response", "RequestId"))]

    def poll(self, tasks: Sequence[CdnTask]) -> Mapping[str, TaskStatus]:
        return {task.id: status_of(task, map(_url_state, self._log(task.op, {"TaskId": task.id}))) for task in tasks}

    def quota(self) -> Mapping[Op, Quota] | None:
        pushes = self._call("DescribePushQuota", {}, asks=True)
        purges = self._call("DescribePurgeQuota", {}, asks=True)
        rows = {
            Op.PREFETCH: pushes.rows("Response", "UrlPush"),
            Op.REFRESH: purges.rows("Response", "UrlPurge"),
            Op.REFRESH_PREFIX: purges.rows("Response", "PathPurge"),
        }
        ends_at = next_day_at(self.calling.now(), LIMITS[Op.PREFETCH])
        found: dict[Op, Quota] = {}
        for op, every in rows.items():
            counted = [_quota(row, ends_at) for row in _of_area(every, self.area)]
            if counted:
                found[op] = min(counted, key=lambda quota: quota.remaining)
        return found

    def find(self, op: Op, urls: Sequence[str], *, since: datetime) -> Sequence[CdnTask] | None:
        now = self.calling.now()
        asked: dict[str, Any] = {
            "StartTime": _stamp(max(since, now - HISTORY)),
            "EndTime": _stamp(now + timedelta(minutes=5)),
        }
        asked["Keyword"] = urls[0] if len(urls) == 1 else self.account
        return find_tasks(op, urls, ((field_of(row, "TaskId"), field_of(row, "Url")) for row in self._log(op, asked)))

    def _log(self, op: Op, asked: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
        action, name = ("DescribePushTasks", "PushLogs") if op is Op.PREFETCH else ("DescribePurgeTasks", "PurgeLogs")
        purge = {"PurgeType": _PURGE_TYPES[op]} if op in _PURGE_TYPES else {}
        for page in range(PAGES):
            reply = self._call(action, {**asked, **purge, "Offset": page * PAGE_ROWS, "Limit": PAGE_ROWS}, asks=True)
            rows = reply.rows("Response", name)
            yield from rows
            total = count_in(reply.text("Response", "TotalCount"))
            if not rows or (total is not None and (page + 1) * PAGE_ROWS >= total):
                return

    def _call(self, action: str, asked: Mapping[str, Any], *, asks: bool = False, urls: Sequence[str] = ()) -> Reply:
        now = self.calling.now()
        body = json.dumps(asked).encode()
        headers = {"content-type": CONTENT_TYPE, "host": host_of(self.endpoint), "x-tc-action": action}
        signed = authorization(
            headers, body, at=now, key_id=self.credentials.need("secret_id"), secret=self.credentials.need("secret_key")
        )
        headers |= {"Authorization": signed, "X-TC-Version": VERSION, "X-TC-Timestamp": str(int(now.timestamp()))}
        if token := self.credentials.get("token"):
            headers["X-TC-Token"] = token
        reply = self.calling.send(
            Call(
                f"tencent {action}",
                "POST",
                f"{self.endpoint}/",
                headers,
                body,
                asks=asks,
                secrets=self.credentials.secrets,
                variables=self.credentials.places,
            )
        )
        code = reply.text("Response", "Error", "Code")
        if reply.status == 200 and not code:
            return reply
        raise failure(
            reply,
            VERDICTS,
            code=code,
            message=reply.text("Response", "Error", "Message"),
            now=now,
            request_id=reply.text("Response", "RequestId"),
            urls=urls,
            resets_at=next_day_at(now, LIMITS[Op.PREFETCH]),
        )


def authorization(headers: Mapping[str, str], body: bytes, *, at: datetime, key_id: str, secret: str) -> str:
    """Sign a ``POST /`` with lower-case ``headers``, all of which are signed.

    https://www.tencentcloud.com/document/api/228/31684
    """
    names = sorted(headers)
    # Values are signed in lower case too.
    fields = "".join(f"{name}:{headers[name].strip().lower()}\n" for name in names)
    request = "\n".join(["POST", "/", "", fields, ";".join(names), hashlib.sha256(body).hexdigest()])
    day = f"{at:%Y-%m-%d}"
    scope = f"{day}/{SERVICE}/tc3_request"
    to_sign = "\n".join([ALGORITHM, str(int(at.timestamp())), scope, hashlib.sha256(request.encode()).hexdigest()])
    key = f"TC3{secret}".encode()
    for word in (day, SERVICE, "tc3_request"):
        key = hmac.new(key, word.encode(), hashlib.sha256).digest()
    signature = hmac.new(key, to_sign.encode(), hashlib.sha256).hexdigest()
    return f"{ALGORITHM} Credential={key_id}/{scope}, SignedHeaders={';'.join(names)}, Signature={signature}"


def _of_area(rows: Sequence[Mapping[str, Any]], area: str) -> list[Mapping[str, Any]]:
    """The quotas that count: of both areas for ``global``, else of the one, which is the mainland unless it is said."""
    if area == "global":
        return list(rows)
    return [row for row in rows if row.get("Area") == (area or "mainland")] or list(rows)


def _quota(row: Mapping[str, Any], ends_at: datetime) -> Quota:
    counts = [count_in(row.get(name)) or 0 for name in ("Total", "Available", "Batch")]
    return Quota(counts[0], counts[1], counts[2] or None, ends_at)


def _stamp(at: datetime) -> str:
    return f"{at.astimezone(HOME):%Y-%m-%d %H:%M:%S}"


def _url_state(row: Mapping[str, Any]) -> UrlState:
    status = field_of(row, "Status").lower()
    reason = "the origin answered with 4xx or 5xx" if status == "invalid" else status
    return UrlState(field_of(row, "Url"), _STATES.get(status, TaskState.RUNNING), percent_in(row.get("Percent")), reason)
