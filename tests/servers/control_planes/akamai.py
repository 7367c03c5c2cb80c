"""Akamai's Fast Purge (CCU v3), with EdgeGrid signatures."""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from datetime import UTC, datetime
from typing import ClassVar

from tests.servers.control_planes.plane import REFRESH, Allowed, Asked, Plane, Refused, Told

CLIENT, SECRET, ACCESS = "akab-client-canary", "akamai-secret-canary", "akab-access-canary"
BODY_BYTES = 50_000


def _mac(key: bytes, text: bytes) -> bytes:
    return base64.b64encode(hmac.digest(key, text, "sha256"))


class AkamaiPlane(Plane):
    REFUSALS: ClassVar = {
        "signature": (401, "Signature does not match", "The signature does not match"),
        "key": (401, "Invalid authorization client token", "No such client"),
        "clock": (400, "Bad request", "Invalid timestamp"),
        "nonce": (400, "Bad request", "Duplicate nonce"),
        "throttled": (429, "Rate Limit exceeded", ""),
        "ill": (503, "Service Unavailable", "try again"),
        "quota": (507, "Insufficient storage", "the queue is full"),
        "batch": (413, "Request Entity Too Large", "50000 bytes"),
        "url": (400, "Bad request", ""),
        "host": (403, "unauthorized arl", ""),
        "unknown": (404, "Not found", ""),
        "parameter": (400, "Bad request", "objects is missing"),
    }
    ALLOWED: ClassVar = {REFRESH: Allowed(10_000, 1 << 30, url_chars=8192)}
    RATE = 100

    def name_of(self, asked: Asked) -> str:
        found = re.fullmatch(r"/ccu/v3/(invalidate|delete)/url/(production|staging)", asked.path)
        return found[1] if found and asked.method == "POST" else ""

    def check(self, asked: Asked) -> None:
        scheme, _, rest = asked.headers.get("authorization", "").partition(" ")
        fields = dict(part.partition("=")[::2] for part in rest.split(";") if part)
        if scheme != "EG1-HMAC-SHA256":
            raise Refused("signature")
        if fields.get("client_token") != CLIENT or fields.get("access_token") != ACCESS:
            raise Refused("key")
        unsigned = asked.headers["authorization"].split("signature=")[0]
        digest = base64.b64encode(hashlib.sha256(asked.body[:131072]).digest()) if asked.body else b""
        scheme_used = b"https" if asked.secure else b"http"
        signed = [b"POST", scheme_used, asked.headers["host"].encode(), asked.target.encode(), b"", digest, unsigned.encode()]
        expected = _mac(_mac(SECRET.encode(), fields["timestamp"].encode()), b"\t".join(signed))
        if expected.decode() != fields.get("signature"):
            raise Refused("signature")
        self.within_clock(datetime.strptime(fields["timestamp"], "%Y%m%dT%H:%M:%S%z").astimezone(UTC))
        self.fresh_nonce(fields["nonce"])

    def carry_out(self, name: str, asked: Asked) -> Told:
        if len(asked.body) > BODY_BYTES:
            raise Refused("batch")
        job = self.take(REFRESH, asked.json.get("objects") or [])
        told = {"httpStatus": 201, "detail": "Request accepted", "estimatedSeconds": 5, "purgeId": job.id, "supportId": job.id}
        return Told(told, 201)

    def job_id(self, count: int) -> str:
        return f"edcp-{count:022d}"

    def refusal(self, status: int, code: str, message: str) -> Told:
        detail = message or code
        document = {"httpStatus": status, "title": code, "detail": detail, "supportId": "17PY1552425241133633-211776704"}
        headers = {"Content-Type": "application/problem+json", "X-Ratelimit-Remaining": "0" if status == 429 else "99"}
        return Told(document, status, headers)
