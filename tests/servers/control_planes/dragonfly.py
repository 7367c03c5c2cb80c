"""Dragonfly's manager: preheat jobs by a personal access token."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any, ClassVar

from tests.servers.control_planes.plane import PREFETCH, Allowed, Asked, Job, Plane, Refused, Told

TOKEN = "dragonfly-token-canary"
SCOPES = {"single_seed_peer", "all_seed_peers", "all_peers"}


class DragonflyPlane(Plane):
    REFUSALS: ClassVar = {
        "signature": (401, "", "Unauthorized"),
        "key": (401, "", "Unauthorized"),
        "throttled": (429, "", "rate limit exceeded"),
        "ill": (503, "", "no scheduler"),
        "quota": (429, "", "rate limit exceeded"),
        "batch": (422, "", "too many urls"),
        "url": (422, "", "invalid url"),
        "host": (422, "", "invalid url"),
        "unknown": (404, "", "record not found"),
        "parameter": (422, "", "invalid parameter"),
    }
    ALLOWED: ClassVar = {PREFETCH: Allowed(100, 1 << 30, url_chars=8192)}
    HISTORY = timedelta(days=1)
    # The words of managers before 2.1.
    old = False

    def name_of(self, asked: Asked) -> str:
        if asked.method == "POST" and asked.path == "/oapi/v1/jobs":
            return "preheat"
        return "job" if asked.method == "GET" and re.fullmatch(r"/oapi/v1/jobs/[0-9]+", asked.path) else ""

    def check(self, asked: Asked) -> None:
        if asked.headers.get("authorization") != f"Bearer {TOKEN}":
            raise Refused("key")

    def carry_out(self, name: str, asked: Asked) -> Told:
        if name == "job":
            job = self.known(asked.path.rpartition("/")[2])
            if job is None:
                raise Refused("unknown")
            return Told(self._shown(job))
        document: dict[str, Any] = asked.json
        arguments = document.get("args") or {}
        clusters = document.get("scheduler_cluster_ids") or [1]
        if document.get("type") != "preheat" or arguments.get("type") != "file" or arguments.get("scope") not in SCOPES:
            raise Refused("parameter")
        if not all(isinstance(one, int) for one in clusters):
            raise Refused("parameter", "scheduler_cluster_ids")
        return Told(self._shown(self.take(PREFETCH, arguments.get("urls") or [], args=arguments, bio=document.get("bio"))))

    def refusal(self, status: int, code: str, message: str) -> Told:
        return Told({"errors" if status == 422 else "message": message}, status)

    def _shown(self, job: Job) -> dict[str, Any]:
        states = [self.state(job, url)[0] for url in job.urls]
        if any(state in {"waiting", "running"} for state in states):
            word = "PENDING" if "waiting" in states else "STARTED"
        else:
            word = "FAILURE" if any(state != "done" for state in states) else "SUCCESS"
        failed = [
            {"url": url, "hostname": "seed-1", "ip": "10.0.0.1", "description": f"the source is {self.state(job, url)[0]}"}
            for url in job.urls
            if self.state(job, url)[0] in {"failed", "invalid"}
        ]
        result = {"group_uuid": f"group_{job.id}", "state": word, "job_states": [{"results": [{"failure_tasks": failed}]}]}
        found = {"id": int(job.id), "task_id": f"group_{job.id}", "type": "preheat", "args": job.more["args"]}
        return found | ({"status": word} if self.old else {"state": word, "result": result if word == "FAILURE" else None})
