"""Cloudflare's purge_cache: a bearer token, nothing signed, ``success`` and numbers inside."""

from __future__ import annotations

import re
from typing import ClassVar

from tests.servers.control_planes.plane import REFRESH, REFRESH_PREFIX, Allowed, Asked, Plane, Refused, Told

TOKEN, ZONE = "cloudflare-token-canary", "023e105f4ecef8ad9ca31a8372d0c353"


class CloudflarePlane(Plane):
    REFUSALS: ClassVar = {
        "signature": (403, "10000", "Authentication error"),
        "key": (403, "9109", "Invalid access token"),
        "throttled": (429, "971", "Please wait and consider throttling your request speed"),
        "ill": (503, "10001", "Service temporarily unavailable"),
        "quota": (429, "971", "Rate limit enforced for cache purge"),
        "batch": (400, "1094", "Too many items to purge"),
        "url": (400, "1012", "Invalid url:"),
        "host": (400, "1016", "Unable to purge"),
        "unknown": (404, "7003", "Could not route to the zone, perhaps your object identifier is invalid?"),
        "parameter": (400, "1012", 'Request must contain one of "purge_everything", "files", "tags", "hosts" or "prefixes"'),
    }
    ALLOWED: ClassVar = {REFRESH: Allowed(30, 1 << 30, url_chars=8192), REFRESH_PREFIX: Allowed(30, 1 << 30, url_chars=8192)}

    def name_of(self, asked: Asked) -> str:
        found = re.fullmatch(r"/client/v4/zones/[0-9a-z]+/purge_cache", asked.path)
        return "purge_cache" if found and asked.method == "POST" else ""

    def check(self, asked: Asked) -> None:
        if asked.headers.get("authorization") != f"Bearer {TOKEN}":
            raise Refused("key")
        if asked.path.split("/")[4] != ZONE:
            raise Refused("unknown")

    def carry_out(self, name: str, asked: Asked) -> Told:
        document = asked.json
        if files := document.get("files"):
            job = self.take(REFRESH, [one if isinstance(one, str) else one["url"] for one in files])
        else:
            prefixes = document.get("prefixes") or []
            if schemes := [prefix for prefix in prefixes if "://" in prefix]:
                raise Refused("url", schemes[0])
            job = self.take(REFRESH_PREFIX, [f"https://{prefix}" for prefix in prefixes])
        told = {"success": True, "errors": [], "messages": [], "result": {"id": job.id}}
        return Told(told, headers={"CF-Ray": f"ray-{job.id}"})

    def job_id(self, count: int) -> str:
        return f"{count:032x}"

    def refusal(self, status: int, code: str, message: str) -> Told:
        document = {"success": False, "errors": [{"code": int(code), "message": message}], "messages": [], "result": None}
        return Told(document, status, {"CF-Ray": "ray-refused"} | ({"Retry-After": "12"} if status == 429 else {}))
