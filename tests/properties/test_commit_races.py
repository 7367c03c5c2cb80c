"""Publishers that race, stop and die at every step: nothing is lost, no reader ever refuses."""

from __future__ import annotations

import random
import threading
from dataclasses import replace

import pytest

from pipeline.digest import sha256_of
from pipeline.errors import ObjectMissing
from pipeline.layout import manifest_target, target_key
from pipeline.ports import StoreProperties
from pipeline.release import Channel, Release
from pipeline.trust import commit
from pipeline.trust.changes import AddRelease, MoveChannel, Yank
from pipeline.trust.commit import commit_changes
from pipeline.trust.reading import open_timestamp, read_view
from pipeline.trust.setup import init_trust
from tests.trust_world import Killed, World, announced, highest_snapshot, killing, releases

STABLE = Channel("stable")


def never_lowered(world: World) -> bool:
    versions = [open_timestamp(data).version for data in world.store.announced]
    return versions == sorted(versions)


class Turns:
    """Lets threads take turns at named steps in an order drawn from a seed; real interleavings, repeatable."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.condition = threading.Condition()
        self.waiting: set[int] = set()
        self.active = 0
        self.chosen: int | None = None

    def run(self, jobs) -> list[BaseException]:
        failures: list[BaseException] = []
        self.active = len(jobs)

        def work(number, job) -> None:
            try:
                job(lambda name: self.step(number))
            except BaseException as error:  # noqa: BLE001 - the test judges it
                failures.append(error)
            finally:
                with self.condition:
                    self.active -= 1
                    self._choose()

        threads = [threading.Thread(target=work, args=(number, job)) for number, job in enumerate(jobs)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return failures

    def step(self, number: int) -> None:
        with self.condition:
            self.waiting.add(number)
            self._choose()
            self.condition.wait_for(lambda: self.chosen == number)
            self.chosen = None
            self.waiting.discard(number)

    def _choose(self) -> None:
        if self.chosen is None and self.waiting and len(self.waiting) == self.active:
            self.chosen = self.random.choice(sorted(self.waiting))
            self.condition.notify_all()


@pytest.mark.parametrize("block", range(4))
def test_two_publishers_race_a_hundred_times_and_nothing_is_lost(begun, block):
    world = begun
    publishers = [world.publisher(), world.publisher()]
    client = world.client()
    for race in range(block * 25, block * 25 + 25):
        names = [f"bert-v2.{race}.0", f"bert-v3.{race}.0"]
        changes = [[world.release_change(name), MoveChannel(STABLE, Release.parse(name), "me")] for name in names]

        def job(number, changes=changes):
            return lambda step: commit_changes(replace(publishers[number], step=step), changes[number])

        failures = Turns(race).run([job(0), job(1)])
        assert failures == []
        assert announced(world) == highest_snapshot(world)
        client.check(*(Release.parse(name) for name in names))
    assert len(releases(world)) == 51
    assert never_lowered(world)


class Yielding:
    """A store every call of which is a turn: the finest interleaving there is."""

    def __init__(self, store, step) -> None:
        self.store = store
        self.step = step

    def __getattr__(self, name):
        found = getattr(self.store, name)
        if name not in {"put", "get", "head", "list"}:
            return found

        def call(*args, **named):
            self.step(name)
            return found(*args, **named)

        return call


@pytest.mark.parametrize("seed", range(12))
def test_three_publishers_interleaved_at_every_call_lose_nothing(begun, seed):
    world = begun
    names = [f"bert-v7.{number}.0" for number in range(3)]
    jobs = []
    for name in names:
        change = world.release_change(name)
        jobs.append(lambda step, change=change: commit_changes(world.publisher(store=Yielding(world.store, step)), [change]))
    assert Turns(seed).run(jobs) == []
    assert never_lowered(world)
    assert announced(world) == highest_snapshot(world)
    world.client().check(*(Release.parse(name) for name in names))


def test_many_publishers_at_full_speed_lose_nothing_while_a_client_polls(begun):
    world = begun
    names = [f"bert-v5.{number}.0" for number in range(8)]
    jobs = [(world.publisher(), world.release_change(name)) for name in names]
    client = world.client()
    failures: list[BaseException] = []
    done = threading.Event()

    def publish(publisher, change) -> None:
        try:
            commit_changes(publisher, [change])
        except BaseException as error:  # noqa: BLE001 - the test judges it
            failures.append(error)

    def poll() -> None:
        try:
            while not done.is_set():
                client.refresh()
        except BaseException as error:  # noqa: BLE001 - the test judges it
            failures.append(error)

    reader = threading.Thread(target=poll)
    reader.start()
    threads = [threading.Thread(target=publish, args=job) for job in jobs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    done.set()
    reader.join()
    assert failures == []
    assert announced(world) == highest_snapshot(world)
    client.check(*(Release.parse(name) for name in names))


def test_publishers_that_share_one_state_do_not_refuse_each_other(begun):
    world = begun
    shared = world.publisher()
    names = [f"bert-v6.{number}.0" for number in range(6)]
    changes = [world.release_change(name) for name in names]
    failures: list[BaseException] = []

    def publish(change) -> None:
        try:
            commit_changes(shared, [change])
        except BaseException as error:  # noqa: BLE001 - the test judges it
            failures.append(error)

    threads = [threading.Thread(target=publish, args=(change,)) for change in changes]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert set(names) <= set(releases(world))


@pytest.mark.parametrize("stop", commit.STEPS)
def test_publisher_stopped_while_two_others_commit_then_let_go_loses_nothing(begun, stop):
    world = begun
    client = world.client()
    client.check()
    mine, others = world.release_change("bert-v2.0.0"), [world.release_change(f"bert-v3.{n}.0") for n in (1, 2)]
    stopped = []

    def step(name: str) -> None:
        if name == stop and not stopped:
            stopped.append(name)
            for other in others:
                commit_changes(world.publisher(), [other])
                client.check(other.release)

    if stop == "commit.complete":
        with pytest.raises(Killed):
            commit_changes(killing(world.publisher(), "commit.names"), [world.release_change("bert-v2.5.0")])
    commit_changes(replace(world.publisher(), step=step), [mine])
    assert stopped
    assert never_lowered(world)
    assert announced(world) == highest_snapshot(world)
    client.check(mine.release, *(other.release for other in others))


@pytest.mark.parametrize("stop", commit.STEPS)
@pytest.mark.parametrize("other_first", [False, True])
def test_kill_at_every_step_then_anyone_continues(begun, stop, other_first):
    world = begun
    client = world.client()
    client.check()
    if stop == "commit.complete":
        with pytest.raises(Killed):
            commit_changes(killing(world.publisher(), "commit.names"), [world.release_change("bert-v2.5.0")])
    publisher = world.publisher()
    changes = [world.release_change("bert-v2.0.0"), MoveChannel(STABLE, Release.parse("bert-v2.0.0"), "me")]
    with pytest.raises(Killed):
        commit_changes(killing(publisher, stop), changes)
    client.check()
    if other_first:
        other = world.release_change("bert-v9.0.0")
        commit_changes(world.publisher(), [other])
        client.check(other.release)
    world.pass_time(minutes=5)
    commit_changes(world.publisher(), changes)
    client.check(Release.parse("bert-v2.0.0"))
    view = read_view(world.store, world.state(), now=lambda: world.at)
    assert view.channel(Release.parse("bert-v2.0.0").model, STABLE).sequence == 1
    assert announced(world) == highest_snapshot(world)


@pytest.mark.parametrize("stop", ["init.root", "init.pin", *[step for step in commit.STEPS if step != "commit.complete"]])
def test_init_killed_at_every_step_continues(world, stop):
    publisher = world.publisher()
    with pytest.raises(Killed):
        init_trust(killing(publisher, stop))
    init_trust(publisher)
    world.client().check()
    assert highest_snapshot(world) == 1


@pytest.mark.parametrize(
    "torn",
    [b"", b"{", b'{"signed":{}}', b"[" * 100_000, b"x" * 100],
    ids=["empty", "cut", "hollow", "nested", "noise"],
)
def test_torn_snapshot_is_spent_and_never_overwritten(begun, torn):
    world = begun
    number = highest_snapshot(world) + 1
    key = f"metadata/{number}.snapshot.json"
    world.store.put(key, torn, sha256=sha256_of(torn))
    done = commit_changes(world.publisher(), [world.release_change("bert-v2.0.0")])
    assert done.snapshot == number + 1
    assert b"".join(world.store.get(key)) == torn
    world.client().check(Release.parse("bert-v2.0.0"))


def test_snapshot_that_names_a_missing_role_is_spent_after_a_second_look(begun):
    world = begun
    with pytest.raises(Killed):
        commit_changes(killing(world.publisher(), "commit.names"), [world.release_change("bert-v2.0.0")])
    lost = highest_snapshot(world)
    world.store.delete("metadata/2.bert.json")
    done = commit_changes(world.publisher(), [world.release_change("bert-v3.0.0")])
    assert done.snapshot == lost + 1
    assert world.pauses
    assert set(releases(world)) == {"bert-v1.0.0", "bert-v3.0.0"}
    world.client().check(Release.parse("bert-v3.0.0"))


def test_snapshot_that_names_a_missing_manifest_is_not_completed(begun):
    world = begun
    change = world.release_change("bert-v2.0.0")
    with pytest.raises(Killed):
        commit_changes(killing(world.publisher(), "commit.names"), [change])
    world.store.delete(target_key(manifest_target(change.release), change.manifest_sha256))
    commit_changes(world.publisher(), [world.release_change("bert-v3.0.0")])
    assert set(releases(world)) == {"bert-v1.0.0", "bert-v3.0.0"}


def test_snapshot_signed_by_a_stranger_is_spent(begun):
    world = begun
    stranger = World(world.folder / "other")
    stranger.folder.mkdir()
    stranger.begin()
    body = b"".join(stranger.store.get("metadata/1.snapshot.json"))
    world.store.put("metadata/9.snapshot.json", body, sha256=sha256_of(body))
    done = commit_changes(world.publisher(), [world.release_change("bert-v2.0.0")])
    assert done.snapshot == 10
    world.client().check(Release.parse("bert-v2.0.0"))


def test_unannounced_snapshot_is_completed_before_the_next_commit(begun):
    world = begun
    proven: list[tuple[str, ...]] = []
    with pytest.raises(Killed):
        commit_changes(killing(world.publisher(), "commit.names"), [world.release_change("bert-v2.0.0")])
    left = highest_snapshot(world)
    publisher = replace(world.publisher(), prove_names=lambda keys: proven.append(tuple(keys)))
    done = commit_changes(publisher, [world.release_change("bert-v3.0.0")])
    assert done.completed == (left,)
    assert proven[0] == ("metadata/2.bert.json", f"metadata/{left}.snapshot.json")
    assert set(releases(world)) == {"bert-v1.0.0", "bert-v2.0.0", "bert-v3.0.0"}


def test_failed_edge_proof_stops_before_the_timestamp_and_the_next_run_rolls_forward(begun):
    world = begun

    def refuse(keys) -> None:
        raise ObjectMissing("the edge answers 404")

    before = announced(world)
    change = world.release_change("bert-v2.0.0")
    with pytest.raises(ObjectMissing):
        commit_changes(replace(world.publisher(), prove_names=refuse), [change])
    assert announced(world) == before
    done = commit_changes(world.publisher(), [change])
    assert done.completed == (before + 1,)
    assert not done.changed
    assert announced(world) == before + 1


class WithoutSwap:
    """A store that can create but not compare, as OSS can; it sees what conditions it is asked."""

    def __init__(self, store) -> None:
        self.store = store
        self.conditions: list[str | None] = []

    def __getattr__(self, name):
        return getattr(self.store, name)

    @property
    def properties(self):
        return StoreProperties(create_only=True, compare_and_swap=False, keeps_sha256=True)

    def put(self, key, body, *, sha256, if_absent=False, if_etag=None):
        self.conditions.append(if_etag)
        return self.store.put(key, body, sha256=sha256, if_absent=if_absent)


@pytest.mark.parametrize("stop", [step for step in commit.STEPS if step != "commit.complete"])
def test_store_without_swap_announces_the_highest_in_the_end(begun, stop):
    world = begun
    store = WithoutSwap(world.store)
    stopped = []

    def step(name: str) -> None:
        if name == stop and not stopped:
            stopped.append(name)
            commit_changes(world.publisher(store=store), [world.release_change("bert-v3.0.0")])
            commit_changes(world.publisher(store=store), [world.release_change("bert-v4.0.0")])

    commit_changes(replace(world.publisher(store=store), step=step), [world.release_change("bert-v2.0.0")])
    assert stopped
    assert announced(world) == highest_snapshot(world)
    assert len(releases(world)) == 4
    assert set(store.conditions) == {None}
    world.client().check(Release.parse("bert-v2.0.0"))


class LostAnswers:
    """Every first write of a key is done, but its answer is lost and the caller repeats it."""

    def __init__(self, store) -> None:
        self.store = store

    def __getattr__(self, name):
        return getattr(self.store, name)

    def put(self, key, body, **conditions):
        self.store.put(key, body, **conditions)
        return self.store.put(key, body, **conditions)


def test_lost_answers_to_every_write_still_commit_once(begun):
    world = begun
    done = commit_changes(world.publisher(store=LostAnswers(world.store)), [world.release_change("bert-v2.0.0")])
    assert done.snapshot == highest_snapshot(world) == announced(world)
    world.client().check(Release.parse("bert-v2.0.0"))


def test_change_is_applied_again_on_the_winner(begun):
    world = begun
    change: AddRelease = world.release_change("bert-v2.0.0")
    happened = []

    def step(name: str) -> None:
        if name == "commit.snapshot" and not happened:
            happened.append(name)
            commit_changes(world.publisher(), [Yank(Release.parse("bert-v1.0.0"), "other", "bad")])

    done = commit_changes(replace(world.publisher(), step=step), [change])
    view = read_view(world.store, world.state(), now=lambda: world.at)
    assert view.release(Release.parse("bert-v1.0.0")).facts.yanked is not None
    assert view.release(change.release).sha256 == change.manifest_sha256
    assert done.snapshot == highest_snapshot(world)
