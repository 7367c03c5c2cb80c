"""A world for the driver of CDNs: a clock by hand, a CDN in memory, one that fails as it is told, and runs that are killed."""

from __future__ import annotations

import random
from collections import Counter
from datetime import UTC, datetime, timedelta

from pipeline.cdns.memory import MemoryCdn
from pipeline.errors import CallUnanswered
from pipeline.steps.driving import Tempo
from pipeline.steps.edge_proof import Front
from pipeline.steps.ledger import Ledger
from pipeline.steps.prefetch import Dispatch, Driven, drive_job, warm_release
from pipeline.stores.memory import MemoryStore

BASE = "https://cdn.example.com/tree"
JOB = "bert-v1.0.0"


class Killed(BaseException):
    """The process is gone: nothing more of it is done."""


class ManualClock:
    """Time goes on when somebody sleeps."""

    def __init__(self, at=datetime(2026, 11, 22, 10, 0, tzinfo=UTC)):
        self.began = at
        self.elapsed = 0.0
        self.slept = []

    def now(self):
        return self.began + timedelta(seconds=self.elapsed)

    def elapsed_s(self):
        return self.elapsed

    def sleep(self, seconds):
        assert seconds >= 0
        self.slept.append(seconds)
        self.elapsed += seconds

    def tempo(self, **more):
        return Tempo(now=self.now, elapsed_s=self.elapsed_s, sleep=self.sleep, rng=random.Random(7), **more)


class FaultyCdn:
    """A CDN whose calls fail as planned: ``plan[method, n]`` is an error for its n-th call (from 1), or ``lost``.

    ``lost``: the call is carried out, and its answer does not come. ``made`` counts calls by method.
    """

    def __init__(self, inner, plan=None):
        self.inner = inner
        self.plan = dict(plan or {})
        self.made = Counter()

    def __getattr__(self, name):
        return getattr(self.inner, name)

    def submit(self, op, urls, *, key):
        return self._spoiled("submit", lambda: self.inner.submit(op, urls, key=key))

    def poll(self, tasks):
        return self._spoiled("poll", lambda: self.inner.poll(tasks))

    def quota(self):
        return self._spoiled("quota", self.inner.quota)

    def find(self, op, urls, *, since):
        return self._spoiled("find", lambda: self.inner.find(op, urls, since=since))

    def _spoiled(self, method, call):
        self.made[method] += 1
        fault = self.plan.get((method, self.made[method]), self.plan.get((method, 0)))
        if fault is None:
            return call()
        if fault == "lost":
            call()
            raise CallUnanswered("the answer was lost")
        raise fault


class KillingStore(MemoryStore):
    """Kills its user at the n-th write, before it or after it."""

    kill_at = 0
    after = False
    puts = 0

    def put(self, key, body, **more):
        self.puts += 1
        if self.puts == self.kill_at and not self.after:
            raise Killed
        done = super().put(key, body, **more)
        if self.puts == self.kill_at:
            raise Killed
        return done


class World:
    """A store with its ledger, a clock, and runs on ever new machines."""

    def __init__(self, *cdns, store=None, clock=None):
        self.clock = clock or ManualClock()
        self.store = store or MemoryStore(now=self.clock.now)
        self.cdns = list(cdns) or [self.cdn()]
        self.events = []
        self.runs = 0
        self.edge = None

    def cdn(self, base=BASE, **more):
        return MemoryCdn(base, now=self.clock.now, **more)

    @property
    def fronts(self):
        return [Front(cdn, self.edge) for cdn in self.cdns]

    def dispatch(self, step=lambda name: None, holder=None, **tempo):
        self.runs += 1
        holder = holder or f"control/leases/run{self.runs}.json"
        return Dispatch(Ledger(self.store), holder, f"user@host{self.runs}", self.clock.tempo(**tempo), self.events.append, step)

    def job(self, name=JOB):
        return Ledger(self.store).open(name).job

    def sent(self, cdn=None):
        """How often each URL stands in a task of the CDN."""
        return Counter(url for kept in (cdn or self.cdns[0]).kept.values() for url in kept.task.urls)

    def warnings(self, code):
        return [event.message for event in self.events if getattr(event, "code", "") == code]


def keys(count):
    return [f"parts/{number:02x}/{number:064x}" for number in range(count)]


def warm(world: World, count: int = 250, **more) -> Driven:
    """Order a release of so many keys, and drive it as far as it goes."""
    return warm_release(world.fronts, JOB, keys(count), world.dispatch(**more), release=JOB)


def resume(world: World, **more) -> Driven:
    """Go on with what ``warm`` ordered."""
    dispatch = world.dispatch(**more)
    return drive_job(world.fronts, dispatch.ledger.open(JOB), dispatch)
