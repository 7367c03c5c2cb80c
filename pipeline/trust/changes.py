"""What a commit can do: each change is a value that edits a draft, and does nothing where it is done.

Takes a draft over the newest verified state, gives edits or a refusal. Because a change is applied
again after a lost race, and again by a run that was killed, every one is idempotent: it looks at what
stands there, not at what it did before.

next: ``announce``
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Final, Protocol

import msgspec
from securesystemslib.signer import Key

from pipeline.digest import Sha256
from pipeline.errors import ChannelMoved, ConflictError, OtherContent, UnknownName
from pipeline.meant import suggest
from pipeline.release import Channel, ModelName, NameRefused, Release, takes
from pipeline.trust.draft import Draft
from pipeline.trust.facts import PinFact, ReleaseFacts, Retired, Yanked, instant, instant_text, moved_channel
from pipeline.trust.roles import role_keys
from pipeline.trust.view import ReleaseTarget


class Expectation(Enum):
    """What a channel move may assume besides a release."""

    AS_FOUND = "the channel as this commit finds it, whatever that is"


AS_FOUND: Final = Expectation.AS_FOUND


class Change(Protocol):
    """One thing a commit does."""

    def apply(self, draft: Draft) -> None:
        """Edit ``draft``; do nothing if it is so already.

        Raises:
            ConflictError, UnknownName, NotDelegated: nothing of the commit is signed.
        """
        ...


@dataclass(frozen=True, slots=True)
class Delegate:
    """Give a model's role these keys (and put an empty role for a new model into the same snapshot).

    ``threshold`` None leaves how many must sign as it is; of a new role it is 1.
    """

    model: ModelName
    keys: tuple[Key, ...]
    threshold: int | None = None

    def apply(self, draft: Draft) -> None:
        """Edit ``draft``."""
        top = draft.top()
        known = {key.keyid for key in role_keys(top, self.model)}
        before = top.get_delegated_role(self.model).threshold if known else 1
        threshold = self.threshold or before
        if (known, before) != ({key.keyid for key in self.keys}, threshold):
            draft.delegate(self.model, self.keys, threshold)


@dataclass(frozen=True, slots=True)
class AddRelease:
    """Name a release whose manifest and parts stand in the store."""

    release: Release
    manifest_sha256: Sha256
    manifest_size: int
    facts: ReleaseFacts

    def apply(self, draft: Draft) -> None:
        """Edit ``draft``. A release that is there with this manifest is left alone; a retired one never comes back."""
        found = draft.release(self.release)
        if found is not None and found.facts.retired is not None:
            raise retired(self.release, found.facts.retired)
        if found is not None and found.sha256 != self.manifest_sha256:
            raise OtherContent(
                f"{self.release} is published with manifest {found.sha256}, this one is {self.manifest_sha256}",
                hint="A release never changes: publish a new version.",
            )
        if found is None:
            draft.put_release(self.release, self.manifest_sha256, self.manifest_size, self.facts)


@dataclass(frozen=True, slots=True)
class MoveChannel:
    """Let a channel point to a release, if it still points where it was seen.

    ``expected`` is the release it pointed to, None for a channel that did not exist, ``AS_FOUND`` to
    take it as it is. If it points elsewhere by now, the rest of the commit holds and the channel
    stays: ``Committed.refused`` has the ``ChannelMoved``.
    """

    channel: Channel
    to: Release
    by: str
    expected: Release | Expectation | None = AS_FOUND
    forced: bool = False

    def apply(self, draft: Draft) -> None:
        """Edit ``draft``."""
        target = _live(draft, self.to)
        found = draft.channel(self.to.model, self.channel)
        if found is not None and found.release == str(self.to) and found.manifest_sha256 == target.sha256:
            return
        if target.facts.yanked is not None:
            why = f" ({target.facts.yanked.reason})" if target.facts.yanked.reason else ""
            raise ConflictError(
                f"{self.to} is yanked{why}: {self.channel} would point to what fetch refuses",
                hint=f"Take it back first: invoke yank --model {self.to} --undo",
            )
        points_to = found.release if found else "nothing"
        seen = "nothing" if self.expected is None else str(self.expected)
        if not isinstance(self.expected, Expectation) and points_to != seen:
            draft.refused.append(
                ChannelMoved(
                    f"{self.to.model}@{self.channel} pointed to {seen}, by now it points to {points_to}: it stays there",
                    hint=f"Look with `invoke show --model {self.to.model}`; to move it all the same, run: "
                    f"invoke publish --model {self.to} --channel {self.channel}",
                )
            )
            return
        moved = moved_channel(found, self.to, target.sha256, self.channel, at=draft.at, by=self.by, forced=self.forced)
        draft.put_channel(moved)


@dataclass(frozen=True, slots=True)
class RemoveChannel:
    """Let a channel be no more, if it still points to ``expected``; the releases that it named stay."""

    model: ModelName
    channel: Channel
    expected: Release

    def apply(self, draft: Draft) -> None:
        """Edit ``draft``; refuses when somebody moved the channel since."""
        found = draft.channel(self.model, self.channel)
        if found is None:
            return
        if found.release != str(self.expected):
            raise ChannelMoved(
                f"{self.model}@{self.channel} pointed to {self.expected}, by now it points to {found.release}: it stays",
                hint=f"Look with `invoke show --model {self.model}`, then run it again if it shall go all the same.",
            )
        draft.remove_channel(self.model, self.channel)


@dataclass(frozen=True, slots=True)
class Yank:
    """Mark a release as one nobody should take any more."""

    release: Release
    by: str
    reason: str

    def apply(self, draft: Draft) -> None:
        """Edit ``draft``."""
        found = _live(draft, self.release)
        if found.facts.yanked is None:
            mark = Yanked(at=instant_text(draft.at), by=self.by, reason=self.reason)
            _restate(draft, found, msgspec.structs.replace(found.facts, yanked=mark))


@dataclass(frozen=True, slots=True)
class Unyank:
    """Take the mark of a yanked release back."""

    release: Release

    def apply(self, draft: Draft) -> None:
        """Edit ``draft``."""
        found = _live(draft, self.release)
        if found.facts.yanked is not None:
            _restate(draft, found, msgspec.structs.replace(found.facts, yanked=None))


@dataclass(frozen=True, slots=True)
class Retire:
    """Remove a release: its name stays taken, its objects become garbage."""

    release: Release
    by: str
    reason: str

    def apply(self, draft: Draft) -> None:
        """Edit ``draft``; refuses while a channel, a pin or another release needs it."""
        found = draft.release(self.release)
        if found is None:
            raise _unknown(draft, self.release)
        if found.facts.retired is not None:
            return
        needed = next(_needs(draft, self.release), None)
        if needed is not None:
            raise ConflictError(
                f"{self.release} cannot be retired: {needed}", hint="Move or remove what names it, then run it again."
            )
        mark = Retired(at=instant_text(draft.at), by=self.by, reason=self.reason)
        _restate(draft, found, msgspec.structs.replace(found.facts, retired=mark))


@dataclass(frozen=True, slots=True)
class Pin:
    """Keep a release from the collector, for a reason, until a time ("" for ever)."""

    release: Release
    reason: str
    until: str = ""

    def apply(self, draft: Draft) -> None:
        """Edit ``draft``: one pin for each release and reason; those that have expired go."""
        _live(draft, self.release)
        pin = PinFact(release=str(self.release), reason=self.reason, until=self.until)
        if self.until:
            instant(self.until)
        pins = draft.pins(self.release.model)
        if pin not in pins:
            others = [old for old in pins if (old.release, old.reason) != (pin.release, pin.reason) and old.holds(draft.at)]
            draft.put_pins(self.release.model, [*others, pin])


@dataclass(frozen=True, slots=True)
class Unpin:
    """Remove the pins of a release; only those with ``reason`` if one is given."""

    release: Release
    reason: str = ""

    def apply(self, draft: Draft) -> None:
        """Edit ``draft``."""
        pins = draft.pins(self.release.model)
        kept = [pin for pin in pins if pin.release != str(self.release) or self.reason not in {"", pin.reason}]
        if len(kept) != len(pins):
            draft.put_pins(self.release.model, kept)


@dataclass(frozen=True, slots=True)
class Renew:
    """Sign anew what these roles say (``targets`` and model names), and the snapshot; nothing is hashed."""

    roles: tuple[str, ...] = ()

    def apply(self, draft: Draft) -> None:
        """Edit ``draft``."""
        draft.touch()
        for role in self.roles:
            if role == "targets":
                draft.edit_top()
            else:
                draft.edit(ModelName(role))


def retired(release: Release, mark: Retired) -> OtherContent:
    """The error for a release that would come back."""
    return OtherContent(
        f"{release} was retired at {mark.at} by {mark.by}, so its name stays taken",
        hint="Publish this folder under a new version.",
    )


def _live(draft: Draft, release: Release) -> ReleaseTarget:
    found = draft.release(release)
    if found is None or found.facts.retired is not None:
        raise _unknown(draft, release)
    return found


def _unknown(draft: Draft, release: Release) -> UnknownName:
    models = list(draft.model_names())
    names = [str(found.release) for found in draft.releases(release.model)] if release.model in models else models
    return UnknownName(
        f"there is no release {release} in this tree",
        hint=suggest(str(release), names, none=f"Publish it first: invoke publish --model {release}"),
    )


def _restate(draft: Draft, found: ReleaseTarget, facts: ReleaseFacts) -> None:
    draft.put_release(found.release, found.sha256, found.size, facts)


def _needs(draft: Draft, release: Release) -> Iterator[str]:
    model = release.model
    for channel in draft.channels(model):
        document = draft.channel(model, channel)
        if document is not None and document.release == str(release):
            yield f"channel {channel} points to it"
    for pin in draft.pins(model):
        if pin.release == str(release) and pin.holds(draft.at):
            yield f"it is pinned{f' until {pin.until}' if pin.until else ''}: {pin.reason}"
    others = [found.release for found in draft.releases(model) if found.release != release and found.facts.yanked is None]
    for name in draft.model_names():
        for dependent in draft.releases(name):
            for dependency in dependent.facts.dependencies:
                if dependency.model == model and dependent.release != release and _only(dependency.version, release, others):
                    yield f"{dependent.release} depends on {model} {dependency.version} and no other release serves"


def _only(wanted: str, release: Release, others: Sequence[Release]) -> bool:
    try:
        return takes(wanted, release) and not any(takes(wanted, other) for other in others)
    except NameRefused:
        # A range that cannot be read may mean this release.
        return True
