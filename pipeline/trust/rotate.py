"""Changing keys without a reader ever refusing: a new root is led in, announced on both sides of it.

Takes a publisher and new signers; gives the new root. Docs/format.md §8: first targets, snapshot and
timestamp signed by the old and the new keys are committed and announced, then the root is written,
then they are signed by the new keys alone. What stands in the store says how far that came, so a run
that was killed continues. If the old key is lost the root goes first, and readers refuse in between.

A reader that asked for roots just before the new one was written still holds the old one when it
reads the timestamp. So the signatures of the old keys stay until such readers are through
(``SETTLE_S``; docs/adr/0030).

next: ``renewal``
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from securesystemslib.signer import Key, Signer
from tuf.api.metadata import Root

from pipeline.digest import sha256_of
from pipeline.errors import BadSignature, ConflictError, ObjectExists
from pipeline.layout import role_key
from pipeline.release import ModelName
from pipeline.trust.announce import signers_for
from pipeline.trust.chain import read_root
from pipeline.trust.changes import Change, Delegate
from pipeline.trust.commit import Committed, commit_changes
from pipeline.trust.draft import Draft
from pipeline.trust.publisher import Publisher
from pipeline.trust.roles import delegated_models, next_root, role_keys
from pipeline.trust.sealed import Sealed, check_signed, is_signed, seal
from pipeline.trust.survey import Survey, survey_store

STEPS = ("rotate.root", "rotate.names", "rotate.settle", "rotate.finish")
# Longer than a client needs from asking for roots to reading the timestamp, caches of an edge included.
SETTLE_S = 10.0
ATTEMPTS = 20

RootRole = Literal["root", "targets", "snapshot", "timestamp"]
TopKey = Literal["root", "targets", "snapshot", "timestamp", "release"]


@dataclass(frozen=True)
class Rotated:
    """The root that stands now, and the commit that followed it."""

    root: Sealed[Root]
    committed: Committed


@dataclass(frozen=True, slots=True)
class Resign:
    """Sign the snapshot anew, and the targets role too."""

    targets: bool = False

    def apply(self, draft: Draft) -> None:
        """Edit ``draft``."""
        draft.touch()
        if self.targets:
            draft.edit_top()


@dataclass(frozen=True, slots=True)
class LeadIn:
    """Sign anew what does not verify under ``root`` yet; what does, perhaps by a run that was killed, stays."""

    root: Root

    def apply(self, draft: Draft) -> None:
        """Edit ``draft``."""
        view = draft.view
        if view is None:
            return
        if "targets" not in draft.sealed and not is_signed(self.root, "targets", view.targets):
            draft.edit_top()
        if not is_signed(self.root, "snapshot", view.snapshot):
            draft.touch()
        announced = view.timestamp
        # One of a lower version is being replaced by this very commit, with both signatures.
        if announced and announced.version == view.snapshot.version and not is_signed(self.root, "timestamp", announced):
            draft.touch()


def rotate_key(
    publisher: Publisher,
    role: TopKey,
    new: Sequence[Signer],
    *,
    lost: bool = False,
    settle: Callable[[], None] | None = None,
) -> Rotated:
    """Replace the key of a top-level role; ``release`` is snapshot, timestamp and every model that used it.

    ``publisher.keys`` hold the old keys (unless ``lost``) and the root key; ``settle`` waits until
    readers that asked for roots before the new one are through.

    Raises:
        KeyUnusable: before anything is written.
        ConflictError: another root was published meanwhile.
    """
    publisher = replace(publisher, keys=publisher.keys.with_signers(*new))
    found = survey_store(publisher)
    roles: tuple[RootRole, ...] = ("snapshot", "timestamp") if role == "release" else (role,)
    wanted = [signer.public_key for signer in new]
    changes = _redelegations(found, roles, wanted) if role == "release" else []
    root = found.root.signed
    if all(set(root.roles[name].keyids) == {key.keyid for key in wanted} for name in roles):
        return Rotated(found.root, _finish(publisher, changes))
    following = next_root(root, publisher.signing_time(None), dict.fromkeys(roles, wanted))
    return advance_root(publisher, sign_root(publisher, root, following), changes, lost=lost, settle=settle)


def rotate_model_key(publisher: Publisher, model: ModelName, new: Sequence[Signer]) -> Committed:
    """Replace the keys of a model's role; the role is signed anew in the same snapshot as the targets.

    How many of them must sign stays as it is.

    Raises:
        KeyUnusable: the targets key is not at hand.
        UsageError: ``new`` are fewer keys than must sign.
    """
    publisher = replace(publisher, keys=publisher.keys.with_signers(*new))
    return commit_changes(publisher, [Delegate(model, tuple(signer.public_key for signer in new))])


def change_root(
    publisher: Publisher,
    keys: Mapping[str, Sequence[Key]],
    thresholds: Mapping[str, int] | None = None,
    *,
    settle: Callable[[], None] | None = None,
) -> Rotated:
    """Publish a root with other keys or thresholds, with enough keys at hand on this machine.

    Without arguments it renews the root: the same keys, a new life.
    """
    found = survey_store(publisher)
    following = next_root(found.root.signed, publisher.signing_time(None), keys, thresholds)
    if (keys or thresholds) and following.roles == found.root.signed.roles:
        return Rotated(found.root, _finish(publisher, []))
    return advance_root(publisher, sign_root(publisher, found.root.signed, following), [], settle=settle)


def sign_root(publisher: Publisher, root: Root, following: Root) -> Sealed[Root]:
    """Sign the root after ``root`` with enough keys of both.

    Raises:
        KeyUnusable
    """
    return seal(following, signers_for(publisher, "root", [root, following]))


def advance_root(
    publisher: Publisher,
    proposed: Sealed[Root],
    changes: Sequence[Change],
    *,
    lost: bool = False,
    settle: Callable[[], None] | None = None,
) -> Rotated:
    """Lead a signed root in, as the module says; ``changes`` are committed before it.

    Raises:
        BadSignature: too few keys of the newest root, or of itself, signed it.
        ConflictError: another root of this number stands in the store.
        KeyUnusable
    """
    for _ in range(ATTEMPTS):
        found = survey_store(publisher)
        if found.root.version >= proposed.version:
            _check_ours(publisher, proposed)
            break
        what = f"the new root {proposed.version}"
        check_signed(found.root.signed, "root", proposed, what=what)
        check_signed(proposed.signed, "root", proposed, what=what)
        if not lost and not (_verifies(found, proposed.signed) and _applied(publisher, found, changes)):
            commit_changes(publisher, [*changes, LeadIn(proposed.signed)], next_root=proposed.signed)
            # Looked at again: another publisher may have announced with its old key alone.
            continue
        if lost:
            publisher.warn("readers-refuse", "the old key is lost: readers refuse until the new timestamp is written")
        publisher.step("rotate.root")
        if _put_root(publisher, proposed):
            break
    else:
        raise ConflictError("other publishers kept committing with the old key", hint="Stop them, then run it again.")
    publisher.step("rotate.names")
    publisher.prove_names([role_key("root", proposed.version)])
    after = survey_store(publisher)
    if _verifies(after, proposed.signed):
        publisher.step("rotate.settle")
        (settle or (lambda: publisher.pause(SETTLE_S)))()
    return Rotated(proposed, _finish(publisher, changes))


def _finish(publisher: Publisher, changes: Sequence[Change]) -> Committed:
    publisher.step("rotate.finish")
    found = survey_store(publisher)
    root = found.root.signed
    view = found.view
    targets = False
    if view is not None:
        foreign = set(view.targets.metadata.signatures) - set(root.roles["targets"].keyids)
        unsigned = not is_signed(root, "targets", view.targets)
        at_hand = publisher.keys.signers("targets", root.roles["targets"].keyids)
        # Signatures of keys that are gone do no harm; where the new ones are elsewhere, they stay.
        targets = unsigned or (bool(foreign) and len(at_hand) >= root.roles["targets"].threshold)
    return commit_changes(publisher, [*changes, Resign(targets=targets)])


def _redelegations(found: Survey, roles: Sequence[RootRole], wanted: Sequence[Key]) -> list[Change]:
    """For each model whose role the old release key signs: the new key in its place, beside those of other holders."""
    if found.view is None:
        return []
    targets = found.view.targets.signed
    new = {key.keyid for key in wanted}
    # The chain remembers the keys that were replaced, which a run that continues must still find.
    old = {
        keyid
        for past in [found.root, *found.view.state.roots()]
        for name in roles
        for keyid in past.signed.roles[name].keyids
        if keyid not in new
    }
    keys = {model: role_keys(targets, model) for model in delegated_models(targets)}
    stale = [model for model, named in keys.items() if old & {key.keyid for key in named}]
    return [Delegate(model, (*(key for key in keys[model] if key.keyid not in old | new), *wanted)) for model in stale]


def _verifies(found: Survey, root: Root) -> bool:
    view = found.view
    if view is None or view.timestamp is None or not found.is_announced:
        return False
    return (
        is_signed(root, "timestamp", view.timestamp)
        and is_signed(root, "snapshot", view.snapshot)
        and is_signed(root, "targets", view.targets)
    )


def _applied(publisher: Publisher, found: Survey, changes: Sequence[Change]) -> bool:
    draft = Draft(found.root.signed, found.view, publisher.signing_time(None))
    for change in changes:
        change.apply(draft)
    return not draft.changed


def _put_root(publisher: Publisher, root: Sealed[Root]) -> bool:
    try:
        publisher.store.put(role_key("root", root.version), root.data, sha256=sha256_of(root.data), if_absent=True)
    except ObjectExists:
        return False
    return True


def _check_ours(publisher: Publisher, proposed: Sealed[Root]) -> None:
    there = read_root(publisher.store, proposed.version)
    if there is None:
        raise BadSignature(f"root {proposed.version} is gone from {publisher.store.url}", hint="Restore metadata/.")
    if there.signed_sha256 != proposed.signed_sha256:
        raise ConflictError(
            f"root {proposed.version} was published by somebody else, fingerprint {there.sha256}",
            hint="Look at it with `invoke trust.show`, then begin this change again.",
        )
