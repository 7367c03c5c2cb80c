"""The judgement: which releases of a bundle are signed by those whom this site trusts, and how new they are.

Takes the bundle's documents by key and the state of the site; gives a ``Judged`` whose releases were verified
from the pinned root down, or one clear refusal. Offline there is no clock to believe: the time is the highest
signed one, what is expired by it is a recorded warning, and going back is judged by versions of metadata alone
(docs/format.md §8). Media may arrive out of order; each rule for that is a function of its own here.

next: ``index``
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field

from bundles.installer.faults import IntegrityError, TrustError
from bundles.installer.names import MODEL
from bundles.installer.sitestate import SiteState
from bundles.installer.strictjson import HINT, Fields
from bundles.installer.tufrules import (
    ROLE_BYTES,
    ROOT_BYTES,
    TIMESTAMP_BYTES,
    Role,
    Sealed,
    VerifySignature,
    check_meta,
    check_signed,
    is_signed,
    model_signers,
    open_sealed,
    read_role,
    top_signers,
)

TIMESTAMP = "metadata/timestamp.json"
# As many as TUF's reference client follows in one go.
NEW_ROOTS = 256
EPOCH = "1970-01-01T00:00:00Z"


class _Older(Exception):
    """Something is older than what was seen here."""


@dataclass(frozen=True)
class Policy:
    """What the person who installs allows, and who verifies signatures."""

    verify: VerifySignature
    require_fresh: bool = False
    allow_downgrade: bool = False


@dataclass
class Judged:
    """A verified look at a bundle's tree. ``older`` says that a newer one was seen here before."""

    documents: Callable[[str], bytes | None]
    state: SiteState
    policy: Policy
    root: Role
    timestamp: Role
    snapshot: Role
    delegator: Role
    baseline: dict[str, tuple[int, str]]
    at: str
    older: bool = False
    warnings: list[str] = field(default_factory=list)
    _models: dict[str, Role] = field(default_factory=dict)

    def target(self, path: str) -> tuple[Fields, bytes]:
        """What is signed of a target such as ``bert/2.1.0/manifest.json``, and its verified bytes.

        Raises:
            TrustError: nobody signed such a target. IntegrityError: its bytes are missing or others.
        """
        meta = self.meta(path)
        model, _, name = path.partition("/")
        folder, _, file = name.rpartition("/")
        key = f"targets/{model}/{folder}/{meta.object('hashes').digest('sha256')}.{file}"
        data = _needed(self.documents, key)
        check_meta(data, meta)
        return meta, data

    def meta(self, path: str) -> Fields:
        """What is signed of a target, whether or not the bundle has its bytes.

        Raises:
            TrustError: nobody signed such a target. IntegrityError
        """
        targets = self.model(path.partition("/")[0]).signed.object("targets")
        if path not in targets.value:
            raise TrustError(f"no signed metadata names {path}", "The bundle is not what its publisher signed: ask them.")
        return targets.object(path)

    def model(self, model: str) -> Role:
        """A model's role, verified.

        Raises:
            TrustError, IntegrityError
        """
        if model not in self._models:
            self._models[model] = self._load(model)
        return self._models[model]

    def warn(self, sentence: str) -> None:
        """Let something pass, and record it for the receipt and for later."""
        self.warnings.append(sentence)
        self.state.note(sentence, self.at)

    def check_fresh(self, role: Role) -> None:
        """Refuse, or record, a role that is past its expiry.

        Raises:
            TrustError: only where ``--require-fresh`` asks for it.
        """
        if self.at < role.expires:
            return
        sentence = f"{role.what} expired at {role.expires}; the newest signed time known here is {self.at}"
        if self.policy.require_fresh:
            raise TrustError(sentence, "Ask the publisher for a bundle with newer metadata.")
        self.warn(sentence)

    def _load(self, model: str) -> Role:
        meta = self.snapshot.signed.object("meta")
        signers = model_signers(self.delegator, model)
        if f"{model}.json" not in meta.value or signers is None:
            raise TrustError(
                f"no signed metadata delegates the model {model[:80]}", "The bundle was altered, or is another tree's."
            )
        entry = meta.object(f"{model}.json")
        sealed = _named(self.documents, entry, model, self.state.copy(model))
        check_signed(sealed, signers, self.delegator.what, self.policy.verify)
        role = _versioned(sealed, "targets", entry.number("version"))
        try:
            _check_seen(model, role, self)
        except _Older as error:
            if not self.policy.allow_downgrade:
                raise TrustError(
                    str(error), "A newer medium was installed here. To go back on purpose: --allow-downgrade."
                ) from None
            self.warn(f"{error}: allowed by --allow-downgrade")
        self.check_fresh(role)
        self.state.record(model, role)
        return role


def judge(documents: Callable[[str], bytes | None], state: SiteState, policy: Policy) -> Judged:
    """Verify what the bundle announces, from the pinned root down; ``state`` is raised, in memory.

    Raises:
        TrustError: no or another root is pinned, signatures are missing, or it is older than allowed.
        IntegrityError: a document breaks its format.
    """
    root = _follow_roots(documents, state, policy.verify)
    baseline = dict(state.seen)
    sealed = open_sealed(_needed(documents, TIMESTAMP), TIMESTAMP, TIMESTAMP_BYTES)
    found = Judged(documents, state, policy, root, root, root, root, baseline, state.signed_at or EPOCH)
    found.check_fresh(root)
    found.timestamp = timestamp = _top_role(found, sealed, "timestamp", None)
    if not found.older:
        found.at = max(found.at, timestamp.signed_at)
        state.signed_at = max(state.signed_at, timestamp.signed_at)
    found.check_fresh(timestamp)
    if not found.older:
        state.record("timestamp", timestamp)
    sealed = _named(documents, timestamp.signed.object("meta").object("snapshot.json"), "snapshot")
    found.snapshot = snapshot = _top_role(found, sealed, "snapshot", timestamp.version)
    versions = _versions(snapshot)
    if not found.older:
        _check_claims(found, versions)
    found.check_fresh(snapshot)
    if found.older:
        found.delegator = _newest_targets(found)
    else:
        state.record("snapshot", snapshot)
        state.claim(versions)
        entry = snapshot.signed.object("meta").object("targets.json")
        sealed = _named(documents, entry, "targets", state.copy("targets"))
        check_signed(sealed, top_signers(root, "targets"), root.what, policy.verify)
        found.delegator = _versioned(sealed, "targets", entry.number("version"))
        try:
            _check_seen("targets", found.delegator, found)
        except _Older as error:
            raise TrustError(str(error), HINT) from None
    found.check_fresh(found.delegator)
    if not found.older:
        state.record("targets", found.delegator)
    return found


def _follow_roots(documents: Callable[[str], bytes | None], state: SiteState, verify: VerifySignature) -> Role:
    """The newest root of the chain: N+1 must be signed by enough keys of N *and* of itself."""
    trusted = state.root
    if trusted is None:
        trusted = _pinned_root(documents, state)
        check_signed(trusted, top_signers(trusted, "root"), trusted.what, verify)
        state.trust_root(trusted)
    for version in range(trusted.version + 1, trusted.version + 1 + NEW_ROOTS):
        data = documents(_root_key(version))
        if data is None:
            return trusted
        sealed = open_sealed(data, _root_key(version), ROOT_BYTES)
        check_signed(sealed, top_signers(trusted, "root"), trusted.what, verify)
        trusted = _versioned(sealed, "root", version)
        check_signed(trusted, top_signers(trusted, "root"), trusted.what, verify)
        state.trust_root(trusted)
    if documents(_root_key(trusted.version + 1)) is None:
        return trusted
    raise TrustError(f"the bundle has more than {NEW_ROOTS} new roots", "No honest tree rotates so often: ask its publisher.")


def _root_key(version: int) -> str:
    return f"metadata/{version}.root.json"


def _pinned_root(documents: Callable[[str], bytes | None], state: SiteState) -> Role:
    """The root that is trusted here, known by the digest of its bytes: no other is read as a root to find it."""
    newest, before = None, b""
    for version in range(1, 2 * NEW_ROOTS + 1):
        data = documents(_root_key(version))
        # One document under two numbers is no chain.
        if data is None or data == before:
            break
        sha256, before = hashlib.sha256(data).hexdigest(), data
        if sha256 in state.pins:
            return _versioned(open_sealed(data, _root_key(version), ROOT_BYTES), "root", version)
        newest = (version, sha256)
    if newest is None:
        raise TrustError("the bundle carries no root", HINT)
    fault = f"this site trusts {state.pins[0]}, which is none of its roots" if state.pins else "this site trusts no root yet"
    raise TrustError(
        f"{fault}; the newest root of the bundle is {newest[0]} with fingerprint {newest[1]}",
        "Compare it with the fingerprint that the publisher told you by another way, "
        "then give the one they told: --root-fingerprint HEX",
    )


def _top_role(found: Judged, sealed: Sealed, kind: str, version: int | None) -> Role:
    """Signature, then form, then rollback, of a timestamp or snapshot; an older one is read as such."""
    state, verify = found.state, found.policy.verify
    # A medium made before a rotation is signed by keys that were right then.
    past = next((root for root in state.roots() if is_signed(sealed, top_signers(root, kind), verify)), found.root)
    check_signed(sealed, top_signers(past, kind), past.what, verify)
    role = _versioned(sealed, kind, version)
    if past.version != found.root.version:
        _take_as_older(found, f"{role.what} is signed by keys of root {past.version}, the newest here is {found.root.version}")
        return role
    try:
        _check_seen(kind, role, found)
    except _Older as error:
        _take_as_older(found, str(error))
    return role


def _take_as_older(found: Judged, why: str) -> None:
    found.older = True
    found.warn(f"an older tree is read: {why}")


def _check_seen(name: str, role: Role, found: Judged) -> None:
    """Hold a role against what was seen here before this bundle.

    Raises:
        TrustError: the same version with other content. _Older: a lower version.
    """
    version, sha256 = found.baseline.get(name, (0, ""))
    if role.version == version and role.signed_sha256 != sha256:
        raise TrustError(
            f"{role.what} has version {version} with other content than was seen here under this version",
            "Two trees were signed with one key: ask the publisher before trusting either.",
        )
    least = max(version, found.state.claims.get(name, 0))
    if role.version < least:
        raise _Older(f"{role.what} has version {role.version}, version {least} was seen here before")


def _check_claims(found: Judged, versions: dict[str, int]) -> None:
    state = found.state
    for role in sorted((state.claims.keys() | found.baseline.keys()) - {"root", "snapshot", "timestamp"}):
        least = max(state.claims.get(role, 0), found.baseline.get(role, (0, ""))[0])
        if versions.get(role, 0) < least:
            _take_as_older(found, f"the snapshot names version {versions.get(role, 'none')} of {role}, {least} was seen here")
            return


def _newest_targets(found: Judged) -> Role:
    """For an older medium: models are judged by the newest targets role that was seen here."""
    data = found.state.copy("targets")
    if data is None:
        raise TrustError("an older tree cannot be judged: no targets role was seen here", "Install a newer medium first.")
    sealed = open_sealed(data, "the newest targets role seen here", ROLE_BYTES)
    check_signed(sealed, top_signers(found.root, "targets"), found.root.what, found.policy.verify)
    return read_role(sealed, "targets")


def _versions(snapshot: Role) -> dict[str, int]:
    meta = snapshot.signed.object("meta")
    return {name[: -len(".json")]: meta.object(name).number("version", 1) for name in meta.value if name.endswith(".json")}


def _named(documents: Callable[[str], bytes | None], meta: Fields, name: str, kept: bytes | None = None) -> Sealed:
    """The document that ``meta`` names: its digest and size are right.

    ``kept`` is a copy that was verified here before; if it is the one that is named, it need not travel again.
    """
    if MODEL.fullmatch(name) is None:
        raise IntegrityError(f"{name[:80]!r} is no name of a role", HINT)
    key = f"metadata/{meta.number('version', 1)}.{name}.json"
    again = kept is not None and meta.object("hashes").value == {"sha256": hashlib.sha256(kept).hexdigest()}
    data = kept if again and kept is not None else _needed(documents, key)
    check_meta(data, meta)
    return open_sealed(data, key, ROLE_BYTES)


def _versioned(sealed: Sealed, kind: str, version: int | None) -> Role:
    """The role that it holds under the number that it must have; a timestamp has that of the snapshot which it announces."""
    role = read_role(sealed, kind)
    if role.version != (role.signed.object("meta").object("snapshot.json").number("version", 1) if version is None else version):
        raise IntegrityError(f"{sealed.what} says it is version {role.version}, which it is not named or announced by", HINT)
    return role


def _needed(documents: Callable[[str], bytes | None], key: str) -> bytes:
    data = documents(key)
    if data is None:
        raise IntegrityError(f"the bundle does not carry {key[:160]}", HINT)
    return data
