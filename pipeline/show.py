"""Show: what a tree holds: models, releases, channels and pins.

Takes a place and perhaps a model, gives a ``Shown`` tree; everything in it is verified.

next: ``pipeline.promote``
"""

from __future__ import annotations

import msgspec

from pipeline.errors import ObjectMissing
from pipeline.place import Place
from pipeline.release import ModelName
from pipeline.trust.facts import ChannelDocument, Move
from pipeline.trust.view import ReleaseTarget, View


class ShownVersion(msgspec.Struct, kw_only=True):
    """A release in a listing; sizes in bytes."""

    release: str
    created_at: str
    kind: str
    files: int
    plain: int
    stored: int
    parts: int
    yanked: str
    retired: str


class ShownPin(msgspec.Struct, kw_only=True):
    """A pin: what it keeps, why, and until when ("" for ever); one that ended is shown until it is taken back."""

    release: str
    reason: str
    until: str


class ShownModel(msgspec.Struct, kw_only=True):
    """A model: its releases in SemVer order, where its channels point, by which moves (the newest last), and its pins."""

    model: str
    releases: list[ShownVersion]
    channels: dict[str, str]
    history: dict[str, list[Move]]
    pins: list[ShownPin]


class Shown(msgspec.Struct, kw_only=True):
    """A tree."""

    store: str
    root_fingerprint: str
    snapshot: int
    expires_at: str
    models: list[ShownModel]
    warnings: list[str]


def show_tree(place: Place, model: ModelName | None = None) -> Shown:
    """List every model of the tree, or only ``model``.

    Raises:
        UnknownName, TrustError, IntegrityError, UnavailableError
    """
    view = place.view()
    if model is not None:
        view.model(model)
    names = [model] if model is not None else list(view.models())
    if place.media:
        # A bundle has the roles of its own models only; the others are listed in its snapshot.
        names = [name for name in names if _is_carried(view, name)]
    return Shown(
        store=place.store.url,
        root_fingerprint=view.fingerprint,
        snapshot=view.snapshot.version,
        expires_at=view.snapshot.signed.expires.strftime("%Y-%m-%dT%H:%M:%SZ"),
        models=[_model(view, name) for name in names],
        warnings=list(view.warnings),
    )


def _model(view: View, model: ModelName) -> ShownModel:
    channels = channels_of(view, model)
    return ShownModel(
        model=model,
        releases=[_version(target) for target in view.releases(model, retired=True)],
        channels={name: document.release for name, document in channels.items()},
        history={name: list(document.history) for name, document in channels.items()},
        pins=pins_of(view, model),
    )


def _is_carried(view: View, model: ModelName) -> bool:
    try:
        view.model(model)
    except ObjectMissing:
        return False
    return True


def _version(target: ReleaseTarget) -> ShownVersion:
    facts = target.facts
    return ShownVersion(
        release=str(target.release),
        created_at=facts.created_at,
        kind=facts.kind,
        files=facts.files,
        plain=facts.plain,
        stored=facts.stored,
        parts=facts.parts,
        yanked=facts.yanked.reason or facts.yanked.at if facts.yanked else "",
        retired=facts.retired.reason or facts.retired.at if facts.retired else "",
    )


def pins_of(view: View, model: ModelName) -> list[ShownPin]:
    """The pins of a model."""
    return [ShownPin(release=pin.release, reason=pin.reason, until=pin.until) for pin in view.pins(model)]


def channels_of(view: View, model: ModelName) -> dict[str, ChannelDocument]:
    """Where each channel of a model points."""
    return {channel: view.channel(model, channel) for channel in view.channels(model)}
