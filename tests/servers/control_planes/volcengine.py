"""Volcengine CDN's control plane: JSON by POST with the action in the query, signature HMAC-SHA256 after AWS version 4."""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from functools import reduce
from typing import Any, ClassVar
from urllib.parse import quote

from tests.servers.control_planes.plane import PREFETCH, REFRESH, REFRESH_PREFIX, Allowed, Asked, Job, Plane, Refused, Told

ACCESS_KEY = "AKLTvolcenginekey01"
SECRET_KEY = "volcengine-secret-canary-44"
REGION = "cn-north-1"
ACTIONS = {"SubmitPreloadTask", "SubmitRefreshTask", "DescribeContentTasks", "DescribeContentQuota"}
_TYPES = {PREFETCH: "preload", REFRESH: "refresh_file", REFRESH_PREFIX: "refresh_dir"}
_STATES = {"waiting": "running", "running": "running", "done": "complete", "failed": "failed", "invalid": "failed"}


class VolcenginePlane(Plane):
    REFUSALS: ClassVar[Mapping[str, tuple[int, str, str]]] = {
        "signature": (400, "SignatureDoesNotMatch", "The request signature we calculated does not match the one you provided."),
        "key": (401, "InvalidAccessKey", "The accesskey included in the request is invalid."),
        "clock": (400, "InvalidTimestamp", "The Signature of the request is expired."),
        "throttled": (
            429,
            "FlowLimitExceeded",
            "Request was rejected because the request speed of this openAPI is beyond the limit.",
        ),
        "ill": (503, "ServiceUnavailableTemporarily", "Service is unavailable temporarily."),
        "quota": (200, "InvalidParameter.NoActionQuota", "The quota of today is used up."),
        "batch": (200, "InvalidParameter.Urls", "Too many URLs."),
        "url": (200, "InvalidParameter.Urls", "The URL is invalid:"),
        "host": (200, "ResourceNotFound.Domain", "The domain is not found:"),
        "unknown": (404, "InvalidActionOrVersion", "Could not find operation."),
        "parameter": (400, "MissingParameter", "The request is missing a parameter."),
    }
    ALLOWED: ClassVar[Mapping[str, Allowed]] = {
        PREFETCH: Allowed(100, 1000),
        REFRESH: Allowed(100, 10000),
        REFRESH_PREFIX: Allowed(50, 50),
    }
    HISTORY = timedelta(days=7)
    RATE = 20

    def name_of(self, asked: Asked) -> str:
        given = dict(asked.query)
        found = asked.path == "/" and given.get("Version") == "2021-03-01" and given.get("Action") in ACTIONS
        return given["Action"] if found else ""

    def job_id(self, count: int) -> str:
        return f"{count:024x}"

    def check(self, asked: Asked) -> None:
        said = dict(re.findall(r"(\w+)=([^,\s]+)", asked.headers.get("authorization", "").partition(" ")[2]))
        key, _, scope = said.get("Credential", "").partition("/")
        if key != ACCESS_KEY:
            raise Refused("key")
        date = asked.headers.get("x-date", "")
        day, region, service, end = (*scope.split("/"), "", "", "", "")[:4]
        # Of the two official SDKs, one writes the service in capitals.
        if (day, region, service.lower(), end) != (date[:8], REGION, "cdn", "request"):
            raise Refused("signature")
        names = said.get("SignedHeaders", "").split(";")
        digest = hashlib.sha256(asked.body).hexdigest()
        if not {"host", "x-content-sha256", "x-date"} <= {*names} or asked.headers["x-content-sha256"] != digest:
            raise Refused("signature")
        query = "&".join(sorted(f"{quote(name, safe='-_.~')}={quote(value, safe='-_.~')}" for name, value in asked.query))
        head = "".join(f"{name}:{asked.headers[name].strip()}\n" for name in names)
        hashed = hashlib.sha256("\n".join([asked.method, "/", query, head, ";".join(names), digest]).encode()).hexdigest()
        keyed = reduce(
            lambda secret, word: hmac.new(secret, word.encode(), hashlib.sha256).digest(), scope.split("/"), SECRET_KEY.encode()
        )
        wanted = hmac.new(keyed, f"HMAC-SHA256\n{date}\n{scope}\n{hashed}".encode(), hashlib.sha256).hexdigest()
        if not hmac.compare_digest(said.get("Signature", ""), wanted):
            raise Refused("signature")
        self.within_clock(datetime.strptime(date, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC))

    def carry_out(self, name: str, asked: Asked) -> Told:
        given = asked.json
        if name == "DescribeContentTasks":
            return self._log(given)
        if name == "DescribeContentQuota":
            names = {"Preload": PREFETCH, "Refresh": REFRESH, "RefreshDir": REFRESH_PREFIX}
            found = {f"{word}Quota": self.allowed[op].per_day for word, op in names.items()}
            found |= {f"{word}Remain": self.left(op) for word, op in names.items()}
            batches = {"PreloadLimit": PREFETCH, "RefreshQuotaLimit": REFRESH, "RefreshDirLimit": REFRESH_PREFIX}
            return self._told(found | {word: self.allowed[op].per_call for word, op in batches.items()})
        urls = given.get("UrlList") or [url for url in given.get("Urls", "").split("\n") if url]
        op = PREFETCH
        if name == "SubmitRefreshTask":
            op = {"file": REFRESH, "dir": REFRESH_PREFIX}.get(given.get("Type", "file"), "")
            if not op:
                raise Refused("parameter", "Type")
        return self._told({"TaskID": self.take(op, urls).id, "CommitNum": len(urls)})

    def refusal(self, status: int, code: str, message: str) -> Told:
        return Told({"ResponseMetadata": {**self._metadata(), "Error": {"CodeN": 1, "Code": code, "Message": message}}}, status)

    def refuses(self, told: Told) -> bool:
        return told.status >= 400 or "Error" in told.document["ResponseMetadata"]

    def _told(self, result: Any) -> Told:
        return Told({"ResponseMetadata": self._metadata(), "Result": result})

    def _metadata(self) -> dict[str, str]:
        name = self.calls[-1][0] if self.calls else ""
        request = f"REQUEST{len(self.calls)}"
        return {"RequestId": request, "Action": name, "Version": "2021-03-01", "Service": "CDN", "Region": REGION}

    def _log(self, given: Mapping[str, Any]) -> Told:
        kinds = {kind: op for op, kind in _TYPES.items()}
        size, page = given.get("PageSize", 100), given.get("PageNum", 1)
        if not 1 <= size <= 100 or given.get("TaskType") not in kinds:
            raise Refused("parameter", "PageSize or TaskType")
        rows = [
            self._row(job, url)
            for job in self.remembered(kinds[given["TaskType"]])
            if given.get("TaskID") in {None, job.id}
            and given.get("StartTime", 0) <= job.made_at.timestamp() <= given.get("EndTime", 1 << 60)
            for url in job.urls
            if given.get("Url") in {None, url} and given.get("DomainName", "") in url
        ]
        return self._told({"Total": len(rows), "PageNum": page, "PageSize": size, "Data": rows[(page - 1) * size : page * size]})

    def _row(self, job: Job, url: str) -> dict[str, Any]:
        state, percent = self.state(job, url)
        return {
            "TaskID": job.id,
            "TaskType": _TYPES[job.op],
            "Url": url,
            "Status": _STATES[state],
            "Process": f"{percent}%",
            "CreateTime": int(job.made_at.timestamp()),
            "Remark": "origin answered with 404" if state == "invalid" else "",
        }
