"""The embedded default as the reference client sees it: a directory store, keys made on first use, rotated in place."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from pipeline.digest import sha256_of
from pipeline.layout import manifest_target, target_key
from pipeline.release import Channel, Release
from pipeline.stores.directory import DirectoryStore
from pipeline.trust.changes import AddRelease, Delegate, MoveChannel
from pipeline.trust.commit import commit_changes
from pipeline.trust.keyfolder import find_keys, next_key, open_keys, promote_key
from pipeline.trust.keys import Keyring
from pipeline.trust.publisher import Publisher
from pipeline.trust.rotate import rotate_key
from pipeline.trust.setup import init_on_first_use, model_keys
from pipeline.trust.state import TrustState
from tests.trust_world import Client, some_facts

RELEASE = Release.parse("bert-v1.0.0")


@pytest.mark.parametrize("slot", ["root", "targets", "release"])
def test_directory_tree_with_keys_made_on_first_use_is_read_through_a_rotation(tmp_path, slot):
    store = DirectoryStore(tmp_path / "store")
    publisher = Publisher(store, TrustState(tmp_path / "state"), Keyring({}), now=lambda: datetime.now(UTC))
    publisher, _ = init_on_first_use(publisher, tmp_path / "keys")
    body = b"manifest"
    sha256 = sha256_of(body)
    store.put(target_key(manifest_target(RELEASE), sha256), body, sha256=sha256)
    changes = [
        Delegate(RELEASE.model, model_keys(publisher, RELEASE.model)),
        AddRelease(RELEASE, sha256, len(body), some_facts()),
        MoveChannel(Channel("stable"), RELEASE, "me"),
    ]
    commit_changes(publisher, changes)
    first_root = b"".join(store.get("metadata/1.root.json"))
    client = Client(store, tmp_path / "client", first_root)
    client.check(RELEASE)
    folder = find_keys(tmp_path / "keys", [sha256_of(first_root)])
    for _ in range(2):
        new = next_key(folder, slot)
        rotate_key(replace(publisher, keys=open_keys(folder)), slot, [new], settle=client.refresh)
        promote_key(folder, slot)
        client.check(RELEASE)
        publisher = replace(publisher, keys=open_keys(folder))
        assert not commit_changes(publisher, changes[1:]).changed
        commit_changes(publisher, [MoveChannel(Channel(f"after-{new.public_key.keyid[:8]}"), RELEASE, "me")])
        client.check(RELEASE)
    Client(store, tmp_path / "fresh", first_root).check(RELEASE)
