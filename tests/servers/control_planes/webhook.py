"""An in-house CDN's webhook: bearer token and HMAC over the time and the body, idempotency keys, tasks by id."""

from __future__ import annotations

import hmac
from datetime import UTC, datetime
from typing import Any, ClassVar

from tests.servers.control_planes.plane import PREFETCH, REFRESH, REFRESH_PREFIX, Allowed, Asked, Job, Plane, Refused, Told

TOKEN = "webhook-token-canary"
SECRET = "webhook-secret-canary"
OPTIONS = {
    "path": "/v1/purge",
    "prefetch_path": "/v1/warm",
    "operations": ("prefetch", "refresh", "refresh_prefix"),
    "field": "addresses",
    "op_field": "what",
    "id_field": "job.number",
    "signature_header": "X-Acme-Signature",
    "timestamp_header": "X-Acme-Time",
    "poll": "/v1/jobs/{id}",
    "state_field": "job.state",
    "done": ("Finished",),
    "failed": ("Broken",),
}
_WORDS = {"waiting": "Queued", "running": "Working", "done": "Finished", "failed": "Broken", "invalid": "Broken"}


class WebhookPlane(Plane):
    REFUSALS: ClassVar = {
        "signature": (401, "bad-signature", "the signature is wrong"),
        "key": (401, "bad-token", "who are you?"),
        "clock": (401, "bad-time", "the time is off"),
        "throttled": (429, "slow-down", "too many calls"),
        "ill": (503, "ill", "back soon"),
        "quota": (429, "slow-down", "too many calls"),
        "batch": (422, "too-many", "too many addresses"),
        "url": (422, "bad-address", "this is no address of ours:"),
        "host": (422, "bad-address", "this is no address of ours:"),
        "unknown": (404, "unknown", "there is no such job"),
        "parameter": (422, "bad-body", "the body is wrong"),
    }
    ALLOWED: ClassVar = {
        PREFETCH: Allowed(100, 1 << 30, url_chars=4096),
        REFRESH: Allowed(100, 1 << 30, url_chars=4096),
        REFRESH_PREFIX: Allowed(100, 1 << 30, url_chars=4096),
    }

    def name_of(self, asked: Asked) -> str:
        if asked.method == "GET" and asked.path.startswith("/v1/jobs/"):
            return "job"
        return {"/v1/warm": "warm", "/v1/purge": "purge"}.get(asked.path, "") if asked.method == "POST" else ""

    def check(self, asked: Asked) -> None:
        if asked.headers.get("authorization") != f"Bearer {TOKEN}":
            raise Refused("key")
        stamp = asked.headers.get("x-acme-time", "0")
        wanted = hmac.digest(SECRET.encode(), f"{stamp}.".encode() + asked.body, "sha256").hex()
        if asked.headers.get("x-acme-signature") != f"sha256={wanted}":
            raise Refused("signature")
        self.within_clock(datetime.fromtimestamp(int(stamp), UTC))

    def carry_out(self, name: str, asked: Asked) -> Told:
        if name == "job":
            job = self.known(asked.path.rpartition("/")[2])
            if job is None:
                raise Refused("unknown")
            return Told(self._shown(job))
        key = asked.headers.get("idempotency-key", "")
        if not key:
            raise Refused("parameter", "Idempotency-Key")
        before = next((job for job in self.jobs.values() if job.more["key"] == key), None)
        document: dict[str, Any] = asked.json
        urls, op = document.get("addresses"), document.get("what")
        if not isinstance(urls, list) or (op == PREFETCH) != (name == "warm") or op not in self.ALLOWED:
            raise Refused("parameter")
        if before is not None:
            return Told({"job": {"number": before.id}}, 202)
        return Told({"job": {"number": self.take(op, urls, key=key).id}}, 202)

    def refusal(self, status: int, code: str, message: str) -> Told:
        return Told({"code": code, "message": message}, status)

    def _shown(self, job: Job) -> dict[str, Any]:
        states = {url: self.state(job, url) for url in job.urls}
        words = {_WORDS[state] for state, _ in states.values()}
        word = next(word for word in ("Queued", "Working", "Broken", "Finished") if word in words)
        broken = {url: f"the origin says {state}" for url, (state, _) in states.items() if state in {"failed", "invalid"}}
        percent = sum(percent for _, percent in states.values()) // len(states)
        return {"job": {"state": word}, "percent": percent, "failed": broken}
