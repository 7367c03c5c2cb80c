"""Whatever people do with a tree, in any order, killed anywhere: a collection takes nothing that is needed or was until lately."""

from __future__ import annotations

import shutil
import tempfile
from datetime import timedelta
from pathlib import Path

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from pipeline.errors import ConflictError
from pipeline.keeping import keep_releases
from pipeline.layout import LEASES
from pipeline.publish import STEPS as PUBLISHING
from pipeline.release import Release
from pipeline.steps.sweep import STEPS as COLLECTING
from pipeline.trust.commit import STEPS as COMMITTING
from tests.collect_world import Garden, deleted_of
from tests.publish_world import Killed, Mortal

GRACE_DAYS = 7
# Three folders for many releases, so that they share parts.
SOURCES = [("bert", 0), ("bert", 1), ("gpt", 0)]


class Life(RuleBasedStateMachine):
    @initialize()
    def begin(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="modelport-test-"))
        self.garden = Garden(self.folder)
        self.day = 0.0
        self.count = 0
        self.there: set[str] = set()
        # Release → the day on which it was retired, and its objects.
        self.retired: dict[str, tuple[float, set[str]]] = {}

    def teardown(self) -> None:
        shutil.rmtree(self.folder)

    def _bury(self) -> None:
        for info in list(self.garden.store.list(LEASES)):
            self.garden.store.delete(info.key)

    @rule(source=st.sampled_from(SOURCES), channel=st.sampled_from([None, "stable"]))
    def publish(self, source, channel) -> None:
        self.count += 1
        name = f"app-v1.{self.count}.0"
        self.garden.publish(name, self.garden.source(*source), channel=channel)
        self.there.add(name)

    @rule(source=st.sampled_from(SOURCES), step=st.sampled_from([*PUBLISHING, *COMMITTING]), again=st.booleans())
    def publish_killed(self, source, step, again) -> None:
        self.count += 1
        name = f"app-v1.{self.count}.0"
        mortal = Mortal(self.garden.store)

        def at(found) -> None:
            if found == step:
                mortal._end()

        try:
            self.garden.publish(name, self.garden.source(*source), place=self.garden.place(store=mortal, step=at))
        except Killed:
            self._bury()
        if again:
            self.garden.publish(name, self.garden.source(*source))
            self.there.add(name)

    @precondition(lambda self: self.there)
    @rule(data=st.data())
    def retire(self, data) -> None:
        self._retire(data.draw(st.sampled_from(sorted(self.there))))

    def _retire(self, name: str) -> None:
        objects = self.garden.objects(name)
        try:
            self.garden.retire(name)
        except ConflictError:
            return
        self.there.discard(name)
        self.retired[name] = (self.day, objects)

    @rule(source=st.sampled_from(SOURCES), days=st.sampled_from([0, 3, 8]))
    def publish_for_a_while(self, source, days) -> None:
        """No collection sees it."""
        self.publish(source, None)
        self.wait(days)
        self._retire(f"app-v1.{self.count}.0")

    @precondition(lambda self: self.there)
    @rule(data=st.data(), days=st.sampled_from([1, 9]))
    def keep(self, data, days) -> None:
        name = data.draw(st.sampled_from(sorted(self.there)))
        keep_releases([Release.parse(name)], self.garden.place(), lambda _: None, reason="x", until=timedelta(days=days))

    @rule(days=st.sampled_from([0.5, 3, 7, 10]))
    def wait(self, days) -> None:
        self.garden.pass_days(days)
        self.day += days

    @rule(days=st.sampled_from([0, 0, 8]))
    def collect(self, days) -> None:
        self.wait(days)
        done = self.garden.collect()
        assert not {key for name in self.there for key in self.garden.objects(name)} & deleted_of(done)

    @rule(step=st.sampled_from(COLLECTING))
    def collect_killed(self, step) -> None:
        mortal = Mortal(self.garden.store)

        def at(found) -> None:
            if found == step:
                mortal._end()

        try:
            self.garden.collect(place=self.garden.place(store=mortal, step=at))
        except Killed:
            self._bury()

    @invariant()
    def releases_are_whole(self) -> None:
        if hasattr(self, "there"):
            self.garden.whole(*sorted(self.there))
            assert self.garden.dangling() == set()

    @invariant()
    def readers_of_what_was_retired_lately_lose_nothing(self) -> None:
        tree = self.garden.tree() if hasattr(self, "garden") else set()
        for name, (day, objects) in getattr(self, "retired", {}).items():
            assert self.day - day >= GRACE_DAYS or objects <= tree, name


Life.TestCase.settings = settings(max_examples=12, stateful_step_count=14, deadline=None, suppress_health_check=list(HealthCheck))
TestLife = Life.TestCase
