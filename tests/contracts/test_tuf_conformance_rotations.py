"""Cases of the TUF project's conformance suite, as in test_tuf_conformance: rollback and recovery, delegations, rotations."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest
from securesystemslib.signer import CryptoSigner
from tuf.api.metadata import Metadata

from pipeline.digest import sha256_of
from pipeline.layout import TIMESTAMP, role_key
from pipeline.stores.directory import DirectoryStore
from pipeline.trust.reading import read_view
from pipeline.trust.state import TrustState
from tests.conformance_world import Ours, Repo, Theirs, model, pair, serving


@pytest.fixture
def both(tmp_path):
    """Both readers, which trust the first root of a repository and have seen nothing else."""
    return pair(tmp_path)


@pytest.fixture
def served(both):
    return serving(both)


# ---- rollback, and the recovery from its opposite


def test_new_timestamp_version_rollback(both):
    before = both.repo.data("timestamp")
    both.repo.publish("snapshot")
    both.look(accepted=True)
    both.repo.put(TIMESTAMP, before)
    both.look(accepted=False)
    assert both.versions["timestamp"] == 2
    assert both.ours.source.asked[-1] == both.theirs.source.asked[-1] == TIMESTAMP


@pytest.mark.parametrize("hashes", [False, True], ids=["basic", "with hashes"])
def test_snapshot_rollback(tmp_path, hashes):
    both = pair(tmp_path, hashes=hashes)
    both.repo.publish("snapshot")
    both.look(accepted=True)
    data = both.repo.data("snapshot", 1)
    both.repo.timestamp.version = 3
    both.repo.timestamp.snapshot_meta = both.repo.meta(1, data)
    both.repo.sign_timestamp()
    both.look(accepted=False)
    assert both.versions == {"root": 1, "timestamp": 2, "snapshot": 2, "targets": 1}
    assert both.ours.source.asked[-1] == both.theirs.source.asked[-1] == TIMESTAMP


def test_targets_role_removal(served):
    served.look(accepted=True)
    del served.repo.snapshot.meta["bert.json"]
    served.repo.publish("snapshot")
    served.look(accepted=False)
    assert served.versions["snapshot"] == 2


def test_targets_fast_forward_recovery(served):
    served.repo.targets.version = 99
    served.repo.publish("targets", "snapshot")
    served.look(accepted=True)
    assert served.versions["targets"] == 100
    served.repo.rotate_keys("snapshot")
    served.repo.targets.version = 0
    del served.repo.snapshot.meta["bert.json"]
    served.repo.publish("root", "targets", "snapshot")
    served.look(accepted=True)
    assert served.versions["targets"] == 1


def test_new_snapshot_fast_forward_recovery(both):
    both.repo.snapshot.version = 99
    both.repo.publish("snapshot")
    both.look(accepted=True)
    assert both.versions["snapshot"] == 100
    both.repo.rotate_keys("snapshot")
    both.repo.rotate_keys("timestamp")
    both.repo.snapshot.version = 0
    both.repo.publish("root", "targets", "snapshot")
    both.look(accepted=True)
    assert both.versions["snapshot"] == 1


def test_new_timestamp_fast_forward_recovery(both):
    """The snapshot's number falls with the timestamp's, for here they are one; so both keys are rotated."""
    both.repo.snapshot.version = 99
    both.repo.publish("snapshot")
    both.look(accepted=True)
    assert both.versions["timestamp"] == 100
    both.repo.rotate_keys("timestamp")
    both.repo.rotate_keys("snapshot")
    both.repo.snapshot.version = 0
    both.repo.publish("root", "snapshot")
    both.look(accepted=True)
    assert both.versions["timestamp"] == 1


@pytest.mark.parametrize("hashes", [False, True], ids=["basic", "with hashes"])
def test_targets_rollback(tmp_path, hashes):
    both = pair(tmp_path, hashes=hashes)
    both.repo.publish("targets", "snapshot")
    both.look(accepted=True)
    both.repo.targets.version = 0
    both.repo.publish("targets", "snapshot")
    both.look(accepted=False)
    assert both.versions["snapshot"] == 2
    assert both.versions["targets"] == 2


# ---- trees made elsewhere, delegations


def test_static_repository(tmp_path):
    """A tree that was published long ago, byte for byte as it stands in the golden files."""
    store = DirectoryStore(Path(__file__).resolve().parents[1] / "golden" / "trust")
    first = b"".join(store.get(role_key("root", 1)))
    at = Metadata.from_bytes(b"".join(store.get(TIMESTAMP))).signed.expires - timedelta(days=1)
    state = TrustState(tmp_path / "state")
    state.pin(sha256_of(first))
    view = read_view(store, state, now=lambda: at)
    theirs = Theirs(Repo(), tmp_path, first)
    theirs.source.store = store
    assert theirs.refresh(at) == ""
    assert theirs.versions() == Ours.versions_of(state)
    assert [str(found.release) for found in view.releases(model("bert"))] == ["bert-v1.0.0", "bert-v2.1.0"]
    updater = theirs.updater(at)
    path = "bert/channels/stable.json"
    assert Path(updater.download_target(updater.get_targetinfo(path))).read_bytes() == view.target(model("bert"), path)


GRAPHS = {
    "one role": (["targets>a"], "a"),
    "two roles": (["targets>a", "targets>b"], "ab"),
    "two levels": (["targets>a", "targets>b", "b>c"], "abc"),
    "two levels, deep first": (["targets>a", "targets>b", "a>c", "a>d"], "acdb"),
    "three levels, deep first": (["targets>a", "targets>b", "a>c", "c>d"], "acdb"),
    "terminating at two levels": (["targets>a", "targets>b", "a>c!", "a>d"], "ac"),
    "terminating at three levels": (["targets>a", "targets>b", "a>c!", "c>d"], "acd"),
    "other paths at two levels": (["targets>a?", "targets>b", "a>c"], "b"),
    "other paths at three levels": (["targets>a", "targets>b", "a>c?", "c>d"], "ab"),
    "a cycle": (["targets>a", "targets>b", "b>c", "c>d", "d>b"], "abcd"),
    "two that name a third": (["targets>a", "targets>b", "b>c", "a>c"], "acb"),
    "two that name a third, other paths": (["targets>a", "targets>b", "b>c", "a>c?"], "abc"),
}


@pytest.mark.parametrize("name", GRAPHS)
def test_graph_traversal(both, name):
    """Where the reference client walks, ours goes straight to the role of the model's own name, here to none."""
    edges, walked = GRAPHS[name]
    for edge in edges:
        by, _, to = edge.rstrip("!?").partition(">")
        both.repo.delegate(to, by=by, paths=["*.py"] if edge.endswith("?") else ["*/*/*"], terminating=edge.endswith("!"))
    both.repo.publish(*both.repo.models, "targets", "snapshot")
    assert both.get("missing-v1.0.0") is None
    roles = [key for key in both.theirs.source.asked if key.removeprefix("metadata/1.").removesuffix(".json") in walked]
    assert "".join(key[len("metadata/1.")] for key in roles) == walked
    assert not set(both.ours.source.asked) & {role_key(role, 1) for role in walked}


SEARCHES = {
    "a role of its own": ("bert-v1.0.0", "bert", ["bert/*/*"], True),
    "another model's path in a role": ("gpt-v1.0.0", "bert", ["bert/*/*"], False),
    "a wildcard for one folder only": ("bert-v1.0.0", "bert", ["bert/*"], False),
    "a question mark for one character": ("bert-v1.0.0", "bert", ["ber?/?.?.?/manifest.json"], None),
    "two characters for one question mark": ("bert-v10.0.0", "bert", ["bert/?.?.?/manifest.json"], False),
    "other letters": ("bert-v1.0.0", "bert", ["BERT/*/*"], False),
}


@pytest.mark.parametrize("name", SEARCHES)
def test_targetfile_search(both, name):
    release, role, paths, found = SEARCHES[name]
    both.repo.delegate(role, paths=paths)
    both.repo.add_release(release, b"body", role=role)
    both.repo.publish(role, "targets", "snapshot")
    if found is None:
        # A model's role has exactly the pattern of the format, so others that would do are refused.
        assert both.theirs.download(release) == b"body"
        assert both.ours.download(release) == "InvalidDocument"
    else:
        assert both.get(release) == (b"body" if found else None)


def test_cached_role_is_verified_against_current_delegator(both):
    """Below a model's role nothing is delegated here: of the two choices that the suite accepts, ours is the stricter one."""
    repo = both.repo
    repo.delegate("parent-a", paths=["team-a/*/*"])
    repo.delegate("parent-b", paths=["team-b/*/*"])
    repo.delegate("release", by="parent-a", paths=["team-a/*/*"])
    repo.delegate("release", by="parent-b", paths=["team-b/*/*"])
    only_b = next(iter(repo.models["parent-b"].delegations.roles["release"].keyids))
    del repo.signers["release"][only_b]
    repo.add_release("team-a-v1.0.0", b"trusted", role="release")
    repo.add_release("team-b-v1.0.0", b"malicious", role="release")
    repo.publish("release", "parent-a", "parent-b", "targets", "snapshot")
    assert both.theirs.download("team-a-v1.0.0") == b"trusted"
    assert both.theirs.download("team-b-v1.0.0") == "UnsignedMetadataError"
    assert both.ours.download("team-a-v1.0.0") == both.ours.download("team-b-v1.0.0") == "UnknownName"


def test_delegation_not_in_snapshot(both):
    both.repo.delegate("bert")
    both.repo.publish("bert", "targets")
    del both.repo.snapshot.meta["bert.json"]
    both.repo.publish("snapshot")
    both.look(accepted=True)
    both.ours.source.asked.clear()
    both.theirs.source.asked.clear()
    assert both.get("bert-v1.0.0") is None
    assert "bert" not in both.versions
    assert "metadata/1.bert.json" not in both.ours.source.asked + both.theirs.source.asked


# ---- rotations: "keys/threshold<signers", one digit a key


ROOTS = {
    "one key for another": ("1/1<1 2/1<21 2/1<2", True),
    "one key for another, others sign too": ("1/1<314 2/1<3214 2/1<324", True),
    "three of five, every time others": ("01234/3<024 01234/3<041 01234/3<013 01234/3<013", True),
    "three of five, one replaced": ("01234/3<024 01345/3<041", True),
    "three of five, one replaced in two steps": ("01234/3<024 01345/3<0245 01345/3<045", True),
    "three of five, all replaced in two steps": ("01234/3<024 56789/3<024567 56789/3<567", True),
    "one of three becomes two of three": ("123/1<1 123/2<12", True),
    "two of three becomes one of three": ("123/2<12 123/1<12 123/1<1", True),
    "one of two becomes two of two": ("1/1<1 12/2<12", True),
    "not signed by the old key": ("1/1<1 2/1<234", False),
    "not signed by the new key": ("1/1<1 2/1<134", False),
    "not by three of the new": ("01234/3<024 01345/3<024", False),
    "not by three of the old": ("01234/3<024 01345/3<045", False),
    "the new threshold is not reached": ("123/1<1 123/2<2", False),
    "the old threshold is not reached": ("123/2<12 123/1<1", False),
}


def rotated(repo, role, step, signers):
    keys, _, rest = step.partition("/")
    threshold, _, by = rest.partition("<")
    repo.root.roles[role].keyids.clear()
    repo.root.roles[role].threshold = int(threshold)
    for digit in keys:
        repo.root.add_key(signers[int(digit)].public_key, role)
    repo.signers[role] = {signers[int(digit)].public_key.keyid: signers[int(digit)] for digit in by}


@pytest.fixture(scope="module")
def ten():
    return [CryptoSigner.generate_ed25519() for _ in range(10)]


@pytest.mark.parametrize("name", ROOTS)
def test_root_rotation(tmp_path, ten, name):
    steps, accepted = ROOTS[name]
    repo = Repo()
    repo.root.version = 0
    for step in steps.split():
        rotated(repo, "root", step, ten)
        repo.publish("root")
    both = pair(tmp_path, repo=repo, first_root=repo.data("root", 1))
    both.look(accepted=accepted)
    newest = repo.root.version if accepted else repo.root.version - 1
    assert both.versions["root"] == newest
    assert both.ours.state.root().data == repo.data("root", newest)


OTHERS = {
    "another key": ("2/1<2", True),
    "others sign too": ("1/1<314", True),
    "not signed by the new key": ("2/1<134", False),
    "a signature of a key that does not count": ("01345/3<024", False),
    "a signature is missing": ("01345/3<04", False),
    "three of five, first": ("01234/3<024", True),
    "three of five, second": ("01234/3<041", True),
    "three of five, third": ("01234/3<013", True),
    "three of five, fourth": ("01234/3<123", True),
    "three of five, fifth": ("01234/3<234", True),
}


@pytest.mark.parametrize("role", ["timestamp", "snapshot", "targets"])
@pytest.mark.parametrize("name", OTHERS)
def test_non_root_rotations(both, ten, name, role):
    step, accepted = OTHERS[name]
    rotated(both.repo, role, step, ten)
    both.repo.publish("root", "targets", "snapshot")
    both.look(accepted=accepted)
    if accepted:
        assert both.ours.state.copy(role) == both.repo.data(role)
