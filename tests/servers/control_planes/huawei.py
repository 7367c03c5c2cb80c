"""Huawei Cloud CDN's control plane: REST, signature SDK-HMAC-SHA256; the service refuses with HTTP 200, its gateway with 4xx."""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar
from urllib.parse import quote, unquote

from tests.servers.control_planes.plane import PREFETCH, REFRESH, REFRESH_PREFIX, Allowed, Asked, Job, Plane, Refused, Told

AK = "HUAWEIACCESSKEY00001"
SK = "huawei-secret-canary-43"
_CALLS = {
    ("POST", "/v1.0/cdn/content/preheating-tasks"): "CreatePreheatingTasks",
    ("POST", "/v1.0/cdn/content/refresh-tasks"): "CreateRefreshTasks",
    ("GET", "/v1.0/cdn/quota"): "ShowQuota",
    ("GET", "/v1.0/cdn/historytasks"): "ShowHistoryTasks",
}
_STATES = {"waiting": "waiting", "running": "processing", "done": "succeed", "failed": "failed", "invalid": "failed"}


class HuaweiPlane(Plane):
    REFUSALS: ClassVar[Mapping[str, tuple[int, str, str]]] = {
        "signature": (401, "APIGW.0301", "Incorrect IAM authentication information: verify aksk signature fail"),
        "key": (401, "APIGW.0301", "Incorrect IAM authentication information: Get secretKey failed"),
        "clock": (401, "APIGW.0301", "Incorrect IAM authentication information: signature expired"),
        "throttled": (429, "APIGW.0308", "The throttling threshold has been reached."),
        "ill": (503, "APIGW.0201", "Backend unavailable."),
        "quota": (200, "CDN.0110", "The number of URLs to be preheated or refreshed exceeds the upper limit."),
        "batch": (200, "CDN.0004", "The number of URLs of one request is exceeded."),
        "url": (200, "CDN.0001", "The URL is invalid:"),
        "host": (200, "CDN.0108", "The URL domain name is not the acceleration domain name of the current tenant."),
        "unknown": (404, "APIGW.0101", "The API does not exist."),
        "parameter": (400, "CDN.0001", "The parameter is invalid:"),
        "task": (200, "CDN.0001", "The task does not exist."),
    }
    ALLOWED: ClassVar[Mapping[str, Allowed]] = {
        PREFETCH: Allowed(1000, 1000, 4096),
        REFRESH: Allowed(1000, 2000, 4096),
        REFRESH_PREFIX: Allowed(100, 100, 4096),
    }
    HISTORY = timedelta(days=15)
    RATE = 10

    def name_of(self, asked: Asked) -> str:
        if asked.method == "GET" and re.fullmatch(r"/v1\.0/cdn/historytasks/[^/]+/detail", asked.path):
            return "ShowHistoryTaskDetails"
        return _CALLS.get((asked.method, asked.path), "")

    def check(self, asked: Asked) -> None:
        said = dict(re.findall(r"(\w+)=([^,\s]+)", asked.headers.get("authorization", "").partition(" ")[2]))
        if said.get("Access") != AK:
            raise Refused("key")
        names = said.get("SignedHeaders", "").split(";")
        if not {"host", "x-sdk-date"} <= {*names}:
            raise Refused("signature")
        path = "/".join(quote(unquote(piece), safe="~") for piece in asked.path.split("/"))
        query = "&".join(sorted(f"{quote(name, safe='~')}={quote(value, safe='~')}" for name, value in asked.query))
        lines = [asked.method, path.rstrip("/") + "/", query]
        lines += [f"{name}:{asked.headers.get(name, '').strip()}" for name in names]
        lines += ["", ";".join(names), hashlib.sha256(asked.body).hexdigest()]
        date = asked.headers.get("x-sdk-date", "")
        text = f"SDK-HMAC-SHA256\n{date}\n{hashlib.sha256(chr(10).join(lines).encode()).hexdigest()}"
        if not hmac.compare_digest(said.get("Signature", ""), hmac.new(SK.encode(), text.encode(), hashlib.sha256).hexdigest()):
            raise Refused("signature")
        self.within_clock(datetime.strptime(date, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC))

    def carry_out(self, name: str, asked: Asked) -> Told:
        match name:
            case "CreatePreheatingTasks":
                return self._told({"preheating_task": self.take(PREFETCH, asked.json["preheating_task"]["urls"]).id}, 201)
            case "CreateRefreshTasks":
                given = asked.json["refresh_task"]
                op = {"file": REFRESH, "directory": REFRESH_PREFIX}[given.get("type", "file")]
                if given.get("mode", "all") not in {"all", "detect_modify_refresh"}:
                    raise Refused("parameter", "mode")
                return self._told({"refresh_task": self.take(op, given["urls"]).id}, 201)
            case "ShowHistoryTaskDetails":
                return self._detail(asked.path.split("/")[4], dict(asked.query))
            case "ShowHistoryTasks":
                return self._list(dict(asked.query))
        names = {"preheat": PREFETCH, "file_refresh": REFRESH, "dir_refresh": REFRESH_PREFIX}
        rows = [{"type": kind, "quota_limit": self.allowed[op].per_day, "used": self.used(op)} for kind, op in names.items()]
        return self._told({"quotas": [*rows, {"type": "domain", "quota_limit": 100, "used": 3}]})

    def refusal(self, status: int, code: str, message: str) -> Told:
        body = {"error_code": code, "error_msg": message}
        if code.startswith("APIGW"):
            return self._told({**body, "request_id": "gateway-1"}, status)
        return self._told({"error": body}, status)

    def refuses(self, told: Told) -> bool:
        return told.status >= 400 or "error" in told.document

    def _told(self, document: Any, status: int = 200) -> Told:
        return Told(document, status, {"X-Request-Id": f"request-{len(self.calls)}"})

    def _list(self, given: Mapping[str, str]) -> Told:
        ops = [PREFETCH] if given.get("task_type") == "preheating" else [REFRESH, REFRESH_PREFIX]
        if given.get("file_type") == "directory":
            ops = [REFRESH_PREFIX]
        elif given.get("file_type") == "file" and len(ops) > 1:
            ops = [REFRESH]
        found = [
            job
            for job in self.remembered(*ops)
            if int(given.get("start_date", 0)) <= _millis(job.made_at) <= int(given.get("end_date", 1 << 60))
        ]
        size, page = int(given.get("page_size", 30)), int(given.get("page_number", 1))
        rows = [self._summary(job) for job in found[(page - 1) * size : page * size]]
        return self._told({"total": len(found), "tasks": rows})

    def _summary(self, job: Job) -> dict[str, Any]:
        states = [_STATES[self.state(job, url)[0]] for url in job.urls]
        running = sum(state not in {"succeed", "failed"} for state in states)
        return {
            "id": job.id,
            "task_type": "preheating" if job.op == PREFETCH else "refresh",
            # It says "done" of what failed, too.
            "status": "task_inprocess" if running else "task_done",
            "processing": running,
            "succeed": states.count("succeed"),
            "failed": states.count("failed"),
            "total": len(states),
            "create_time": _millis(job.made_at),
            "file_type": "directory" if job.op == REFRESH_PREFIX else "file",
        }

    def _detail(self, job_id: str, given: Mapping[str, str]) -> Told:
        job = self.known(job_id)
        if job is None:
            raise Refused("task", job_id)
        size, page = int(given.get("page_size", 30)), int(given.get("page_number", 1))
        rows = []
        for url in job.urls[(page - 1) * size : page * size]:
            state = self.state(job, url)[0]
            row = {"url": url, "status": _STATES[state], "task_id": job.id, "create_time": _millis(job.made_at)}
            if state == "invalid":
                row |= {"fail_classify": "ORIGIN_ERROR", "fail_desc": "404"}
            rows.append(row)
        return self._told({**self._summary(job), "urls": rows})


def _millis(at: datetime) -> int:
    return int(at.timestamp() * 1000)
