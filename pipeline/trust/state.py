"""What one place trusts and has seen: pins, the root chain, versions, the highest signed time.

Takes a folder (one per store or site), gives a ``TrustState`` whose every step is written whole or
not at all; docs/format.md §8. Several processes may share the folder: a lock covers each change,
and versions only ever rise, but for the recovery that a new root allows::

    <folder>/state.json              pins, versions seen, signed time, notes
    <folder>/roots/<N>.root.json     the chain, exact bytes
    <folder>/metadata/<role>.json    the newest verified copy of every role

next: ``chain``
"""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec
from tuf.api.metadata import Root

from pipeline.digest import is_hex64
from pipeline.errors import DiskError, InvalidDocument, RollbackRefused, UsageError
from pipeline.trust.facts import instant, instant_text
from pipeline.trust.sealed import ROOT_BYTES, TARGETS_BYTES, Sealed, open_sealed
from pipeline.wire import decode_document, encode_document

FORMAT = "modelport-trust-state"
NOTES = 100


class Seen(msgspec.Struct, frozen=True):
    """The highest version of a role that was verified here, and the digest of its signed part."""

    version: int
    sha256: str


class Note(msgspec.Struct, frozen=True):
    """Something that was accepted, or refused, and should be found again later."""

    at: str
    what: str


class StateDocument(msgspec.Struct, frozen=True, kw_only=True):
    """``state.json``. ``claims`` are versions that verified snapshots named, fetched or not."""

    format: str = FORMAT
    format_version: int = 1
    pins: tuple[str, ...] = ()
    root: int = 0
    seen: dict[str, Seen] = {}
    claims: dict[str, int] = {}
    signed_at: str = ""
    notes: tuple[Note, ...] = ()


@dataclass(frozen=True, slots=True)
class TrustState:
    """The trust of one place, in ``folder``."""

    folder: Path

    def read(self) -> StateDocument:
        """What stands in ``state.json``; an empty state where there is none.

        Raises:
            InvalidDocument: it is damaged. Nothing is guessed from a damaged state.
        """
        try:
            data = (self.folder / "state.json").read_bytes()
        except FileNotFoundError:
            return StateDocument()
        except OSError as error:
            raise DiskError(f"cannot read {self.folder}/state.json: {error.strerror}", hint="Check its owner.") from error
        document = decode_document(
            data,
            StateDocument,
            what=f"{self.folder}/state.json",
            hint=f"What was trusted here is not guessed: move {self.folder} away, and pin the root again with invoke trust.pin.",
        )
        if document.format != FORMAT or document.format_version != 1:
            raise InvalidDocument(f"{self.folder}/state.json has another format", hint="It needs a newer modelport.")
        return document

    @property
    def pins(self) -> tuple[str, ...]:
        """Fingerprints of the roots that this place trusts."""
        return self.read().pins

    @property
    def signed_at(self) -> datetime | None:
        """The highest signed time seen."""
        text = self.read().signed_at
        return instant(text) if text else None

    def pin(self, fingerprint: str) -> None:
        """Trust the tree one of whose roots has this fingerprint.

        A pin that is no root of the chain trusted so far is a decision for another tree: what was
        seen of the old one is forgotten.

        Raises:
            UsageError: not 64 lower-case hex digits.
        """
        check_fingerprint(fingerprint)
        with self._changed() as document:
            known = {root.sha256 for root in self.roots(document.root)}
            if fingerprint in known or not document.root:
                pins = tuple(sorted({*document.pins, fingerprint})) if document.root else (fingerprint,)
                self._write(msgspec.structs.replace(document, pins=pins))
            else:
                self._forget_roots()
                self._write(StateDocument(pins=(fingerprint,), notes=document.notes))

    def root(self) -> Sealed[Root] | None:
        """The newest root trusted here."""
        version = self.read().root
        return self._root(version) if version else None

    def trust_root(self, root: Sealed[Root], before: Sealed[Root] | None) -> None:
        """Add a verified root to the chain.

        Where its snapshot or timestamp keys are others than those of ``before``, what was seen of
        these roles is forgotten, and the signed time with them: fast-forward recovery, as in the
        TUF specification §5.3.11. A new snapshot key lets the versions of targets and models begin
        anew too, for the old one vouched for them.
        """
        with self._changed() as document:
            if document.root >= root.version:
                return
            self._file(f"roots/{root.version}.root.json", root.data)
            changed = {role for role in root.signed.roles if before and _keys(before, role) != _keys(root, role)}
            if "snapshot" in changed:
                # Versions of these roles were believed because the old snapshot key named them.
                changed |= document.seen.keys() - {"root"}
            if changed & {"snapshot", "timestamp"}:
                changed |= {"snapshot", "timestamp"}
            kept = msgspec.structs.replace(
                document,
                root=root.version,
                seen={role: seen for role, seen in document.seen.items() if role not in changed},
            )
            if "snapshot" in changed:
                kept = msgspec.structs.replace(kept, claims={}, signed_at="")
            self._write(kept)

    def copy(self, role: str) -> bytes | None:
        """The newest verified bytes of ``role``, to be verified again; None where there are none.

        Raises:
            DiskError
        """
        path = self.folder / "metadata" / f"{role}.json"
        try:
            return path.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise DiskError(f"cannot read {path}: {error.strerror}", hint="Check its owner.") from error

    def check(self, role: str, sealed: Sealed[Any], document: StateDocument, *, what: str) -> None:
        """Refuse what is older than, or differs from, what ``document`` says was seen.

        ``document`` was read before the role was: another process of this place may have seen a newer
        one in between, which makes ours no rollback.

        Raises:
            RollbackRefused: the difference is noted in the state.
        """
        seen = document.seen.get(role)
        if seen and sealed.version == seen.version and sealed.signed_sha256 != seen.sha256:
            self.note(f"{role} version {sealed.version}: seen with two contents, {seen.sha256} and {sealed.signed_sha256}")
            raise RollbackRefused(
                f"{what} has version {sealed.version} with other content than was seen here under this version",
                hint="Two trees were signed with one key: ask the publisher before trusting either.",
            )
        least = max(seen.version if seen else 0, document.claims.get(role, 0))
        if sealed.version < least:
            raise RollbackRefused(
                f"{what} has version {sealed.version}, version {least} was seen here before",
                hint="The source is out of date or was set back: try another source, or wait for its caches.",
            )

    def check_claims(self, versions: Mapping[str, int], document: StateDocument, *, what: str) -> None:
        """Refuse a snapshot that names older roles than were seen, or none for a role that was seen.

        Raises:
            RollbackRefused
        """
        for role in sorted({*document.claims, *document.seen} - {"root", "snapshot", "timestamp"}):
            least = max(document.claims.get(role, 0), document.seen[role].version if role in document.seen else 0)
            if versions.get(role, 0) < least:
                found = f"version {versions[role]}" if role in versions else "no version"
                raise RollbackRefused(
                    f"{what} names {found} of {role}, version {least} was seen here before",
                    hint="The source is out of date or was set back: try another source.",
                )

    def record(
        self, roles: Mapping[str, Sealed[Any]], *, claims: Mapping[str, int] | None = None, signed_at: datetime | None = None
    ) -> None:
        """Keep verified roles as seen; nothing is ever lowered."""
        with self._changed() as document:
            seen = dict(document.seen)
            for role, sealed in roles.items():
                known = seen.get(role)
                if known is None or known.version < sealed.version:
                    self._file(f"metadata/{role}.json", sealed.data)
                    seen[role] = Seen(sealed.version, sealed.signed_sha256)
                elif (
                    known == Seen(sealed.version, sealed.signed_sha256)
                    and sealed.metadata.signatures
                    and self.copy(role) != sealed.data
                ):
                    # A publisher records what it is about to sign: the copy with signatures takes its place.
                    self._file(f"metadata/{role}.json", sealed.data)
            merged = dict(document.claims)
            for role, version in (claims or {}).items():
                merged[role] = max(version, merged.get(role, 0))
            latest = max(document.signed_at, instant_text(signed_at) if signed_at else "")
            updated = msgspec.structs.replace(document, seen=seen, claims=merged, signed_at=latest)
            if updated != document:
                self._write(updated)

    def copy_to(self, folder: Path) -> TrustState:
        """Copy what stands here, as it was at one moment, to where it may be changed.

        Raises:
            DiskError
        """
        try:
            folder.mkdir(mode=0o700, parents=True)
            with suppress(FileNotFoundError):
                # First: what it names stands by then, and is never taken away.
                shutil.copyfile(self.folder / "state.json", folder / "state.json")
                shutil.copytree(self.folder, folder, ignore=shutil.ignore_patterns(".*", "state.json"), dirs_exist_ok=True)
        except OSError as error:
            raise _unwritable(folder, error) from error
        return TrustState(folder)

    def note(self, what: str, at: datetime | None = None) -> None:
        """Record a sentence; the last hundred are kept."""
        with self._changed() as document:
            entry = Note(instant_text(at) if at else document.signed_at, what)
            if not document.notes or document.notes[-1].what != what:
                self._write(msgspec.structs.replace(document, notes=(*document.notes, entry)[-NOTES:]))

    def roots(self, newest: int | None = None) -> Iterator[Sealed[Root]]:
        """The chain trusted here, the newest first."""
        for version in range(self.read().root if newest is None else newest, 0, -1):
            if not (self.folder / "roots" / f"{version}.root.json").exists():
                return
            yield self._root(version)

    def _forget_roots(self) -> None:
        # Those of the old tree would stand below the pinned root of the new one, as if they had led to it.
        try:
            shutil.rmtree(self.folder / "roots")
        except FileNotFoundError:
            return
        except OSError as error:
            raise _unwritable(self.folder / "roots", error) from error

    def _root(self, version: int) -> Sealed[Root]:
        path = self.folder / "roots" / f"{version}.root.json"
        try:
            data = path.read_bytes()
        except OSError as error:
            raise DiskError(f"cannot read the trusted root {path}: {error.strerror}", hint="Pin the root again.") from error
        return open_sealed(data, Root, what=str(path), cap=ROOT_BYTES)

    @contextmanager
    def _changed(self) -> Iterator[StateDocument]:
        try:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            descriptor = os.open(self.folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise _unwritable(self.folder, error) from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield self.read()
        finally:
            os.close(descriptor)

    def _write(self, document: StateDocument) -> None:
        self._file("state.json", encode_document(document))

    def _file(self, name: str, data: bytes) -> None:
        if len(data) > TARGETS_BYTES:
            raise InvalidDocument(f"{name} has {len(data)} bytes, at most {TARGETS_BYTES} are kept")
        path = self.folder / name
        # Whoever writes holds the lock, so that what a killed run left is written over.
        temporary = path.with_name(f".{path.name}.new")
        try:
            path.parent.mkdir(mode=0o700, exist_ok=True)
            with temporary.open("wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
        except OSError as error:
            temporary.unlink(missing_ok=True)
            raise _unwritable(path, error, size=len(data)) from error


def read_fingerprint(text: str) -> str:
    """Give a fingerprint as a person may write down what was read out: in groups, in capitals.

    Raises:
        UsageError: it is none.
    """
    found = "".join(text.split()).lower()
    if not is_hex64(found):
        check_fingerprint(text)
    return found


def check_fingerprint(text: str) -> None:
    """Refuse what cannot be the fingerprint of a root.

    Raises:
        UsageError: not 64 lower-case hex digits.
    """
    if not is_hex64(text):
        raise UsageError(
            f"{text!r} is not a fingerprint, expected 64 lower-case hex digits",
            hint="Take it from `invoke trust.show`, or `sha256sum metadata/1.root.json`, on the publishing side.",
        )


def _keys(root: Sealed[Root], role: str) -> set[str]:
    # A key that a role names and the root does not hold has signed nothing.
    return {str(root.signed.keys[keyid].keyval) for keyid in root.signed.roles[role].keyids if keyid in root.signed.keys}


def _unwritable(path: Path, error: OSError, *, size: int = 0) -> DiskError:
    needed = f"; {size} bytes are needed" if size else ""
    return DiskError(
        f"cannot write the trust state {path}: {error.strerror}{needed}", hint="Check free space and the folder's owner."
    )
