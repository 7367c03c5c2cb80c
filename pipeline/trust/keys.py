"""Signing keys: URIs become signers, a folder of files becomes a keyring.

Takes key URIs as securesystemslib spells them (github.com/secure-systems-lab/securesystemslib,
``Signer.from_priv_key_uri``): ``file2:PATH`` (a PEM PKCS#8 file, only its owner may read it),
``envvar:NAME`` (the same PEM in the environment), ``awskms:``, ``gcpkms:``, ``azurekms:``, ``hsm:``,
``hv:``; gives ``Signer`` objects. Nothing is loaded before a signature needs it.

next: ``keyfolder``
"""

from __future__ import annotations

import os
import re
import stat
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from securesystemslib import exceptions as sslib
from securesystemslib.signer import (
    AWSSigner,
    AzureSigner,
    CryptoSigner,
    GCPSigner,
    HSMSigner,
    Key,
    SecretsHandler,
    Signer,
    VaultSigner,
)

from pipeline.errors import KeyUnusable
from pipeline.meant import nearest

KEY_FILE_BYTES = 64 << 10
# Others on the machine must not be able to read, change or replace a signing key.
OTHERS = stat.S_IRWXG | stat.S_IRWXO

# Asks a cloud or a device for the public half; the private half never leaves it.
_IMPORTERS: dict[str, Callable[[str, SecretsHandler | None], tuple[str, Key]]] = {
    AWSSigner.SCHEME: lambda uri, _: AWSSigner.import_(uri.partition(":")[2]),
    GCPSigner.SCHEME: lambda uri, _: GCPSigner.import_(uri.partition(":")[2]),
    AzureSigner.SCHEME: lambda uri, _: AzureSigner.import_(*_azure_names(uri)),
    HSMSigner.SCHEME: lambda uri, secrets: HSMSigner.import_(*_hsm_names(uri), secrets),
    VaultSigner.SCHEME: lambda uri, _: VaultSigner.import_(uri.partition(":")[2].partition("/")[0]),
}
SCHEMES = ("file2", "envvar", *_IMPORTERS)
_KIND = re.compile(r"[a-z][a-z0-9]{0,11}", re.IGNORECASE)

# securesystemslib passes the errors of each vendor on as they are; these are the roots of their trees.
_VENDOR_ERRORS: dict[str, tuple[tuple[str, str], ...]] = {
    AWSSigner.SCHEME: (("botocore.exceptions", "BotoCoreError"), ("botocore.exceptions", "ClientError")),
    GCPSigner.SCHEME: (("google.api_core.exceptions", "GoogleAPIError"), ("google.auth.exceptions", "GoogleAuthError")),
    AzureSigner.SCHEME: (("azure.core.exceptions", "AzureError"),),
    HSMSigner.SCHEME: (("PyKCS11", "PyKCS11Error"),),
    VaultSigner.SCHEME: (("hvac.exceptions", "VaultError"),),
}


@dataclass(frozen=True, slots=True)
class KeySecrets:
    """What loading a key may need besides its URI: the environment, and who to ask for a passphrase."""

    environ: Mapping[str, str] = field(default_factory=dict, repr=False)
    passphrase: SecretsHandler | None = field(default=None, repr=False)


def load_signer(uri: str, secrets: KeySecrets | None = None) -> Signer:
    """Load the signer that ``uri`` names.

    Raises:
        KeyUnusable: no such scheme, file or variable, readable by others, wrong passphrase, or the
            key service refused. The message names the URI and holds nothing secret.
    """
    secrets = secrets or KeySecrets()
    scheme, _, rest = uri.partition(":")
    if scheme in {"file2", "file"}:
        return _from_pem(_read_key_file(Path(rest)), uri, secrets)
    if scheme == "envvar":
        text = secrets.environ.get(rest)
        if not text:
            raise KeyUnusable(f"signing key {uri}: the variable is not set", hint=f"Set {rest} to a PEM private key.")
        return _from_pem(text.encode(), uri, secrets)
    importer = _IMPORTERS.get(scheme)
    if importer is None:
        raise _no_kind_of_key(uri)
    try:
        found, public = importer(uri, secrets.passphrase)
        return Signer.from_priv_key_uri(found, public, secrets.passphrase)
    except sslib.UnsupportedLibraryError as error:
        raise KeyUnusable(
            f"signing key {uri}: {_line(error)}", hint=f"Install securesystemslib[{scheme}] beside modelport."
        ) from error
    except _service_errors(scheme) as error:
        raise KeyUnusable(
            f"signing key {uri}: the key service answered {type(error).__name__}: {_line(error)}",
            hint="Check the key's name, your credentials for its service, and the right to read its public key.",
        ) from error


def _no_kind_of_key(uri: str) -> KeyUnusable:
    scheme, colon, _ = uri.partition(":")
    kinds = f"expected one of {', '.join(f'{kind}:' for kind in SCHEMES)}"
    if not colon or not _KIND.fullmatch(scheme):
        # Perhaps it is the key itself, in whatever spelling: nothing of it is shown.
        return KeyUnusable(
            f"a signing key is named by something that is no URI, {kinds}",
            hint="Put the key into a variable of its own, and name that: envvar:RELEASE_KEY",
        )
    near = nearest(scheme, SCHEMES, cutoff=0.6)
    return KeyUnusable(
        f"signing key {scheme + ':'!r}: no such kind of key, {kinds}",
        hint=f"Did you mean {near}:?" if near else "Name the key as a securesystemslib URI, for example file2:/path/to/key.pem.",
    )


@dataclass(frozen=True)
class Keyring:
    """The signers at hand, found by the slot a role uses and by key id.

    ``uris`` maps a slot to key URIs: ``root``, ``targets``, ``release``, and where they differ from
    release, ``snapshot``, ``timestamp`` or a model's name. ``extra`` are signers that were just made.
    """

    uris: Mapping[str, tuple[str, ...]]
    secrets: KeySecrets = field(default_factory=KeySecrets)
    extra: tuple[Signer, ...] = ()
    _loaded: dict[str, Signer] = field(default_factory=dict, repr=False, compare=False)

    @classmethod
    def of(cls, *signers: Signer) -> Keyring:
        """A keyring of these signers, whatever their slot."""
        return cls({}, extra=signers)

    @classmethod
    def made(cls, **slots: Signer) -> Keyring:
        """A keyring of signers in memory, by slot."""
        return cls(
            {slot: (f"memory:{slot}",) for slot in slots}, _loaded={f"memory:{slot}": made for slot, made in slots.items()}
        )

    def with_signers(self, *signers: Signer) -> Keyring:
        """This keyring and ``signers``."""
        return Keyring(self.uris, self.secrets, (*self.extra, *signers), self._loaded)

    def slot(self, slot: str) -> tuple[Signer, ...]:
        """Every signer of a slot, loaded.

        Raises:
            KeyUnusable: one of them cannot be loaded.
        """
        return tuple(self._load(uri) for uri in self.uris.get(slot, ()))

    def signers(self, role: str, keyids: Iterable[str]) -> tuple[Signer, ...]:
        """The signers at hand for ``role`` among ``keyids``; loads only the slots the role can use.

        Raises:
            KeyUnusable: a key of such a slot cannot be loaded.
        """
        wanted = set(keyids)
        found = {signer.public_key.keyid: signer for signer in self.extra if signer.public_key.keyid in wanted}
        for slot in slots_of(role):
            for signer in self.slot(slot):
                if signer.public_key.keyid in wanted:
                    found.setdefault(signer.public_key.keyid, signer)
        return tuple(found[keyid] for keyid in sorted(found))

    def _load(self, uri: str) -> Signer:
        if uri not in self._loaded:
            self._loaded[uri] = load_signer(uri, self.secrets)
        return self._loaded[uri]


def slots_of(role: str) -> tuple[str, ...]:
    """Slots whose keys may sign ``role``: snapshot, timestamp and models fall back on the release key."""
    return (role,) if role in {"root", "targets"} else (role, "release")


def _read_key_file(path: Path) -> bytes:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        raise KeyUnusable(f"signing key {path}: {error.strerror}", hint="Check the path of the key.") from error
    try:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            raise KeyUnusable(f"signing key {path}: not a regular file", hint="Check the path of the key.")
        if found.st_mode & OTHERS:
            raise KeyUnusable(
                f"signing key {path}: its mode is {stat.S_IMODE(found.st_mode):04o}, expected 0600: others can read it",
                hint=f"Run: chmod 600 {path}  (and rotate the key if others may have read it).",
            )
        return os.read(descriptor, KEY_FILE_BYTES)
    finally:
        os.close(descriptor)


def _from_pem(pem: bytes, uri: str, secrets: KeySecrets) -> Signer:
    password: bytes | None = None
    if b"ENCRYPTED" in pem:
        answer = secrets.passphrase("passphrase") if secrets.passphrase else ""
        if not answer:
            raise KeyUnusable(f"signing key {uri}: it is encrypted and no passphrase was given", hint="Give its passphrase.")
        password = answer.encode()
    try:
        return CryptoSigner(load_pem_private_key(pem, password))
    except (ValueError, TypeError, UnsupportedAlgorithm, sslib.UnsupportedLibraryError) as error:
        # The library's words are many lines of OpenSSL; which of both it is follows from the file.
        fault = "wrong passphrase, or the file is damaged" if password else "expected an unencrypted PEM PKCS#8 private key"
        raise KeyUnusable(f"signing key {uri}: {fault}", hint="Give the right passphrase, or the right key file.") from error


def _service_errors(scheme: str) -> tuple[type[Exception], ...]:
    # Only what the vendor's library itself imported can have been raised.
    modules = [(sys.modules.get(module), name) for module, name in _VENDOR_ERRORS[scheme]]
    vendor = [getattr(module, name) for module, name in modules if module is not None]
    return (sslib.Error, OSError, ValueError, KeyError, *vendor)


def _azure_names(uri: str) -> tuple[str, str]:
    parts = urlsplit(uri)
    return parts.netloc.partition(".")[0], parts.path.removeprefix("/keys/").partition("/")[0]


def _hsm_names(uri: str) -> tuple[int | None, str | None]:
    parts = urlsplit(uri)
    return (int(parts.path) if parts.path else None), dict(parse_qsl(parts.query)).get("label")


def _line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0][:200]
