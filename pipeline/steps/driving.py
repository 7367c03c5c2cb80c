"""The driver of one CDN: what a ledger's job wants of it is sent, asked about and written down, whatever the CDN answers.

Takes a ``Log`` and a ``Cdn``, gives nothing but records. Before and after every call the ledger says so, so that a run which
dies anywhere is continued by any other. Only what is retryable is repeated; a call whose answer was lost is looked for
before it is sent again; a chunk that is refused whole is halved until its bad URLs stand alone.

next: ``steps.prefetch``
"""

from __future__ import annotations

import random
import time
from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from typing import TypeVar

from pipeline.clocks import utc_now
from pipeline.errors import CallRefused, CallUnanswered, CdnUnavailable, ModelportError, QuotaUsedUp
from pipeline.events import Listener, Retrying, Warned, ignore
from pipeline.plan.calls import chunk_key, chunk_urls, day_of, fault_of, halves, is_hopeless, next_day_at, url_of
from pipeline.plan.ledger import KeyState, Lane, OpenTask
from pipeline.plan.records import Accepted, Again, Polled, Refused, Sending, TaskRecord, Unsent, Waits
from pipeline.ports import CallLimits, Cdn, CdnTask, Op, TaskState, TaskStatus
from pipeline.retry import Patience, Retry
from pipeline.spelling import spell_subject
from pipeline.steps.ledger import Ledger, Log, make
from pipeline.trust.publisher import no_step

T = TypeVar("T")
# The steps of a job at a CDN; tests stop there.
STEPS = ("cdn.order", "cdn.send", "cdn.call", "cdn.answer", "cdn.poll", "cdn.polled", "cdn.finish")
# Vendors' clocks and lists lag behind a call that was just made.
LAG = timedelta(minutes=2)
# A task that is not known yet may only be young.
UNKNOWN_LOOKS = 3


@dataclass(frozen=True, slots=True)
class Tempo:
    """How the driver takes its time; all clocks and chance are passed in, so that tests take none.

    ``patience``: at most 6 tries, full jitter from 2 s, a Retry-After of up to 10 minutes obeyed. Tasks are asked about after
    ``first_look_s``, then ever less often, until ``deadline_s`` have passed; what has not ended then is left to another run.
    """

    patience: Patience = field(default_factory=lambda: Patience(attempts=6, first_wait_s=2.0, longest_wait_s=600.0))
    first_look_s: float = 1.0
    longest_look_s: float = 60.0
    deadline_s: float = 2700.0
    now: Callable[[], datetime] = utc_now
    elapsed_s: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep
    rng: random.Random = field(default_factory=random.Random)


class _EndedError(Exception):
    """This CDN can do no more for this run. It sets errors of a CDN apart from those of the ledger's store."""

    def __init__(self, error: ModelportError) -> None:
        super().__init__(str(error))
        self.error = error


class Bucket:
    """A token bucket that holds one token: ``per_second`` calls on average, and no two at once, which vendors count as too many."""

    def __init__(self, per_second: float, tempo: Tempo) -> None:
        self._rate = per_second
        self._tempo = tempo
        self._free_at_s = tempo.elapsed_s()

    def take(self, calls: int = 1) -> None:
        """Wait until ``calls`` may be made, which an adapter makes one after the other."""
        wait_s = self._free_at_s - self._tempo.elapsed_s()
        if wait_s > 0:
            self._tempo.sleep(wait_s)
        self._free_at_s = self._tempo.elapsed_s() + calls / self._rate


class Driver:
    """One CDN's share of one job. ``error`` is what ended its work early."""

    def __init__(
        self,
        cdn: Cdn,
        log: Log,
        ledger: Ledger,
        tempo: Tempo,
        *,
        listen: Listener = ignore,
        step: Callable[[str], None] = no_step,
    ) -> None:
        self.error: ModelportError | None = None
        self.calls = 0
        self.sent_urls = 0
        self._cdn = cdn
        self._log = log
        self._ledger = ledger
        self._tempo = tempo
        self._listen = listen
        self._step = step
        self._op = log.job.op
        self._retry = Retry(tempo.patience, listen, tempo.sleep, tempo.rng)
        self._buckets = {op: Bucket(limits.per_second, tempo) for op, limits in cdn.limits.items()}
        # A plan that takes five refreshes a minute says nothing of questions, and some CDNs answer theirs themselves.
        self._questions = Bucket(max(2.0, *(limits.per_second for limits in cdn.limits.values())), tempo)
        self._spent: QuotaUsedUp | None = None
        self._repeated: set[str] = set()
        self._unknown: Counter[str] = Counter()
        # Calls and tasks of an order before may hold keys that are no longer wanted.
        before = [key for sent in self.lane.sending.values() for key in sent.keys]
        before += [key for task in self.lane.tasks for key in task.keys]
        self._keys = {url_of(cdn.base_url, key): key for key in (*log.job.keys, *before)}

    @property
    def lane(self) -> Lane:
        """Where its keys are."""
        return self._log.job.lanes[self._cdn.base_url]

    @property
    def limits(self) -> CallLimits:
        """What the CDN takes of this operation."""
        return self._cdn.limits[self._op]

    @property
    def waits(self) -> bool:
        """Whether tasks are to be asked about."""
        return self.error is None and bool(self.lane.tasks)

    def send_all(self) -> None:
        """Begin a run: what failed or was refused in earlier ones is planned again, then everything is sent."""
        failed = self.lane.keys_in(KeyState.FAILED, KeyState.REFUSED)
        if failed:
            self._write(Again, keys=failed)
        self.send()

    def send(self) -> None:
        """Send what is planned, as far as today's quota goes; first find out what became of calls that an earlier run left."""
        try:
            for sent in list(self.lane.sending.values()):
                self._deliver(sent.chunk, sent.keys, since=sent.at)
            self._refuse_faulty()
            self._send_planned()
        except _EndedError as ended:
            # The other CDNs must not suffer; the walk tells about this one in the end.
            self.error = ended.error

    def look(self) -> None:
        """Ask once about every open task, and write down what became of them; plan a failed URL again, once a run."""
        self._step("cdn.poll")
        open_tasks = list(self.lane.tasks)
        # Some vendors give calls of one second one id.
        keys: dict[str, tuple[str, ...]] = {}
        for task in open_tasks:
            keys[task.id] = (*keys.get(task.id, ()), *task.keys)
        asked = [CdnTask(task_id, self._op, self._urls(some)) for task_id, some in keys.items()]
        # Some adapters ask once a task: no more of them at a time than half a second's worth.
        few = max(1, int(self.limits.per_second / 2))
        found: dict[str, TaskStatus] = {}
        try:
            for at in range(0, len(asked), few):
                some = asked[at : at + few]
                found |= self._asking("the state of its tasks", partial(self._cdn.poll, some), calls=len(some))
        except _EndedError as ended:
            self.error = ended.error
            return
        done, lost, failed = list[str](), list[str](), dict[str, str]()
        for task in open_tasks:
            status = found.get(task.id, TaskStatus(TaskState.UNKNOWN))
            if status.state in {TaskState.DONE, TaskState.ACCEPTED, TaskState.FAILED}:
                done.append(task.id)
                failed |= self._failed(task, status)
            elif status.state is TaskState.UNKNOWN:
                self._unknown[task.id] += 1
                if self._unknown[task.id] >= UNKNOWN_LOOKS:
                    lost.append(task.id)
        if done or lost:
            self._write(Polled, ended=tuple(dict.fromkeys(done)), failed=failed, lost=tuple(dict.fromkeys(lost)))
        self._step("cdn.polled")
        self._plan_again()

    def _plan_again(self) -> None:
        fresh = tuple(key for key in self.lane.keys_in(KeyState.FAILED) if key not in self._repeated)
        if fresh:
            self._repeated.update(fresh)
            self._write(Again, keys=fresh)
            self.send()

    def _failed(self, task: OpenTask, status: TaskStatus) -> dict[str, str]:
        named = {self._keys[url]: why for url, why in status.failed.items() if url in self._keys}
        found = {key: named[key] for key in task.keys if key in named}
        if status.state is TaskState.FAILED and not found:
            return dict.fromkeys(task.keys, status.detail or "the task failed")
        return found

    def _refuse_faulty(self) -> None:
        planned = self.lane.keys_in(KeyState.PLANNED)
        faults = {key: fault_of(url_of(self._cdn.base_url, key), self.limits) for key in planned}
        faulty = {key: why for key, why in faults.items() if why}
        if faulty:
            self._write(Refused, chunk="", keys=faulty)

    def _send_planned(self) -> None:
        planned = self.lane.keys_in(KeyState.PLANNED)
        if not planned:
            return
        left, batch, resets_at = self._allowance()
        now = planned if left is None else planned[: max(0, left)]
        for urls in chunk_urls(self._urls(now), self.limits, batch=batch):
            if self._spent is None and self._still_planned(urls):
                self._submit(urls)
        if self.lane.keys_in(KeyState.PLANNED):
            spent_until = self._spent.resets_at if self._spent is not None else None
            self._wait_for_quota(spent_until or resets_at)

    def _submit(self, urls: Sequence[str]) -> None:
        """Send one chunk; halve it while it is refused whole."""
        waiting, refusals, accepted = deque([tuple(urls)]), 0, False
        while waiting and self._spent is None:
            some = waiting.popleft()
            refused = self._deliver(self._name(some), tuple(self._keys[url] for url in some), since=None)
            if refused is None:
                accepted = True
                # A call whose answer was lost may turn out to have taken a part of them.
                rest = self._still_planned(some)
            else:
                refusals += 1
                rest = self._still_planned(some)
                if len(rest) == len(some) and is_hopeless(refusals, len(urls)) and not accepted:
                    left = [self._keys[url] for chunk in (some, *waiting) for url in chunk]
                    # Where nothing was taken at all, it is not this chunk that is at fault.
                    hopeless = left if self.sent_urls else self.lane.keys_in(KeyState.PLANNED)
                    self._write(Refused, chunk="", keys=dict.fromkeys(hopeless, str(refused)))
                    return
                if len(rest) == len(some):
                    waiting.extendleft(reversed(halves(some)))
                    continue
            if rest:
                waiting.appendleft(rest)

    def _still_planned(self, urls: tuple[str, ...]) -> tuple[str, ...]:
        states = self.lane.states
        return tuple(url for url in urls if states[self._keys[url]] is KeyState.PLANNED)

    def _deliver(self, chunk: str, keys: tuple[str, ...], *, since: datetime | None) -> CallRefused | None:
        """Bring one chunk to the CDN, once; give its refusal. ``since``: an earlier run may have done so since then."""
        urls, failed = self._urls(keys), 0
        # Once a call may have been carried out, each further one is preceded by a question.
        doubt = since is not None
        if since is None:
            self._step("cdn.send")
            self._write(Sending, chunk=chunk, keys=keys)
            since = self._tempo.now()
        while True:
            if doubt and self._was_found(chunk, keys, urls, since):
                return None
            answer = self._spent or self._submit_once(chunk, urls)
            match answer:
                case CallRefused():
                    bad = [url for url in urls if url in answer.urls] or list(urls if len(urls) == 1 else ())
                    self._write(Refused, chunk=chunk, keys={self._keys[url]: str(answer) for url in bad})
                    return answer
                case QuotaUsedUp():
                    self._spent = answer
                    self._write(Unsent, chunk=chunk, why=str(answer))
                    return None
                case CdnUnavailable() | CallUnanswered():
                    failed += 1
                    doubt = doubt or isinstance(answer, CallUnanswered)
                    if failed >= self._tempo.patience.attempts:
                        if not doubt:
                            self._write(Unsent, chunk=chunk, why=str(answer))
                        raise _EndedError(answer)
                    self._pause(answer, failed)
                case ModelportError():
                    self._write(Unsent, chunk=chunk, why=str(answer))
                    raise _EndedError(answer)
                case _:
                    self._accept(chunk, keys, answer, found=False)
                    return None

    def _submit_once(self, chunk: str, urls: tuple[str, ...]) -> Sequence[CdnTask] | ModelportError:
        self._buckets[self._op].take()
        self._step("cdn.call")
        self.calls += 1
        try:
            return self._cdn.submit(self._op, urls, key=chunk)
        except ModelportError as error:
            return error
        finally:
            self._step("cdn.answer")

    def _was_found(self, chunk: str, keys: tuple[str, ...], urls: tuple[str, ...], since: datetime) -> bool:
        # An earlier refresh of the same URL is not this one, so the clocks' difference is not allowed for there.
        lag = LAG if self._op is Op.PREFETCH else timedelta(0)
        try:
            tasks = self._asking("what became of a call", lambda: self._cdn.find(self._op, urls, since=since - lag))
        except _EndedError as error:
            if isinstance(error.error, CallRefused):
                return False
            raise
        known = self._ledger.task_ids(self._cdn.base_url) if tasks else set()
        fresh = [task for task in tasks or () if not task.id or task.id not in known]
        return bool(fresh) and self._accept(chunk, keys, fresh, found=True)

    def _accept(self, chunk: str, keys: tuple[str, ...], tasks: Sequence[CdnTask], *, found: bool) -> bool:
        wanted = set(keys)
        records, covered = [], set[str]()
        for task in tasks:
            own = tuple(key for url in task.urls if (key := self._keys.get(url)) in wanted and key not in covered)
            if own:
                covered.update(own)
                records.append(TaskRecord(id=task.id, keys=own, request_id=task.request_id))
        final = not self._cdn.can_poll or any(not record.id for record in records)
        self.sent_urls += len(covered)
        if found and not covered:
            return False
        self._write(Accepted, chunk=chunk, tasks=tuple(records), final=final)
        missed = [key for key in keys if key not in covered]
        if missed and not found:
            self._write(Refused, chunk="", keys=dict.fromkeys(missed, "the CDN took the call, but not this URL"))
        return True

    def _allowance(self) -> tuple[int | None, int | None, datetime | None]:
        """URLs that may be sent today (None: as many as one likes), the vendor's batch, and when its day ends."""
        try:
            told = (self._asking("its quota", self._cdn.quota) or {}).get(self._op)
        except _EndedError as ended:
            if not ended.error.retryable:
                raise
            self._listen(Warned("quota-unknown", f"{ended.error}; the settings' quota is taken"))
            told = None
        now = self._tempo.now()
        resets_at = next_day_at(now, self.limits)
        if told is not None:
            return told.remaining, told.batch, told.resets_at or resets_at
        if self.limits.per_day is None:
            return None, None, None
        today_at = resets_at - timedelta(days=1)
        used = self._ledger.used(self._cdn.name, self._cdn.account, self._op, today_at)
        return self.limits.per_day - used, None, resets_at

    def _wait_for_quota(self, resets_at: datetime | None) -> None:
        until = resets_at or next_day_at(self._tempo.now(), self.limits)
        planned = len(self.lane.keys_in(KeyState.PLANNED))
        self._write(Waits, until=until)
        self._listen(
            Warned(
                "quota-used-up",
                f"{self._cdn.name} {self._cdn.base_url}: the quota of the day is used up; "
                f"{spell_subject(planned, 'URL', 'are')} left for {day_of(until, self.limits)}",
            )
        )

    def _asking(self, what: str, ask: Callable[[], T], *, calls: int = 1) -> T:
        def make_call() -> T:
            self._questions.take(calls)
            return ask()

        try:
            return self._retry.call(make_call, what=f"{self._cdn.name}: {what}")
        except ModelportError as error:
            raise _EndedError(error) from error

    def _pause(self, error: ModelportError, failed: int) -> None:
        wait_s = self._tempo.patience.wait_s(failed, rng=self._tempo.rng, retry_after_s=error.retry_after_s)
        self._listen(Retrying(f"{self._cdn.name}: {self._op}", failed, wait_s, str(error)))
        self._tempo.sleep(wait_s)

    def _name(self, urls: Sequence[str]) -> str:
        occasion = f"{self._log.job.occasion}/{self.lane.rounds}"
        return chunk_key(self._cdn.name, self._cdn.account, self._op, urls, occasion)

    def _urls(self, keys: Sequence[str]) -> tuple[str, ...]:
        return tuple(url_of(self._cdn.base_url, key) for key in keys)

    def _write(self, kind: type, **fields: object) -> None:
        self._log.append(make(kind, self._tempo.now(), cdn=self._cdn.base_url, **fields))
