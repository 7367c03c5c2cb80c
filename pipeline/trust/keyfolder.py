"""Keys made on first use: one folder per tree, one file per key.

Takes the folder ``…/modelport/keys``, gives Ed25519 key files (0600 in a folder 0700) and the
keyring that uses them. A tree's folder is named by the fingerprint of its first root, so it is
found again from the tree itself and never mistaken for another tree's::

    <keys>/<fingerprint>/{root,targets,release}.pem
    <keys>/<fingerprint>/release.next.pem           while that key is being rotated
    <keys>/<fingerprint>/release.<key id>.old.pem   what it replaced

next: ``facts``
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterable
from pathlib import Path

from securesystemslib.signer import CryptoSigner, Signer

from pipeline.errors import DiskError
from pipeline.trust.keys import Keyring, load_signer

SLOTS = ("root", "targets", "release")


def make_keys(home: Path) -> Path:
    """Make root, targets and release keys in a new folder under ``home``, not yet named by its tree.

    Raises:
        DiskError: the folder cannot be written.
    """
    folder = home / f".new-{secrets.token_hex(8)}"
    try:
        home.mkdir(mode=0o700, parents=True, exist_ok=True)
        folder.mkdir(mode=0o700)
    except OSError as error:
        raise DiskError(f"cannot make {folder}: {error.strerror}", hint="Choose a writable folder for keys.") from error
    for slot in SLOTS:
        write_key(folder / f"{slot}.pem", CryptoSigner.generate_ed25519())
    return folder


def name_keys(folder: Path, fingerprint: str) -> Path:
    """Give a new folder the name of the tree whose root its keys signed."""
    named = folder.with_name(fingerprint)
    folder.rename(named)
    _sync_folder(named.parent)
    return named


def find_keys(home: Path, fingerprints: Iterable[str]) -> Path | None:
    """The folder of the tree one of whose roots has one of ``fingerprints``, or None."""
    return next((home / name for name in fingerprints if (home / name).is_dir()), None)


def open_keys(folder: Path) -> Keyring:
    """The keyring of a folder: every slot that has a file, and what a rotation left unfinished."""
    uris: dict[str, tuple[str, ...]] = {}
    for path in sorted(folder.glob("*.pem")):
        slot, _, mark = path.name.removesuffix(".pem").partition(".")
        if mark in {"", "next"}:
            uris[slot] = (*uris.get(slot, ()), f"file2:{path}")
    return Keyring(uris)


def next_key(folder: Path, slot: str) -> Signer:
    """The key that will replace ``slot``: made once, found again by a rotation that was killed.

    Raises:
        KeyUnusable, DiskError
    """
    path = folder / f"{slot}.next.pem"
    if not path.exists():
        write_key(path, CryptoSigner.generate_ed25519())
    return load_signer(f"file2:{path}")


def promote_key(folder: Path, slot: str) -> None:
    """Let the next key of ``slot`` take its place; the old one is kept under its key id."""
    path, following = folder / f"{slot}.pem", folder / f"{slot}.next.pem"
    if not following.exists():
        return
    if path.exists():
        keyid = load_signer(f"file2:{path}").public_key.keyid
        path.rename(folder / f"{slot}.{keyid[:16]}.old.pem")
    following.rename(path)
    _sync_folder(folder)


def write_key(path: Path, signer: CryptoSigner) -> None:
    """Write a private key where nothing stands yet, readable by its owner alone, whole or not at all.

    Raises:
        DiskError: it cannot be written.
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "wb") as file:
            file.write(signer.private_bytes)
            file.flush()
            os.fsync(file.fileno())
        os.link(temporary, path)
    except OSError as error:
        raise DiskError(f"cannot write the key {path}: {error.strerror}", hint="Choose a writable folder for keys.") from error
    finally:
        temporary.unlink(missing_ok=True)
    _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
