"""Changes that travel between machines: what a staged file says, who may sign, when it no longer holds."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from securesystemslib.signer import CryptoSigner

from pipeline.errors import BadSignature, ConflictError, InvalidDocument, UsageError
from pipeline.release import ModelName, Release
from pipeline.trust import commit, rotate
from pipeline.trust.ceremony import (
    apply_staged,
    describe_staged,
    read_staged,
    sign_staged,
    signatures_of,
    stage_changes,
    write_staged,
)
from pipeline.trust.changes import Delegate, Yank
from pipeline.trust.commit import commit_changes
from pipeline.trust.keys import Keyring
from pipeline.trust.rotate import change_root
from pipeline.trust.survey import survey_store
from tests.trust_world import Killed, World

ONE = Release.parse("bert-v1.0.0")
GPT = ModelName("gpt")


@pytest.fixture
def world(tmp_path) -> World:
    world = World(tmp_path)
    publisher = world.begin()
    commit_changes(publisher, world.publish_changes(publisher, str(ONE)))
    return world


@pytest.fixture
def online(world):
    """The machine with the release key alone."""
    return world.publisher(keys=Keyring.made(release=world.release))


def carried(staged):
    return read_staged(write_staged(staged))


def delegation(world, online):
    return stage_changes(online, [Delegate(GPT, (world.release.public_key,))])


def test_delegation_is_staged_signed_elsewhere_and_applied(world, online):
    staged = delegation(world, online)
    staged, added = sign_staged(carried(staged), Keyring.made(targets=world.targets))
    assert len(added) == 1
    with pytest.raises(BadSignature, match="gpt"):
        apply_staged(online, carried(staged))
    staged, added = sign_staged(carried(staged), online.keys)
    assert added == (f"gpt with key {world.release.public_key.keyid[:16]}",)
    assert sign_staged(staged, online.keys)[1] == ()
    apply_staged(online, carried(staged))
    world.client().check(ONE)
    assert not apply_staged(online, carried(staged)).changed


def test_half_signed_change_is_refused_and_writes_nothing(world, online):
    before = list(world.store.list(""))
    staged = delegation(world, online)
    with pytest.raises(BadSignature, match="0 of the 1"):
        apply_staged(online, staged)
    assert [info.key for info in world.store.list("")] == [info.key for info in before]
    assert [signature.complete for signature in signatures_of(staged)] == [False, False]
    assert signatures_of(staged)[1].needs == (world.targets.public_key.keyid,)


def test_strangers_signature_is_not_taken(world, online):
    _, added = sign_staged(delegation(world, online), World(world.folder).keys())
    assert added == ()


def test_staged_change_on_an_old_state_is_refused(world, online):
    staged, _ = sign_staged(delegation(world, online), world.keys())
    commit_changes(world.publisher(), [Delegate(ModelName("other"), (world.release.public_key,))])
    with pytest.raises(ConflictError, match="staged on version"):
        apply_staged(online, staged)


def test_commits_to_other_models_do_not_disturb_a_staged_change(world, online):
    staged, _ = sign_staged(delegation(world, online), world.keys())
    commit_changes(world.publisher(), [Yank(ONE, "me", "bad")])
    apply_staged(online, staged)
    world.client().check(ONE)


def test_staged_model_key_change_carries_its_role(world, online):
    new = CryptoSigner.generate_ed25519()
    staged = stage_changes(online, [Delegate(ONE.model, (new.public_key,))])
    assert set(staged.roles) == {"bert", "targets"}
    staged, _ = sign_staged(staged, Keyring.made(targets=world.targets, release=new))
    apply_staged(online, staged)
    world.client().check(ONE)


def test_description_says_what_is_signed(world, online):
    new = CryptoSigner.generate_ed25519()
    staged = stage_changes(online, keys={"root": [world.root.public_key, new.public_key]}, thresholds={"root": 2, "targets": 1})
    lines = describe_staged(staged)
    assert f"root: add key {new.public_key.keyid}" in lines
    assert "root: threshold 1 becomes 2" in lines


def test_root_threshold_counts_old_and_new_holders(world, online):
    new = CryptoSigner.generate_ed25519()
    staged = stage_changes(online, keys={"root": [world.root.public_key, new.public_key]}, thresholds={"root": 2})
    half, _ = sign_staged(staged, Keyring.made(root=world.root))
    with pytest.raises(BadSignature, match="1 of the 2"):
        apply_staged(online, half)
    only_new, _ = sign_staged(staged, Keyring.made(root=new))
    with pytest.raises(BadSignature, match="0 of the 1"):
        apply_staged(online, only_new)
    whole, _ = sign_staged(half, Keyring.made(root=new))
    apply_staged(online, whole, settle=lambda: None)
    assert survey_store(online).root.signed.roles["root"].threshold == 2
    world.client().check(ONE)


@pytest.mark.parametrize("keys, thresholds, said", [(1, {"root": 2}, "root"), (0, {"snapshot": 2}, "snapshot")])
def test_change_that_nobody_could_ever_sign_is_not_staged(world, online, keys, thresholds, said):
    named = {"root": [world.root.public_key]} if keys else {}
    with pytest.raises(UsageError, match=f"{said}: 1 key is too few for a threshold of 2"):
        stage_changes(online, keys=named, thresholds=thresholds)


def test_fewer_keys_than_must_sign_are_not_staged(world, online):
    second = CryptoSigner.generate_ed25519()
    staged = stage_changes(online, keys={"root": [world.root.public_key, second.public_key]}, thresholds={"root": 2})
    whole, _ = sign_staged(sign_staged(staged, Keyring.made(root=world.root))[0], Keyring.made(root=second))
    apply_staged(online, whole, settle=lambda: None)
    with pytest.raises(UsageError, match="root: 1 key is too few"):
        stage_changes(online, keys={"root": [second.public_key]})


def test_description_says_how_many_holders_of_a_model_must_sign(world, online):
    second = CryptoSigner.generate_ed25519().public_key
    lines = describe_staged(stage_changes(online, [Delegate(GPT, (world.release.public_key, second), 2)]))
    assert f"model gpt: signed by 2 of {world.release.public_key.keyid}, {second.keyid}" in lines


def test_nothing_to_change_is_told(world, online):
    with pytest.raises(UsageError):
        stage_changes(online, [Delegate(ONE.model, (world.release.public_key,))])


def test_change_from_another_root_is_refused(world, online):
    staged = stage_changes(online, thresholds={"root": 1}, keys={"targets": [CryptoSigner.generate_ed25519().public_key]})
    whole, _ = sign_staged(staged, world.keys())
    change_root(world.publisher(), {"root": [world.root.public_key]}, {"timestamp": 1}, settle=lambda: None)
    change_root(
        world.publisher(),
        {"snapshot": [world.release.public_key], "root": [world.root.public_key, CryptoSigner.generate_ed25519().public_key]},
        settle=lambda: None,
    )
    with pytest.raises((ConflictError, BadSignature)):
        apply_staged(online, whole, settle=lambda: None)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{}",
        b'{"format":"modelport-staged","format_version":2,"base_root":{},"base":{}}',
        b'{"format":"other","format_version":1,"base_root":{},"base":{}}',
        b'{"format":"modelport-staged","format_version":1,"base_root":{},"base":{}}',
        b'{"format":"modelport-staged","format_version":1,"base_root":{"signed":3,"signatures":[]},"base":{}}',
    ],
)
def test_what_is_no_staged_change_is_refused(data):
    with pytest.raises(InvalidDocument):
        read_staged(data)


def test_altered_proposal_loses_its_signatures(world, online):
    staged, _ = sign_staged(delegation(world, online), world.keys())
    document = json.loads(write_staged(staged))
    document["roles"]["targets"]["signed"]["expires"] = "2040-01-01T00:00:00Z"
    with pytest.raises(BadSignature, match="targets"):
        apply_staged(online, read_staged(json.dumps(document).encode()))


STEPS = [*rotate.STEPS, *(step for step in commit.STEPS if step != "commit.complete")]


@pytest.mark.parametrize("stop", STEPS)
def test_apply_killed_at_every_step_continues_and_no_reader_refuses(world, online, stop):
    second = CryptoSigner.generate_ed25519()
    staged = stage_changes(online, keys={"targets": [world.targets.public_key, second.public_key]}, thresholds={"targets": 2})
    for keys in (world.keys(), Keyring.made(targets=second)):
        staged, _ = sign_staged(staged, keys)
    client = world.client()
    client.check(ONE)

    def step(name: str) -> None:
        if name == stop:
            raise Killed(name)

    with pytest.raises(Killed):
        apply_staged(replace(online, step=step), staged, settle=client.refresh)
    client.check(ONE)
    apply_staged(online, staged, settle=client.refresh)
    client.check(ONE)
    assert survey_store(online).root.signed.roles["targets"].threshold == 2
