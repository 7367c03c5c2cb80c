"""Alibaba Cloud CDN: PushObjectCache and RefreshObjectCaches, version 2018-05-10, signed with ACS3-HMAC-SHA256.

The parameters go in the form body, as the documentation says, not into the query as the official SDK does: a hundred long
URLs make a longer query than servers take. Task ids come and go joined by commas.
API: https://www.alibabacloud.com/help/en/cdn/developer-reference/api-cdn-2018-05-10-pushobjectcache

next: ``cdns.tencent``
"""

from __future__ import annotations

import hashlib
import hmac
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import quote, urlencode

from pipeline.cdns.calling import Call, Calling, Reply, host_of
from pipeline.cdns.progress import UrlState, count_in, field_of, find_tasks, percent_in, status_of
from pipeline.cdns.verdicts import CHINA, Verdict, failure
from pipeline.plan.calls import next_day_at
from pipeline.ports import CallLimits, CdnTask, Op, Quota, TaskState, TaskStatus
from pipeline.providers import Credentials

VERSION = "2018-05-10"
ALGORITHM = "ACS3-HMAC-SHA256"
HISTORY = timedelta(days=3)
IDS_PER_CALL = 10
PAGE_ROWS = 100
# Five thousand tasks since one submit are not ours; what is not found is sent again.
PAGES = 50
# https://www.alibabacloud.com/help/en/cdn/developer-reference/api-cdn-2018-05-10-refreshobjectcaches
LIMITS: Mapping[Op, CallLimits] = {
    Op.PREFETCH: CallLimits(urls=100, per_second=20.0, history=HISTORY, per_day=1000, day_ahead=CHINA),
    Op.REFRESH: CallLimits(urls=1000, hosts=10, per_second=20.0, history=HISTORY, per_day=10_000, day_ahead=CHINA),
    Op.REFRESH_PREFIX: CallLimits(urls=100, hosts=10, per_second=20.0, history=HISTORY, per_day=100, day_ahead=CHINA),
}
_TYPES = {Op.PREFETCH: "preload", Op.REFRESH: "file", Op.REFRESH_PREFIX: "directory"}
_QUOTAS = {Op.PREFETCH: "Preload", Op.REFRESH: "Url", Op.REFRESH_PREFIX: "Dir"}
_STATES = {
    "complete": TaskState.DONE,
    "pending": TaskState.RUNNING,
    "refreshing": TaskState.RUNNING,
    "failed": TaskState.FAILED,
}
VERDICTS: Mapping[str, Verdict] = {
    "Forbidden": Verdict.DENIED,
    "IllegalOperation": Verdict.DENIED,
    "InsufficientBalance": Verdict.DENIED,
    "InternalError": Verdict.UNSURE,
    "InvalidAccessKeyId": Verdict.DENIED,
    "InvalidSecurityToken": Verdict.DENIED,
    "InvalidTimeStamp": Verdict.CLOCK,
    "MissingSecurityToken": Verdict.DENIED,
    "NoPermission": Verdict.DENIED,
    "OperationDenied": Verdict.DENIED,
    # The vendor's help says that it is told when the day's URLs are used up, whatever the words of the message.
    "PreloadQueueFull": Verdict.QUOTA,
    "QuotaExceeded": Verdict.QUOTA,
    "QuotaPerMinuteExceeded": Verdict.AGAIN,
    "ServiceUnavailable": Verdict.AGAIN,
    "SignatureDoesNotMatch": Verdict.DENIED,
    # Something on the way sent our own call twice: the first one may have been carried out.
    "SignatureNonceUsed": Verdict.UNSURE,
    "Throttling": Verdict.AGAIN,
    "TooMany": Verdict.AGAIN,
    "TooManyRequests": Verdict.AGAIN,
}


def open_cdn(*, base_url: str, endpoint: str, credentials: Credentials, options: Mapping[str, Any], calling: Calling) -> Aliyun:
    """Open the account that ``credentials`` belong to; nothing is sent."""
    return Aliyun(
        base_url, endpoint, credentials, calling, area=str(options.get("area", "")), l2_preload=options.get("l2_preload")
    )


@dataclass(frozen=True, slots=True)
class Aliyun:
    """A ``Cdn``. The account in the ledger is the edge's domain, which is unique among Alibaba's customers."""

    base_url: str
    endpoint: str
    credentials: Credentials
    calling: Calling
    area: str = ""
    l2_preload: bool | None = None
    limits: Mapping[Op, CallLimits] = field(default_factory=lambda: LIMITS)
    nonce: Callable[[], str] = field(default=lambda: uuid.uuid4().hex, repr=False)
    name: str = "aliyun"
    can_poll: bool = True

    @property
    def account(self) -> str:
        return host_of(self.base_url)

    def submit(self, op: Op, urls: Sequence[str], *, key: str) -> Sequence[CdnTask]:
        del key
        fields = {"ObjectPath": "\n".join(urls)}
        if op is Op.PREFETCH:
            fields |= {"Area": self.area} if self.area else {}
            fields |= {"L2Preload": str(self.l2_preload).lower()} if self.l2_preload is not None else {}
            reply = self._call("PushObjectCache", fields, urls=urls)
            task_id = reply.need("PushTaskId")
        else:
            fields["ObjectType"] = "Directory" if op is Op.REFRESH_PREFIX else "File"
            reply = self._call("RefreshObjectCaches", fields, urls=urls)
            task_id = reply.need("RefreshTaskId")
        return [CdnTask(task_id, op, tuple(urls), reply.text("RequestId"))]

    def poll(self, tasks: Sequence[CdnTask]) -> Mapping[str, TaskStatus]:
        ids = list(dict.fromkeys(one for task in tasks for one in _split(task.id)))
        told: dict[str, list[UrlState]] = {one: [] for one in ids}
        for start in range(0, len(ids), IDS_PER_CALL):
            asked = ",".join(ids[start : start + IDS_PER_CALL])
            for row in self._call("DescribeRefreshTaskById", {"TaskId": asked}, asks=True).rows("Tasks"):
                told.setdefault(field_of(row, "TaskId"), []).append(_url_state(row))
        return {task.id: status_of(task, [state for one in _split(task.id) for state in told[one]]) for task in tasks}

    def quota(self) -> Mapping[Op, Quota] | None:
        reply = self._call("DescribeRefreshQuota", {}, asks=True)
        ends_at = next_day_at(self.calling.now(), LIMITS[Op.PREFETCH])
        found: dict[Op, Quota] = {}
        for op, name in _QUOTAS.items():
            # They are text here, and an older account lacks some.
            limit, left = count_in(reply.text(f"{name}Quota")), count_in(reply.text(f"{name}Remain"))
            if limit is not None and left is not None:
                found[op] = Quota(limit, left, resets_at=ends_at)
        return found

    def find(self, op: Op, urls: Sequence[str], *, since: datetime) -> Sequence[CdnTask] | None:
        now = self.calling.now()
        fields = {
            "ObjectType": _TYPES[op],
            "StartTime": _stamp(max(since, now - HISTORY)),
            "EndTime": _stamp(now + timedelta(minutes=5)),
            "PageSize": str(PAGE_ROWS),
        }
        fields |= {"ObjectPath": urls[0]} if len(urls) == 1 else {"DomainName": self.account}
        return find_tasks(op, urls, ((field_of(row, "TaskId"), field_of(row, "ObjectPath")) for row in self._log(fields)))

    def _log(self, fields: Mapping[str, str]) -> Iterator[Mapping[str, Any]]:
        for page in range(1, PAGES + 1):
            # Not the shape of DescribeRefreshTaskById: one object deeper.
            asked = {**fields, "PageNumber": str(page)}
            rows = self._call("DescribeRefreshTasks", asked, asks=True).rows("Tasks", "CDNTask")
            yield from rows
            if len(rows) < PAGE_ROWS:
                return

    def _call(self, action: str, fields: Mapping[str, str], *, asks: bool = False, urls: Sequence[str] = ()) -> Reply:
        now = self.calling.now()
        body = urlencode(sorted(fields.items()), quote_via=quote).encode() if fields else b""
        headers = {
            "host": host_of(self.endpoint),
            "content-type": "application/x-www-form-urlencoded",
            "x-acs-action": action,
            "x-acs-content-sha256": hashlib.sha256(body).hexdigest(),
            "x-acs-date": _stamp(now),
            "x-acs-signature-nonce": self.nonce(),
            "x-acs-version": VERSION,
        }
        if token := self.credentials.get("security_token"):
            headers["x-acs-security-token"] = token
        headers["Authorization"] = authorization(
            headers, key_id=self.credentials.need("access_key_id"), secret=self.credentials.need("access_key_secret")
        )
        reply = self.calling.send(
            Call(
                f"aliyun {action}",
                "POST",
                f"{self.endpoint}/",
                headers,
                body,
                asks=asks,
                secrets=self.credentials.secrets,
                variables=self.credentials.places,
            )
        )
        code = reply.text("Code")
        if reply.status == 200 and not code:
            return reply
        raise failure(
            reply,
            VERDICTS,
            code=code,
            message=reply.text("Message"),
            now=now,
            request_id=reply.text("RequestId"),
            urls=urls,
            resets_at=next_day_at(now, LIMITS[Op.PREFETCH]),
        )


def authorization(headers: Mapping[str, str], *, key_id: str, secret: str) -> str:
    """Sign a ``POST /`` without query whose lower-case ``headers`` hold the digest of its body.

    https://www.alibabacloud.com/help/en/sdk/product-overview/v3-request-structure-and-signature
    """
    names = sorted(headers)
    fields = "".join(f"{name}:{headers[name].strip()}\n" for name in names)
    request = "\n".join(["POST", "/", "", fields, ";".join(names), headers["x-acs-content-sha256"]])
    to_sign = f"{ALGORITHM}\n{hashlib.sha256(request.encode()).hexdigest()}"
    signature = hmac.new(secret.encode(), to_sign.encode(), hashlib.sha256).hexdigest()
    return f"{ALGORITHM} Credential={key_id},SignedHeaders={';'.join(names)},Signature={signature}"


def _split(ids: str) -> list[str]:
    return [one.strip() for one in ids.split(",") if one.strip()]


def _stamp(at: datetime) -> str:
    return f"{at:%Y-%m-%dT%H:%M:%SZ}"


def _url_state(row: Mapping[str, Any]) -> UrlState:
    state = _STATES.get(field_of(row, "Status").lower(), TaskState.RUNNING)
    return UrlState(field_of(row, "ObjectPath"), state, percent_in(row.get("Process")), field_of(row, "Description"))
