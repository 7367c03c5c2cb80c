"""Time and rollback: what is too old is refused online, and read with care where there is no network."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from securesystemslib.signer import CryptoSigner
from tuf.api.metadata import Metadata, Snapshot

from pipeline.digest import sha256_of
from pipeline.errors import (
    BadSignature,
    MetadataExpired,
    RollbackRefused,
)
from pipeline.layout import TIMESTAMP
from pipeline.release import ModelName, Release
from pipeline.stores.memory import MemoryStore
from pipeline.trust.changes import Renew, Yank
from pipeline.trust.commit import commit_changes
from pipeline.trust.reading import read_view
from pipeline.trust.roles import next_snapshot, timestamp_of
from pipeline.trust.rotate import rotate_key, rotate_model_key
from pipeline.trust.sealed import SNAPSHOT_BYTES, open_sealed, seal
from pipeline.trust.state import TrustState
from tests.trust_world import World, edited, files, put, read, stored, world_with_release

ONE = Release.parse("bert-v1.0.0")
BERT = ModelName("bert")


@pytest.fixture
def world(tmp_path) -> World:
    return world_with_release(tmp_path, ONE)


@pytest.mark.parametrize(("days", "role"), [(91, "timestamp"), (731, "timestamp"), (1826, "root")])
def test_expired_metadata_is_refused_online_and_warned_of_offline(world, days, role):
    state = world.state()
    read(world, state)
    late = world.at + timedelta(days=days)
    with pytest.raises(MetadataExpired, match=role) as caught:
        read_view(world.store, state, now=lambda: late)
    assert caught.value.exit_code == 4
    assert "clock" in caught.value.hint
    assert read_view(world.store, state, now=lambda: late, offline=True).warnings == ()


def test_offline_expiry_is_judged_by_signed_time_recorded_and_refused_on_demand(world):
    state = world.state()
    old = MemoryStore("medium")
    for info in world.store.list(""):
        body = stored(world, info.key)
        old.put(info.key, body, sha256=sha256_of(body))
    world.pass_time(days=100)
    commit_changes(world.publisher(), [Renew(("targets", "bert"))])
    read(world, state)
    view = read_view(old, state, now=lambda: world.at, offline=True)
    assert any("expired" in warning for warning in view.warnings)
    assert any("expired" in note.what for note in state.read().notes)
    with pytest.raises(MetadataExpired):
        read_view(old, state, now=lambda: world.at, offline=True, require_fresh=True)


def test_clock_in_1970_cannot_revive_old_metadata(world):
    state = world.state()
    world.pass_time(days=80)
    commit_changes(world.publisher(), [Renew()])
    read(world, state)
    world.pass_time(days=85)
    commit_changes(world.publisher(), [Renew()])
    read(world, state)
    edited(world, "metadata/2.targets.json", [world.targets])
    then = datetime(1970, 1, 1, tzinfo=UTC)
    assert read_view(world.store, state, now=lambda: then).judge.at == world.at
    fresh = world.state()
    assert read_view(world.store, fresh, now=lambda: then).judge.at == then
    assert fresh.signed_at == world.at


def test_clock_in_2099_names_itself(world):
    with pytest.raises(MetadataExpired, match="2099-01-01"):
        read_view(world.store, world.state(), now=lambda: datetime(2099, 1, 1, tzinfo=UTC))


def test_clock_is_asked_once_for_a_whole_reading(world):
    ticks = []

    def clock() -> datetime:
        ticks.append(1)
        return world.at

    read_view(world.store, world.state(), now=clock).model(BERT)
    assert len(ticks) == 1


def snapshot_of(world) -> MemoryStore:
    kept = MemoryStore("kept", now=lambda: world.at)
    for info in world.store.list(""):
        body = stored(world, info.key)
        kept.put(info.key, body, sha256=sha256_of(body))
    return kept


def test_older_timestamp_is_refused_online(world):
    old, state = snapshot_of(world), world.state()
    commit_changes(world.publisher(), [Yank(ONE, "me", "bad")])
    read(world, state)
    before = files(state)
    with pytest.raises(RollbackRefused, match="version 2, version 3 was seen"):
        read_view(old, state, now=lambda: world.at)
    assert files(state) == before


def test_same_version_with_other_content_is_refused_and_recorded(world):
    state = world.state()
    read(world, state)
    edited(world, "metadata/2.snapshot.json", [world.release], expires=world.at + timedelta(days=80))
    key = "metadata/2.snapshot.json"
    snapshot = open_sealed(stored(world, key), Snapshot, what=key, cap=SNAPSHOT_BYTES)
    edited(world, TIMESTAMP, [world.release], snapshot_meta=snapshot.meta)
    for _ in range(2):
        with pytest.raises(RollbackRefused, match="other content"):
            read(world, state)
    assert any("two contents" in note.what for note in state.read().notes)


def test_resigned_timestamp_with_the_same_words_is_no_equivocation(world):
    state = world.state()
    read(world, state)
    edited(world, TIMESTAMP, [world.release, CryptoSigner.generate_ed25519()])
    read(world, state)


def test_snapshot_that_drops_or_lowers_a_role_is_refused(world):
    publisher = world.publisher()
    commit_changes(publisher, [world.release_change("bert-v2.0.0")])
    state = world.state()
    read(world, state)
    now = Metadata.from_bytes(stored(world, "metadata/3.snapshot.json")).signed
    metas = {name.removesuffix(".json"): meta for name, meta in now.meta.items()}
    old = Metadata.from_bytes(stored(world, "metadata/2.snapshot.json")).signed.meta["bert.json"]
    for roles in ({**metas, "bert": old}, {"targets": metas["targets"]}):
        snapshot = seal(next_snapshot(4, roles.items(), world.at, now), [world.release])
        put(world, "metadata/4.snapshot.json", snapshot.data)
        put(world, TIMESTAMP, seal(timestamp_of(snapshot), [world.release]).data)
        fresh = TrustState(world.folder / f"copy{len(roles)}")
        fresh.pin(world.fingerprint)
        for part in state.folder.rglob("*.json"):
            target = fresh.folder / part.relative_to(state.folder)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(part.read_bytes())
        with pytest.raises(RollbackRefused, match="of bert"):
            read(world, fresh)


def test_new_timestamp_key_recovers_from_a_fast_forward(world):
    state = world.state()
    read(world, state)
    now = Metadata.from_bytes(stored(world, "metadata/2.snapshot.json")).signed
    metas = {name.removesuffix(".json"): meta for name, meta in now.meta.items()}
    far = seal(next_snapshot(9_000_000, metas.items(), world.at + timedelta(days=40), now), [world.release])
    put(world, "metadata/9000000.snapshot.json", far.data)
    good = stored(world, TIMESTAMP)
    put(world, TIMESTAMP, seal(timestamp_of(far), [world.release]).data)
    read(world, state)
    assert state.signed_at == world.at + timedelta(days=40)
    world.store.delete("metadata/9000000.snapshot.json")
    put(world, TIMESTAMP, good)
    with pytest.raises(RollbackRefused):
        read(world, state)
    rotate_key(world.publisher(), "release", [CryptoSigner.generate_ed25519()], settle=lambda: None)
    view = read(world, state)
    assert view.snapshot.version < 9_000_000
    assert state.signed_at == world.at


def test_rotation_of_the_root_key_alone_forgets_nothing(world):
    old, state = snapshot_of(world), world.state()
    commit_changes(world.publisher(), [Renew()])
    read(world, state)
    rotate_key(world.publisher(), "root", [CryptoSigner.generate_ed25519()], settle=lambda: None)
    put_in(old, "metadata/2.root.json", stored(world, "metadata/2.root.json"))
    with pytest.raises(RollbackRefused):
        read_view(old, state, now=lambda: world.at)
    assert state.root().version == 2


def put_in(store, key: str, body: bytes) -> None:
    store.put(key, body, sha256=sha256_of(body))


def test_older_medium_is_read_recorded_and_lowers_nothing_if_its_model_is_not_older(world):
    old, state = snapshot_of(world), world.state()
    publisher = world.publisher()
    commit_changes(publisher, world.publish_changes(publisher, "gpt-v1.0.0"))
    read(world, state).model(BERT)
    seen = state.read().seen
    view = read_view(old, state, now=lambda: world.at, offline=True)
    assert view.older
    assert view.release(ONE)
    assert any("older" in warning for warning in view.warnings)
    assert state.read().seen == seen
    assert any("older tree" in note.what for note in state.read().notes)


def test_older_model_role_is_refused_offline_unless_downgrade_is_allowed(world):
    old, state = snapshot_of(world), world.state()
    commit_changes(world.publisher(), [world.release_change("bert-v2.0.0")])
    read(world, state).model(BERT)
    seen = state.read().seen
    with pytest.raises(RollbackRefused, match="bert"):
        read_view(old, state, now=lambda: world.at, offline=True).release(ONE)
    view = read_view(old, state, now=lambda: world.at, offline=True, allow_downgrade=True)
    assert view.release(ONE)
    assert any("--allow-downgrade" in note.what for note in state.read().notes)
    assert state.read().seen == seen


def test_a_second_content_of_one_version_is_refused_offline_whatever_is_allowed(world):
    forked, state = snapshot_of(world), world.state()
    commit_changes(world.publisher(store=forked), [Yank(ONE, "me", "another reason")])
    commit_changes(world.publisher(), [Yank(ONE, "me", "bad")])
    commit_changes(world.publisher(), [Renew(("targets",))])
    read(world, state).model(BERT)
    view = read_view(forked, state, now=lambda: world.at, offline=True, allow_downgrade=True)
    assert view.older
    with pytest.raises(RollbackRefused, match="other content"):
        view.model(BERT)


def test_older_medium_signed_before_a_rotation_is_read_only_while_its_model_key_is_trusted(world):
    old, state = snapshot_of(world), world.state()
    new = CryptoSigner.generate_ed25519()
    rotate_key(world.publisher(), "timestamp", [new], settle=lambda: None)
    read(world, state).model(BERT)
    assert read_view(old, state, now=lambda: world.at, offline=True).release(ONE)
    rotate_model_key(world.publisher(keys=world.keys(timestamp=new)), BERT, [CryptoSigner.generate_ed25519()])
    read(world, state).model(BERT)
    for allowed in (False, True):
        with pytest.raises(BadSignature, match="bert"):
            read_view(old, state, now=lambda: world.at, offline=True, allow_downgrade=allowed).release(ONE)


def test_publisher_is_warned_of_roles_whose_keys_it_lacks_before_they_expire(world):
    world.pass_time(days=2 * 365 - 20)
    commit_changes(world.publisher(), [Renew()])
    assert [event.code for event in world.events] == ["expires-soon"]
