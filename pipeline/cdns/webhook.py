"""An in-house CDN by a plain webhook: ``POST {"urls": […]}``, everything about it a setting, so that it needs no code.

Takes URLs, gives tasks where the answer names some. Any 2xx is yes; its body may be empty. Every call carries an
``Idempotency-Key`` that is the same for the same request on every machine, so that a repeated call is done once. With a secret it
is signed: ``sha256=`` and the hex HMAC-SHA256 of ``<timestamp>.<body>``, both in headers whose names are settings.

next: ``connect_cdns``
"""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from urllib.parse import quote

from pipeline.cdns.calling import Call, Calling, Reply, host_of
from pipeline.cdns.verdicts import Verdict, failure
from pipeline.errors import SettingsError
from pipeline.ports import CallLimits, CdnTask, Op, Quota, TaskState, TaskStatus
from pipeline.providers import Credentials

LIMITS = CallLimits(urls=100, url_chars=4096, per_second=10.0)
IDS = ("task_id", "id", "taskId")
DONE = ("done", "success", "succeeded", "complete", "completed", "finished", "ok")
FAILED = ("failed", "failure", "error", "canceled", "cancelled")
GONE = frozenset({404, 410})
# A webhook has no codes of its own: the HTTP status decides.
VERDICTS: Mapping[str, Verdict] = {}


@dataclass(frozen=True, slots=True)
class Contract:
    """What the settings say of a webhook; ``paths`` holds one for each operation it has, ``poll`` is "" without one."""

    method: str
    paths: Mapping[Op, str]
    field: str = "urls"
    op_field: str = ""
    id_field: str = ""
    signature_header: str = "X-Signature"
    timestamp_header: str = "X-Timestamp"
    poll: str = ""
    state_field: str = "state"
    done: tuple[str, ...] = DONE
    failed: tuple[str, ...] = FAILED


@dataclass(frozen=True, slots=True)
class Webhook:
    """A ``Cdn``. The account in the ledger is its endpoint's host."""

    base_url: str
    endpoint: str
    contract: Contract
    calling: Calling
    token: str = field(default="", repr=False)
    secret: str = field(default="", repr=False)
    name: str = "webhook"

    @property
    def account(self) -> str:
        return host_of(self.endpoint)

    @property
    def limits(self) -> Mapping[Op, CallLimits]:
        return dict.fromkeys(self.contract.paths, LIMITS)

    @property
    def can_poll(self) -> bool:
        return bool(self.contract.poll)

    def submit(self, op: Op, urls: Sequence[str], *, key: str) -> Sequence[CdnTask]:
        asked: dict[str, Any] = {self.contract.field: list(urls)}
        if self.contract.op_field:
            asked[self.contract.op_field] = str(op)
        body = json.dumps(asked, separators=(",", ":"), ensure_ascii=False).encode()
        reply = self._send(f"webhook {op}", self.contract.method, self.contract.paths[op], body, urls=urls, key=key)
        return _tasks(reply, op, tuple(urls), self.contract.id_field)

    def poll(self, tasks: Sequence[CdnTask]) -> Mapping[str, TaskStatus]:
        return {task.id: self._state(task) for task in tasks}

    def quota(self) -> Mapping[Op, Quota] | None:
        return None

    def find(self, op: Op, urls: Sequence[str], *, since: datetime) -> Sequence[CdnTask] | None:
        # There is nobody to ask; the Idempotency-Key makes sending it again harmless.
        del op, urls, since
        return None

    def _state(self, task: CdnTask) -> TaskStatus:
        where = self.contract.poll.replace("{id}", quote(task.id, safe=""))
        reply = self._send("webhook task", "GET", where, b"", urls=())
        if reply.status in GONE:
            return TaskStatus(TaskState.UNKNOWN, detail=f"HTTP {reply.status}")
        document = reply.document
        word = str(_at(document, self.contract.state_field)).lower()
        percent = document.get("percent")
        failed = {url: reply.call.shown(why) for url, why in _failed(document.get("failed"), task.urls).items()}
        if word in self.contract.failed:
            return TaskStatus(TaskState.FAILED, failed=failed, detail=reply.call.shown(str(document.get("error") or word)))
        if word in self.contract.done:
            return TaskStatus(TaskState.DONE, percent=100, failed=failed)
        whole = percent if isinstance(percent, int) and 0 <= percent <= 100 else None
        return TaskStatus(TaskState.RUNNING, percent=whole, failed=failed, detail=reply.call.shown(word))

    def _send(self, told: str, method: str, where: str, body: bytes, *, urls: Sequence[str], key: str = "") -> Reply:
        now = self.calling.now()
        headers = {"Content-Type": "application/json"} if body else {}
        if key:
            headers["Idempotency-Key"] = key
        if self.token:
            headers["Authorization"] = f"Bearer {self.token}"
        if self.secret:
            stamp = str(int(now.timestamp()))
            headers[self.contract.timestamp_header] = stamp
            headers[self.contract.signature_header] = signature(self.secret, stamp, body)
        call = Call(
            told=told,
            method=method,
            url=_url(self.endpoint, where),
            headers=headers,
            body=body,
            asks=method == "GET",
            may_be_empty=True,
            secrets=tuple(secret for secret in (self.token, self.secret) if secret),
        )
        reply = self.calling.send(call)
        # A task's own error is told by its state.
        wrong = method != "GET" and (bool(reply.document.get("error")) or reply.document.get("success") is False)
        gone = method == "GET" and reply.status in GONE
        if (not 200 <= reply.status < 300 and not gone) or wrong:
            message = str(reply.document.get("message") or reply.document.get("error") or "")
            code = str(reply.document.get("code") or f"HTTP {reply.status}")
            raise failure(reply, VERDICTS, code=code, message=message, now=now, urls=urls)
        return reply


def open_cdn(*, base_url: str, endpoint: str, credentials: Credentials, options: Mapping[str, Any], calling: Calling) -> Webhook:
    """Open a webhook; nobody is called.

    Raises:
        SettingsError: an operation that does not exist, or a poll URL without ``{id}``.
    """
    try:
        operations = [Op(name) for name in options.get("operations", ())] or _with_paths(options)
    except ValueError as error:
        raise SettingsError(f"cdn.operations: {error}", hint=f"Known are: {', '.join(Op)}.") from None
    poll = options.get("poll", "")
    if poll and "{id}" not in poll:
        raise SettingsError(f"cdn.poll: {poll!r} has no {{id}}", hint="As in https://cdn.example.org/tasks/{id}.")
    contract = Contract(
        method=options["method"],
        paths={op: options.get(f"{op}_path", options["path"]) for op in operations},
        field=options["field"],
        op_field=options.get("op_field", ""),
        id_field=options.get("id_field", ""),
        signature_header=options["signature_header"],
        timestamp_header=options["timestamp_header"],
        poll=poll,
        state_field=options["state_field"],
        done=tuple(word.lower() for word in options.get("done", DONE)),
        failed=tuple(word.lower() for word in options.get("failed", FAILED)),
    )
    return Webhook(base_url, endpoint, contract, calling, credentials.get("token"), credentials.get("secret"))


def signature(secret: str, stamp: str, body: bytes) -> str:
    """Sign a call."""
    return "sha256=" + hmac.new(secret.encode(), stamp.encode() + b"." + body, hashlib.sha256).hexdigest()


def _with_paths(options: Mapping[str, Any]) -> list[Op]:
    named = [op for op in Op if f"{op}_path" in options]
    return named or [Op.PREFETCH, Op.REFRESH]


def _url(endpoint: str, where: str) -> str:
    return where if "://" in where else f"{endpoint}/{where.lstrip('/')}" if where else endpoint


def _at(document: Mapping[str, Any], path: str) -> Any:
    found: Any = document
    for name in path.split("."):
        found = found.get(name) if isinstance(found, Mapping) else None
    return found


def _failed(found: Any, urls: tuple[str, ...]) -> dict[str, str]:
    if isinstance(found, Mapping):
        return {url: str(found[url]) for url in urls if url in found}
    return {url: "the CDN says that it failed" for url in urls if isinstance(found, list) and url in found}


def _tasks(reply: Reply, op: Op, urls: tuple[str, ...], id_field: str) -> list[CdnTask]:
    """Read the tasks out of an answer: one for all, or a list of them that may name their own URLs."""
    listed = reply.document.get("tasks")
    if isinstance(listed, list) and listed:
        found = []
        for one in listed:
            document = one if isinstance(one, Mapping) else {"id": one}
            named = document.get("urls")
            own = tuple(url for url in urls if url in named) if isinstance(named, list) else urls
            found.append(CdnTask(_id(document, id_field), op, own))
        return found
    return [CdnTask(_id(reply.document, id_field), op, urls)]


def _id(document: Mapping[str, Any], id_field: str) -> str:
    names = (id_field,) if id_field else IDS
    found = next((_at(document, name) for name in names if _at(document, name) is not None), "")
    return str(found) if isinstance(found, str | int) else ""
