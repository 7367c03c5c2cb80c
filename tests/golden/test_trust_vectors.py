"""The bytes of signed metadata, from fixed keys and a fixed time: another program must read and write the same."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from securesystemslib.signer import CryptoSigner

from pipeline.digest import sha256_of
from pipeline.manifest import Dependency
from pipeline.release import Channel, Release
from pipeline.stores.memory import MemoryStore
from pipeline.trust.changes import AddRelease, Delegate, MoveChannel, Pin, Yank
from pipeline.trust.commit import commit_changes
from pipeline.trust.keys import Keyring
from pipeline.trust.publisher import Publisher
from pipeline.trust.setup import init_trust
from pipeline.trust.state import TrustState
from tests.trust_world import some_facts

FOLDER = Path(__file__).parent / "trust"
AT = datetime(2026, 11, 22, 10, 0, 0, tzinfo=UTC)


def signer(number: int) -> CryptoSigner:
    return CryptoSigner(Ed25519PrivateKey.from_private_bytes(bytes([number]) * 32))


def written_tree(folder: Path) -> dict[str, bytes]:
    """A small tree: one model, two releases, a channel, a pin, a yank."""
    store = MemoryStore(now=lambda: AT)
    keys = Keyring.made(root=signer(1), targets=signer(2), release=signer(3))
    publisher = Publisher(store, TrustState(folder), keys, now=lambda: AT)
    init_trust(publisher)
    one, two = Release.parse("bert-v1.0.0"), Release.parse("bert-v2.1.0")
    adds = []
    for release in (one, two):
        body = f"manifest of {release}\n".encode()
        facts = some_facts(dependencies=(Dependency(model="tokenizer", version="^1.2.0"),))
        adds.append(AddRelease(release, sha256_of(body), len(body), facts))
    commit_changes(publisher, [Delegate(one.model, (signer(3).public_key,)), adds[0], MoveChannel(Channel("stable"), one, "ada")])
    changes = [adds[1], MoveChannel(Channel("stable"), two, "ada", expected=one, forced=True)]
    commit_changes(publisher, [*changes, Yank(one, "ada", "wrong weights"), Pin(two, "bundle", "2027-11-22T10:00:00Z")])
    return {info.key: b"".join(store.get(info.key)) for info in store.list("")}


@pytest.fixture(scope="module")
def tree(tmp_path_factory) -> dict[str, bytes]:
    return written_tree(tmp_path_factory.mktemp("state"))


def expected_keys() -> list[str]:
    return sorted(str(path.relative_to(FOLDER)) for path in FOLDER.rglob("*.json"))


def test_tree_has_exactly_the_golden_files(tree):
    assert sorted(tree) == expected_keys()


@pytest.mark.parametrize("key", expected_keys())
def test_metadata_has_its_golden_bytes(tree, key):
    assert tree[key].decode() == (FOLDER / key).read_text()
