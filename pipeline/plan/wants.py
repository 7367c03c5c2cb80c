"""What a person asks for: ``bert-v2.1.0``, ``bert@stable``, ``bert@^2.1`` or ``bert``.

Takes text, gives a ``Want``.

next: ``plan.fetching``
"""

from __future__ import annotations

from dataclasses import dataclass

from pipeline.release import CHANNEL, Channel, ModelName, NameRefused, Release, check_channel, check_model, check_range


@dataclass(frozen=True, slots=True)
class Want:
    """One model, and exactly one of: its release, a channel, a range of versions; or none: the default channel."""

    model: ModelName
    release: Release | None = None
    channel: Channel | None = None
    versions: str = ""


def read_want(text: str) -> Want:
    """Read what ``--model`` says.

    Raises:
        NameRefused: it is none of the four forms.
    """
    name, at, choice = text.partition("@")
    if at:
        model = check_model(name)
        if not choice:
            raise NameRefused(f"{text!r} ends after '@'", hint="Name a channel or a range: bert@stable, bert@^2.1")
        if CHANNEL.fullmatch(choice) and choice != "x":
            return Want(model, channel=check_channel(choice))
        return Want(model, versions=check_range(choice))
    try:
        release = Release.parse(text)
    except NameRefused as error:
        try:
            return Want(check_model(text))
        except NameRefused:
            raise error from None
    return Want(release.model, release=release)
