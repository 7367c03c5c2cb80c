"""Key URIs: the right signer, or one clear line that holds nothing secret."""

from __future__ import annotations

import os
import stat

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, PrivateFormat
from securesystemslib import signer as sslib
from securesystemslib.exceptions import UnsupportedLibraryError
from securesystemslib.signer import CryptoSigner

from pipeline.errors import KeyUnusable
from pipeline.trust.keyfolder import find_keys, make_keys, name_keys, next_key, open_keys, promote_key
from pipeline.trust.keys import Keyring, KeySecrets, load_signer

# As CI systems keep multi-line secrets: a PEM file in one line.
BASE64_KEY = "LS0tLS1CRUdJTiBQUklWQVRFIEtFWS0tLS0tCk1DNENBUUF3QlFZREsyVndCQ0lFSUFWVnNxRlk0STUx"


@pytest.fixture
def pem(tmp_path):
    path = tmp_path / "key.pem"
    path.write_bytes(CryptoSigner.generate_ed25519().private_bytes)
    path.chmod(0o600)
    return path


@pytest.fixture
def encrypted(tmp_path):
    path = tmp_path / "encrypted.pem"
    key = Ed25519PrivateKey.generate()
    path.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"hunter2secret")))
    path.chmod(0o600)
    return path


def test_file_uri_signs_and_verifies(pem):
    signer = load_signer(f"file2:{pem}")
    signer.public_key.verify_signature(signer.sign(b"data"), b"data")


def test_environment_uri_reads_only_the_mapping_it_is_given(pem, monkeypatch):
    monkeypatch.setenv("RELEASE_KEY", "not this one")
    signer = load_signer("envvar:RELEASE_KEY", KeySecrets({"RELEASE_KEY": pem.read_text()}))
    assert signer.public_key.keyid == load_signer(f"file2:{pem}").public_key.keyid
    with pytest.raises(KeyUnusable, match="not set"):
        load_signer("envvar:RELEASE_KEY", KeySecrets({}))


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604, 0o660, 0o620, 0o602])
def test_key_file_open_to_others_is_refused_with_its_mode(pem, mode):
    pem.chmod(mode)
    with pytest.raises(KeyUnusable, match=f"{mode:04o}") as caught:
        load_signer(f"file2:{pem}")
    assert "chmod 600" in caught.value.hint
    assert "PRIVATE" not in str(caught.value)


@pytest.mark.parametrize("kind", ["missing", "folder", "fifo", "empty", "noise", "public"])
def test_what_is_no_key_file_is_one_clear_line(tmp_path, kind):
    path = tmp_path / "key"
    if kind == "folder":
        path.mkdir(mode=0o700)
    elif kind == "fifo":
        os.mkfifo(path, 0o600)
    elif kind != "missing":
        path.write_bytes({"empty": b"", "noise": os.urandom(100), "public": b"-----BEGIN PUBLIC KEY-----\n"}[kind])
        path.chmod(0o600)
    with pytest.raises(KeyUnusable) as caught:
        load_signer(f"file2:{path}")
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)
    assert caught.value.hint


def test_encrypted_key_opens_with_its_passphrase_and_only_with_it(encrypted):
    right = KeySecrets({}, lambda what: "hunter2secret")
    assert load_signer(f"file2:{encrypted}", right).public_key.keytype == "ed25519"
    for secrets, words in (
        (KeySecrets({}, lambda what: "wrong-passphrase"), "wrong passphrase"),
        (KeySecrets({}), "no passphrase was given"),
    ):
        with pytest.raises(KeyUnusable, match=words) as caught:
            load_signer(f"file2:{encrypted}", secrets)
        assert "\n" not in str(caught.value)
        assert "wrong-passphrase" not in str(caught.value) + repr(secrets)


def test_unknown_scheme_names_those_that_work():
    with pytest.raises(KeyUnusable, match="file2:") as caught:
        load_signer("ftp://x")
    assert "awskms:" in str(caught.value)
    with pytest.raises(KeyUnusable, match="'envar:'") as caught:
        load_signer("envar:RELEASE_KEY")
    assert caught.value.hint == "Did you mean envvar:?"


@pytest.mark.parametrize(
    "secret", [BASE64_KEY, f"{BASE64_KEY}:", BASE64_KEY[:14], "-----BEGIN PRIVATE KEY-----\nMC4:\n", "RELEASE_KEY"]
)
def test_key_that_stands_where_its_name_belongs_is_not_shown(secret):
    with pytest.raises(KeyUnusable, match="no URI") as caught:
        load_signer(secret)
    assert secret[:12] not in str(caught.value) + caught.value.hint.replace("envvar:RELEASE_KEY", "")
    assert "envvar:" in caught.value.hint


# No key service is called here: the tests show which class and which names a URI is handed to.
@pytest.mark.parametrize(
    ("uri", "cls", "arguments"),
    [
        ("awskms:arn:aws:kms:eu-west-1:1:key/7", "AWSSigner", ("arn:aws:kms:eu-west-1:1:key/7",)),
        ("awskms:alias/release", "AWSSigner", ("alias/release",)),
        ("gcpkms:projects/p/locations/l/keyRings/r/cryptoKeys/k/cryptoKeyVersions/1", "GCPSigner", None),
        ("azurekms://vault-1.vault.azure.net/keys/release/abc", "AzureSigner", ("vault-1", "release")),
        ("hsm:", "HSMSigner", (None, None)),
        ("hsm:2?label=YubiKey+PIV+%2315835999", "HSMSigner", (2, "YubiKey PIV #15835999")),
        ("hv:release/3", "VaultSigner", ("release",)),
    ],
)
def test_service_uri_is_dispatched_to_its_signer(monkeypatch, uri, cls, arguments):
    made = CryptoSigner.generate_ed25519()
    seen = []

    def import_(*given):
        seen.append(given)
        return uri, made.public_key

    def from_priv_key_uri(found, public, secrets=None):
        assert (found, public) == (uri, made.public_key)
        return made

    monkeypatch.setattr(getattr(sslib, cls), "import_", import_)
    monkeypatch.setattr(getattr(sslib, cls), "from_priv_key_uri", from_priv_key_uri)
    assert load_signer(uri) is made
    expected = arguments if arguments is not None else (uri.partition(":")[2],)
    assert seen[0][: len(expected)] == expected


def test_service_without_its_library_says_what_to_install(monkeypatch):
    def import_(*given):
        raise UnsupportedLibraryError("google-cloud-kms library required")

    monkeypatch.setattr(sslib.GCPSigner, "import_", import_)
    with pytest.raises(KeyUnusable, match="google-cloud-kms") as caught:
        load_signer("gcpkms:projects/p")
    assert "gcpkms" in caught.value.hint


def test_refusal_of_a_key_service_is_one_line(monkeypatch):
    from botocore.exceptions import ClientError

    def import_(*given):
        raise ClientError({"Error": {"Code": "AccessDenied", "Message": "no\nsecond line"}}, "GetPublicKey")

    monkeypatch.setattr(sslib.AWSSigner, "import_", import_)
    with pytest.raises(KeyUnusable, match="ClientError") as caught:
        load_signer("awskms:alias/x")
    assert "\n" not in str(caught.value)


def test_keyring_loads_only_the_slots_a_role_uses(pem, tmp_path):
    keys = Keyring({"root": (f"file2:{tmp_path}/gone.pem",), "release": (f"file2:{pem}",)})
    keyid = load_signer(f"file2:{pem}").public_key.keyid
    assert [signer.public_key.keyid for signer in keys.signers("bert", [keyid])] == [keyid]
    assert keys.signers("targets", [keyid]) == ()
    with pytest.raises(KeyUnusable):
        keys.signers("root", [keyid])


def test_made_keys_are_private_and_found_by_fingerprint(tmp_path):
    home = tmp_path / "data" / "keys"
    old_mask = os.umask(0)
    try:
        folder = make_keys(home)
    finally:
        os.umask(old_mask)
    named = name_keys(folder, "f" * 64)
    assert find_keys(home, ["0" * 64, "f" * 64]) == named
    assert find_keys(home, ["0" * 64]) is None
    assert {path.name for path in named.iterdir()} == {"root.pem", "targets.pem", "release.pem"}
    assert stat.S_IMODE(named.stat().st_mode) == stat.S_IMODE(home.stat().st_mode) == 0o700
    assert all(stat.S_IMODE(path.stat().st_mode) == 0o600 for path in named.iterdir())
    ids = {slot: open_keys(named).slot(slot)[0].public_key.keyid for slot in ("root", "targets", "release")}
    assert len(set(ids.values())) == 3


def test_next_key_is_made_once_and_takes_the_place_of_the_old_one(tmp_path):
    folder = name_keys(make_keys(tmp_path), "a" * 64)
    old = open_keys(folder).slot("release")[0].public_key.keyid
    following = next_key(folder, "release").public_key.keyid
    assert next_key(folder, "release").public_key.keyid == following
    assert {signer.public_key.keyid for signer in open_keys(folder).slot("release")} == {old, following}
    promote_key(folder, "release")
    promote_key(folder, "release")
    assert [signer.public_key.keyid for signer in open_keys(folder).slot("release")] == [following]
    assert (folder / f"release.{old[:16]}.old.pem").exists()
