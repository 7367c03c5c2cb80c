"""Dragonfly: preheat jobs of its manager, for peer-to-peer distribution.

Takes URLs, gives a job that lets seed peers, or all peers, pull them before anybody asks. There is nothing to refresh: what
peers hold is named by its URL and never changes. Preheating twice is harmless, for what a peer holds it does not pull again.
API: https://d7y.io/docs/advanced-guides/open-api/preheat/

next: ``connect_cdns``
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import quote, urlsplit

from pipeline.cdns.calling import Call, Calling, Reply
from pipeline.cdns.verdicts import failure
from pipeline.errors import CallRefused, ModelportError
from pipeline.ports import CallLimits, CdnTask, Op, Quota, TaskState, TaskStatus
from pipeline.providers import Credentials

LIMITS = {Op.PREFETCH: CallLimits(urls=100, url_chars=8192, per_second=1.0, history=timedelta(days=1))}
# What a signature in a URL consists of (S3, OSS and OBS, Google): left out of the name under which peers know the object.
SIGNED_QUERY = (
    "X-Amz-Algorithm&X-Amz-Credential&X-Amz-Date&X-Amz-Expires&X-Amz-SignedHeaders&X-Amz-Signature&X-Amz-Security-Token"
    "&Expires&Signature&OSSAccessKeyId&AccessKeyId&security-token&x-oss-credential&x-oss-date&x-oss-expires&x-oss-signature"
    "&x-oss-signature-version&X-Goog-Algorithm&X-Goog-Credential&X-Goog-Date&X-Goog-Expires&X-Goog-SignedHeaders&X-Goog-Signature"
)
STATES = {
    "PENDING": TaskState.RUNNING,
    "RECEIVED": TaskState.RUNNING,
    "STARTED": TaskState.RUNNING,
    "RETRY": TaskState.RUNNING,
    "SUCCESS": TaskState.DONE,
    "FAILURE": TaskState.FAILED,
}


@dataclass(frozen=True, slots=True)
class Dragonfly:
    """A ``Cdn`` over the manager at ``endpoint``; ``token`` is a personal access token with the scope "job".

    ``scope``: ``single_seed_peer``, ``all_seed_peers`` or ``all_peers``. ``clusters``: ids of scheduler clusters, empty for all.
    ``tag``, ``application`` and ``filtered_query`` must be those of the peers that pull later: they are part of a task's name.
    """

    base_url: str
    token: str = field(repr=False)
    calling: Calling
    endpoint: str
    scope: str = "all_seed_peers"
    clusters: tuple[int, ...] = ()
    tag: str = ""
    application: str = ""
    filtered_query: str = SIGNED_QUERY
    limits: Mapping[Op, CallLimits] = field(default_factory=lambda: LIMITS)
    name: str = "dragonfly"
    can_poll: bool = True

    @property
    def account(self) -> str:
        return urlsplit(self.endpoint).netloc

    def submit(self, op: Op, urls: Sequence[str], *, key: str) -> Sequence[CdnTask]:
        document: dict[str, Any] = {
            "type": "preheat",
            "bio": f"modelport {key}",
            "args": {
                "type": "file",
                "urls": list(urls),
                "scope": self.scope,
                "filtered_query_params": self.filtered_query,
                "tag": self.tag,
                "application": self.application,
            },
        }
        if self.clusters:
            document["scheduler_cluster_ids"] = list(self.clusters)
        reply = self._send("preheat", "POST", "/oapi/v1/jobs", json.dumps(document).encode())
        if reply.status >= 300:
            raise self._failure(reply, urls)
        return [CdnTask(id=reply.need("id"), op=op, urls=tuple(urls), request_id=reply.text("task_id"))]

    def poll(self, tasks: Sequence[CdnTask]) -> Mapping[str, TaskStatus]:
        return {task.id: self._status(task) for task in tasks}

    def quota(self) -> Mapping[Op, Quota] | None:
        """Answer None: peers are one's own."""
        return None

    def find(self, op: Op, urls: Sequence[str], *, since: datetime) -> Sequence[CdnTask] | None:
        """Answer None: to preheat again costs less than to read the list of all jobs."""
        del op, urls, since
        return None

    def _status(self, task: CdnTask) -> TaskStatus:
        try:
            reply = self._send("job", "GET", f"/oapi/v1/jobs/{quote(task.id, safe='')}")
        except CallRefused as error:
            if error.code == "HTTP 404":
                return TaskStatus(TaskState.UNKNOWN, detail="the manager knows no such job")
            raise
        if reply.status == 404:
            return TaskStatus(TaskState.UNKNOWN, detail="the manager knows no such job")
        if reply.status >= 300:
            raise self._failure(reply, ())
        return status_of(task, reply.document)

    def _send(self, told: str, method: str, path: str, body: bytes = b"") -> Reply:
        headers = {"Authorization": f"Bearer {self.token}"} | ({"Content-Type": "application/json"} if body else {})
        url = self.endpoint.rstrip("/") + path
        return self.calling.send(
            Call(f"dragonfly {told}", method, url, headers, body, asks=method == "GET", secrets=(self.token,))
        )

    def _failure(self, reply: Reply, urls: Sequence[str]) -> ModelportError:
        said = reply.text("errors") or reply.text("message")
        return failure(reply, {}, code="", message=said, now=self.calling.now(), urls=urls)


def open_cdn(
    *, base_url: str, endpoint: str, credentials: Credentials, options: Mapping[str, Any], calling: Calling
) -> Dragonfly:
    """Open a manager; nobody is called.

    Raises:
        AccessDenied: a credential is not set.
    """
    return Dragonfly(
        base_url,
        credentials.need("token"),
        calling,
        endpoint,
        scope=options["scope"],
        clusters=tuple(options.get("scheduler_cluster_ids", ())),
        tag=options.get("tag", ""),
        application=options.get("application", ""),
        filtered_query=options.get("filtered_query_params", SIGNED_QUERY),
    )


def status_of(task: CdnTask, job: Mapping[str, Any]) -> TaskStatus:
    """Read a job. Managers before 2.1 say ``status`` where newer ones say ``state``; one failed part fails the job."""
    word = str(job.get("state") or job.get("status") or "")
    state = STATES.get(word.upper(), TaskState.UNKNOWN)
    if state is TaskState.UNKNOWN:
        return TaskStatus(state, detail=f"the manager calls the job {word[:40]!r}")
    if state is not TaskState.FAILED:
        return TaskStatus(state, percent=100 if state is TaskState.DONE else None)
    told = {url: why for url, why in _failures(job.get("result")) if url in task.urls}
    return TaskStatus(state, failed=told or dict.fromkeys(task.urls, "the job failed"), detail="the job failed")


def _failures(result: object) -> Iterator[tuple[str, str]]:
    """Find the failed tasks of each peer, which lie some levels deep, at others in each version."""
    waiting = [result]
    while waiting:
        found = waiting.pop()
        if isinstance(found, list):
            waiting += found
        elif isinstance(found, dict):
            for name, value in found.items():
                if name == "failure_tasks" and isinstance(value, list):
                    for one in value:
                        if isinstance(one, dict):
                            yield str(one.get("url", "")), str(one.get("description") or "it failed")[:200]
                else:
                    waiting.append(value)
