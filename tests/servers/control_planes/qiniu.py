"""Qiniu's control plane: HTTP 200 whatever happens, and a code inside."""

from __future__ import annotations

import base64
import hashlib
import hmac
from datetime import UTC, datetime, timedelta
from typing import ClassVar

from tests.servers.control_planes.plane import PREFETCH, REFRESH, REFRESH_PREFIX, Allowed, Asked, Job, Plane, Refused, Told

ACCESS, SECRET = "qiniu-access-canary", "qiniu-secret-canary"


class QiniuPlane(Plane):
    REFUSALS: ClassVar = {
        "signature": (401, "401", "bad token"),
        "key": (401, "401", "bad token"),
        "clock": (401, "401", "x-qiniu-date is out of the window"),
        "nonce": (401, "401", "bad token"),
        "throttled": (200, "403024", "single user QPS Rate limited"),
        "ill": (503, "503", "service unavailable"),
        "quota": (200, "400033", "prefetch url limit error"),
        "batch": (200, "400031", "too many urls"),
        "url": (200, "400031", "invalid url"),
        "host": (200, "400032", "invalid host"),
        "existed": (200, "400037", "url has existed"),
        "unknown": (404, "404", "not found"),
        "parameter": (200, "400000", "invalid parameter"),
    }
    ALLOWED: ClassVar = {PREFETCH: Allowed(20, 100), REFRESH: Allowed(20, 500), REFRESH_PREFIX: Allowed(5, 10)}
    HISTORY = timedelta(days=7)
    NAMES: ClassVar = {
        "/v2/tune/prefetch": "prefetch",
        "/v2/tune/refresh": "refresh",
        "/v2/tune/prefetch/list": "prefetch list",
        "/v2/tune/refresh/list": "refresh list",
    }

    def name_of(self, asked: Asked) -> str:
        return self.NAMES.get(asked.path, "") if asked.method == "POST" else ""

    def check(self, asked: Asked) -> None:
        scheme, _, token = asked.headers.get("authorization", "").partition(" ")
        key, _, given = token.partition(":")
        if key != ACCESS:
            raise Refused("key")
        if scheme == "QBox":
            # It does not sign a JSON body: a genuine client of the official SDK looks like this.
            text = f"{asked.target}\n".encode()
        elif scheme == "Qiniu":
            text = f"{asked.method} {asked.target}\nHost: {asked.headers['host']}".encode()
            if "content-type" in asked.headers:
                text += f"\nContent-Type: {asked.headers['content-type']}".encode()
            for name in sorted(name for name in asked.headers if name.startswith("x-qiniu-")):
                text += f"\n{name.title()}: {asked.headers[name]}".encode()
            text += b"\n\n"
            if asked.headers.get("content-type", "application/octet-stream") != "application/octet-stream":
                text += asked.body
        else:
            raise Refused("signature")
        expected = hmac.new(SECRET.encode(), text, hashlib.sha1).digest()
        if not hmac.compare_digest(base64.urlsafe_b64encode(expected).decode(), given):
            raise Refused("signature")
        if dated := asked.headers.get("x-qiniu-date"):
            self.within_clock(datetime.strptime(dated, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC))

    def carry_out(self, name: str, asked: Asked) -> Told:
        if name.endswith("list"):
            return self._list(name.split(maxsplit=1)[0], asked)
        document = asked.json
        op = PREFETCH if name == "prefetch" else REFRESH_PREFIX if document.get("dirs") else REFRESH
        urls = document.get("dirs" if op == REFRESH_PREFIX else "urls") or []
        if op == PREFETCH and any(self._under_way(url) for url in urls):
            raise Refused("existed")
        job = self.take(op, urls)
        self._count += 1
        told = {
            "code": 200,
            "error": "success",
            "requestId": job.id,
            "taskIds": {url: f"{job.id}-{number}" for number, url in enumerate(urls)},
            "invalidUrls": None,
        }
        if op == PREFETCH:
            told |= {"quotaDay": self.allowed[op].per_day, "surplusDay": self.left(op)}
        else:
            told |= {"urlQuotaDay": self.allowed[REFRESH].per_day, "urlSurplusDay": self.left(REFRESH)}
            told |= {"dirQuotaDay": self.allowed[REFRESH_PREFIX].per_day, "dirSurplusDay": self.left(REFRESH_PREFIX)}
        return Told(told, headers={"X-Reqid": f"reqid-{self._count}"})

    def job_id(self, count: int) -> str:
        return f"5f2a{count:020x}"

    def refusal(self, status: int, code: str, message: str) -> Told:
        document = {"error": message} if status != 200 else {"code": int(code), "error": message, "requestId": ""}
        return Told(document, status, {"X-Reqid": "reqid-refused"})

    def _refusal(self, refused: Refused) -> Told:
        told = super()._refusal(refused)
        if refused.urls and told.status == 200:
            told.document["invalidUrls"] = list(refused.urls)
        return told

    def _under_way(self, url: str) -> bool:
        return any(url in job.urls and self.state(job, url)[0] in {"waiting", "running"} for job in self.remembered(PREFETCH))

    def _list(self, kind: str, asked: Asked) -> Told:
        wanted, ops = asked.json, (PREFETCH,)
        if kind == "refresh":
            ops = (REFRESH_PREFIX,) if wanted.get("isDir") == "yes" else (REFRESH,)
        items = [
            self._item(job, url)
            for job in self.remembered(*ops)
            if wanted.get("requestId", job.id) == job.id
            for url in job.urls
            if url in wanted.get("urls", [url])
        ]
        page, size = wanted.get("pageNo", 0), wanted.get("pageSize", 100)
        shown = items[page * size : (page + 1) * size]
        return Told({"code": 200, "error": "success", "total": len(items), "pageNo": page, "pageSize": size, "items": shown})

    def _item(self, job: Job, url: str) -> dict[str, str]:
        state, _ = self.state(job, url)
        made = (job.made_at + timedelta(hours=8)).strftime("%Y-%m-%d %H:%M:%S")
        spelled = {"done": "success", "failed": "failure", "invalid": "failure"}.get(state, "processing")
        detail = {"invalid": "origin 404", "failed": "internal error"}.get(state, "")
        return {"requestId": job.id, "url": url, "state": spelled, "stateDetail": detail, "createAt": made}
