"""What signed metadata says of releases, channels and pins: typed, and checked when it is read.

Takes the plain values that TUF carries (``custom`` of a target, the fields ``x-modelport-*``), gives
nouns; docs/format.md §7. Times are UTC in whole seconds, spelled ``2026-11-22T10:00:00Z``.

next: ``sealed``
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, TypeVar

import msgspec

from pipeline.digest import Sha256, is_hex64
from pipeline.errors import InvalidDocument
from pipeline.manifest import INTEGER_LIMIT, PART_BYTES, Dependency, Kind, Manifest
from pipeline.release import Channel, NameRefused, Release, check_channel, check_model
from pipeline.wire import decode_document

SIGNED_AT = "x-modelport-signed-at"
PINS = "x-modelport-pins"
CHANNEL_FORMAT = "modelport-channel"
CHANNEL_BYTES = 1 << 20
HISTORY = 100
_INSTANT = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z")
_INSTANT_FORMAT = "%Y-%m-%dT%H:%M:%SZ"
_HINT = "The tree was not written by modelport, or it was altered."
T = TypeVar("T")


class Yanked(msgspec.Struct, frozen=True, kw_only=True):
    """A release that nobody should take any more, but that can still be fetched by its exact name."""

    at: str
    by: str
    reason: str


class Retired(msgspec.Struct, frozen=True, kw_only=True):
    """A release that is gone; its name stays taken, so that it never comes back with other bytes."""

    at: str
    by: str
    reason: str


class ReleaseFacts(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What the model role says of a release; dependency resolution needs no more.

    ``files`` and ``parts`` are counts, ``plain``, ``stored`` and ``part_size`` bytes.
    """

    kind: Kind
    dependencies: tuple[Dependency, ...]
    files: int
    plain: int
    stored: int
    parts: int
    part_size: int
    created_at: str
    yanked: Yanked | None = None
    retired: Retired | None = None


class Move(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, rename={"origin": "from"}):
    """One entry of a channel's history; ``origin`` is "" for the first."""

    at: str
    by: str
    origin: str
    to: str
    forced: bool = False


class ChannelDocument(msgspec.Struct, frozen=True, kw_only=True):
    """Where a channel points, and its last hundred moves, the newest last."""

    format: str = CHANNEL_FORMAT
    model: str
    channel: str
    release: str
    manifest_sha256: Sha256
    sequence: int
    history: tuple[Move, ...]


class PinFact(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A release that the collector must keep, why, and until when ("" for ever)."""

    release: str
    reason: str
    until: str = ""

    def holds(self, at: datetime) -> bool:
        """Tell whether it keeps the release at ``at``."""
        return not self.until or at <= instant(self.until)


def facts_of(manifest: Manifest, created_at: datetime) -> ReleaseFacts:
    """The facts that agree with ``manifest``."""
    return ReleaseFacts(
        kind=manifest.kind,
        dependencies=manifest.dependencies,
        files=len(manifest.files),
        plain=manifest.plain_bytes,
        stored=manifest.stored_bytes,
        parts=len(manifest.parts),
        part_size=manifest.part_size,
        created_at=instant_text(created_at),
    )


def check_agreement(facts: ReleaseFacts, manifest: Manifest) -> None:
    """Refuse signed facts that say something else than the manifest they were signed for.

    Raises:
        InvalidDocument: naming the first field that differs.
    """
    expected = facts_of(manifest, instant(facts.created_at))
    for field in ("kind", "dependencies", "files", "plain", "stored", "parts", "part_size"):
        said, found = getattr(facts, field), getattr(expected, field)
        if said != found:
            raise InvalidDocument(
                f"{manifest.release}: signed metadata says {field} is {said!r}, its manifest says {found!r}", hint=_HINT
            )


def facts_from_custom(custom: object, what: str) -> ReleaseFacts:
    """Read a release target's ``custom``.

    Raises:
        InvalidDocument: it breaks docs/format.md §7.
    """
    facts = _typed(custom, ReleaseFacts, what)
    counts = (facts.files, facts.plain, facts.stored, facts.parts, facts.part_size)
    if any(not 0 <= count <= INTEGER_LIMIT for count in counts) or not 0 < facts.part_size <= PART_BYTES:
        raise InvalidDocument(f"{what}: a number is out of range", hint=_HINT)
    instant(facts.created_at)
    for mark in (facts.yanked, facts.retired):
        if mark is not None:
            instant(mark.at)
    try:
        for dependency in facts.dependencies:
            check_model(dependency.model)
    except NameRefused as error:
        raise InvalidDocument(f"{what}: {error}", hint=_HINT) from error
    return facts


def pins_from_field(value: object, what: str) -> tuple[PinFact, ...]:
    """Read a model role's ``x-modelport-pins``; a role without the field pins nothing.

    Raises:
        InvalidDocument
    """
    pins = () if value is None else _typed(value, tuple[PinFact, ...], what)
    for pin in pins:
        _release(pin.release, what)
        if pin.until:
            instant(pin.until)
    return pins


def channel_from_bytes(data: bytes, *, model: str, channel: str) -> ChannelDocument:
    """Read a channel's document, whose bytes were verified against its signed digest.

    Raises:
        InvalidDocument: it breaks docs/format.md §7, or speaks of another channel.
    """
    what = f"channel {model}@{channel}"
    document = decode_document(data, ChannelDocument, what=what, cap=CHANNEL_BYTES)
    if document.format != CHANNEL_FORMAT:
        raise InvalidDocument(
            f"{what} has format {document.format!r}, expected {CHANNEL_FORMAT!r}", hint="This tree needs a newer modelport."
        )
    if (document.model, document.channel) != (model, channel):
        raise InvalidDocument(f"{what}: its document speaks of {document.model}@{document.channel}", hint=_HINT)
    if _release(document.release, what).model != model or not is_hex64(document.manifest_sha256):
        raise InvalidDocument(f"{what} points to {document.release!r}, which is no release of {model}", hint=_HINT)
    if not 1 <= document.sequence <= INTEGER_LIMIT or len(document.history) > HISTORY:
        raise InvalidDocument(f"{what}: sequence or history is out of range", hint=_HINT)
    for move in document.history:
        instant(move.at)
    return document


def moved_channel(
    old: ChannelDocument | None,
    release: Release,
    manifest_sha256: Sha256,
    channel: Channel,
    *,
    at: datetime,
    by: str,
    forced: bool,
) -> ChannelDocument:
    """The channel's next document: one step in sequence, the move at the end of its history."""
    move = Move(at=instant_text(at), by=by, origin=old.release if old else "", to=str(release), forced=forced)
    return ChannelDocument(
        model=release.model,
        channel=check_channel(channel),
        release=str(release),
        manifest_sha256=manifest_sha256,
        sequence=old.sequence + 1 if old else 1,
        history=(*(old.history if old else ()), move)[-HISTORY:],
    )


def as_plain(value: object) -> Any:
    """A noun as the plain values that TUF metadata carries."""
    return msgspec.to_builtins(value)


def instant(text: object) -> datetime:
    """Read a time as the format spells it.

    Raises:
        InvalidDocument
    """
    if isinstance(text, str) and _INSTANT.fullmatch(text):
        try:
            return datetime.strptime(text, _INSTANT_FORMAT).replace(tzinfo=UTC)
        except ValueError:
            pass
    raise InvalidDocument(f"{text!r} is not a time, expected the form 2026-11-22T10:00:00Z", hint=_HINT)


def instant_text(at: datetime) -> str:
    """Spell a time as the format does: UTC, the second begun."""
    return at.astimezone(UTC).strftime(_INSTANT_FORMAT)


def signed_at(fields: Mapping[str, Any], what: str) -> datetime:
    """The signed time of a snapshot or timestamp.

    Raises:
        InvalidDocument: it is missing or malformed.
    """
    if SIGNED_AT not in fields:
        raise InvalidDocument(f"{what} has no {SIGNED_AT}", hint=_HINT)
    return instant(fields[SIGNED_AT])


def _typed(value: object, kind: type[T], what: str) -> T:
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        raise InvalidDocument(f"{what} is not what it must be: {error}", hint=_HINT) from error


def _release(text: str, what: str) -> Release:
    try:
        return Release.parse(text)
    except NameRefused as error:
        raise InvalidDocument(f"{what}: {error}", hint=_HINT) from error
