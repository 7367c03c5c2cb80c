"""Changes of root and targets that travel between machines, to be signed by several people.

Takes a publisher and what is to change; gives a ``Staged`` document (a file), which every key holder
signs where the key is, and which is applied where the release key is. The document holds the proposed
metadata with the signatures so far; nobody but ``apply_staged`` needs the store (docs/format.md §8)::

    trust.stage  → staged.json → trust.sign (here) → trust.sign (there) → trust.apply

It is the last module of this package.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
from securesystemslib.signer import Key
from tuf.api.metadata import Metadata, Root, Targets

from pipeline.errors import ConflictError, InvalidDocument, UsageError
from pipeline.trust.changes import Change
from pipeline.trust.commit import Committed, commit_changes
from pipeline.trust.draft import Draft
from pipeline.trust.facts import as_plain
from pipeline.trust.keys import Keyring
from pipeline.trust.publisher import Publisher
from pipeline.trust.roles import delegated_models, next_root, role_keys
from pipeline.trust.rotate import advance_root
from pipeline.trust.sealed import ROOT_BYTES, TARGETS_BYTES, R, Sealed, add_signature, is_signed, open_sealed
from pipeline.trust.survey import survey_store
from pipeline.wire import decode_document, encode_document

FORMAT = "modelport-staged"


class Staged(msgspec.Struct, frozen=True, kw_only=True):
    """A proposed change and its signatures so far.

    ``base_root`` is the root it starts from; ``base`` the role versions it was made on; ``root`` and
    ``roles`` (``targets`` and model names) are TUF metadata, ``root`` null where it does not change.
    """

    format: str = FORMAT
    format_version: int = 1
    base_root: dict[str, Any]
    base: dict[str, int]
    root: dict[str, Any] | None = None
    roles: dict[str, dict[str, Any]] = {}


@dataclass(frozen=True)
class Signature:
    """How far one role of a staged change is signed, for people."""

    role: str
    version: int
    needs: tuple[str, ...]
    complete: bool


@dataclass(frozen=True, slots=True)
class _TakeStaged:
    roles: Mapping[str, Sealed[Targets]]
    base: Mapping[str, int]

    def apply(self, draft: Draft) -> None:
        """Edit ``draft``: the roles as they were signed, if nobody changed them since."""
        view = draft.view
        if view is None:
            raise ConflictError("the store has no snapshot to apply this change to", hint="Run: invoke trust.init")
        there = {name.removesuffix(".json"): meta for name, meta in view.snapshot.signed.meta.items()}
        if all(role in there and there[role] == sealed.meta for role, sealed in self.roles.items()):
            return
        for role, sealed in self.roles.items():
            # Those that rode along for their key's sake count too: what they say may be old by now.
            found = there[role].version if role in there else 0
            if found != self.base.get(role, 0):
                raise ConflictError(
                    f"{role} is at version {found}, this change was staged on version {self.base.get(role, 0)}",
                    hint="Somebody committed since: stage the change again and have it signed again.",
                )
            draft.put_sealed(role, sealed)


def stage_changes(
    publisher: Publisher,
    changes: Sequence[Change] = (),
    *,
    keys: Mapping[str, Sequence[Key]] | None = None,
    thresholds: Mapping[str, int] | None = None,
) -> Staged:
    """Propose changes of the targets role (and of model roles), and other keys or thresholds of the root.

    Raises:
        UsageError: nothing would change, or a role would need more keys than it has.
    """
    found = survey_store(publisher)
    root = found.root.signed
    at = publisher.signing_time(None)
    draft = Draft(root, found.view, at)
    for change in changes:
        change.apply(draft)
    following: Root | None = None
    if keys or thresholds:
        following = next_root(root, at, keys, thresholds)
        if following.roles["targets"] != root.roles["targets"]:
            # New keys must have signed the targets role before the root that names them is published.
            draft.edit_top()
    if following is None and not draft.changed:
        raise UsageError(
            "this would change nothing", hint="Name what is to change, as in --key root=file2:/a.pem or --threshold root=2."
        )
    touched: dict[str, Targets] = {str(model): role for model, role in draft.models.items()}
    if draft.targets is not None:
        touched["targets"] = draft.targets
    for role, signed in touched.items():
        signed.version = found.next_number(role)
    view = found.view
    versions = {name.removesuffix(".json"): meta.version for name, meta in (view.snapshot.signed.meta if view else {}).items()}
    return Staged(
        base_root=found.root.metadata.to_dict(),
        base={role: versions.get(role, 0) for role in touched},
        root=Metadata(following).to_dict() if following else None,
        roles={role: Metadata(signed).to_dict() for role, signed in sorted(touched.items())},
    )


def sign_staged(staged: Staged, keys: Keyring) -> tuple[Staged, tuple[str, ...]]:
    """Add every signature that the keys at hand can give.

    Returns:
        The document with them, and which roles were signed with which key.

    Raises:
        KeyUnusable: a key of a role cannot be loaded.
    """
    opened = _open(staged)
    added: list[str] = []

    def signed(role: str, sealed: Sealed[R]) -> dict[str, Any]:
        for signer in keys.signers(role, opened.keyids(role)):
            if signer.public_key.keyid not in sealed.metadata.signatures:
                add_signature(sealed.metadata, signer)
                added.append(f"{role} with key {signer.public_key.keyid[:16]}")
        return sealed.metadata.to_dict()

    root = signed("root", opened.root) if opened.root else None
    roles = {role: signed(role, sealed) for role, sealed in opened.roles.items()}
    return msgspec.structs.replace(staged, root=root, roles=roles), tuple(added)


def signatures_of(staged: Staged) -> tuple[Signature, ...]:
    """How far each role of the change is signed."""
    opened = _open(staged)
    found = []
    for role, sealed in ([("root", opened.root)] if opened.root else []) + list(opened.roles.items()):
        needs = tuple(keyid for keyid in opened.keyids(role) if keyid not in sealed.metadata.signatures)
        complete = all(is_signed(delegator, role, sealed) for delegator in opened.delegators(role))
        found.append(Signature(role, sealed.version, () if complete else needs, complete))
    return tuple(found)


def apply_staged(publisher: Publisher, staged: Staged, *, settle: Callable[[], None] | None = None) -> Committed:
    """Commit a staged change whose signatures are complete; a run that was killed continues.

    Raises:
        BadSignature: a threshold is not met.
        ConflictError: the tree changed since it was staged.
        KeyUnusable: the release key is not at hand.
    """
    opened = _open(staged)
    take = _TakeStaged(opened.roles, staged.base)
    if opened.root is None:
        return commit_changes(publisher, [take])
    found = survey_store(publisher)
    if found.root.version < opened.base.version or (
        found.root.version == opened.base.version and found.root.signed_sha256 != opened.base.signed_sha256
    ):
        raise ConflictError(
            f"the change starts from root {opened.base.version}, the store's is {found.root.version}",
            hint="This is another tree, or another store.",
        )
    # The roles stand before the root does; once it is there they may have been signed anew.
    changes: list[Change] = [take] if opened.roles and found.root.version < opened.root.version else []
    return advance_root(publisher, opened.root, changes, settle=settle).committed


def read_staged(data: bytes, *, what: str = "the staged change") -> Staged:
    """Read a staged change from its file; ``what`` names it in messages.

    Raises:
        InvalidDocument
    """
    hint = "Name the file that trust.stage wrote, as it was carried here."
    staged = decode_document(data, Staged, what=what, cap=4 * TARGETS_BYTES, hint=hint)
    if staged.format != FORMAT or staged.format_version != 1:
        raise InvalidDocument(
            f"{what} has format {staged.format!r} {staged.format_version}, expected {FORMAT!r} 1",
            hint="It needs a newer modelport, or is another file.",
        )
    _open(staged)
    return staged


def write_staged(staged: Staged) -> bytes:
    """The file of a staged change."""
    return encode_document(as_plain(staged))


def describe_staged(staged: Staged) -> tuple[str, ...]:
    """What the change does, one sentence each: read it before signing."""
    opened = _open(staged)
    lines = []
    base = opened.base.signed
    if opened.root:
        for role, after in sorted(opened.root.signed.roles.items()):
            before = base.roles[role]
            lines += [f"{role}: add key {keyid}" for keyid in after.keyids if keyid not in before.keyids]
            lines += [f"{role}: remove key {keyid}" for keyid in before.keyids if keyid not in after.keyids]
            if after.threshold != before.threshold:
                lines.append(f"{role}: threshold {before.threshold} becomes {after.threshold}")
        lines.append(f"root {opened.root.version} expires {opened.root.signed.expires:%Y-%m-%d}")
    for role, sealed in opened.roles.items():
        lines.append(f"{role}: version {sealed.version}, {len(sealed.signed.targets)} targets")
        if role == "targets":
            lines += [
                f"model {model}: signed by {sealed.signed.get_delegated_role(model).threshold} of "
                f"{', '.join(key.keyid for key in role_keys(sealed.signed, model))}"
                for model in delegated_models(sealed.signed)
            ]
    return tuple(lines)


@dataclass(frozen=True)
class _Opened:
    base: Sealed[Root]
    root: Sealed[Root] | None
    roles: dict[str, Sealed[Targets]]

    def delegators(self, role: str) -> list[Root | Targets]:
        """Whose keys must have signed ``role``."""
        if role in {"root", "targets"}:
            return [self.base.signed, *([self.root.signed] if self.root else [])]
        return [self.roles["targets"].signed] if "targets" in self.roles else []

    def keyids(self, role: str) -> list[str]:
        """Every key that may sign ``role``."""
        return sorted({key.keyid for delegator in self.delegators(role) for key in role_keys(delegator, role)})


def _open(staged: Staged) -> _Opened:
    def opened(value: dict[str, Any], kind: type[R], what: str) -> Sealed[R]:
        data = Metadata.from_dict(msgspec.json.decode(msgspec.json.encode(value))).to_bytes()
        return open_sealed(data, kind, what=f"staged {what}", cap=ROOT_BYTES if kind is Root else TARGETS_BYTES)

    try:
        return _Opened(
            opened(staged.base_root, Root, "base root"),
            opened(staged.root, Root, "root") if staged.root else None,
            {role: opened(value, Targets, role) for role, value in staged.roles.items()},
        )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InvalidDocument(f"the staged change holds no TUF metadata: {error}", hint="It was altered.") from error
