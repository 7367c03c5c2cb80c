"""What a commit can do, and when it refuses."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from securesystemslib.signer import CryptoSigner

from pipeline.digest import sha256_of
from pipeline.errors import (
    ChannelMoved,
    ClockSkew,
    ConflictError,
    KeyUnusable,
    NotDelegated,
    OtherContent,
    RollbackRefused,
    UnknownName,
    UsageError,
)
from pipeline.events import Warned
from pipeline.manifest import Dependency
from pipeline.release import Channel, ModelName, Release
from pipeline.stores.memory import MemoryStore
from pipeline.trust.changes import Delegate, MoveChannel, Pin, Renew, Retire, Unpin, Unyank, Yank
from pipeline.trust.commit import commit_changes
from pipeline.trust.facts import instant_text, signed_at
from pipeline.trust.keys import Keyring
from pipeline.trust.reading import open_timestamp, read_view
from pipeline.trust.renewal import renew_trust
from pipeline.trust.rotate import rotate_key, rotate_model_key
from pipeline.trust.setup import delegation_for
from pipeline.trust.survey import survey_store
from tests.trust_world import START, World

STABLE = Channel("stable")
ONE, TWO = Release.parse("bert-v1.0.0"), Release.parse("bert-v2.0.0")


@pytest.fixture
def world(tmp_path) -> World:
    return World(tmp_path)


@pytest.fixture
def publisher(world):
    publisher = world.begin()
    commit_changes(publisher, [*world.publish_changes(publisher, str(ONE)), MoveChannel(STABLE, ONE, "me")])
    commit_changes(publisher, world.publish_changes(publisher, str(TWO)))
    return publisher


def seen(world):
    return read_view(world.store, world.state(), now=lambda: world.at)


def test_every_change_is_idempotent(world, publisher):
    changes = [
        world.release_change(str(ONE)),
        MoveChannel(STABLE, TWO, "me"),
        Yank(ONE, "me", "bad"),
        Pin(TWO, "bundle", "2027-01-01T00:00:00Z"),
        Delegate(ONE.model, (world.release.public_key,)),
    ]
    assert commit_changes(publisher, changes).changed
    again = commit_changes(publisher, changes)
    assert not again.changed
    assert again.snapshot == again.announced
    assert seen(world).channel(ONE.model, STABLE).sequence == 2


def test_same_version_with_another_manifest_is_refused(world, publisher):
    other = replace(world.release_change(str(ONE)), manifest_sha256="ab" * 32)
    before = list(world.store.list(""))
    with pytest.raises(OtherContent, match=r"bert-v1\.0\.0"):
        commit_changes(publisher, [other])
    assert list(world.store.list("")) == before


def test_channel_that_moved_stays_while_the_release_commits(world, publisher):
    commit_changes(world.publisher(), [MoveChannel(STABLE, TWO, "other")])
    three = world.release_change("bert-v3.0.0")
    done = commit_changes(publisher, [three, MoveChannel(STABLE, three.release, "me", expected=ONE)])
    assert [type(refused) for refused in done.refused] == [ChannelMoved]
    assert done.refused[0].exit_code == 8
    assert done.changed
    view = seen(world)
    assert view.channel(ONE.model, STABLE).release == str(TWO)
    assert view.release(three.release)


def test_channel_expected_absent_is_created_only_if_absent(world, publisher):
    beta = Channel("beta")
    assert not commit_changes(publisher, [MoveChannel(beta, ONE, "me", expected=None)]).refused
    assert commit_changes(publisher, [MoveChannel(beta, TWO, "me", expected=None)]).refused


def test_channel_to_a_yanked_or_unknown_release_is_refused(world, publisher):
    commit_changes(publisher, [Yank(TWO, "me", "bad")])
    with pytest.raises(ConflictError, match="yanked"):
        commit_changes(publisher, [MoveChannel(STABLE, TWO, "me")])
    with pytest.raises(UnknownName, match="bert-v9"):
        commit_changes(publisher, [MoveChannel(STABLE, Release.parse("bert-v9.0.0"), "me")])
    commit_changes(publisher, [Unyank(TWO), MoveChannel(STABLE, TWO, "me")])
    assert seen(world).channel(ONE.model, STABLE).release == str(TWO)


def test_yank_says_when_who_and_why(world, publisher):
    world.pass_time(hours=1)
    commit_changes(publisher, [Yank(TWO, "ada", "wrong weights")])
    mark = seen(world).release(TWO).facts.yanked
    assert (mark.at, mark.by, mark.reason) == (instant_text(START + timedelta(hours=1)), "ada", "wrong weights")


def test_retire_is_refused_while_something_names_the_release(world, publisher):
    commit_changes(publisher, [Pin(TWO, "bundle of May", "2026-12-01T00:00:00Z")])
    for release, words in ((ONE, "channel stable"), (TWO, "bundle of May")):
        with pytest.raises(ConflictError, match=words):
            commit_changes(publisher, [Retire(release, "me", "old")])
    world.pass_time(days=30)
    needs = world.publish_changes(publisher, "app-v1.0.0", dependencies=(Dependency(model="bert", version="^2.0.0"),))
    commit_changes(publisher, needs)
    with pytest.raises(ConflictError, match=r"app-v1\.0\.0 depends on bert"):
        commit_changes(publisher, [Retire(TWO, "me", "old")])
    commit_changes(publisher, [world.release_change("bert-v2.1.0"), Retire(TWO, "me", "old")])
    view = seen(world)
    assert TWO not in [found.release for found in view.releases(TWO.model)]
    with pytest.raises(UnknownName):
        view.release(TWO)
    assert view.release(TWO, retired=True).facts.retired.reason == "old"


def test_retired_version_never_comes_back(world, publisher):
    commit_changes(publisher, [Retire(TWO, "me", "old")])
    again = world.release_change(str(TWO))
    for change in (again, replace(again, manifest_sha256="cd" * 32)):
        with pytest.raises(OtherContent, match="retired"):
            commit_changes(publisher, [change])
    assert seen(world).release(TWO, retired=True).facts.retired.reason == "old"


def test_pins_are_kept_one_for_each_reason(world, publisher):
    commit_changes(publisher, [Pin(TWO, "a"), Pin(TWO, "b", "2027-01-01T00:00:00Z"), Pin(TWO, "b", "2028-01-01T00:00:00Z")])
    assert [(pin.reason, pin.until) for pin in seen(world).pins(TWO.model)] == [("a", ""), ("b", "2028-01-01T00:00:00Z")]
    commit_changes(publisher, [Unpin(TWO, "a")])
    commit_changes(publisher, [Unpin(TWO)])
    assert seen(world).pins(TWO.model) == ()


def test_undelegated_model_without_the_targets_key_is_refused_before_anything(world, publisher):
    poor = world.publisher(keys=Keyring.made(release=world.release))
    view = survey_store(poor).view
    with pytest.raises(NotDelegated) as caught:
        delegation_for(poor, view, ModelName("gpt"))
    assert caught.value.hint == "Where that key is, run: invoke trust.delegate --model gpt"
    with pytest.raises(NotDelegated) as mistyped:
        delegation_for(poor, view, ModelName("brt"))
    assert mistyped.value.hint == "Did you mean bert? Else, where that key is, run: invoke trust.delegate --model brt"
    assert caught.value.exit_code == 4
    with pytest.raises(NotDelegated):
        commit_changes(poor, [world.release_change("gpt-v1.0.0")])
    assert delegation_for(poor, view, ModelName("bert")) is None


def test_missing_role_key_is_found_before_the_model_is_read(world, publisher):
    stranger = world.publisher(keys=Keyring.made(release=CryptoSigner.generate_ed25519()))
    view = survey_store(stranger).view
    with pytest.raises(KeyUnusable, match="bert needs 1"):
        delegation_for(stranger, view, ModelName("bert"))


def test_model_with_a_key_of_its_own_is_signed_by_it_alone(world, publisher):
    own = CryptoSigner.generate_ed25519()
    keys = world.keys(gpt=own)
    mine = world.publisher(keys=keys)
    commit_changes(mine, world.publish_changes(mine, "gpt-v1.0.0"))
    role = seen(world).model(ModelName("gpt"))
    assert list(role.metadata.signatures) == [own.public_key.keyid]
    with pytest.raises(KeyUnusable):
        commit_changes(publisher, [world.release_change("gpt-v2.0.0")])


def test_delegation_puts_an_empty_signed_role_into_the_same_snapshot(world, publisher):
    done = commit_changes(publisher, [Delegate(ModelName("gpt"), (world.release.public_key,))])
    assert done.files == ("metadata/1.gpt.json", "metadata/3.targets.json", f"metadata/{done.snapshot}.snapshot.json")
    assert seen(world).releases(ModelName("gpt")) == ()


def two_of_two(world, publisher):
    """A publisher that has both keys of bert, whose role needs both of them."""
    second = CryptoSigner.generate_ed25519()
    both = replace(publisher, keys=publisher.keys.with_signers(second))
    commit_changes(both, [Delegate(ONE.model, (world.release.public_key, second.public_key), 2)])
    return both, second


def signers_of_bert(world):
    role = seen(world).targets.signed.get_delegated_role(ONE.model)
    return set(role.keyids), role.threshold


def test_same_keys_with_another_threshold_are_another_delegation(world, publisher):
    both, second = two_of_two(world, publisher)
    keys = (world.release.public_key, second.public_key)
    assert commit_changes(both, [Delegate(ONE.model, keys, 1)]).changed
    assert signers_of_bert(world)[1] == 1
    assert commit_changes(both, [Delegate(ONE.model, keys, 2)]).changed
    assert signers_of_bert(world)[1] == 2
    assert not commit_changes(both, [Delegate(ONE.model, keys)]).changed


def test_rotation_of_the_release_key_keeps_the_other_holders_of_a_model(world, publisher):
    both, second = two_of_two(world, publisher)
    new = CryptoSigner.generate_ed25519()
    with pytest.raises(KeyUnusable, match="bert needs 2"):
        rotate_key(publisher, "release", [new], settle=lambda: None)
    assert signers_of_bert(world) == ({world.release.public_key.keyid, second.public_key.keyid}, 2)
    rotate_key(both, "release", [new], settle=lambda: None)
    assert signers_of_bert(world) == ({new.public_key.keyid, second.public_key.keyid}, 2)
    world.client().check(ONE, TWO)


def test_rotation_of_a_models_key_keeps_how_many_must_sign(world, publisher):
    both, _ = two_of_two(world, publisher)
    new = [CryptoSigner.generate_ed25519(), CryptoSigner.generate_ed25519()]
    with pytest.raises(UsageError, match="bert: 1 key is too few"):
        rotate_model_key(both, ONE.model, new[:1])
    rotate_model_key(both, ONE.model, new)
    assert signers_of_bert(world) == ({signer.public_key.keyid for signer in new}, 2)
    world.client().check(ONE, TWO)


@pytest.mark.parametrize("minutes", [16, -16])
def test_clock_apart_from_the_store_refuses_to_sign_and_names_both(world, publisher, minutes):
    wrong = replace(publisher, now=lambda: world.at + timedelta(minutes=minutes))
    with pytest.raises(ClockSkew, match=instant_text(START)) as caught:
        commit_changes(wrong, [Renew()])
    assert "T10:16" in str(caught.value) or "T09:44" in str(caught.value)
    assert caught.value.exit_code == 2
    commit_changes(replace(publisher, now=lambda: world.at + timedelta(minutes=14)), [Renew()])


def test_signed_time_never_falls_and_a_day_ahead_refuses(world, publisher):
    world.pass_time(hours=20)
    commit_changes(publisher, [Renew()])
    high = signed_at(survey_store(publisher).predecessor.unrecognized_fields, "x")
    world.pass_time(hours=-20)
    commit_changes(publisher, [Renew()])
    assert signed_at(survey_store(publisher).predecessor.unrecognized_fields, "x") == high
    world.pass_time(hours=-20)
    with pytest.raises(ClockSkew, match="over a day behind"):
        commit_changes(publisher, [Renew()])


def test_signed_time_starts_again_after_a_lost_timestamp_key(world, publisher):
    world.pass_time(days=300)
    commit_changes(publisher, [Renew()])
    world.pass_time(days=-300)
    reader = world.state()
    world.pass_time(days=300)
    read_view(world.store, reader, now=lambda: world.at)
    world.pass_time(days=-300)
    new = CryptoSigner.generate_ed25519()
    rotate_key(publisher, "release", [new], lost=True, settle=lambda: None)
    view = read_view(world.store, reader, now=lambda: world.at)
    assert signed_at(view.snapshot.signed.unrecognized_fields, "x") == world.at
    assert reader.signed_at == world.at


def test_timestamp_is_a_pure_function_of_its_snapshot(world, publisher):
    world.pass_time(days=1)
    commit_changes(publisher, [Renew()])
    first = open_timestamp(b"".join(world.store.get("metadata/timestamp.json")))
    world.pass_time(days=1)
    world.store.delete("metadata/timestamp.json")
    commit_changes(world.publisher(), [world.release_change(str(ONE))])
    assert open_timestamp(b"".join(world.store.get("metadata/timestamp.json"))).data == first.data
    assert first.signed.expires == survey_store(publisher).predecessor.expires


def test_renewal_signs_what_it_can_and_tells_the_rest(world, publisher):
    world.pass_time(days=60)
    poor = world.publisher(keys=Keyring.made(release=world.release))
    renewed = renew_trust(poor)
    assert renewed.left == ("targets",)
    assert renewed.roles == ("bert", "snapshot", "timestamp")
    assert seen(world).snapshot.signed.expires - world.at == timedelta(days=90)
    assert survey_store(poor).root.version == 1


def test_root_is_renewed_only_in_its_last_year(world, publisher):
    world.pass_time(days=80)
    renew_trust(publisher, settle=lambda: None)
    assert survey_store(publisher).root.version == 1
    world.pass_time(days=4 * 365)
    renewed = renew_trust(publisher, settle=lambda: None)
    assert "root" in renewed.roles
    view = seen(world)
    assert view.root.version == 2
    assert view.root.signed.expires - world.at == timedelta(days=5 * 365)


def test_expired_root_is_told_where_its_key_is_elsewhere(world, publisher):
    world.pass_time(days=5 * 365 - 10)
    poor = world.publisher(keys=Keyring.made(release=world.release, targets=world.targets))
    assert "root" in renew_trust(poor).left
    assert any(isinstance(event, Warned) and event.code == "root-expires" for event in world.events)


def test_store_set_back_behind_what_was_seen_is_refused(world, publisher):
    old = {info.key: b"".join(world.store.get(info.key)) for info in world.store.list("")}
    commit_changes(publisher, [Yank(ONE, "me", "x")])
    fresh = MemoryStore("restored", now=lambda: world.at)
    for key, body in old.items():
        fresh.put(key, body, sha256=sha256_of(body))
    for change in (Yank(TWO, "me", "x"), Renew()):
        with pytest.raises(RollbackRefused, match="seen here before"):
            commit_changes(replace(publisher, store=fresh), [change])
    empty = MemoryStore("empty", now=lambda: world.at)
    with pytest.raises(RollbackRefused, match="no such root"):
        commit_changes(replace(publisher, store=empty), [Yank(TWO, "me", "x")])
