"""Fastly's purges: a token in Fastly-Key, nothing signed."""

from __future__ import annotations

from typing import ClassVar

from tests.servers.control_planes.plane import REFRESH, REFRESH_PREFIX, Allowed, Asked, Plane, Refused, Told

TOKEN, SERVICE = "fastly-token-canary", "SU1Z0isxPaozGVKXdv0eY"


class FastlyPlane(Plane):
    REFUSALS: ClassVar = {
        "signature": (401, "", "Provided credentials are missing or invalid"),
        "key": (401, "", "Provided credentials are missing or invalid"),
        "throttled": (429, "", "Too many requests"),
        "ill": (503, "", "Service unavailable"),
        "quota": (429, "", "Too many requests"),
        "batch": (400, "", "Bad request: too many keys"),
        "url": (400, "", "Bad request: invalid URL"),
        "host": (404, "", "Record not found:"),
        "unknown": (404, "", "Record not found"),
        "parameter": (400, "", "Bad request"),
    }
    ALLOWED: ClassVar = {REFRESH: Allowed(1, 1 << 30, url_chars=4096), REFRESH_PREFIX: Allowed(256, 1 << 30, url_chars=4096)}
    RATE = 200

    def name_of(self, asked: Asked) -> str:
        if asked.method != "POST":
            return ""
        if asked.path.startswith("/purge/"):
            return "purge"
        return "purge keys" if asked.path == f"/service/{SERVICE}/purge" else ""

    def check(self, asked: Asked) -> None:
        if asked.headers.get("fastly-key") != TOKEN:
            raise Refused("key")

    def carry_out(self, name: str, asked: Asked) -> Told:
        soft = "fastly-soft-purge" in asked.headers
        if name == "purge":
            job = self.take(REFRESH, [f"https://{asked.target.removeprefix('/purge/')}"], soft=soft)
            return Told({"status": "ok", "id": job.id})
        keys = asked.headers.get("surrogate-key", "").split() or asked.json.get("surrogate_keys") or []
        host = min(self.hosts)
        job = self.take(REFRESH_PREFIX, [f"https://{host}/{key}/" for key in keys], soft=soft)
        return Told({key: f"{job.id}-{number}" for number, key in enumerate(keys)})

    def job_id(self, count: int) -> str:
        return f"108-1391560174-{974124 + count}"

    def refusal(self, status: int, code: str, message: str) -> Told:
        return Told(
            {"msg": message.split(":", maxsplit=1)[0], "detail": message}, status, {"Retry-After": "7"} if status == 429 else {}
        )
