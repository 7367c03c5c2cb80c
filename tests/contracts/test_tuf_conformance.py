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
from securesystemslib.signer import CryptoSigner, SSlibKey
from tuf.api.metadata import MetaFile

from pipeline.digest import sha256_of
from pipeline.layout import TIMESTAMP, role_key
from pipeline.trust.sealed import seal
from pipeline.trust.state import TrustState
from tests.conformance_world import Ours, Repo, Theirs, pair

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
    here = Path(__file__)
    files = [here, *(here.with_stem(f"{here.stem}_{rest}") for rest in ("keys", "rotations"))]
    nodes = [node for file in files for node in ast.parse(file.read_text(encoding="utf-8")).body]
    tests = [node.name for node in nodes if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")]
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
