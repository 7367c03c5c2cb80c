"""An unmodified ``tuf.ngclient.Updater`` accepts the tree after every operation, over many root versions."""

from __future__ import annotations

from dataclasses import replace

import pytest
from securesystemslib.signer import CryptoSigner

from pipeline.release import Channel, Release
from pipeline.trust.ceremony import apply_staged, read_staged, sign_staged, signatures_of, stage_changes, write_staged
from pipeline.trust.changes import Delegate, MoveChannel, Pin, Retire, Unpin, Unyank, Yank
from pipeline.trust.commit import commit_changes
from pipeline.trust.keys import Keyring
from pipeline.trust.reading import read_view
from pipeline.trust.renewal import renew_trust
from pipeline.trust.rotate import rotate_key, rotate_model_key
from tests.trust_world import World

STABLE = Channel("stable")
ONE, TWO = Release.parse("bert-v1.0.0"), Release.parse("bert-v2.0.0")


@pytest.fixture
def world(tmp_path) -> World:
    return World(tmp_path)


def test_client_accepts_tree_after_every_operation(world):
    publisher = world.begin()
    client = world.client()
    client.check()
    commit_changes(publisher, world.publish_changes(publisher, str(ONE)))
    client.check(ONE)
    commit_changes(publisher, [*world.publish_changes(publisher, str(TWO)), MoveChannel(STABLE, TWO, "me")])
    client.check(ONE, TWO)
    for changes in (
        [MoveChannel(STABLE, ONE, "me")],
        [Yank(TWO, "me", "wrong weights")],
        [Unyank(TWO)],
        [Pin(TWO, "a bundle")],
        [Unpin(TWO)],
        [Retire(TWO, "me", "gone")],
        [Delegate("gpt", (world.release.public_key,))],
    ):
        world.pass_time(minutes=1)
        assert commit_changes(publisher, changes).changed
        client.check(ONE)
    renew_trust(publisher)
    client.check(ONE)
    world.pass_time(days=60)
    renew_trust(publisher)
    client.check(ONE)

    def settle() -> None:
        client.check(ONE)

    keys = publisher.keys
    for number, role in enumerate(("root", "targets", "snapshot", "timestamp", "release", "release", "root")):
        new = CryptoSigner.generate_ed25519()
        rotate_key(replace(publisher, keys=keys), role, [new], settle=settle)
        client.check(ONE)
        keys = keys.with_signers(new)
        publisher = replace(publisher, keys=keys)
        commit_changes(publisher, world.publish_changes(publisher, f"bert-v3.0.{number}"))
        client.check(ONE, Release.parse(f"bert-v3.0.{number}"))
    new = CryptoSigner.generate_ed25519()
    rotate_model_key(replace(publisher, keys=keys), ONE.model, [new])
    client.check(ONE)
    keys = keys.with_signers(new)
    publisher = replace(publisher, keys=keys)
    commit_changes(publisher, world.publish_changes(publisher, "bert-v4.0.0"))
    client.check(ONE, Release.parse("bert-v4.0.0"))
    fresh = world.client()
    fresh.check(ONE, Release.parse("bert-v4.0.0"))
    assert fresh.refresh()._trusted_set.root.version == 8


def test_threshold_two_is_reached_by_stage_sign_apply_between_machines(world):
    publisher = world.begin()
    commit_changes(publisher, world.publish_changes(publisher, str(ONE)))
    client = world.client()
    client.check(ONE)
    second_root, second_targets = CryptoSigner.generate_ed25519(), CryptoSigner.generate_ed25519()
    release_only = replace(publisher, keys=Keyring.made(release=world.release))
    staged = stage_changes(
        release_only,
        keys={
            "root": [world.root.public_key, second_root.public_key],
            "targets": [world.targets.public_key, second_targets.public_key],
        },
        thresholds={"root": 2, "targets": 2},
    )
    staged = read_staged(write_staged(staged))
    staged, first = sign_staged(staged, Keyring.made(root=world.root, targets=world.targets))
    assert len(first) == 2
    assert not all(signature.complete for signature in signatures_of(staged))
    staged, _ = sign_staged(read_staged(write_staged(staged)), Keyring.made(root=second_root, targets=second_targets))
    assert all(signature.complete for signature in signatures_of(staged))
    apply_staged(release_only, read_staged(write_staged(staged)), settle=lambda: client.check(ONE))
    client.check(ONE)

    gpt = Release.parse("gpt-v1.0.0")
    staged = stage_changes(release_only, [Delegate(gpt.model, (world.release.public_key,))])
    for keys in (
        Keyring.made(targets=world.targets, release=world.release),
        Keyring.made(targets=second_targets),
    ):
        staged, _ = sign_staged(staged, keys)
    apply_staged(release_only, staged)
    commit_changes(release_only, world.publish_changes(release_only, str(gpt)))
    client.check(ONE, gpt)
    view = read_view(world.store, world.state(), now=lambda: world.at)
    assert view.root.version == 2
    assert view.models() == ("bert", "gpt")
