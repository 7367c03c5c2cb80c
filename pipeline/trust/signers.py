"""Who signs a tree: every role with its version, expiry, threshold and keys, and what a place pins.

Takes a verified view and what is remembered of the tree; gives what a person or a program should know of them.

next: ``pipeline.custody``
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from pipeline.errors import ObjectMissing
from pipeline.release import ModelName
from pipeline.trust.facts import instant_text
from pipeline.trust.roles import role_keys
from pipeline.trust.state import TrustState
from pipeline.trust.view import View


@dataclass(frozen=True, slots=True)
class RoleShown:
    """A role as signed metadata states it. ``version`` is 0 and ``expires_at`` "" where a reader sees none."""

    role: str
    version: int
    expires_at: str
    threshold: int
    keys: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class TrustShown:
    """The trust of a tree: its newest root, who signs what, and what this place pins and has noted."""

    store: str
    fingerprint: str
    root: int
    signed_at: str
    roles: tuple[RoleShown, ...]
    pins: tuple[str, ...]
    notes: tuple[str, ...]


def describe_trust(view: View, state: TrustState) -> TrustShown:
    """Say who signs a verified tree, and what this machine pins there."""
    document = state.read()
    return TrustShown(
        store=view.source.url,
        fingerprint=view.fingerprint,
        root=view.root.version,
        signed_at=document.signed_at,
        roles=tuple(_roles(view, view.models())),
        pins=document.pins,
        notes=tuple(f"{note.at} {note.what}" for note in document.notes),
    )


def describe_signers(view: View, model: ModelName) -> tuple[RoleShown, ...]:
    """The roles that stand between the root and the releases of one model."""
    return tuple(_roles(view, [model]))


def _roles(view: View, models: Iterable[ModelName]) -> Iterator[RoleShown]:
    top: dict[str, Any] = {"root": view.root, "targets": view.targets, "snapshot": view.snapshot, "timestamp": view.timestamp}
    for role, sealed in top.items():
        yield _role(role, sealed, view.root.signed)
    for model in models:
        sealed = None
        with suppress(ObjectMissing):  # A bundle, and the tree that a site keeps of it, have the roles of their own models only.
            sealed = view.model(model)
        yield _role(model, sealed, view.targets.signed)


def _role(role: str, sealed: Any, delegator: Any) -> RoleShown:
    version, expires_at = (sealed.version, instant_text(sealed.signed.expires)) if sealed else (0, "")
    keys = tuple(key.keyid for key in role_keys(delegator, role))
    return RoleShown(role, version, expires_at, delegator.get_delegated_role(role).threshold, keys)
