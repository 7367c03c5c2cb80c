"""How a tree begins: keys made on first use and found again, by one of two, after a kill, and never over somebody else's tree."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from pipeline.errors import (
    AnotherPublisher,
    ClockSkew,
    ConditionFailed,
    KeyUnusable,
    NotPinned,
)
from pipeline.release import Release
from pipeline.stores.memory import MemoryStore
from pipeline.trust.changes import Renew, Yank
from pipeline.trust.commit import commit_changes
from pipeline.trust.keys import Keyring
from pipeline.trust.reading import read_view
from pipeline.trust.setup import init_on_first_use, init_trust, own_keys
from pipeline.trust.state import TrustState
from tests.trust_world import Killed, World, killing

ONE = Release.parse("bert-v1.0.0")


@pytest.fixture
def world(tmp_path) -> World:
    return World(tmp_path)


@pytest.fixture
def publisher(world):
    publisher = world.begin()
    commit_changes(publisher, world.publish_changes(publisher, str(ONE)))
    return publisher


def seen(world):
    return read_view(world.store, world.state(), now=lambda: world.at)


def test_embedded_store_lives_two_years_and_keeps_that(world):
    own, done = init_on_first_use(world.publisher(keys=Keyring({})), world.folder / "keys")
    life = timedelta(days=730)
    assert done.view.snapshot.signed.expires - world.at == life
    world.pass_time(days=3)
    done = commit_changes(own, [Renew()])
    assert done.view.snapshot.signed.expires - world.at == life


def test_ordinary_store_lives_ninety_days(world, publisher):
    view = seen(world)
    assert view.snapshot.signed.expires - world.at == timedelta(days=90)
    assert view.targets.signed.expires - world.at == timedelta(days=730)
    assert view.root.signed.expires - world.at == timedelta(days=5 * 365)


def test_first_use_is_found_again_and_another_machine_is_told(world, tmp_path):
    home = tmp_path / "keys"
    init_on_first_use(world.publisher(keys=Keyring({})), home)
    again, done = init_on_first_use(world.publisher(keys=Keyring({})), home)
    assert not done.changed
    assert len(list(home.iterdir())) == 1
    with pytest.raises(KeyUnusable, match=world.fingerprint):
        own_keys(again, tmp_path / "elsewhere")


def test_first_use_that_cannot_sign_leaves_no_keys_behind(world, tmp_path):
    late = replace(world.publisher(keys=Keyring({})), now=lambda: world.at + timedelta(hours=1))
    for _ in range(2):
        with pytest.raises(ClockSkew):
            init_on_first_use(late, tmp_path / "keys")
    assert list((tmp_path / "keys").iterdir()) == []


def test_two_first_uses_of_one_store_end_with_one_tree_and_its_keys(world, tmp_path):
    home = tmp_path / "keys"
    other = world.publisher(keys=Keyring({}))
    happened = []

    def step(name: str) -> None:
        if name == "init.root" and not happened:
            happened.append(name)
            init_on_first_use(other, home)

    own, done = init_on_first_use(replace(world.publisher(keys=Keyring({})), step=step), home)
    assert happened
    assert own.state.pins == other.state.pins == (world.fingerprint,)
    assert not done.changed
    world.client().check()


@pytest.mark.parametrize("stop", ["init.root", "init.pin", "commit.survey", "commit.snapshot", "commit.swap"])
def test_first_use_killed_anywhere_is_continued_by_the_next(world, tmp_path, stop):
    publisher = world.publisher(keys=Keyring({}))
    with pytest.raises(Killed):
        init_on_first_use(killing(publisher, stop), tmp_path / "keys")
    init_on_first_use(publisher, tmp_path / "keys")
    world.client().check()


def test_store_that_never_lets_the_timestamp_be_written_is_told(world, publisher, monkeypatch):
    def refuse(key, body, **conditions):
        if key == "metadata/timestamp.json":
            raise ConditionFailed("412")
        return MemoryStore.put(world.store, key, body, **conditions)

    monkeypatch.setattr(world.store, "put", refuse)
    with pytest.raises(AnotherPublisher, match="unannounced") as caught:
        commit_changes(publisher, [Yank(ONE, "me", "x")])
    assert "If-Match" in caught.value.hint
    monkeypatch.undo()
    commit_changes(publisher, [Yank(ONE, "me", "x")])
    assert seen(world).release(ONE).facts.yanked


def test_init_never_trusts_a_tree_it_did_not_sign(world, publisher):
    stranger = replace(publisher, state=TrustState(world.folder / "fresh"), keys=World(world.folder).keys())
    with pytest.raises(NotPinned, match=world.fingerprint):
        init_trust(stranger)
    assert stranger.state.pins == ()
