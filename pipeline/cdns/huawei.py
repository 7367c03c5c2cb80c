"""Huawei Cloud CDN: preheating and refresh tasks, signed with SDK-HMAC-SHA256.

Refusals of the service come with HTTP 200 and ``error.error_code``, those of the gateway before it without ``error``. A task
that is ``task_done`` may have failed: its URLs are looked at. A copy at the edge stays until it is refreshed or expires.
API: https://support.huaweicloud.com/intl/en-us/api-cdn/CreatePreheatingTasks.html

next: ``cdns.volcengine``
"""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import islice
from typing import Any
from urllib.parse import quote

from pipeline.cdns.calling import Call, Calling, Reply, host_of
from pipeline.cdns.progress import UrlState, count_in, field_of, find_tasks, status_of
from pipeline.cdns.verdicts import CHINA, Verdict, failure
from pipeline.errors import CallRefused
from pipeline.plan.calls import next_day_at
from pipeline.ports import CallLimits, CdnTask, Op, Quota, TaskState, TaskStatus
from pipeline.providers import Credentials

ALGORITHM = "SDK-HMAC-SHA256"
CONTENT = "/v1.0/cdn/content"
TASKS = "/v1.0/cdn/historytasks"
HISTORY = timedelta(days=7)
PAGE_ROWS = 1000
PAGES = 20
# Tasks of the same size whose URLs are looked at; what is not found is sent again.
LOOKS = 50
LIMITS: Mapping[Op, CallLimits] = {
    Op.PREFETCH: CallLimits(urls=1000, url_chars=4096, per_second=5.0, history=HISTORY, per_day=1000, day_ahead=CHINA),
    Op.REFRESH: CallLimits(urls=1000, url_chars=4096, per_second=5.0, history=HISTORY, per_day=2000, day_ahead=CHINA),
    Op.REFRESH_PREFIX: CallLimits(urls=100, url_chars=4096, per_second=5.0, history=HISTORY, per_day=100, day_ahead=CHINA),
}
_QUOTAS = {"preheat": Op.PREFETCH, "file_refresh": Op.REFRESH, "dir_refresh": Op.REFRESH_PREFIX}
_STATES = {
    "succeed": TaskState.DONE,
    "failed": TaskState.FAILED,
    "processing": TaskState.RUNNING,
    "waiting": TaskState.RUNNING,
    "refreshing": TaskState.RUNNING,
    "preheating": TaskState.RUNNING,
}
# https://support.huaweicloud.com/intl/en-us/api-cdn/ErrorCode.html and the codes of its gateway.
VERDICTS: Mapping[str, Verdict] = {
    "APIG.0301": Verdict.DENIED,
    "APIG.0308": Verdict.AGAIN,
    "APIGW.0301": Verdict.DENIED,
    "APIGW.0302": Verdict.DENIED,
    "APIGW.0303": Verdict.DENIED,
    "APIGW.0305": Verdict.DENIED,
    "APIGW.0307": Verdict.DENIED,
    "APIGW.0308": Verdict.AGAIN,
    # "The upper limit is exceeded."
    "CDN.0005": Verdict.QUOTA,
    # Not authorised for the enterprise project; not by fine-grained rules.
    "CDN.0020": Verdict.DENIED,
    "CDN.0021": Verdict.DENIED,
    # "The number of URLs to be preheated or refreshed exceeds the upper limit": of the day, for a call is never too large.
    "CDN.0110": Verdict.QUOTA,
    "CDN.0114": Verdict.DENIED,
}


def open_cdn(*, base_url: str, endpoint: str, credentials: Credentials, options: Mapping[str, Any], calling: Calling) -> Huawei:
    """Open the account that ``credentials`` belong to; nothing is sent."""
    return Huawei(
        base_url,
        endpoint,
        credentials,
        calling,
        domain_id=str(options.get("domain_id", "")),
        enterprise_project_id=str(options.get("enterprise_project_id", "")),
    )


@dataclass(frozen=True, slots=True)
class Huawei:
    """A ``Cdn``. The account in the ledger is the edge's domain, which is unique among Huawei's customers."""

    base_url: str
    endpoint: str
    credentials: Credentials
    calling: Calling
    domain_id: str = ""
    enterprise_project_id: str = ""
    limits: Mapping[Op, CallLimits] = field(default_factory=lambda: LIMITS)
    name: str = "huawei"
    can_poll: bool = True

    @property
    def account(self) -> str:
        return host_of(self.base_url)

    def submit(self, op: Op, urls: Sequence[str], *, key: str) -> Sequence[CdnTask]:
        del key
        if op is Op.PREFETCH:
            name, asked = "preheating_task", {"urls": list(urls), "zh_url_encode": False}
        else:
            kind = "directory" if op is Op.REFRESH_PREFIX else "file"
            name, asked = "refresh_task", {"type": kind, "mode": "all", "urls": list(urls), "zh_url_encode": False}
        reply = self._call("POST", f"{CONTENT}/{name.replace('_', '-')}s", asked={name: asked}, urls=urls)
        return [CdnTask(reply.need(name), op, tuple(urls), reply.headers.get("x-request-id", ""))]

    def poll(self, tasks: Sequence[CdnTask]) -> Mapping[str, TaskStatus]:
        return {task.id: self._status(task) for task in tasks}

    def quota(self) -> Mapping[Op, Quota] | None:
        ends_at = next_day_at(self.calling.now(), LIMITS[Op.PREFETCH])
        found: dict[Op, Quota] = {}
        for row in self._call("GET", "/v1.0/cdn/quota").rows("quotas"):
            op, limit, used = _QUOTAS.get(field_of(row, "type")), count_in(row.get("quota_limit")), count_in(row.get("used"))
            if op is not None and limit is not None and used is not None:
                found[op] = Quota(limit, max(0, limit - used), resets_at=ends_at)
        return found

    def find(self, op: Op, urls: Sequence[str], *, since: datetime) -> Sequence[CdnTask] | None:
        now = self.calling.now()
        query = {
            "start_date": _millis(max(since, now - HISTORY)),
            "end_date": _millis(now + timedelta(minutes=5)),
            "task_type": "preheating" if op is Op.PREFETCH else "refresh",
            "file_type": "directory" if op is Op.REFRESH_PREFIX else "file",
            "page_size": str(PAGE_ROWS),
        }
        candidates = islice(self._candidates(query, len(urls)), LOOKS)
        rows = ((task_id, row) for task_id in candidates for row in self._detail(task_id).rows("urls"))
        return find_tasks(op, urls, ((task_id, field_of(row, "url")) for task_id, row in rows))

    def _candidates(self, query: Mapping[str, str], count: int) -> Iterator[str]:
        """The list has no URLs: a task of another size is not the call that was sent."""
        for page in range(1, PAGES + 1):
            rows = self._call("GET", TASKS, query={**query, "page_number": str(page)}).rows("tasks")
            yield from (field_of(row, "id") for row in rows if count_in(row.get("total")) in {None, count})
            if len(rows) < PAGE_ROWS:
                return

    def _status(self, task: CdnTask) -> TaskStatus:
        try:
            rows = self._detail(task.id).rows("urls")
        except CallRefused as refused:
            return TaskStatus(TaskState.UNKNOWN, detail=str(refused))
        return status_of(task, map(_url_state, rows))

    def _detail(self, task_id: str) -> Reply:
        query = {"page_size": str(PAGE_ROWS), "page_number": "1"}
        return self._call("GET", f"{TASKS}/{quote(task_id, safe='')}/detail", query=query)

    def _call(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        asked: Mapping[str, Any] | None = None,
        urls: Sequence[str] = (),
    ) -> Reply:
        now = self.calling.now()
        fields = dict(query or {})
        if self.enterprise_project_id:
            fields["enterprise_project_id"] = self.enterprise_project_id
        written = "&".join(f"{quote(name, safe='~')}={quote(value, safe='~')}" for name, value in sorted(fields.items()))
        body = b"" if asked is None else json.dumps(asked).encode()
        headers = {"content-type": "application/json", "host": host_of(self.endpoint), "x-sdk-date": f"{now:%Y%m%dT%H%M%SZ}"}
        if self.domain_id:
            headers["x-domain-id"] = self.domain_id
        if token := self.credentials.get("security_token"):
            headers["x-security-token"] = token
        headers["Authorization"] = authorization(
            method, path, written, headers, body, key_id=self.credentials.need("ak"), secret=self.credentials.need("sk")
        )
        reply = self.calling.send(
            Call(
                f"huawei {method} {path}",
                method,
                f"{self.endpoint}{path}" + (f"?{written}" if written else ""),
                headers,
                body,
                asks=method == "GET",
                # The quota may be asked for five times a second; of the others the documentation says nothing.
                per_second=5.0,
                secrets=self.credentials.secrets,
                variables=self.credentials.places,
            )
        )
        code = reply.text("error", "error_code") or reply.text("error_code")
        if reply.status < 300 and not code:
            return reply
        raise failure(
            reply,
            VERDICTS,
            code=code,
            message=reply.text("error", "error_msg") or reply.text("error_msg"),
            now=now,
            request_id=reply.headers.get("x-request-id", "") or reply.text("request_id"),
            urls=urls,
            resets_at=next_day_at(now, LIMITS[Op.PREFETCH]),
        )


def authorization(
    method: str, path: str, query: str, headers: Mapping[str, str], body: bytes, *, key_id: str, secret: str
) -> str:
    """Sign a request with its written ``query`` and lower-case ``headers``, all of which are signed.

    The path is signed with a slash at its end that the request need not have
    (https://support.huaweicloud.com/intl/en-us/devg-apisign/api-sign-algorithm.html).
    """
    names = sorted(headers)
    fields = "".join(f"{name}:{headers[name].strip()}\n" for name in names)
    signed_path = path if path.endswith("/") else f"{path}/"
    request = "\n".join([method, signed_path, query, fields, ";".join(names), hashlib.sha256(body).hexdigest()])
    to_sign = "\n".join([ALGORITHM, headers["x-sdk-date"], hashlib.sha256(request.encode()).hexdigest()])
    signature = hmac.new(secret.encode(), to_sign.encode(), hashlib.sha256).hexdigest()
    return f"{ALGORITHM} Access={key_id}, SignedHeaders={';'.join(names)}, Signature={signature}"


def _millis(at: datetime) -> str:
    return str(int(at.timestamp() * 1000))


def _url_state(row: Mapping[str, Any]) -> UrlState:
    state = _STATES.get(field_of(row, "status").lower(), TaskState.RUNNING)
    reason = " ".join(part for part in (field_of(row, "fail_classify"), field_of(row, "fail_desc")) if part)
    return UrlState(field_of(row, "url"), state, None, reason)
