"""Publishers beside a collector: whoever begins when, nothing that a release needs is ever lost.

What the publisher is about to take up has lain about, recorded, for longer than the grace: only the leases keep it.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Callable

import pytest

from pipeline import publish as publish_module
from pipeline.events import Warned
from pipeline.layout import PARTS
from pipeline.release import Release
from pipeline.steps import lease as lease_module
from pipeline.steps import sweep as sweep_module
from pipeline.steps.sweep import STEPS
from pipeline.trust import commit
from pipeline.trust.publisher import no_step
from tests.collect_world import Garden, deleted_of

OLD = ("bert-v1.0.0", "bert-v1.1.0")
NEW = "gpt-v1.1.0"


@pytest.fixture(scope="module")
def ripe(tmp_path_factory) -> Garden:
    """Everything of gpt-v1.0.0 may go; gpt-v1.1.0 will be made of the same bytes."""
    garden = Garden(tmp_path_factory.mktemp("ripe")).plant()
    garden.collect()
    garden.pass_days(8)
    return garden


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(lease_module, "COLLECTOR_LOOK_S", 0.001)
    monkeypatch.setattr(sweep_module, "BATCH", 1)


class Hooked:
    """A store that calls ``before(number)`` ahead of its call of that number, from 1."""

    def __init__(self, inner, before: Callable[[int], object] = lambda number: None) -> None:
        self.inner = inner
        self.calls = 0
        self.before = before
        self.lock = threading.RLock()

    def __getattr__(self, name):
        found = getattr(self.inner, name)
        if name not in {"put", "get", "head", "list", "delete", "now"}:
            return found

        def call(*args, **named):
            with self.lock:
                self.calls += 1
                number = self.calls
            self.before(number)
            return found(*args, **named)

        return call


class Watching(list):
    """Events; ``settled`` is set by that of a publisher who waits for the collector."""

    def __init__(self, settled: threading.Event) -> None:
        super().__init__()
        self.settled = settled

    def append(self, event) -> None:
        super().append(event)
        if isinstance(event, Warned) and event.code == "gc-running":
            self.settled.set()


class Publishing(threading.Thread):
    """A publish of ``NEW`` on a thread of its own; ``settled`` once it waits for the collector or is done."""

    def __init__(self, garden: Garden, step: Callable[[str], None] = no_step) -> None:
        super().__init__()
        self.garden = garden
        self.step = step
        self.settled = threading.Event()
        self.failure: BaseException | None = None

    def run(self) -> None:
        try:
            self.garden.machine.events = Watching(self.settled)
            self.garden.publish(NEW, self.garden.source("gpt", 0), place=self.garden.place(step=self.step))
        except BaseException as error:  # noqa: BLE001 - the test judges it
            self.failure = error
        finally:
            self.settled.set()

    def finish(self) -> None:
        self.join(60)
        assert not self.is_alive()
        if self.failure is not None:
            raise self.failure


def calls_of_a_collection(ripe, folder) -> int:
    garden = ripe.copy(folder)
    store = Hooked(garden.store)
    assert garden.collect(place=garden.place(store=store)).deleted
    return store.calls


def test_publisher_that_begins_before_any_call_of_a_collection_loses_nothing(ripe, tmp_path):
    total = calls_of_a_collection(ripe, tmp_path)
    assert total > 25
    outcomes = set()
    for nth in range(1, total + 1):
        garden = ripe.copy(tmp_path / f"{nth}")
        publisher = Publishing(garden)

        def before(number, nth=nth, publisher=publisher) -> None:
            if number == nth:
                publisher.start()
                assert publisher.settled.wait(60)

        done = garden.collect(place=garden.place(store=Hooked(garden.store, before)))
        publisher.finish()
        outcomes.add((bool(done.stopped_by), any(key.startswith(PARTS) for key in deleted_of(done))))
        garden.whole(*OLD, NEW)
    # It came too early for the collector to delete, too late to save anything, and in between.
    assert outcomes >= {(True, False), (False, True)}


def test_collector_that_runs_before_any_call_of_a_publish_takes_nothing_from_it(ripe, tmp_path):
    probe = ripe.copy(tmp_path)
    counted = Hooked(probe.store)
    probe.publish(NEW, probe.source("gpt", 0), place=probe.place(store=counted))
    total, took = counted.calls, 0
    assert total > 30
    for nth in range(1, total + 1):
        garden = ripe.copy(tmp_path / f"{nth}")
        collected = []

        def before(number, nth=nth, garden=garden, collected=collected) -> None:
            if number == nth:
                collected.append(garden.collect())

        garden.publish(NEW, garden.source("gpt", 0), place=garden.place(store=Hooked(garden.store, before)))
        took += sum(done.deleted for done in collected)
        garden.whole(*OLD, NEW)
    assert took


@pytest.mark.parametrize("step", sorted({*publish_module.STEPS, *commit.STEPS} - {"commit.complete"}))
def test_collector_that_runs_at_any_step_of_a_publish_takes_nothing_from_it(ripe, tmp_path, step):
    garden = ripe.copy(tmp_path)
    seen = []

    def at(name) -> None:
        if name == step and not seen:
            seen.append(name)
            garden.collect()

    garden.publish(NEW, garden.source("gpt", 0), place=garden.place(step=at))
    assert seen
    garden.whole(*OLD, NEW)
    garden.reader().check(*map(Release.parse, (*OLD, NEW)))


@pytest.mark.parametrize("step", STEPS)
def test_publisher_that_begins_at_any_step_of_a_collection_loses_nothing(ripe, tmp_path, step):
    garden = ripe.copy(tmp_path)
    publisher = Publishing(garden)

    def at(name) -> None:
        if name == step and not publisher.ident:
            publisher.start()
            assert publisher.settled.wait(60)

    place = garden.place(step=at)
    garden.collect(place=place)
    publisher.finish()
    garden.whole(*OLD, NEW)


@pytest.mark.parametrize("stop", sorted({*publish_module.STEPS, *commit.STEPS} - {"commit.complete"}))
def test_publisher_stopped_at_a_step_and_let_go_at_any_of_the_collectors_loses_nothing(ripe, tmp_path, stop):
    """It had looked its parts up before the collector began, and is done before that deletes."""
    for number, go_on in enumerate(STEPS):
        garden = ripe.copy(tmp_path / f"{number}")
        stopped, going = threading.Event(), threading.Event()

        def at(name, stopped=stopped, going=going) -> None:
            if name == stop and not stopped.is_set():
                stopped.set()
                assert going.wait(60)

        publisher = Publishing(garden, at)
        publisher.start()
        assert stopped.wait(60)

        def meanwhile(name, go_on=go_on, publisher=publisher, going=going) -> None:
            if name == go_on and not going.is_set():
                publisher.settled.clear()
                going.set()
                assert publisher.settled.wait(60)

        garden.collect(place=garden.place(step=meanwhile))
        going.set()
        publisher.finish()
        garden.whole(*OLD, NEW)


@pytest.mark.parametrize(
    "stop",
    [
        "publish.prove",
        "publish.manifest",
        "publish.commit",
        "commit.survey",
        "commit.documents",
        "commit.roles",
        "commit.snapshot",
    ],
)
def test_publisher_that_slept_for_days_sends_again_what_was_collected(ripe, tmp_path, monkeypatch, stop):
    """Its machine was asleep while collectors recorded what it had sent, then deleted it: just before its snapshot, too."""
    garden = ripe.copy(tmp_path)
    slept_s = [0.0]
    awake_s = lease_module.elapsed_s
    monkeypatch.setattr(lease_module.Lease.__init__, "__defaults__", (lambda: awake_s() + slept_s[0],))
    collected = []

    def at(name) -> None:
        if name == stop and not collected:
            for days in (0.1, 8):
                garden.pass_days(days)
                slept_s[0] += days * 86400
                collected.append(garden.collect())

    garden.publish(NEW, garden.source("gpt", 0), place=garden.place(step=at))
    assert [key for done in collected for key in deleted_of(done) if key.startswith(PARTS)]
    garden.whole(*OLD, NEW)
    garden.reader().check(*map(Release.parse, (*OLD, NEW)))


@pytest.mark.parametrize("seed", range(12))
def test_publishers_and_collectors_at_full_speed_lose_nothing(ripe, tmp_path, seed):
    garden = ripe.copy(tmp_path)
    chance = random.Random(seed)
    failures: list[BaseException] = []
    names = [f"gpt-v1.{number}.0" for number in (1, 2)]

    def run(job) -> None:
        try:
            for _ in range(chance.randrange(3)):
                garden.store.now()
            job()
        except BaseException as error:  # noqa: BLE001 - the test judges it
            failures.append(error)

    jobs = [lambda name=name: garden.publish(name, garden.source("gpt", 0)) for name in names] + [garden.collect] * 3
    chance.shuffle(jobs)
    threads = [threading.Thread(target=run, args=(job,)) for job in jobs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    garden.whole(*OLD, *names)
