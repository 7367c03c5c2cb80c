"""Qiniu CDN: prefetch and refresh by its ``/v2/tune`` calls.

Takes URLs, gives one task a call, whose id is Qiniu's requestId. Every answer is HTTP 200: ``code`` inside decides. Calls are
signed by the "Qiniu" scheme, because the older "QBox" leaves a JSON body unsigned.
API: https://developer.qiniu.com/fusion/13367/fusion-api-cache-management, https://developer.qiniu.com/kodo/1201/access-token

next: ``cdns.cloudfront``
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta, timezone
from typing import Any
from urllib.parse import urlsplit

from pipeline.cdns.calling import Call, Calling, Reply, host_of
from pipeline.cdns.verdicts import CHINA, Verdict, failure
from pipeline.errors import CallRefused, CdnUnavailable, ModelportError
from pipeline.plan.calls import next_day_at
from pipeline.ports import CallLimits, CdnTask, Op, Quota, TaskState, TaskStatus
from pipeline.providers import Credentials
from pipeline.spelling import spell_subject

# The page of 2026: 20 URLs or 5 directories a call, 240 URLs a second over all calls, the day ends at midnight in China.
_PREFETCH = CallLimits(urls=20, per_second=10.0, history=timedelta(days=7), per_day=100, day_ahead=CHINA)
LIMITS = {
    Op.PREFETCH: _PREFETCH,
    Op.REFRESH: replace(_PREFETCH, per_day=500),
    Op.REFRESH_PREFIX: replace(_PREFETCH, urls=5, per_day=10),
}
UNDER_WAY = "400037"
# A list is read in pages, and not for ever.
PAGE, PAGES = 100, 100
VERDICTS = {
    "401": Verdict.DENIED,
    "400031": Verdict.REFUSED,
    "400032": Verdict.REFUSED,
    "400033": Verdict.QUOTA,
    "400034": Verdict.QUOTA,
    "400035": Verdict.QUOTA,
    "400036": Verdict.REFUSED,
    UNDER_WAY: Verdict.AGAIN,
    "400038": Verdict.QUOTA,
    "403022": Verdict.AGAIN,
    "403024": Verdict.AGAIN,
    "500000": Verdict.UNSURE,
}
_JSON = "application/json"


@dataclass(frozen=True, slots=True)
class QiniuKeys:
    """QINIU_ACCESS_KEY and QINIU_SECRET_KEY."""

    access_key: str = field(repr=False)
    secret_key: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Qiniu:
    """A ``Cdn`` over one Qiniu account.

    Where some URLs of a call are under way already, the call is refused as a whole: they are joined, and the rest is sent again.
    """

    base_url: str
    keys: QiniuKeys
    calling: Calling
    endpoint: str
    limits: Mapping[Op, CallLimits] = field(default_factory=lambda: LIMITS)
    name: str = "qiniu"
    can_poll: bool = True

    @property
    def account(self) -> str:
        return host_of(self.base_url)

    def submit(self, op: Op, urls: Sequence[str], *, key: str) -> Sequence[CdnTask]:
        del key
        try:
            return [self._submit(op, urls)]
        except CallRefused as error:
            if error.code != UNDER_WAY:
                raise
        joined = self.find(op, urls, since=self.calling.now() - timedelta(days=1))
        known = {url for task in joined for url in task.urls}
        rest = [url for url in urls if url not in known]
        if len(rest) == len(urls):
            raise CdnUnavailable(
                f"qiniu {op}: {UNDER_WAY}, a URL is under way already, but no task of it is listed",
                hint="Qiniu lists a task after a while: run it again later.",
            )
        return [*joined, self._submit(op, rest)] if rest else joined

    def poll(self, tasks: Sequence[CdnTask]) -> Mapping[str, TaskStatus]:
        return {task.id: status_of(task, list(self._listed(task.op, {"requestId": task.id}))) for task in tasks}

    def quota(self) -> Mapping[Op, Quota] | None:
        """Answer None: Qiniu tells what is left only in the answer to a call that spends some."""
        return None

    def find(self, op: Op, urls: Sequence[str], *, since: datetime) -> Sequence[CdnTask]:
        # Their times have no fraction.
        since = since.replace(microsecond=0)
        found: dict[str, dict[str, None]] = {}
        for item in self._listed(op, {"urls": list(urls)}):
            made_at = _time_in(item.get("createAt"))
            if item.get("url") in urls and (made_at is None or made_at >= since):
                found.setdefault(str(item.get("requestId", "")), {})[str(item["url"])] = None
        return [CdnTask(id=request, op=op, urls=tuple(named)) for request, named in found.items() if request]

    def _submit(self, op: Op, urls: Sequence[str]) -> CdnTask:
        reply = self._send(
            f"qiniu {op}",
            "/v2/tune/prefetch" if op is Op.PREFETCH else "/v2/tune/refresh",
            {"dirs" if op is Op.REFRESH_PREFIX else "urls": list(urls)},
            asks=False,
        )
        code, invalid = reply.text("code"), reply.document.get("invalidUrls")
        refused = [str(url) for url in invalid] if isinstance(invalid, list) else []
        if code == "200" and not refused:
            return CdnTask(id=reply.need("requestId"), op=op, urls=tuple(urls), request_id=reply.headers.get("x-reqid", ""))
        if code == UNDER_WAY:
            raise CallRefused(f"qiniu {op}: a URL is under way already", code=code)
        if refused:
            named = tuple(url for url in urls if url in refused)
            raise CallRefused(
                f"qiniu {op}: {code}, {spell_subject(len(named), 'URL', 'are')} invalid, the first is {named[0] if named else reply.call.shown(refused[0])}",
                hint="Check that their host is a domain of this account.",
                code=code,
                urls=named,
            )
        raise self._failure(reply, urls)

    def _listed(self, op: Op, about: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
        path = "/v2/tune/prefetch/list" if op is Op.PREFETCH else "/v2/tune/refresh/list"
        more = {} if op is Op.PREFETCH else {"isDir": "yes" if op is Op.REFRESH_PREFIX else "no"}
        for page in range(PAGES):
            reply = self._send(f"qiniu {op} list", path, {**about, **more, "pageNo": page, "pageSize": PAGE}, asks=True)
            if reply.text("code") != "200":
                raise self._failure(reply, ())
            items = reply.rows("items")
            yield from items
            if len(items) < PAGE:
                return

    def _send(self, told: str, path: str, document: Mapping[str, Any], *, asks: bool) -> Reply:
        body = json.dumps(document).encode()
        url = self.endpoint.rstrip("/") + path
        dated = f"{self.calling.now():%Y%m%dT%H%M%SZ}"
        headers = {
            "Content-Type": _JSON,
            "X-Qiniu-Date": dated,
            "Authorization": authorization(self.keys, url, dated=dated, body=body),
        }
        return self.calling.send(
            Call(told, "POST", url, headers, body, asks=asks, secrets=(self.keys.access_key, self.keys.secret_key))
        )

    def _failure(self, reply: Reply, urls: Sequence[str]) -> ModelportError:
        now = self.calling.now()
        return failure(
            reply,
            VERDICTS,
            code=reply.text("code"),
            message=reply.text("error"),
            now=now,
            request_id=reply.headers.get("x-reqid", ""),
            urls=urls,
            resets_at=next_day_at(now, LIMITS[Op.PREFETCH]),
        )


def open_cdn(*, base_url: str, endpoint: str, credentials: Credentials, options: Mapping[str, Any], calling: Calling) -> Qiniu:
    """Open a Qiniu account; nobody is called.

    Raises:
        AccessDenied: a credential is not set.
    """
    del options
    keys = QiniuKeys(credentials.need("access_key"), credentials.need("secret_key"))
    return Qiniu(base_url, keys, calling, endpoint)


def authorization(keys: QiniuKeys, url: str, *, dated: str, body: bytes) -> str:
    """Sign a JSON POST by the "Qiniu" scheme; ``dated`` is its X-Qiniu-Date."""
    path = urlsplit(url).path
    head = f"POST {path}\nHost: {host_of(url)}\nContent-Type: {_JSON}\nX-Qiniu-Date: {dated}\n\n"
    signature = hmac.new(keys.secret_key.encode(), head.encode() + body, hashlib.sha1).digest()
    return f"Qiniu {keys.access_key}:{base64.urlsafe_b64encode(signature).decode()}"


def status_of(task: CdnTask, items: Sequence[Mapping[str, Any]]) -> TaskStatus:
    """Sum up the items that a list holds of a task, one a URL."""
    mine = {str(item.get("url")): item for item in items if item.get("url") in task.urls}
    if not mine:
        return TaskStatus(TaskState.UNKNOWN, detail="Qiniu lists no such request")
    failed = {url: str(item.get("stateDetail") or "it failed") for url, item in mine.items() if item.get("state") == "failure"}
    done = sum(item.get("state") == "success" for item in mine.values())
    percent = 100 * (done + len(failed)) // len(task.urls)
    if done + len(failed) < len(task.urls):
        return TaskStatus(TaskState.RUNNING, percent=percent, failed=failed)
    return TaskStatus(TaskState.FAILED if failed else TaskState.DONE, percent=percent, failed=failed)


def _time_in(text: object) -> datetime | None:
    try:
        return datetime.strptime(str(text), "%Y-%m-%d %H:%M:%S").replace(tzinfo=timezone(CHINA))
    except ValueError:
        return None
