"""Reading as a client: every refusal names its cause, and what was trusted before stays trusted."""

from __future__ import annotations

import copy
import json
import os
import shutil
from datetime import UTC, datetime, timedelta

import msgspec
import pytest
from securesystemslib.signer import CryptoSigner
from tuf.api.metadata import Metadata

from pipeline.digest import sha256_of
from pipeline.errors import (
    BadSignature,
    DigestMismatch,
    DiskError,
    IntegrityError,
    InvalidDocument,
    MetadataExpired,
    ModelportError,
    NotPinned,
    ObjectMissing,
    TrustError,
    UnknownName,
    UsageError,
)
from pipeline.layout import TIMESTAMP, manifest_target, target_key
from pipeline.release import Channel, ModelName, Release
from pipeline.stores.memory import MemoryStore
from pipeline.trust.changes import AddRelease
from pipeline.trust.commit import commit_changes
from pipeline.trust.facts import facts_of
from pipeline.trust.reading import read_view
from pipeline.trust.roles import delegate, next_root, next_snapshot, timestamp_of
from pipeline.trust.rotate import rotate_key
from pipeline.trust.sealed import seal
from pipeline.trust.state import TrustState
from pipeline.wire import encode_manifest
from tests.makers.manifests import manifest
from tests.trust_world import Killed, World, edited, files, put, read, rightly_signed, stored, world_with_release

ONE = Release.parse("bert-v1.0.0")
BERT = ModelName("bert")


@pytest.fixture
def world(tmp_path) -> World:
    return world_with_release(tmp_path, ONE)


# ---- the order of things, and signatures


def test_reading_needs_a_pin_and_shows_the_fingerprint(world):
    with pytest.raises(NotPinned, match=world.fingerprint) as caught:
        read(world, TrustState(world.folder / "unpinned"))
    assert f"--fingerprint {world.fingerprint}" in caught.value.hint
    other = TrustState(world.folder / "other")
    other.pin("ab" * 32)
    with pytest.raises(NotPinned, match=world.fingerprint):
        read(world, other)


def test_empty_store_is_no_tree(tmp_path):
    state = TrustState(tmp_path / "s")
    state.pin("ab" * 32)
    with pytest.raises(NotPinned, match="nothing is published there yet") as caught:
        read_view(MemoryStore(), state, now=lambda: datetime.now(UTC))
    assert f"--store {MemoryStore().url}" in caught.value.hint


@pytest.mark.parametrize("fingerprint", ["", "AB" * 32, "ab" * 31, "zz" * 32, "ab" * 32 + "\n"])
def test_pin_refuses_what_is_no_fingerprint(tmp_path, fingerprint):
    with pytest.raises(UsageError):
        TrustState(tmp_path / "s").pin(fingerprint)


@pytest.mark.parametrize("how", ["unsigned", "stranger", "other bytes", "wrong scheme"])
@pytest.mark.parametrize("role", ["timestamp", "snapshot", "targets", "bert"])
def test_badly_signed_role_is_refused_and_nothing_trusted_changes(world, role, how):
    key = {"timestamp": TIMESTAMP, "snapshot": "metadata/2.snapshot.json", "targets": "metadata/2.targets.json"}.get(
        role, "metadata/1.bert.json"
    )
    state = world.state()
    read(world, state).model(BERT)
    before = files(state)
    document = json.loads(stored(world, key))
    if how == "unsigned":
        document["signatures"] = []
    elif how == "stranger":
        sealed = seal(Metadata.from_bytes(stored(world, key)).signed, [CryptoSigner.generate_ed25519()])
        document = json.loads(sealed.data)
    elif how == "other bytes":
        document["signed"]["expires"] = "2036-01-01T00:00:00Z"
    else:
        document["signatures"][0]["sig"] = "00" * 64
    put(world, key, json.dumps(document).encode())
    fresh = world.state()
    with pytest.raises((BadSignature, DigestMismatch, InvalidDocument)) as caught:
        read(world, fresh).model(BERT)
    assert key in str(caught.value)
    if role == "timestamp":
        with pytest.raises(BadSignature, match="0 of the 1"):
            read(world, state)
    assert files(state) == before


def test_one_key_under_two_ids_counts_once(world):
    root = copy.deepcopy(Metadata.from_bytes(world.first_root).signed)
    twin = CryptoSigner(world.release._private_key)
    twin._public_key = type(twin.public_key)("f" * 64, twin.public_key.keytype, twin.public_key.scheme, twin.public_key.keyval)
    following = next_root(root, world.at, {"timestamp": [world.release.public_key, twin.public_key]}, {"timestamp": 2})
    put(world, "metadata/2.root.json", seal(following, [world.root]).data)
    edited(world, TIMESTAMP, [world.release, twin])
    with pytest.raises(BadSignature, match="1 of the 2"):
        read(world)


def test_signature_repeated_for_one_key_is_refused(world):
    document = json.loads(stored(world, TIMESTAMP))
    document["signatures"] *= 2
    put(world, TIMESTAMP, json.dumps(document).encode())
    with pytest.raises(IntegrityError, match="timestamp"):
        read(world)


# ---- malformed documents


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"null",
        b"[]",
        b"[" * 200_000,
        b'{"signed":' + b"9" * 10_000 + b"}",
        b'{"signed":{},"signed":{}}',
        b"\xff\xfe{}",
        b"\xef\xbb\xbf{}",
        b'{"signed":{"_type":"timestamp","version":1.0}}',
        b'{"signed":{"_type":"timestamp","version":NaN}}',
        b" " * 20_000,
    ],
    ids=["empty", "null", "list", "deep", "digits", "twice", "utf16", "bom", "float", "nan", "long"],
)
def test_hostile_timestamp_is_one_clear_refusal(world, data):
    put(world, TIMESTAMP, data)
    with pytest.raises(InvalidDocument) as caught:
        read(world)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize("version", [0, -1, True, 2**63, 2**53, "1", None])
def test_malformed_version_is_refused(world, version):
    signed = {**json.loads(stored(world, TIMESTAMP))["signed"], "version": version}
    put(world, TIMESTAMP, rightly_signed(signed, [world.release]))
    with pytest.raises(InvalidDocument):
        read(world)


@pytest.mark.parametrize("key", [TIMESTAMP, "metadata/2.root.json"])
@pytest.mark.parametrize("field", ["_type", "version", "spec_version", "expires", "meta", "keys", "roles"])
def test_nothing_is_read_as_metadata_before_somebody_signed_it(world, key, field):
    state = world.state()
    read(world, state)
    before = files(state)
    original = stored(world, TIMESTAMP if key == TIMESTAMP else "metadata/1.root.json")
    signed = {**json.loads(original)["signed"], field: []}
    put(world, key, rightly_signed(signed, [CryptoSigner.generate_ed25519()]))
    with pytest.raises(BadSignature, match="by 0 of the 1 keys"):
        read(world, state)
    assert files(state) == before


def test_signature_in_capitals_is_none(world):
    document = json.loads(stored(world, TIMESTAMP))
    document["signatures"][0]["sig"] = document["signatures"][0]["sig"].upper()
    put(world, TIMESTAMP, json.dumps(document).encode())
    with pytest.raises(BadSignature):
        read(world)


def test_role_of_another_type_is_refused(world):
    put(world, TIMESTAMP, stored(world, "metadata/2.snapshot.json"))
    with pytest.raises(InvalidDocument, match="expected 'timestamp'"):
        read(world)


def test_announced_length_is_a_cap_and_no_more_is_read(world):
    class Counting:
        url = "counting"
        read = 0

        def get(self, key, *, start=0, size=None):
            if key != "metadata/2.snapshot.json":
                yield from world.store.get(key)
                return
            while True:
                self.read += 1024
                yield bytes(1024)

    source = Counting()
    with pytest.raises(InvalidDocument, match="more than"):
        read_view(source, world.state(), now=lambda: world.at)
    assert source.read < 1 << 20


def test_timestamp_that_announces_another_number_is_refused(world):
    signed = {**json.loads(stored(world, TIMESTAMP))["signed"], "version": 7}
    put(world, TIMESTAMP, rightly_signed(signed, [world.release]))
    with pytest.raises(InvalidDocument, match="announces snapshot 2"):
        read(world)


@pytest.mark.parametrize("key", ["metadata/2.snapshot.json", "metadata/2.targets.json", "metadata/1.bert.json", TIMESTAMP])
def test_missing_file_is_named(world, key):
    world.store.delete(key)
    with pytest.raises(ObjectMissing, match=key.rpartition("/")[2]):
        read(world).model(BERT)


# ---- the root chain


@pytest.mark.parametrize("data", [b"", b"<html>", b"{}", b"[" * 50_000])
@pytest.mark.parametrize("pinned", [True, False])
def test_what_is_shown_in_the_place_of_a_root_is_not_trusted_before_it_is_damaged(world, data, pinned):
    state = world.state() if pinned else TrustState(world.folder / "unpinned")
    put(world, "metadata/1.root.json", data)
    with pytest.raises(TrustError, match=r"metadata/1\.root\.json") as caught:
        read(world, state)
    # Another source may have the tree that is trusted, so this is no reason to stop.
    assert not isinstance(caught.value, NotPinned)


def test_older_root_that_was_damaged_does_not_hide_the_pinned_one(world):
    roots(world, 2)
    state = TrustState(world.folder / "third")
    state.pin(sha256_of(stored(world, "metadata/3.root.json")))
    put(world, "metadata/2.root.json", b"\xff")
    assert read(world, state).root.version == 3


def test_server_that_answers_all_with_one_page_is_not_asked_for_ever(world):
    class Page:
        url = "page"
        asked = 0

        def get(self, key, *, start=0, size=None):
            self.asked += 1
            yield b"<html>"

    source = Page()
    with pytest.raises(TrustError, match="not strict JSON"):
        read_view(source, world.state(), now=lambda: world.at)
    assert source.asked == 3


def roots(world, count: int, first: int = 2) -> None:
    root = Metadata.from_bytes(stored(world, f"metadata/{first - 1}.root.json")).signed
    for version in range(first, first + count):
        root = next_root(root, world.at)
        put(world, f"metadata/{version}.root.json", seal(root, [world.root]).data)


def test_pin_to_any_root_of_the_chain_is_good(world):
    roots(world, 3)
    for version in (1, 2, 3, 4):
        state = TrustState(world.folder / f"pinned{version}")
        state.pin(sha256_of(stored(world, f"metadata/{version}.root.json")))
        assert read(world, state).root.version == 4
        assert read(world, state).fingerprint == sha256_of(stored(world, "metadata/4.root.json"))


def test_root_signed_only_by_new_or_only_by_old_keys_is_refused_and_the_last_good_one_kept(world):
    roots(world, 1)
    state = world.state()
    new = CryptoSigner.generate_ed25519()
    root = Metadata.from_bytes(stored(world, "metadata/2.root.json")).signed
    following = next_root(root, world.at, {"root": [new.public_key]})
    for signers in ([new], [world.root], []):
        put(world, "metadata/3.root.json", seal(following, signers).data)
        with pytest.raises(BadSignature, match=r"3\.root\.json"):
            read(world, state)
        assert state.root().version == 2
    put(world, "metadata/3.root.json", seal(following, [new, world.root]).data)
    assert read(world, state).root.version == 3


def test_root_of_another_number_than_its_name_is_refused(world):
    roots(world, 2)
    put(world, "metadata/2.root.json", stored(world, "metadata/3.root.json"))
    with pytest.raises(InvalidDocument, match="says it is version 3"):
        read(world)


def test_root_after_a_gap_is_never_asked_for(world):
    roots(world, 3)
    world.store.delete("metadata/3.root.json")
    assert read(world).root.version == 2


def test_more_than_256_new_roots_are_refused_and_those_read_are_kept(world):
    roots(world, 257)
    state = world.state()
    with pytest.raises(TrustError, match="more than 256"):
        read(world, state)
    assert state.root().version == 257
    assert read(world, state).root.version == 258


def test_expired_root_in_the_middle_of_the_chain_is_no_obstacle(world):
    root = Metadata.from_bytes(world.first_root).signed
    middle = next_root(root, world.at - timedelta(days=3000))
    put(world, "metadata/2.root.json", seal(middle, [world.root]).data)
    with pytest.raises(MetadataExpired, match=r"2\.root"):
        read(world)
    put(world, "metadata/3.root.json", seal(next_root(middle, world.at), [world.root]).data)
    assert read(world).root.version == 3


# ---- the view


def test_unknown_names_suggest_the_nearest(world):
    view = read(world)
    for ask, near in (
        (lambda: view.model(ModelName("brt")), "bert"),
        (lambda: view.release(Release.parse("bert-v1.0.1")), "bert-v1.0.0"),
        (lambda: view.channel(BERT, Channel("stabel")), "stable"),
    ):
        with pytest.raises(UnknownName) as caught:
            ask()
        assert near in caught.value.hint


def test_substituted_target_is_refused(world):
    view = read(world)
    key = view.release(ONE).key
    body = stored(world, key)
    for wrong in (body[:-1] + b"X", body + b"X", b""):
        put(world, key, wrong)
        with pytest.raises(IntegrityError):
            view.manifest_bytes(ONE)


@pytest.mark.parametrize(
    "says, plain, words",
    [("2.1.0", None, None), ("2.3.0", None, r"bert-v2\.1\.0 says that it is of bert-v2\.3\.0"), ("2.1.0", 1, "plain")],
)
def test_manifest_of_another_release_or_with_other_facts_is_refused(world, says, plain, words):
    release, document = Release.parse("bert-v2.1.0"), manifest(version=says)
    data, facts = encode_manifest(document), facts_of(document, world.at)
    if plain is not None:
        facts = msgspec.structs.replace(facts, plain=plain)
    put(world, target_key(manifest_target(release), sha256_of(data)), data)
    commit_changes(world.publisher(), [AddRelease(release, sha256_of(data), len(data), facts)])
    view = read(world)
    if words is None:
        assert view.manifest(release) == document
        return
    with pytest.raises(InvalidDocument, match=words):
        view.manifest(release)


def test_models_are_verified_only_when_asked_for(world):
    publisher = world.publisher()
    commit_changes(publisher, world.publish_changes(publisher, "gpt-v1.0.0"))
    world.store.delete("metadata/1.gpt.json")
    view = read(world)
    assert view.models() == ("bert", "gpt")
    assert view.release(ONE)
    with pytest.raises(ObjectMissing):
        view.model(ModelName("gpt"))


# ---- state


def test_state_survives_a_kill_between_its_files(world):
    state = world.state()
    read(world, state)
    (state.folder / ".state.json.abcd").write_bytes(b"torn")
    (state.folder / "metadata" / "bert.json").write_bytes(b"an old copy")
    assert read(world, state).release(ONE)


def test_kill_while_the_state_is_written_leaves_nothing_that_stays(world, monkeypatch):
    state = world.state()
    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", killed)
        for _ in range(3):
            with pytest.raises(Killed):
                read(world, state)
    read(world, state)
    assert list(state.folder.rglob(".*")) == []


def killed(*_):
    raise Killed


def test_copy_of_the_state_is_of_one_moment(world, tmp_path, monkeypatch):
    state = world.state()
    read(world, state)
    (state.folder / "metadata" / ".bert.json.new").write_bytes(b"under way")
    real = shutil.copytree

    def meanwhile(*args, **kwargs):
        copied = real(*args, **kwargs)
        if state.root().version == 1:
            rotate_key(world.publisher(), "root", [CryptoSigner.generate_ed25519()], settle=lambda: None)
            read(world, state)
        return copied

    monkeypatch.setattr(shutil, "copytree", meanwhile)
    copy = state.copy_to(tmp_path / "aside")
    assert state.root().version == 2
    assert copy.root().version == 1
    assert read(world, copy).release(ONE)
    assert not list((tmp_path / "aside").rglob(".*"))


def test_copy_of_no_state_is_none(tmp_path):
    assert TrustState(tmp_path / "none").copy_to(tmp_path / "aside").pins == ()


def test_damaged_state_is_told_and_never_guessed(world):
    state = world.state()
    read(world, state)
    (state.folder / "state.json").write_bytes(b'{"pins":')
    with pytest.raises(ModelportError, match=r"state\.json") as caught:
        read(world, state)
    assert f"move {state.folder} away" in caught.value.hint
    assert "source" not in caught.value.hint


def test_a_kept_copy_that_cannot_be_read_is_told(world):
    state = world.state()
    read(world, state)
    (state.folder / "metadata" / "targets.json").unlink()
    (state.folder / "metadata" / "targets.json").mkdir()
    with pytest.raises(DiskError, match=r"targets\.json"):
        read(world, state)


def test_pin_to_another_tree_forgets_the_old_one(world, tmp_path):
    state = world.state()
    read(world, state)
    state.pin(world.fingerprint)
    assert state.read().seen
    state.pin("ab" * 32)
    assert state.pins == ("ab" * 32,)
    assert not state.read().seen
    with pytest.raises(NotPinned):
        read(world, state)


def test_roots_of_a_tree_that_is_trusted_no_more_are_none_of_the_next_ones(world, tmp_path):
    state = world.state()
    roots(world, 1)
    read(world, state)
    other = world_with_release(tmp_path / "other", ONE)
    roots(other, 2)
    state.pin(sha256_of(stored(other, "metadata/3.root.json")))
    read(other, state)
    assert [root.version for root in state.roots()] == [3]


def test_pin_that_was_killed_while_it_forgot_is_made_again(world, tmp_path, monkeypatch):
    state = world.state()
    read(world, state)
    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", killed)
        with pytest.raises(Killed):
            state.pin("ab" * 32)
    with pytest.raises(DiskError) as caught:
        read(world, state)
    assert "Pin the root again" in caught.value.hint
    state.pin(world.fingerprint)
    assert read(world, state).release(ONE)


def test_state_folder_is_private(world):
    state = world.state()
    read(world, state)
    assert state.folder.stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("name", ["../evil", "a/b", ".", "models", "Bert", "con", "x" * 80])
def test_delegated_role_with_a_fishy_name_never_becomes_a_path(world, name):
    targets = copy.deepcopy(Metadata.from_bytes(stored(world, "metadata/2.targets.json")).signed)
    delegate(targets, name, [world.release.public_key], 1)
    targets.version = 3
    top = seal(targets, [world.targets])
    put(world, "metadata/3.targets.json", top.data)
    now = Metadata.from_bytes(stored(world, "metadata/2.snapshot.json")).signed
    metas = {file.removesuffix(".json"): meta for file, meta in now.meta.items()} | {"targets": top.meta, name: top.meta}
    snapshot = seal(next_snapshot(3, metas.items(), world.at, now), [world.release])
    put(world, "metadata/3.snapshot.json", snapshot.data)
    put(world, TIMESTAMP, seal(timestamp_of(snapshot), [world.release]).data)
    state = world.state()
    view = read(world, state)
    assert view.models() == ("bert",)
    with pytest.raises(UnknownName):
        view.model(ModelName(name))
    assert {path.name for path in (state.folder / "metadata").iterdir()} == {"timestamp.json", "snapshot.json", "targets.json"}


@pytest.mark.parametrize("version", [0, -1, True, 2**63, 2**53, "2", None, 3])
def test_root_with_an_absurd_version_is_refused_and_the_last_good_one_kept(world, version):
    state = world.state()
    read(world, state)
    roots(world, 1)
    signed = {**json.loads(stored(world, "metadata/2.root.json"))["signed"], "version": version}
    put(world, "metadata/2.root.json", rightly_signed(signed, [world.root]))
    with pytest.raises(InvalidDocument):
        read(world, state)
    assert state.root().version == 1


@pytest.mark.parametrize("scheme", ["none", "rsassa-pss-sha256", "ed25519ph", "", None])
def test_key_with_another_scheme_than_its_type_is_refused(world, scheme):
    state = world.state()
    root = copy.deepcopy(Metadata.from_bytes(world.first_root).signed)
    following = next_root(root, world.at)
    following.keys[world.release.public_key.keyid].scheme = scheme
    put(world, "metadata/2.root.json", seal(following, [world.root]).data)
    with pytest.raises(InvalidDocument):
        read(world, state)
    assert state.root().version == 1


def test_root_that_names_a_key_it_does_not_hold_is_followed(world):
    following = next_root(copy.deepcopy(Metadata.from_bytes(world.first_root).signed), world.at)
    following.roles["timestamp"].keyids.append("ab" * 32)
    put(world, "metadata/2.root.json", seal(following, [world.root]).data)
    state = world.state()
    assert read(world, state).root.version == 2
