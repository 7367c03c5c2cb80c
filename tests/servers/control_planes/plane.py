"""A CDN's control plane for tests: what all vendors have in common. Each vendor's module speaks its wire format.

``door.run_plane`` lets a plane listen, on http and https at once. It checks signatures with code of its own, keeps a manual clock, enforces limits, and
moves tasks through their states as that clock goes on. With ``act`` it really prefetches and refreshes at an edge.
A test spoils single calls with a ``Fault``.
"""

from __future__ import annotations

import json
import re
import threading
import urllib.parse
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar, Literal

BEGIN = datetime(2026, 11, 22, 10, 0, tzinfo=UTC)
LOGIN_PAGE = b"<!DOCTYPE html><html><body><h1>Please sign in to the guest network</h1></body></html>"

PREFETCH, REFRESH, REFRESH_PREFIX = "prefetch", "refresh", "refresh_prefix"
How = Literal[
    "throttled",  # the vendor's own answer to too many calls; nothing is done
    "ill",  # the vendor's own 503; nothing is done
    "status",  # a bare ``status`` with ``body``; nothing is done
    "refused",  # the vendor's own refusal for ``reason``, as it forms it (HTTP 200 at some); nothing is done
    "quota",  # the vendor's own answer to a quota that is used up; nothing is done
    "html",  # HTTP 200 with a login page; nothing is done
    "redirect",  # 302 to ``body``; nothing is done
    "reset",  # the connection ends before anything is done
    "lost",  # it is done, then the connection ends without an answer
    "hang",  # it is done, then the answer is held back until the plane ends or ``release`` is set
    "slow",  # it is done, then the answer comes one byte at a time, and never to its end
    "truncated",  # it is done, then half of the answer's document comes, with a length that fits it
    "cut",  # it is done, then half of the answer comes, with the length of the whole
    "500",  # it is done, then a bare 500 comes
    "failed",  # its tasks will fail
    "invalid",  # the origin will answer its tasks with 404
    "stuck",  # its tasks will never end
    "vanished",  # its tasks will not be known
]
_UNDONE = {"throttled", "ill", "status", "refused", "quota", "html", "redirect", "reset"}
_OUTCOMES = {"failed", "invalid", "stuck", "vanished"}


@dataclass
class Fault:
    """What happens to calls of ``name`` ("" for any) number ``nth`` to ``nth + times - 1``, counted from 1."""

    how: How
    name: str = ""
    nth: int = 1
    times: int = 1
    status: int = 503
    body: str = ""
    reason: str = "url"
    headers: dict[str, str] = field(default_factory=dict)
    # For outcomes: these URLs only; all of the call if empty.
    urls: tuple[str, ...] = ()
    release: threading.Event = field(default_factory=threading.Event)
    _seen: int = 0

    def hits(self, name: str) -> bool:
        if self.name not in {"", name}:
            return False
        self._seen += 1
        return self.nth <= self._seen < self.nth + self.times


@dataclass(frozen=True)
class Asked:
    """A request that came in. Header names are lower case; ``target`` is the request line's, ``query`` is decoded, in order."""

    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes
    secure: bool = False

    @property
    def path(self) -> str:
        return urllib.parse.urlsplit(self.target).path or "/"

    @property
    def query(self) -> list[tuple[str, str]]:
        return urllib.parse.parse_qsl(urllib.parse.urlsplit(self.target).query, keep_blank_values=True)

    @property
    def form(self) -> list[tuple[str, str]]:
        return urllib.parse.parse_qsl(self.body.decode(), keep_blank_values=True)

    @property
    def json(self) -> Any:
        return json.loads(self.body or b"{}")


@dataclass(frozen=True)
class Told:
    """An answer: ``document`` becomes JSON unless it is bytes."""

    document: Any
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def body(self) -> bytes:
        return self.document if isinstance(self.document, bytes) else json.dumps(self.document).encode()


class Refused(Exception):
    """The plane says no. ``reason`` is a key of the vendor's ``REFUSALS``; ``urls`` are those it is about."""

    def __init__(self, reason: str, detail: str = "", urls: Sequence[str] = ()) -> None:
        super().__init__(reason)
        self.reason, self.detail, self.urls = reason, detail, tuple(urls)


@dataclass
class Job:
    """A task over there. ``outcome`` maps a URL to "done", "failed", "invalid" or "stuck"."""

    id: str
    op: str
    urls: list[str]
    made_at: datetime
    outcome: dict[str, str]
    more: dict[str, Any] = field(default_factory=dict)
    acted: bool = False


@dataclass(frozen=True)
class Allowed:
    """What one operation may ask for."""

    per_call: int
    per_day: int
    url_chars: int = 1024
    hosts: int | None = None


class Plane:
    """One account at one vendor. A vendor's class says how a call is named, checked, carried out and refused.

    ``hosts`` are the domains of the account. ``act(op, url)`` does it at an edge and gives the status it got there.
    """

    # reason → (HTTP status, code, message): signature, key, clock, nonce, throttled, ill, quota, batch, url, host, unknown, parameter
    REFUSALS: ClassVar[Mapping[str, tuple[int, str, str]]] = {}
    ALLOWED: ClassVar[Mapping[str, Allowed]] = {}
    WINDOW: ClassVar[timedelta] = timedelta(minutes=15)
    HISTORY: ClassVar[timedelta] = timedelta(days=3)
    # Calls within one second of the manual clock.
    RATE: ClassVar[int] = 50
    # Where the vendor's day begins.
    HOURS_EAST: ClassVar[int] = 8

    def __init__(
        self,
        *,
        hosts: Sequence[str] = ("cdn.example.com",),
        act: Callable[[str, str], int | None] | None = None,
        now: datetime = BEGIN,
        takes_s: float = 60.0,
    ) -> None:
        self.hosts = {host.lower() for host in hosts}
        self.act = act
        self.now = now
        self.takes_s = takes_s
        self.allowed = dict(self.ALLOWED)
        self.rate = self.RATE
        self.faults: list[Fault] = []
        self.calls: list[tuple[str, Asked]] = []
        self.jobs: dict[str, Job] = {}
        self.http = self.https = ""
        self._used: Counter[tuple[str, str]] = Counter()
        self._rates: dict[datetime, int] = defaultdict(int)
        self._nonces: set[str] = set()
        self._count = 0
        self._lock = threading.RLock()
        self.over = threading.Event()

    # What a vendor's class gives.

    def name_of(self, asked: Asked) -> str:
        """The name of a call, such as PushObjectCache; "" for one that the vendor does not have."""
        raise NotImplementedError

    def check(self, asked: Asked) -> None:
        """Check the signature, the clock and the nonce, or raise Refused."""
        raise NotImplementedError

    def carry_out(self, name: str, asked: Asked) -> Told:
        """Do what is asked."""
        raise NotImplementedError

    def refusal(self, status: int, code: str, message: str) -> Told:
        """The vendor's form of a refusal."""
        raise NotImplementedError

    def refuses(self, told: Told) -> bool:
        """Whether an answer is a refusal; some vendors refuse with HTTP 200."""
        return told.status >= 400

    # What tests do.

    def spoil(self, how: How, name: str = "", **more: Any) -> Fault:
        """Plan a fault; the first that hits a call counts."""
        fault = Fault(how, name, **more)
        with self._lock:
            self.faults.append(fault)
        return fault

    def advance(self, seconds: float) -> None:
        """Let time go on, and do at the edge what has become due."""
        with self._lock:
            self.now += timedelta(seconds=seconds)
            self._settle()

    def next_day(self) -> None:
        """Let the quotas of the day begin anew, for callers whose clock is the real one."""
        with self._lock:
            self._used.clear()

    def named(self, name: str) -> list[Asked]:
        """The calls of a name that came in so far, refused and spoiled ones too."""
        return [asked for found, asked in self.calls if found == name]

    def used(self, op: str) -> int:
        """How much of today's quota of an operation is used."""
        return self._used[op, self._day()]

    # What a vendor's class uses.

    def within_clock(self, at: datetime) -> None:
        if abs(self.now - at) > self.WINDOW:
            raise Refused("clock", f"{at:%Y-%m-%dT%H:%M:%SZ}")

    def fresh_nonce(self, nonce: str) -> None:
        if not nonce or nonce in self._nonces:
            raise Refused("nonce")
        self._nonces.add(nonce)

    def take(self, op: str, urls: Sequence[str], **more: Any) -> Job:
        """Check ``urls`` against the account and its limits, and make one job of them."""
        allowed = self.allowed[op]
        if not urls:
            raise Refused("parameter", "no URLs")
        if len(urls) > allowed.per_call:
            raise Refused("batch", f"{len(urls)} > {allowed.per_call}")
        for url in urls:
            if not self._is_good(url, allowed) or (op == REFRESH_PREFIX and not url.endswith("/")):
                raise Refused("url", url, [url])
        found = {urllib.parse.urlsplit(url).netloc.lower() for url in urls}
        if foreign := [url for url in urls if urllib.parse.urlsplit(url).netloc.lower() not in self.hosts]:
            raise Refused("host", foreign[0], foreign[:1])
        if allowed.hosts is not None and len(found) > allowed.hosts:
            raise Refused("batch", f"{len(found)} hosts > {allowed.hosts}")
        if self.used(op) + len(urls) > allowed.per_day:
            raise Refused("quota", op)
        self._used[op, self._day()] += len(urls)
        self._count += 1
        job = Job(self.job_id(self._count), op, list(urls), self.now, dict.fromkeys(urls, "done"), dict(more))
        self.jobs[job.id] = job
        self._settle()
        return job

    def job_id(self, count: int) -> str:
        """The vendor's form of a task id."""
        return str(95248880 + count)

    def left(self, op: str) -> int:
        return self.allowed[op].per_day - self.used(op)

    def known(self, job_id: str) -> Job | None:
        job = self.jobs.get(job_id)
        return job if job is not None and job.made_at >= self.now - self.HISTORY else None

    def remembered(self, *ops: str) -> list[Job]:
        """Jobs that are not forgotten yet, the newest first."""
        return [job for job in reversed(self.jobs.values()) if self.known(job.id) and (not ops or job.op in ops)]

    def state(self, job: Job, url: str) -> tuple[str, int]:
        """The state of a URL, "waiting", "running", "done", "failed" or "invalid", and its percent."""
        gone = (self.now - job.made_at).total_seconds() / self.takes_s if self.takes_s else 1.0
        if gone < 0.25:
            return "waiting", 0
        if gone < 1 or job.outcome[url] == "stuck":
            return "running", min(int(gone * 100), 99)
        return job.outcome[url], 100

    # The machinery.

    def answer(self, asked: Asked) -> tuple[Told, Fault | None]:
        with self._lock:
            name = self.name_of(asked)
            self.calls.append((name, asked))
            fault = next((fault for fault in self.faults if fault.hits(name)), None)
            if fault is not None and fault.how in _UNDONE:
                return self._spoiled(fault), fault
            known = set(self.jobs)
            try:
                if not name:
                    raise Refused("unknown")
                self.check(asked)
                self._rate()
                told = self.carry_out(name, asked)
            except Refused as refused:
                return self._refusal(refused), None
            if fault is not None and fault.how in _OUTCOMES:
                self._doom(fault, [job for job_id, job in self.jobs.items() if job_id not in known])
            return told, fault

    def _spoiled(self, fault: Fault) -> Told:
        match fault.how:
            case "throttled" | "ill" | "quota":
                told = self._refusal(Refused(fault.how, PREFETCH))
                return Told(told.document, told.status, fault.headers)
            case "refused":
                return self._refusal(Refused(fault.reason, *fault.urls[:1], fault.urls))
            case "html":
                return Told(LOGIN_PAGE, 200, {"Content-Type": "text/html"})
            case "redirect":
                return Told(b"", 302, {"Location": fault.body})
        return Told(fault.body.encode(), fault.status, fault.headers)

    def _doom(self, fault: Fault, jobs: Sequence[Job]) -> None:
        for job in jobs:
            if fault.how == "vanished":
                del self.jobs[job.id]
                continue
            for url in job.urls:
                if not fault.urls or url in fault.urls:
                    job.outcome[url] = fault.how

    def _refusal(self, refused: Refused) -> Told:
        status, code, message = self.REFUSALS[refused.reason]
        return self.refusal(status, code, f"{message} {refused.detail}".strip())

    def _rate(self) -> None:
        self._rates[self.now] += 1
        if self._rates[self.now] > self.rate:
            raise Refused("throttled")

    def _settle(self) -> None:
        for job in self.jobs.values():
            if job.acted or self.act is None or (self.now - job.made_at).total_seconds() < self.takes_s:
                continue
            job.acted = True
            for url in job.urls:
                if job.outcome[url] == "done" and (self.act(job.op, url) or 200) >= 400:
                    job.outcome[url] = "invalid"

    def _day(self) -> str:
        return (self.now + timedelta(hours=self.HOURS_EAST)).strftime("%Y-%m-%d")

    @staticmethod
    def _is_good(url: str, allowed: Allowed) -> bool:
        return (
            len(url) <= allowed.url_chars and re.fullmatch(r"https?://[^\s/?#%]+(/([!-$&-~]|%[0-9A-Fa-f]{2})*)?", url) is not None
        )
