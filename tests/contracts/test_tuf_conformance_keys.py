"""Cases of the TUF project's conformance suite, as in test_tuf_conformance: files, keys, thresholds and signatures."""

from __future__ import annotations

import json

import pytest
from securesystemslib.signer import CryptoSigner, Signature
from tuf.api.metadata import Metadata, MetaFile

from pipeline.errors import ModelportError
from pipeline.layout import TIMESTAMP, role_key
from pipeline.sources.cachefolder import CacheFolder
from pipeline.sources.objects import StoreReader
from pipeline.steps.known_tree import KnownTree
from pipeline.trust.sealed import seal
from tests.conformance_world import model, pair, serving


@pytest.fixture
def both(tmp_path):
    """Both readers, which trust the first root of a repository and have seen nothing else."""
    return pair(tmp_path)


# ---- files


@pytest.fixture
def served(both):
    return serving(both)


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
