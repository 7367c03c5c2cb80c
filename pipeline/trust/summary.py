"""What a person should know of a tree's trust: roots, keys, thresholds, versions, expiry, pins.

Takes a survey or a view; gives plain values for ``invoke trust.show``, in words and in JSON.

next: ``ceremony``
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec
from tuf.api.metadata import Root, Targets

from pipeline.trust.facts import SIGNED_AT, instant_text
from pipeline.trust.roles import delegated_models, meta_versions
from pipeline.trust.view import View


class RoleSummary(msgspec.Struct, frozen=True, kw_only=True):
    """One role. ``expires`` is "" for a model's role that was not loaded."""

    role: str
    version: int
    keys: tuple[str, ...]
    threshold: int
    expires: str


class TrustSummary(msgspec.Struct, frozen=True, kw_only=True):
    """A tree's trust. ``fingerprint`` is of the newest root, ``signed_at`` of the newest snapshot."""

    fingerprint: str
    root: int
    signed_at: str
    pins: tuple[str, ...]
    roles: tuple[RoleSummary, ...]
    notes: tuple[str, ...]


def summary_of(view: View) -> TrustSummary:
    """Summarise a verified view."""
    document = view.state.read()
    return TrustSummary(
        fingerprint=view.fingerprint,
        root=view.root.version,
        signed_at=str(view.snapshot.signed.unrecognized_fields.get(SIGNED_AT, "")),
        pins=document.pins,
        roles=tuple(_roles(view)),
        notes=tuple(f"{note.at} {note.what}" for note in document.notes),
    )


def _roles(view: View) -> Iterator[RoleSummary]:
    root, targets = view.root.signed, view.targets.signed
    versions = meta_versions(view.snapshot.signed)
    expiry = {
        "root": root.expires,
        "targets": targets.expires,
        "snapshot": view.snapshot.signed.expires,
        "timestamp": view.snapshot.signed.expires,
        **{model: role.signed.expires for model, role in view.loaded().items()},
    }
    versions |= {"root": root.version, "snapshot": view.snapshot.version, "timestamp": view.snapshot.version}
    tops: list[tuple[str, Root | Targets]] = [(role, root) for role in ("root", "targets", "snapshot", "timestamp")]
    for role, delegator in [*tops, *((str(model), targets) for model in delegated_models(targets))]:
        named = delegator.get_delegated_role(role)
        yield RoleSummary(
            role=role,
            version=versions.get(role, 0),
            keys=tuple(named.keyids),
            threshold=named.threshold,
            expires=instant_text(expiry[role]) if role in expiry else "",
        )
