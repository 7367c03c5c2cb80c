"""Keys that change under publishers and readers: killed at every step, polled all the while, nobody ever refuses."""

from __future__ import annotations

import contextlib
import threading
from dataclasses import replace

import pytest
from securesystemslib.signer import CryptoSigner

from pipeline.errors import KeyUnusable
from pipeline.layout import TIMESTAMP
from pipeline.release import Channel, Release
from pipeline.trust import commit, rotate
from pipeline.trust.changes import Yank
from pipeline.trust.commit import commit_changes
from pipeline.trust.keys import Keyring
from pipeline.trust.rotate import rotate_key
from pipeline.trust.survey import survey_store
from tests.trust_world import Killed, killing

STABLE = Channel("stable")


def all_rotation_kills():
    steps = [*rotate.STEPS, *(step for step in commit.STEPS if step != "commit.complete")]
    return [(role, step) for role in ("root", "targets", "snapshot", "timestamp", "release") for step in steps]


@pytest.mark.parametrize(("role", "stop"), all_rotation_kills())
def test_rotation_killed_at_every_step_continues_and_no_reader_refuses(begun, role, stop):
    world = begun
    client = world.client()
    client.check(Release.parse("bert-v1.0.0"))
    new = CryptoSigner.generate_ed25519()
    publisher = world.publisher()
    # A commit is made before the root and another after it: killed in the one, then in the other.
    phases = {"rotate.root": [False]}.get(stop, [True] if stop in rotate.STEPS or role == "root" else [False, True])
    for after_root in phases:

        def step(name: str, after_root: bool = after_root) -> None:
            if name == stop and any(world.store.list("metadata/2.root.json")) == after_root:
                raise Killed(name)

        with pytest.raises(Killed):
            rotate_key(replace(publisher, step=step), role, [new], settle=client.refresh)
        client.check(Release.parse("bert-v1.0.0"))
        world.client().check(Release.parse("bert-v1.0.0"))
    rotate_key(publisher, role, [new], settle=client.refresh)
    client.check(Release.parse("bert-v1.0.0"))
    keys = publisher.keys.with_signers(new)
    commit_changes(replace(publisher, keys=keys), [world.release_change("bert-v2.0.0")])
    client.check(Release.parse("bert-v2.0.0"))
    root = survey_store(publisher).root
    assert root.version == 2
    names = ("snapshot", "timestamp") if role == "release" else (role,)
    assert all(root.signed.roles[name].keyids == [new.public_key.keyid] for name in names)


@pytest.mark.parametrize("role", ["root", "targets", "snapshot", "timestamp", "release"])
def test_polling_clients_never_refuse_during_rotation_of(begun, role):
    world = begun
    failures: list[BaseException] = []
    refreshed = [0, 0]
    done = threading.Event()

    def poll(number: int) -> None:
        client = world.client()
        try:
            while not done.is_set():
                client.refresh()
                refreshed[number] += 1
        except BaseException as error:  # noqa: BLE001 - the test judges it
            failures.append(error)

    def settle() -> None:
        # Every reader that had begun before the root was written is through after one more whole refresh.
        seen = list(refreshed)
        while not failures and any(now < before + 2 for now, before in zip(refreshed, seen, strict=True)):
            threading.Event().wait(0.001)

    readers = [threading.Thread(target=poll, args=(number,)) for number in range(2)]
    for reader in readers:
        reader.start()
    publisher = world.publisher()
    try:
        for _ in range(3):
            new = CryptoSigner.generate_ed25519()
            rotate_key(publisher, role, [new], settle=settle)
            publisher = replace(publisher, keys=publisher.keys.with_signers(new))
    finally:
        done.set()
        for reader in readers:
            reader.join()
    assert failures == []
    assert survey_store(publisher).root.version == 4


def test_publisher_with_the_old_key_cannot_sign_after_a_rotation(begun):
    world = begun
    old = world.publisher()
    rotate_key(world.publisher(), "release", [CryptoSigner.generate_ed25519()], settle=lambda: None)
    before = [info.key for info in world.store.list("metadata/")]
    with pytest.raises(KeyUnusable):
        commit_changes(old, [Yank(Release.parse("bert-v1.0.0"), "me", "no")])
    assert [info.key for info in world.store.list("metadata/")] == before


def test_publisher_that_announces_with_the_old_key_during_a_rotation_is_led_over(begun):
    world = begun
    client = world.client()
    old, happened = world.publisher(), []

    def step(name: str) -> None:
        # After the doubly signed commit, before the root: the moment that would shut readers out.
        if name == "commit.record" and not happened:
            happened.append(name)
            commit_changes(old, [world.release_change("bert-v2.0.0")])
        if name == "rotate.names":
            client.check(Release.parse("bert-v2.0.0"))

    new = CryptoSigner.generate_ed25519()
    rotate_key(replace(world.publisher(), step=step), "timestamp", [new], settle=client.refresh)
    assert happened
    client.check(Release.parse("bert-v2.0.0"))


@pytest.mark.parametrize("role", ["targets", "snapshot", "timestamp", "release"])
def test_lost_key_is_replaced_root_first_and_told(begun, role):
    world = begun
    slots = {"root": world.root, "targets": world.targets, "release": world.release}
    if role == "targets":
        del slots["targets"]
    elif role == "release":
        del slots["release"]
    new = CryptoSigner.generate_ed25519()
    publisher = world.publisher(keys=Keyring.made(**slots))
    for stop in ("rotate.names", "rotate.finish"):
        with pytest.raises(Killed):
            rotate_key(killing(publisher, stop), role, [new], lost=True, settle=lambda: None)
    rotate_key(publisher, role, [new], lost=True, settle=lambda: None)
    assert any("readers refuse" in event.message for event in world.events)
    world.client().check(Release.parse("bert-v1.0.0"))
    commit_changes(replace(publisher, keys=publisher.keys.with_signers(new)), [world.release_change("bert-v2.0.0")])
    world.client().check(Release.parse("bert-v2.0.0"))


@pytest.mark.parametrize("stop", ["commit.snapshot", "commit.names", "commit.timestamp", "commit.swap", "commit.look"])
def test_publisher_overtaken_by_a_rotation_never_announces_with_the_old_key(begun, stop):
    world = begun
    client = world.client()
    client.check()
    new = CryptoSigner.generate_ed25519()
    change = world.release_change("bert-v2.0.0")
    happened = []

    def step(name: str) -> None:
        if name == stop and not happened:
            happened.append(name)
            rotate_key(world.publisher(), "timestamp", [new], settle=client.refresh)

    # Where its snapshot stood already, the rotation announced it and there is nothing left to sign.
    with contextlib.suppress(KeyUnusable):
        commit_changes(replace(world.publisher(), step=step), [change])
    client.check()
    world.client().check()
    commit_changes(world.publisher(keys=world.keys(timestamp=new)), [change])
    client.check(change.release)


@pytest.mark.parametrize("role", ["targets", "snapshot", "timestamp", "release"])
def test_client_that_asked_for_roots_before_the_new_one_still_reads(begun, role):
    world = begun
    asked, let_go = threading.Event(), threading.Event()
    failures: list[BaseException] = []

    def before(key: str) -> None:
        if key == TIMESTAMP:
            asked.set()
            let_go.wait(60)

    client = replace(world.client(), before=before)

    def read() -> None:
        try:
            client.check(Release.parse("bert-v1.0.0"))
        except BaseException as error:  # noqa: BLE001 - the test judges it
            failures.append(error)

    reader = threading.Thread(target=read)

    def step(name: str) -> None:
        if name == "rotate.root":
            reader.start()
            assert asked.wait(60)

    def settle() -> None:
        let_go.set()
        reader.join()

    try:
        rotate_key(replace(world.publisher(), step=step), role, [CryptoSigner.generate_ed25519()], settle=settle)
    finally:
        settle()
    assert failures == []


def test_commit_announced_with_the_old_key_just_as_the_root_changes_is_not_lost(begun):
    world = begun
    change = world.release_change("bert-v2.0.0")
    about_to_write, write, written, go_on = (threading.Event() for _ in range(4))
    failures: list[BaseException] = []

    def rotator_step(name: str) -> None:
        if name == "rotate.root":
            about_to_write.set()
            assert write.wait(60)
        elif name == "rotate.names":
            written.set()
            assert go_on.wait(60)

    def rotating() -> None:
        try:
            publisher = replace(world.publisher(), step=rotator_step)
            rotate_key(publisher, "snapshot", [CryptoSigner.generate_ed25519()], settle=lambda: None)
        except BaseException as error:  # noqa: BLE001 - the test judges it
            failures.append(error)

    def step(name: str) -> None:
        # It has looked for a new root and found none; the root comes before its timestamp does.
        if name == "commit.swap":
            write.set()
            assert written.wait(60)

    rotator = threading.Thread(target=rotating)
    rotator.start()
    assert about_to_write.wait(60)
    try:
        # It has no key for the new root, and says so if it comes to sign again; its announced work stands.
        with contextlib.suppress(KeyUnusable):
            commit_changes(replace(world.publisher(), step=step), [change])
    finally:
        for event in (write, go_on):
            event.set()
        rotator.join()
    assert failures == []
    world.client().check(Release.parse("bert-v1.0.0"), change.release)
