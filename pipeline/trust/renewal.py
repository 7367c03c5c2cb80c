"""Signing anew before metadata expires: the same words, a new life; nothing is hashed.

Takes a publisher; gives the commit. What the keys at hand can sign is renewed, the rest is told.

next: ``ceremony``
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta

from tuf.api.metadata import Root, Targets

from pipeline.errors import BadSignature, KeyUnusable
from pipeline.trust.changes import Renew
from pipeline.trust.commit import Committed, commit_changes
from pipeline.trust.facts import instant_text
from pipeline.trust.publisher import Publisher
from pipeline.trust.roles import delegated_models
from pipeline.trust.rotate import change_root
from pipeline.trust.survey import survey_store

# A root lives five years, and every new one lengthens the chain that clients follow.
RENEW_ROOT_WITHIN = timedelta(days=365)


@dataclass(frozen=True)
class Renewed:
    """The roles that were signed anew, those whose keys are elsewhere, and the commit."""

    roles: tuple[str, ...]
    left: tuple[str, ...]
    committed: Committed


def renew_trust(publisher: Publisher, *, settle: Callable[[], None] | None = None) -> Renewed:
    """Sign anew everything the keys at hand can sign; the root only in its last year.

    Raises:
        KeyUnusable: the release key is not at hand.
    """
    found = survey_store(publisher)
    if found.view is None:
        raise BadSignature(f"{publisher.store.url} has no snapshot yet", hint="Run: invoke trust.init")
    root, targets = found.root.signed, found.view.targets.signed
    roles: list[str] = []
    left: list[str] = []
    if root.expires - publisher.now() < RENEW_ROOT_WITHIN:
        if _can_sign(publisher, root, "root"):
            change_root(publisher, {}, settle=settle)
            roles.append("root")
        else:
            left.append("root")
            publisher.warn("root-expires", f"root {root.version} expires at {instant_text(root.expires)}")
    wanted = ["targets"] if _can_sign(publisher, root, "targets") else []
    wanted += [model for model in delegated_models(targets) if _can_sign(publisher, targets, model)]
    left += [role for role in ("targets", *delegated_models(targets)) if role not in wanted]
    committed = commit_changes(publisher, [Renew(tuple(wanted))])
    return Renewed((*roles, *wanted, "snapshot", "timestamp"), tuple(left), committed)


def _can_sign(publisher: Publisher, delegator: Root | Targets, role: str) -> bool:
    wanted = delegator.get_delegated_role(role)
    try:
        return len(publisher.keys.signers(role, wanted.keyids)) >= wanted.threshold
    except KeyUnusable as error:
        publisher.warn("key-unusable", f"{role} is not renewed: {error}")
        return False
