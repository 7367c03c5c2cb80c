"""One test for each case of the TUF project's conformance suite, by its name; our answer beside ``tuf.ngclient``'s.

The suite is github.com/theupdateframework/tuf-conformance. Where the two answers differ on purpose, the test shows both
and says why. Two rules of this tree are part of every repository here: a timestamp has its snapshot's version, and a
release is looked for in the role of its model alone.
"""

from __future__ import annotations

import ast
import copy
import json
from datetime import timedelta
from pathlib import Path

import pytest
from securesystemslib.signer import CryptoSigner, Signature, SSlibKey
from tuf.api.metadata import Metadata, MetaFile

from pipeline.digest import sha256_of
from pipeline.errors import ModelportError
from pipeline.layout import TIMESTAMP, role_key
from pipeline.sources.cachefolder import CacheFolder
from pipeline.sources.objects import StoreReader
from pipeline.steps.known_tree import KnownTree
from pipeline.stores.directory import DirectoryStore
from pipeline.trust.reading import read_view
from pipeline.trust.sealed import seal
from pipeline.trust.state import TrustState
from tests.conformance_world import Ours, Repo, Theirs, model, pair

CASES = (
    "test_basic_refresh_requests",
    "test_basic_refresh_trusted_data",
    "test_implicit_refresh",
    "test_invalid_initial_root",
    "test_unsigned_initial_root",
    "test_unsigned_metadata",
    "test_url_and_metadata_version_mismatch",
    "test_timestamp_content_changes",
    "test_basic_metadata_hash_support",
    "test_targets_hash_mismatch",
    "test_snapshot_hash_mismatch",
    "test_metadata_bytes_match",
    "test_custom_fields",
    "test_deprecated_keyid_hash_algorithms",
    "test_snapshot_404",
    "test_targets_404",
    "test_timestamp_404",
    "test_incorrect_metadata_type",
    "test_faketime",
    "test_root_expired",
    "test_timestamp_expired",
    "test_snapshot_expired",
    "test_targets_expired",
    "test_expired_local_root",
    "test_expired_local_timestamp",
    "test_client_downloads_expected_file",
    "test_client_downloads_expected_file_in_sub_dir",
    "test_repository_substitutes_target_file",
    "test_multiple_changes_to_target",
    "test_download_with_hash_algorithms",
    "test_download_with_unknown_hash_algorithm",
    "test_artifact_cache",
    "test_snapshot_does_not_meet_threshold",
    "test_snapshot_has_too_few_keys",
    "test_duplicate_keys",
    "test_duplicate_sig_keyids",
    "test_keytype_and_scheme",
    "test_invalid_sig_in_valid_metadata",
    "test_unusual_role_name",
    "test_new_timestamp_version_rollback",
    "test_snapshot_rollback",
    "test_targets_role_removal",
    "test_targets_fast_forward_recovery",
    "test_new_snapshot_fast_forward_recovery",
    "test_new_timestamp_fast_forward_recovery",
    "test_targets_rollback",
    "test_static_repository",
    "test_graph_traversal",
    "test_targetfile_search",
    "test_cached_role_is_verified_against_current_delegator",
    "test_delegation_not_in_snapshot",
    "test_root_rotation",
    "test_non_root_rotations",
)

TOP_KEYS = ["metadata/2.root.json", TIMESTAMP, "metadata/1.snapshot.json", "metadata/1.targets.json"]


@pytest.fixture
def both(tmp_path):
    """Both readers, which trust the first root of a repository and have seen nothing else."""
    return pair(tmp_path)


def test_every_case_of_the_suite_is_here():
    tree = ast.parse(Path(__file__).read_text(encoding="utf-8"))
    tests = [node.name for node in tree.body if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")]
    tests.remove("test_every_case_of_the_suite_is_here")
    print(f"TUF conformance: {len(CASES)} cases")
    assert len(set(CASES)) == len(CASES) == 53
    assert tuple(tests) == CASES


# ---- what is asked for, and what is trusted then


def test_basic_refresh_requests(both):
    both.look(accepted=True)
    assert both.ours.source.asked == both.theirs.source.asked == TOP_KEYS


def test_basic_refresh_trusted_data(both):
    both.look(accepted=True)
    assert both.versions == {"root": 1, "timestamp": 1, "snapshot": 1, "targets": 1}
    for role in ("timestamp", "snapshot", "targets"):
        assert both.ours.state.copy(role) == both.repo.data(role)
    assert both.ours.state.root().data == both.repo.data("root")


def test_implicit_refresh(both):
    assert both.get("bert-v1.0.0") is None
    assert both.ours.source.asked == both.theirs.source.asked == TOP_KEYS
    assert both.versions == {"root": 1, "timestamp": 1, "snapshot": 1, "targets": 1}


def pinned_to(repo, tmp_path, root):
    """What our reader, pinned to these bytes, says of a repository that serves them as its first root."""
    repo.put(role_key("root", 1), root)
    state = TrustState(tmp_path / "pinned")
    state.pin(sha256_of(root))
    ours = Ours(repo, tmp_path / "unused", Repo().data("root"))
    ours.state = state
    return ours


def theirs_refuse(repo, tmp_path, root):
    theirs = Theirs(repo, tmp_path, root)
    return bool(theirs.refresh()) and theirs.source.asked == []


def test_invalid_initial_root(tmp_path):
    repo = Repo()
    document = json.loads(repo.data("root"))
    del document["signed"]["version"]
    root = json.dumps(document).encode()
    assert theirs_refuse(repo, tmp_path, root)
    ours = pinned_to(repo, tmp_path, root)
    assert ours.refresh() == "InvalidDocument"
    # A pin is a digest: the root itself has to be asked for, and nothing after it.
    assert ours.source.asked == ["metadata/1.root.json"]


def test_unsigned_initial_root(tmp_path):
    repo = Repo()
    document = json.loads(repo.data("root"))
    document["signatures"][0]["sig"] = "ab" * 64
    root = json.dumps(document).encode()
    assert theirs_refuse(repo, tmp_path, root)
    ours = pinned_to(repo, tmp_path, root)
    assert ours.refresh() == "BadSignature"
    assert ours.source.asked == ["metadata/1.root.json"]


TRUSTED_BEFORE = {
    "root": {"root": 1},
    "timestamp": {"root": 2},
    "snapshot": {"root": 2, "timestamp": 2},
    "targets": {"root": 2, "timestamp": 2, "snapshot": 2},
}


@pytest.mark.parametrize("role", TRUSTED_BEFORE)
def test_unsigned_metadata(both, role):
    both.repo.signers[role].popitem()
    both.repo.publish("root", "targets", "snapshot")
    both.look(accepted=False)
    assert both.versions == TRUSTED_BEFORE[role]


@pytest.mark.parametrize("role", ["root", "snapshot", "targets"])
def test_url_and_metadata_version_mismatch(both, role):
    repo = both.repo
    repo.publish("root", "targets", "snapshot")
    signed = copy.deepcopy(repo.role(role))
    signed.version = 3
    data = seal(signed, repo.signers[role].values()).data
    repo.put(role_key(role, 2), data)
    if role == "snapshot":
        repo.timestamp.snapshot_meta = repo.meta(2, data)
        repo.sign_timestamp()
    if role == "targets":
        repo.snapshot.meta["targets.json"] = repo.meta(2, data)
        repo.announce()
    both.look(accepted=False)
    assert both.versions == TRUSTED_BEFORE[role]


def test_timestamp_content_changes(both):
    """The reference client keeps the timestamp that it has; ours says that one version was signed twice."""
    both.look(accepted=True)
    before = both.ours.state.copy("timestamp")
    both.repo.timestamp.snapshot_meta.version = 100
    both.repo.sign_timestamp()
    assert both.theirs.refresh() == ""
    assert both.ours.refresh() == "InvalidDocument"
    both.repo.timestamp.snapshot_meta.version = 1
    both.repo.timestamp.unrecognized_fields["other"] = "content"
    both.repo.sign_timestamp()
    assert both.theirs.refresh() == ""
    assert both.ours.refresh() == "RollbackRefused"
    assert both.ours.state.copy("timestamp") == before
    assert "metadata/100.snapshot.json" not in both.ours.source.asked + both.theirs.source.asked


@pytest.mark.parametrize("hashes", [True, False], ids=["with hashes", "without"])
def test_basic_metadata_hash_support(tmp_path, hashes):
    both = pair(tmp_path, hashes=hashes)
    both.look(accepted=True)
    both.repo.publish("targets", "snapshot")
    both.look(accepted=True)


def test_targets_hash_mismatch(both):
    both.look(accepted=True)
    both.repo.publish("targets")
    both.repo.snapshot.meta["targets.json"].hashes = {"sha256": "0" * 64}
    both.repo.publish("snapshot")
    both.look(accepted=False)
    assert both.versions == {"root": 1, "timestamp": 2, "snapshot": 2, "targets": 1}


def test_snapshot_hash_mismatch(both):
    both.look(accepted=True)
    both.repo.publish("snapshot")
    both.repo.timestamp.snapshot_meta.hashes = {"sha256": "0" * 64}
    both.repo.sign_timestamp()
    both.look(accepted=False)
    assert both.versions == {"root": 1, "timestamp": 2, "snapshot": 1, "targets": 1}


def test_metadata_bytes_match(both):
    data = both.repo.data("timestamp") + b" "
    both.repo.put(TIMESTAMP, data)
    both.look(accepted=True)
    assert both.ours.state.copy("timestamp") == (both.theirs.folder / "theirs" / "timestamp.json").read_bytes() == data


def with_field(signer, **fields):
    """The same signer, its public key with more fields and another id."""
    key = signer.public_key
    signer._public_key = SSlibKey(sha256_of(key.keyid.encode()), key.keytype, key.scheme, key.keyval, fields)
    return signer


def test_custom_fields(both):
    both.look(accepted=True)
    repo = both.repo
    repo.root.unrecognized_fields["custom-field"] = "value"
    repo.root.roles["root"].unrecognized_fields["another-field"] = "value"
    repo.add_key("root", with_field(CryptoSigner.generate_ed25519(), **{"extra-field": {"a": 1}}))
    repo.targets.unrecognized_fields["custom-field"] = ["value"]
    repo.snapshot.unrecognized_fields["custom-field"] = {"a": {"b": 1}}
    repo.publish("root", "targets", "snapshot")
    both.look(accepted=True)
    assert both.versions == {"root": 2, "timestamp": 2, "snapshot": 2, "targets": 2}


def test_deprecated_keyid_hash_algorithms(both):
    both.repo.root.revoke_key(next(iter(both.repo.signers["snapshot"])), "snapshot")
    both.repo.signers["snapshot"].clear()
    both.repo.add_key("snapshot", with_field(CryptoSigner.generate_ed25519(), keyid_hash_algorithms="md5"))
    both.repo.publish("root", "snapshot")
    both.look(accepted=True)
    assert both.versions["snapshot"] == 2


# ---- missing files, wrong types, time


def test_snapshot_404(both):
    both.look(accepted=True)
    both.repo.publish("snapshot")
    both.repo.store.delete("metadata/2.snapshot.json")
    both.look(accepted=False)
    assert both.ours.source.asked[-1] == both.theirs.source.asked[-1] == "metadata/2.snapshot.json"
    assert both.versions == {"root": 1, "timestamp": 2, "snapshot": 1, "targets": 1}


def test_targets_404(both):
    both.look(accepted=True)
    both.repo.publish("targets", "snapshot")
    both.repo.store.delete("metadata/2.targets.json")
    both.look(accepted=False)
    assert both.ours.source.asked[-1] == both.theirs.source.asked[-1] == "metadata/2.targets.json"
    assert both.versions == {"root": 1, "timestamp": 2, "snapshot": 2, "targets": 1}


def test_timestamp_404(both):
    both.look(accepted=True)
    both.repo.store.delete(TIMESTAMP)
    both.look(accepted=False)
    assert both.ours.source.asked[-1] == both.theirs.source.asked[-1] == TIMESTAMP


def test_incorrect_metadata_type(both):
    repo = both.repo
    repo.add_key("snapshot", next(iter(repo.signers["timestamp"].values())))
    repo.snapshot.meta = {"snapshot.json": MetaFile(1)}
    repo.publish("root", "snapshot")
    repo.put(TIMESTAMP, repo.data("snapshot"))
    both.look(accepted=False)
    assert both.versions == {"root": 2}


def test_faketime(both):
    both.repo.root.expires = both.repo.now + timedelta(days=7)
    both.repo.publish("root")
    both.look(accepted=True)
    both.look(accepted=False, at=both.repo.now + timedelta(days=8))


def test_root_expired(both):
    both.look(accepted=True)
    both.repo.publish("root")
    both.look(accepted=True)
    both.repo.root.expires = both.repo.now - timedelta(days=1)
    both.repo.publish("root", "targets", "snapshot")
    both.look(accepted=False)
    assert both.versions == {"root": 3, "timestamp": 1, "snapshot": 1, "targets": 1}


def test_timestamp_expired(both):
    both.look(accepted=True)
    both.repo.timestamp.expires = both.repo.now - timedelta(days=5)
    both.repo.publish("snapshot")
    both.look(accepted=False)
    assert both.versions == {"root": 1, "timestamp": 1, "snapshot": 1, "targets": 1}


def test_snapshot_expired(both):
    both.look(accepted=True)
    both.repo.snapshot.expires = both.repo.now - timedelta(days=5)
    both.repo.publish("snapshot")
    both.look(accepted=False)
    assert both.versions == {"root": 1, "timestamp": 2, "snapshot": 1, "targets": 1}


def test_targets_expired(both):
    both.look(accepted=True)
    both.repo.targets.expires = both.repo.now - timedelta(days=5)
    both.repo.publish("targets", "snapshot")
    both.look(accepted=False)
    assert both.versions == {"root": 1, "timestamp": 2, "snapshot": 2, "targets": 1}


def test_expired_local_root(both):
    both.repo.root.expires = both.repo.now + timedelta(days=7)
    both.repo.publish("root")
    both.look(accepted=True)
    both.repo.root.expires = both.repo.now + timedelta(days=21)
    both.repo.publish("root")
    both.look(accepted=True, at=both.repo.now + timedelta(days=18))
    assert both.versions["root"] == 3


def test_expired_local_timestamp(both):
    both.repo.timestamp.expires = both.repo.now + timedelta(days=7)
    both.repo.publish("snapshot")
    both.look(accepted=True)
    both.repo.timestamp.expires = both.repo.now + timedelta(days=21)
    both.repo.publish("targets", "snapshot")
    both.look(accepted=True, at=both.repo.now + timedelta(days=18))
    assert both.versions == {"root": 1, "timestamp": 3, "snapshot": 3, "targets": 2}


# ---- files


@pytest.fixture
def served(both):
    """A repository with two releases of one model."""
    both.repo.delegate("bert")
    both.repo.add_release("bert-v1.0.0", b"one")
    both.repo.add_release("bert-v2.0.0", b"two")
    both.repo.publish("bert", "targets", "snapshot")
    return both


def test_client_downloads_expected_file(served):
    served.look(accepted=True)
    assert served.get("bert-v1.0.0") == b"one"


def test_client_downloads_expected_file_in_sub_dir(served):
    """Every release lies in folders here."""
    assert served.get("bert-v2.0.0") == b"two"
    assert any(key.startswith("targets/bert/2.0.0/") for key in served.ours.source.asked)


def test_repository_substitutes_target_file(served):
    assert served.get("bert-v1.0.0") == b"one"
    for path, target in served.repo.models["bert"].targets.items():
        assert path in {"bert/1.0.0/manifest.json", "bert/2.0.0/manifest.json"}
        served.repo.put_target(target, b"bad")
    assert served.get("bert-v2.0.0") is None
    # The reference client takes the file that it kept; ours, without a cache, refuses the one that is served.
    assert served.theirs.download("bert-v1.0.0") == b"one"
    assert served.ours.download("bert-v1.0.0") == "InvalidDocument"


def test_multiple_changes_to_target(served):
    for turn in range(11):
        body = f"changed {turn}".encode()
        target = served.repo.add_release("bert-v1.0.0", body)
        served.repo.publish("bert", "snapshot")
        if turn % 5 == 0:
            assert served.get("bert-v1.0.0") == body
            served.repo.put_target(target, f"changed by others {turn}".encode())
            served.repo.publish("bert", "snapshot")
            assert served.ours.download("bert-v1.0.0") == "InvalidDocument"
            assert served.theirs.download("bert-v1.0.0") == body


@pytest.mark.parametrize("hashes", [["sha256"], ["sha512"], ["sha256", "sha512"]], ids=" ".join)
def test_download_with_hash_algorithms(served, hashes):
    """The tree names objects by sha256, so one that has none is refused here although the specification allows it."""
    served.repo.add_release("bert-v3.0.0", b"three", hashes=hashes)
    served.repo.publish("bert", "snapshot")
    if "sha256" in hashes:
        assert served.get("bert-v3.0.0") == b"three"
    else:
        assert served.theirs.download("bert-v3.0.0") == b"three"
        assert served.ours.download("bert-v3.0.0") == "InvalidDocument"


def test_download_with_unknown_hash_algorithm(served):
    target = served.repo.add_release("bert-v3.0.0", b"three", hashes=["sha512"])
    target.hashes["unknown-hash"] = target.hashes.pop("sha512")
    served.repo.publish("bert", "snapshot")
    assert served.get("bert-v3.0.0") is None


def test_artifact_cache(served, tmp_path):
    class Reader(StoreReader):
        def get(self, key, *, start=0, size=None):
            served.ours.source.asked.append(key)
            return super().get(key, start=start, size=size)

    known = KnownTree(Reader(served.repo.store), served.ours.state, CacheFolder(tmp_path / "cache", 1 << 20))
    for _ in range(2):
        assert served.ours.view(source=known).target(model("bert"), "bert/1.0.0/manifest.json") == b"one"
        assert served.theirs.download("bert-v1.0.0") == b"one"
    for asked in (served.ours.source.asked, served.theirs.source.asked):
        assert sum(key.startswith("targets/bert/1.0.0/") for key in asked) == 1


# ---- keys, thresholds, signatures


def test_snapshot_does_not_meet_threshold(both):
    both.repo.root.roles["snapshot"].threshold = 3
    both.repo.add_key("snapshot")
    both.repo.add_key("snapshot")
    both.repo.publish("root", "targets", "snapshot")
    both.look(accepted=True)
    both.repo.signers["snapshot"].popitem()
    both.repo.publish("targets", "snapshot")
    both.look(accepted=False)
    assert both.versions["snapshot"] == 2


def test_snapshot_has_too_few_keys(both):
    for _ in range(4):
        both.repo.add_key("snapshot")
    both.repo.root.roles["snapshot"].threshold = 6
    both.repo.publish("root", "snapshot")
    both.look(accepted=False)
    assert both.versions == {"root": 2, "timestamp": 2}


def test_duplicate_keys(both):
    """Nine times the same key id in a role, and nine times its signature."""
    repo = both.repo
    signer = repo.add_key("snapshot")
    repo.root.roles["snapshot"].threshold = 6
    repo.publish("root", "snapshot")
    root = json.loads(repo.data("root"))
    root["signed"]["roles"]["snapshot"]["keyids"] += [signer.public_key.keyid] * 8
    signed = Metadata.from_bytes(repo.data("root")).signed
    signed.roles["snapshot"].keyids += [signer.public_key.keyid] * 8
    repo.put(role_key("root", 2), seal(signed, repo.signers["root"].values()).data)
    snapshot = json.loads(repo.data("snapshot"))
    snapshot["signatures"] += [one for one in snapshot["signatures"] if one["keyid"] == signer.public_key.keyid] * 8
    data = json.dumps(snapshot).encode()
    repo.put(role_key("snapshot", 2), data)
    repo.timestamp.snapshot_meta = repo.meta(2, data)
    repo.sign_timestamp()
    both.look(accepted=False)
    assert "snapshot" not in both.versions


def test_duplicate_sig_keyids(both):
    snapshot = json.loads(both.repo.data("snapshot"))
    snapshot["signatures"] *= 2
    data = json.dumps(snapshot).encode()
    both.repo.put(role_key("snapshot", 1), data)
    both.repo.timestamp.snapshot_meta = both.repo.meta(1, data)
    both.repo.sign_timestamp()
    both.look(accepted=False)
    assert both.versions == {"root": 1, "timestamp": 1}


KEY_KINDS = {
    "rsa/rsassa-pss-sha256": CryptoSigner.generate_rsa,
    "ecdsa/ecdsa-sha2-nistp256": CryptoSigner.generate_ecdsa,
    "ed25519/ed25519": CryptoSigner.generate_ed25519,
}


@pytest.mark.parametrize("kind", KEY_KINDS)
def test_keytype_and_scheme(both, kind):
    signer = both.repo.add_key("root", KEY_KINDS[kind]())
    assert f"{signer.public_key.keytype}/{signer.public_key.scheme}" == kind
    both.repo.root.roles["root"].threshold += 1
    both.repo.publish("root")
    both.look(accepted=True)
    assert both.versions["root"] == 2
    both.repo.publish("root")
    altered = Metadata.from_bytes(both.repo.data("root"))
    good = altered.signatures[signer.public_key.keyid].signature
    # The right signature of another document: as plausible as a wrong one can be.
    altered.signatures[signer.public_key.keyid].signature = signer.sign(b"something else").signature
    assert altered.signatures[signer.public_key.keyid].signature != good
    both.repo.put(role_key("root", 3), altered.to_bytes())
    both.look(accepted=False)
    assert both.versions["root"] == 2


@pytest.mark.parametrize("wrong", ["ab" * 64, ""], ids=["plausible", "empty"])
def test_invalid_sig_in_valid_metadata(both, wrong):
    first = next(iter(both.repo.signers["timestamp"]))
    both.repo.add_key("timestamp")
    both.repo.publish("root", "snapshot")
    altered = Metadata.from_bytes(both.repo.data("timestamp"))
    altered.signatures[first] = Signature(first, wrong)
    both.repo.put(TIMESTAMP, altered.to_bytes())
    both.look(accepted=True)
    assert both.versions["timestamp"] == 2


@pytest.mark.parametrize("name", ["?", "#", "/delegatedrole", "../delegatedrole"])
def test_unusual_role_name(both, name):
    """The reference client quotes such a name; here no model has it, so it is never asked for, and never a path."""
    both.repo.delegate(name, paths=["*/*/*"])
    both.repo.models[name].version = 1
    both.repo.snapshot.meta[f"{name}.json"] = MetaFile(1)
    both.repo.publish("targets", "snapshot")
    both.look(accepted=True)
    assert both.get("bert-v1.0.0") is None
    view = both.ours.view()
    with pytest.raises(ModelportError):
        view.model(model(name))
    assert not any("delegatedrole" in key or "?" in key or "#" in key for key in both.ours.source.asked)
    assert both.versions == {"root": 1, "timestamp": 2, "snapshot": 2, "targets": 2}


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
