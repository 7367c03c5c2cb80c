"""Alibaba Cloud CDN's control plane: RPC style, signature ACS3-HMAC-SHA256 or the older HMAC-SHA1, parameters in query or form."""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import ClassVar
from urllib.parse import quote

from tests.servers.control_planes.plane import PREFETCH, REFRESH, REFRESH_PREFIX, Allowed, Asked, Job, Plane, Refused, Told

ACCESS_KEY_ID = "aliyun-key-id"
ACCESS_KEY_SECRET = "aliyun-secret-canary-41"
ACTIONS = {
    "PushObjectCache",
    "RefreshObjectCaches",
    "DescribeRefreshTaskById",
    "DescribeRefreshTasks",
    "DescribeRefreshQuota",
}
_STATES = {"waiting": "Pending", "running": "Refreshing", "done": "Complete", "failed": "Failed", "invalid": "Failed"}
_REASONS = {"failed": "Internal Error", "invalid": "Origin Return StatusCode 404"}
_TYPES = {PREFETCH: "preload", REFRESH: "file", REFRESH_PREFIX: "directory"}


class AliyunPlane(Plane):
    REFUSALS: ClassVar[Mapping[str, tuple[int, str, str]]] = {
        "signature": (
            400,
            "SignatureDoesNotMatch",
            "Specified signature is not matched with our calculation. server string to sign is:",
        ),
        "key": (404, "InvalidAccessKeyId.NotFound", "Specified access key is not found."),
        "clock": (400, "InvalidTimeStamp.Expired", "Specified time stamp or date value is expired."),
        "nonce": (400, "SignatureNonceUsed", "Specified signature nonce was used already."),
        "throttled": (400, "Throttling.User", "Request was denied due to user flow control."),
        "ill": (503, "ServiceUnavailable", "The request has failed due to a temporary failure of the server."),
        "quota": (400, "QuotaExceeded.Preload", "The quota of preload is exceeded."),
        "batch": (400, "SingleRequest.OverLimit", "The maximum number of URLs of one request is exceeded."),
        "url": (400, "InvalidObjectPath.Malformed", "The specified ObjectPath is invalid:"),
        "host": (404, "InvalidDomain.NotFound", "The domain provided does not belong to you:"),
        "unknown": (404, "InvalidAction.NotFound", "Specified api is not found."),
        "parameter": (400, "MissingParameter", "A parameter that is mandatory is not supplied."),
    }
    ALLOWED: ClassVar[Mapping[str, Allowed]] = {
        PREFETCH: Allowed(100, 1000),
        REFRESH: Allowed(1000, 10000, hosts=10),
        REFRESH_PREFIX: Allowed(100, 100, hosts=10),
    }
    HISTORY = timedelta(days=3)
    RATE = 50

    def name_of(self, asked: Asked) -> str:
        name = asked.headers.get("x-acs-action") or self._parameters(asked).get("Action", "")
        return name if name in ACTIONS and asked.path == "/" else ""

    def check(self, asked: Asked) -> None:
        if asked.headers.get("authorization", "").startswith("ACS3-HMAC-SHA256 "):
            self._check_v3(asked)
        else:
            self._check_v1(asked)

    def carry_out(self, name: str, asked: Asked) -> Told:
        given = self._parameters(asked)
        match name:
            case "PushObjectCache":
                if given.get("Area", "domestic") not in {"domestic", "overseas"}:
                    raise Refused("parameter", "Area")
                return self._told(PushTaskId=self._ids(self.take(PREFETCH, _paths(given))))
            case "RefreshObjectCaches":
                op = {"File": REFRESH, "Directory": REFRESH_PREFIX}.get(given.get("ObjectType", "File"))
                if op is None:
                    raise Refused("parameter", "ObjectType")
                return self._told(RefreshTaskId=self._ids(self.take(op, _paths(given))))
            case "DescribeRefreshTaskById":
                ids = given.get("TaskId", "").split(",")
                if not 1 <= len(ids) <= 10:
                    raise Refused("parameter", "TaskId")
                rows = [row for job_id in ids for row in self._rows_of(job_id)]
                return self._told(Tasks=rows, TotalCount=len(rows))
            case "DescribeRefreshTasks":
                return self._list(given)
        left = {"Preload": PREFETCH, "Url": REFRESH, "Dir": REFRESH_PREFIX}
        remain = {f"{word}Remain": str(self.left(op)) for word, op in left.items()}
        return self._told(**remain, **{f"{word}Quota": str(self.allowed[op].per_day) for word, op in left.items()})

    def refusal(self, status: int, code: str, message: str) -> Told:
        return Told({"Code": code, "Message": message, "RequestId": "REFUSED-1", "HostId": "cdn", "Recommend": "none"}, status)

    def _told(self, **fields) -> Told:
        return Told({"RequestId": f"REQUEST-{len(self.calls)}", **fields})

    def _ids(self, job: Job) -> str:
        # Ids are joined: the second one holds the second half of the URLs.
        half = len(job.urls) // 2
        if not half:
            return job.id
        twin = Job(f"{job.id}7", job.op, job.urls[half:], job.made_at, job.outcome)
        twin.acted = True
        self.jobs[twin.id] = twin
        job.more["held"] = half
        return f"{job.id},{twin.id}"

    def _rows_of(self, job_id: str) -> list[dict[str, object]]:
        job = self.known(job_id)
        return [] if job is None else [self._row(job, url) for url in job.urls[: job.more.get("held")]]

    def _row(self, job: Job, url: str) -> dict[str, object]:
        state, percent = self.state(job, url)
        row = {
            "TaskId": job.id,
            "ObjectPath": url,
            "ObjectType": _TYPES[job.op],
            "Status": _STATES[state],
            "Process": f"{percent}%",
            "CreationTime": f"{job.made_at:%Y-%m-%dT%H:%M:%SZ}",
        }
        return row | ({"Description": _REASONS[state]} if state in _REASONS else {})

    def _list(self, given: Mapping[str, str]) -> Told:
        size, page = int(given.get("PageSize", "20")), int(given.get("PageNumber", "1"))
        if not 1 <= size <= 100:
            raise Refused("parameter", "PageSize")
        rows = [
            row
            for job in self.remembered()
            for row in self._rows_of(job.id)
            if given.get("ObjectType") in {None, row["ObjectType"]}
            and given.get("DomainName", "") in row["ObjectPath"]
            and given.get("ObjectPath") in {None, row["ObjectPath"]}
            and given.get("StartTime", "") <= str(row["CreationTime"]) <= given.get("EndTime", "9")
        ]
        shown = rows[(page - 1) * size : page * size]
        return self._told(Tasks={"CDNTask": shown}, TotalCount=len(rows), PageNumber=page, PageSize=size)

    def _check_v3(self, asked: Asked) -> None:
        said = dict(re.findall(r"(\w+)=([^,]+)", asked.headers["authorization"].partition(" ")[2]))
        if said.get("Credential") != ACCESS_KEY_ID:
            raise Refused("key")
        names = said.get("SignedHeaders", "").split(";")
        missing = {"host", "x-acs-action", "x-acs-content-sha256", "x-acs-date", "x-acs-signature-nonce", "x-acs-version"} - {
            *names
        }
        if missing or any(name not in asked.headers for name in names):
            raise Refused("parameter", f"signed headers {sorted(missing)}")
        digest = hashlib.sha256(asked.body).hexdigest()
        query = "&".join(sorted(f"{_encode(name)}={_encode(value)}" for name, value in asked.query))
        lines = [asked.method, asked.path, query]
        lines += [f"{name}:{asked.headers[name].strip()}" for name in names]
        lines += ["", ";".join(names), digest]
        text = "ACS3-HMAC-SHA256\n" + hashlib.sha256("\n".join(lines).encode()).hexdigest()
        wanted = hmac.new(ACCESS_KEY_SECRET.encode(), text.encode(), hashlib.sha256).hexdigest()
        if asked.headers["x-acs-content-sha256"] != digest or not hmac.compare_digest(said.get("Signature", ""), wanted):
            raise Refused("signature", text)
        self.within_clock(datetime.strptime(asked.headers["x-acs-date"], "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC))
        self.fresh_nonce(asked.headers["x-acs-signature-nonce"])

    def _check_v1(self, asked: Asked) -> None:
        given = self._parameters(asked)
        if given.get("AccessKeyId") != ACCESS_KEY_ID:
            raise Refused("key")
        pairs = sorted(f"{_encode(name)}={_encode(value)}" for name, value in given.items() if name != "Signature")
        text = f"{asked.method}&%2F&{_encode('&'.join(pairs))}"
        digest = hmac.new(f"{ACCESS_KEY_SECRET}&".encode(), text.encode(), hashlib.sha1).digest()
        if not hmac.compare_digest(given.get("Signature", ""), base64.b64encode(digest).decode()):
            raise Refused("signature", text)
        self.within_clock(datetime.strptime(given["Timestamp"], "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC))
        self.fresh_nonce(given["SignatureNonce"])

    @staticmethod
    def _parameters(asked: Asked) -> dict[str, str]:
        return dict(asked.query) | (dict(asked.form) if b"=" in asked.body else {})


def _paths(given: Mapping[str, str]) -> list[str]:
    return [path for path in re.split(r"\r?\n", given.get("ObjectPath", "")) if path]


def _encode(text: str) -> str:
    return quote(text, safe="-_.~")
