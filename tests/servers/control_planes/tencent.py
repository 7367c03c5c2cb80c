"""Tencent Cloud CDN's control plane: JSON by POST, signature TC3-HMAC-SHA256, refusals with HTTP 200."""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar

from tests.servers.control_planes.plane import PREFETCH, REFRESH, REFRESH_PREFIX, Allowed, Asked, Job, Plane, Refused, Told

SECRET_ID = "tencent-secret-id"
SECRET_KEY = "tencent-secret-canary-42"
ACTIONS = {
    "PushUrlsCache": PREFETCH,
    "PurgeUrlsCache": REFRESH,
    "PurgePathCache": REFRESH_PREFIX,
    "DescribePushTasks": "",
    "DescribePurgeTasks": "",
    "DescribePushQuota": "",
    "DescribePurgeQuota": "",
}
_STATES = {"waiting": "process", "running": "process", "done": "done", "failed": "fail", "invalid": "invalid"}
_BEIJING = timedelta(hours=8)


class TencentPlane(Plane):
    REFUSALS: ClassVar[Mapping[str, tuple[int, str, str]]] = {
        "signature": (200, "AuthFailure.SignatureFailure", "The provided credentials could not be validated."),
        "key": (200, "AuthFailure.SecretIdNotFound", "The SecretId is not found."),
        "clock": (200, "AuthFailure.SignatureExpire", "The signature is expired."),
        "throttled": (200, "RequestLimitExceeded", "Your current request times equals to 21 in a second."),
        "ill": (503, "", "Service Unavailable"),
        "quota": (200, "LimitExceeded.CdnPushExceedDayLimit", "The daily limit is exceeded."),
        "batch": (200, "LimitExceeded.CdnPushExceedBatchLimit", "The limit of one call is exceeded."),
        "url": (200, "InvalidParameter.CdnParamError", "The parameter is wrong:"),
        "host": (200, "ResourceNotFound.CdnHostNotExists", "The domain does not exist:"),
        "unknown": (200, "InvalidAction", "The request action does not exist."),
        "parameter": (200, "InvalidParameter", "The parameter is wrong:"),
    }
    ALLOWED: ClassVar[Mapping[str, Allowed]] = {
        PREFETCH: Allowed(500, 1000),
        REFRESH: Allowed(1000, 10000),
        REFRESH_PREFIX: Allowed(500, 100),
    }
    WINDOW = timedelta(minutes=5)
    HISTORY = timedelta(days=30)
    RATE = 20

    def name_of(self, asked: Asked) -> str:
        name = asked.headers.get("x-tc-action", "")
        return name if name in ACTIONS and asked.path == "/" else ""

    def job_id(self, count: int) -> str:
        return f"{1533045796 + count}-i60rfmzm"

    def check(self, asked: Asked) -> None:
        said = dict(re.findall(r"(\w+)=([^,\s]+)", asked.headers.get("authorization", "").partition(" ")[2]))
        key_id, _, scope = said.get("Credential", "").partition("/")
        if key_id != SECRET_ID:
            raise Refused("key")
        at = datetime.fromtimestamp(int(asked.headers["x-tc-timestamp"]), UTC)
        self.within_clock(at)
        day = at.strftime("%Y-%m-%d")
        # The SDK signs these two only, not x-tc-action; a client may sign more.
        names = said.get("SignedHeaders", "").split(";")
        if not {"content-type", "host"} <= {*names} or scope != f"{day}/cdn/tc3_request":
            raise Refused("signature")
        # A POST has no query (and the line stands for it).
        lines = [asked.method, "/", asked.target.partition("?")[2]]
        lines += [f"{name}:{asked.headers[name].strip().lower()}" for name in names]
        lines += ["", ";".join(names), hashlib.sha256(asked.body).hexdigest()]
        hashed = hashlib.sha256("\n".join(lines).encode()).hexdigest()
        text = f"TC3-HMAC-SHA256\n{asked.headers['x-tc-timestamp']}\n{scope}\n{hashed}"
        dated = _mac(b"TC3" + SECRET_KEY.encode(), day)
        wanted = hmac.new(_mac(_mac(dated, "cdn"), "tc3_request"), text.encode(), hashlib.sha256).hexdigest()
        if not hmac.compare_digest(said.get("Signature", ""), wanted):
            raise Refused("signature")

    def carry_out(self, name: str, asked: Asked) -> Told:
        if asked.headers.get("x-tc-version") != "2018-06-06":
            raise Refused("parameter", "Version")
        given = asked.json
        if op := ACTIONS[name]:
            if op == REFRESH_PREFIX and given.get("FlushType") not in {"flush", "delete"}:
                raise Refused("parameter", "FlushType")
            if given.get("Area", "mainland") not in {"mainland", "overseas"} | ({"global"} if op == PREFETCH else set()):
                raise Refused("parameter", "Area")
            return self._told(TaskId=self.take(op, given.get("Paths") or given.get("Urls") or []).id)
        if name == "DescribePushTasks":
            return self._log("PushLogs", [PREFETCH], given)
        if name == "DescribePurgeTasks":
            return self._log("PurgeLogs", [{"url": REFRESH, "path": REFRESH_PREFIX}[given["PurgeType"]]], given)
        if name == "DescribePushQuota":
            return self._told(UrlPush=self._quotas(PREFETCH))
        return self._told(UrlPurge=self._quotas(REFRESH), PathPurge=self._quotas(REFRESH_PREFIX))

    def refusal(self, status: int, code: str, message: str) -> Told:
        if not code:
            return Told(message.encode(), status)
        return Told({"Response": {"Error": {"Code": code, "Message": message}, "RequestId": "refused-1"}}, status)

    def refuses(self, told: Told) -> bool:
        return told.status >= 400 or "Error" in told.document["Response"]

    def _told(self, **fields) -> Told:
        return Told({"Response": {**fields, "RequestId": f"request-{len(self.calls)}"}})

    def _quotas(self, op: str) -> list[dict[str, Any]]:
        allowed = self.allowed[op]
        here = {"Batch": allowed.per_call, "Total": allowed.per_day, "Available": self.left(op), "Area": "mainland"}
        there = {"Batch": allowed.per_call, "Total": allowed.per_day, "Available": allowed.per_day, "Area": "overseas"}
        return [here, there]

    def _log(self, field: str, ops: Sequence[str], given: Mapping[str, Any]) -> Told:
        if "TaskId" not in given and "StartTime" not in given:
            raise Refused("parameter", "TaskId or StartTime")
        rows = [
            self._row(job, url)
            for job in self.remembered(*ops)
            if given.get("TaskId") in {None, job.id}
            and given.get("StartTime", "") <= _beijing(job.made_at) <= given.get("EndTime", "9")
            for url in job.urls
            if given.get("Keyword", "") in url
        ]
        start, size = given.get("Offset", 0), given.get("Limit", 20)
        # No rows are no list.
        return self._told(**{field: rows[start : start + size] or None, "TotalCount": len(rows)})

    def _row(self, job: Job, url: str) -> dict[str, Any]:
        state, percent = self.state(job, url)
        row = {"TaskId": job.id, "Url": url, "Status": _STATES[state], "CreateTime": _beijing(job.made_at)}
        return row | ({"Percent": percent, "Area": "mainland"} if job.op == PREFETCH else {})


def _mac(key: bytes, text: str) -> bytes:
    return hmac.new(key, text.encode(), hashlib.sha256).digest()


def _beijing(at: datetime) -> str:
    return (at + _BEIJING).strftime("%Y-%m-%d %H:%M:%S")
