"""The release becomes true: signed metadata names it.

Takes a release that stands at the origin and that every edge serves, gives ``Committed``. The rest is ``trust.commit``.

next: ``pipeline.publish``
"""

from __future__ import annotations

from collections.abc import Sequence

from pipeline.events import Listener, Warned
from pipeline.meant import nearest
from pipeline.release import Channel, ModelName, Release
from pipeline.steps.ready import Ready
from pipeline.steps.serve import Served
from pipeline.trust.changes import AddRelease, Change, MoveChannel
from pipeline.trust.commit import Committed, commit_changes
from pipeline.trust.facts import ChannelDocument, facts_of
from pipeline.trust.view import View

# Of 1, how like a known name a new one reads that was probably mistyped.
_ALIKE = 0.75


def commit_release(served: Served, ready: Ready, *, channel: Channel | None, by: str, forced: bool = False) -> Committed:
    """Commit the release, moving ``channel`` to it in the same snapshot; ``forced`` is recorded with the move.

    The first release of a model brings the model's role with it.

    Raises:
        OtherContent, NotDelegated, KeyUnusable, ClockSkew, UnavailableError
    """
    placed, publisher = served.placed, ready.publisher
    facts = facts_of(placed.manifest, publisher.now())
    changes: list[Change] = [ready.delegation] if ready.delegation else []
    changes.append(AddRelease(placed.release, placed.sha256, placed.size, facts))
    if channel is not None:
        changes.append(channel_move(ready.view, placed.release, channel, by, forced=forced))
    return commit_changes(publisher, changes)


def channel_move(view: View, release: Release, channel: Channel, by: str, *, forced: bool = False) -> MoveChannel:
    """Move ``channel`` to ``release`` if it still points where ``view`` shows it when that is committed."""
    return MoveChannel(channel, release, by, expected=shown_by(view, release, channel), forced=forced)


def shown_by(view: View, release: Release, channel: Channel) -> Release | None:
    """Where ``channel`` of the release's model points, None where it is not there yet."""
    found = channel_of(view, release, channel)
    return Release.parse(found.release) if found else None


def channel_of(view: View, release: Release, channel: Channel) -> ChannelDocument | None:
    """What is signed of ``channel`` of the release's model, None where it is not there yet."""
    known = release.model in view.models() and channel in view.channels(release.model)
    return view.channel(release.model, channel) if known else None


def tell_new_channel(view: View, release: Release, channel: Channel, listen: Listener) -> None:
    """Warn where ``channel`` is not there yet and reads like one that is: whoever mistypes it makes a channel that nobody reads."""
    known = view.channels(release.model) if release.model in view.models() else ()
    if channel not in known and (near := nearest(channel, known, cutoff=_ALIKE)):
        listen(Warned("new-channel", f"{channel} is a new channel of {release.model}: did you mean {near}?"))


def tell_new_model(view: View, model: ModelName, listen: Listener, *, roles: Sequence[str] = ()) -> None:
    """Warn where ``model`` is not there yet and reads like one that is, or like one of ``roles``: it gets a role of its own."""
    known = view.models()
    if model not in known and (near := nearest(model, (*roles, *known), cutoff=_ALIKE)):
        listen(Warned("new-model", f"{model} is a new model of this tree: did you mean {near}?"))
