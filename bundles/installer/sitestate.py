"""What this site trusts and has seen: pins, the root chain, versions, the highest signed time.

Takes the site's folder, gives a ``SiteState`` that is changed in memory and written once by ``save``, when it is
certain that something will be installed. Its files are those of modelport's own trust state, so that both can
use them: ``state.json``, ``roots/<N>.root.json``, ``metadata/<role>.json`` (docs/format.md §8).

next: ``judging``
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field

from bundles.installer.faults import OWN_RECORD, DiskError, IntegrityError, TrustError, UsageError
from bundles.installer.folders import Folder
from bundles.installer.strictjson import Fields, is_hex64, read_json, write_json
from bundles.installer.tufrules import ROLE_BYTES, ROOT_BYTES, TOP_ROLES, Role, instant, open_sealed, read_role, top_signers

FOLDER = "state/trust"
FORMAT = "modelport-trust-state"
NOTES = 100


@dataclass
class SiteState:
    """The trust of one site. ``seen``: role → (version, sha256 of its signed part); ``claims``: role → version."""

    site: Folder | None
    pins: list[str] = field(default_factory=list)
    root: Role | None = None
    seen: dict[str, tuple[int, str]] = field(default_factory=dict)
    claims: dict[str, int] = field(default_factory=dict)
    signed_at: str = ""
    notes: list[dict[str, str]] = field(default_factory=list)
    _unsaved: dict[str, bytes] = field(default_factory=dict)

    def pin(self, fingerprint: str) -> None:
        """Trust the root with this fingerprint. A site that trusts another one keeps to it.

        Raises:
            UsageError: it is none. TrustError
        """
        if not is_hex64(fingerprint):
            raise UsageError(
                f"--root-fingerprint {fingerprint} is no fingerprint, expected 64 hex digits",
                "Ask the sender: see README.txt, step 1.",
            )
        known = {role.sha256 for role in self.roots()}
        if fingerprint in known | set(self.pins):
            return
        if self.root is not None or self.pins:
            newest = self.root.sha256 if self.root else self.pins[0]
            raise TrustError(
                f"this site trusts the root {newest}, not {fingerprint}",
                "Ask the publisher which is right. To trust another publisher, install into another --site.",
            )
        self.pins = [fingerprint]

    def roots(self) -> Iterator[Role]:
        """The chain trusted here, the newest first."""
        root = self.root
        while root is not None:
            yield root
            data = self._read(f"roots/{root.version - 1}.root.json", ROOT_BYTES) if root.version > 1 else None
            root = read_role(open_sealed(data, f"the trusted root {root.version - 1}", ROOT_BYTES), "root") if data else None

    def trust_root(self, root: Role) -> None:
        """Add a verified root. One that changes the snapshot or timestamp keys lets what they vouched for begin anew."""
        before = self.root
        self.root = root
        self._unsaved[f"roots/{root.version}.root.json"] = root.data
        changed = {role for role in TOP_ROLES if before and _keys(before, role) != _keys(root, role)}
        if "snapshot" in changed:
            changed |= self.seen.keys() - {"root"}
            self.claims, self.signed_at = {}, ""
        if changed & {"snapshot", "timestamp"}:
            changed |= {"snapshot", "timestamp"}
        self.seen = {role: seen for role, seen in self.seen.items() if role not in changed}

    def copy(self, role: str) -> bytes | None:
        """The newest verified bytes of a role."""
        return self._read(f"metadata/{role}.json", ROLE_BYTES)

    def record(self, name: str, role: Role) -> None:
        """Keep a verified role as seen; nothing is ever lowered, and what was signed anew takes its own place."""
        if self.seen.get(name, (0, ""))[0] <= role.version:
            self.seen[name] = (role.version, role.signed_sha256)
            if self.copy(name) != role.data:
                self._unsaved[f"metadata/{name}.json"] = role.data

    def claim(self, versions: dict[str, int]) -> None:
        """Keep the versions that a verified snapshot names."""
        for role, version in versions.items():
            self.claims[role] = max(version, self.claims.get(role, 0))

    def note(self, what: str, at: str) -> None:
        """Remember a sentence; the last hundred are kept."""
        if not self.notes or self.notes[-1]["what"] != what:
            self.notes = [*self.notes, {"at": at, "what": what}][-NOTES:]

    def save(self) -> None:
        """Write what changed; ``state.json`` last, for it names the rest."""
        if self.site is None:
            raise DiskError("a trust state without a place cannot be kept")
        for name, data in self._unsaved.items():
            self.site.write(f"{FOLDER}/{name}", data, 0o600)
        self._unsaved.clear()
        document = {
            "format": FORMAT,
            "format_version": 1,
            "pins": self.pins,
            "root": self.root.version if self.root else 0,
            "seen": {role: {"version": version, "sha256": sha256} for role, (version, sha256) in self.seen.items()},
            "claims": self.claims,
            "signed_at": self.signed_at,
            "notes": self.notes,
        }
        data = write_json(document)
        if data != self.site.read(f"{FOLDER}/state.json", ROLE_BYTES):
            self.site.write(f"{FOLDER}/state.json", data, 0o600)

    def _read(self, name: str, cap: int) -> bytes | None:
        if name in self._unsaved:
            return self._unsaved[name]
        return self.site.read(f"{FOLDER}/{name}", cap) if self.site else None


def load_state(site: Folder | None) -> SiteState:
    """Read a site's state; an empty one where there is no site yet.

    Raises:
        IntegrityError: it is damaged. Nothing is guessed from a damaged state.
    """
    state = SiteState(site)
    data = site.read(f"{FOLDER}/state.json", ROLE_BYTES) if site else None
    if site is None or data is None:
        return state
    what = site.shown(f"{FOLDER}/state.json")
    fields = Fields(read_json(data, what, ROLE_BYTES, OWN_RECORD), what)
    if fields.text("format") != FORMAT or fields.number("format_version") != 1:
        raise IntegrityError(f"{what} has another format", "It needs a newer modelport.")
    state.pins = fields.texts("pins", [])
    seen = fields.object("seen", {})
    state.seen = {role: (seen.object(role).number("version", 1), seen.object(role).digest("sha256")) for role in seen.value}
    claims = fields.object("claims", {})
    state.claims = {role: claims.number(role) for role in claims.value}
    signed_at = fields.text("signed_at", "")
    state.signed_at = instant(signed_at, what) if signed_at else ""
    state.notes = [{"at": one.text("at"), "what": one.text("what")} for one in fields.objects("notes", [])]
    version = fields.number("root", default=0)
    if version:
        root = site.read(f"{FOLDER}/roots/{version}.root.json", ROOT_BYTES)
        if root is None:
            raise IntegrityError(f"{what} names root {version}, which is gone", "Restore the state, or pin in a new --site.")
        state.root = read_role(open_sealed(root, f"the trusted root {version}", ROOT_BYTES), "root")
    return state


def _keys(root: Role, role: str) -> set[str]:
    return {hashlib.sha256(write_json(key.get("keyval"))).hexdigest() for key in top_signers(root, role).keys.values()}
