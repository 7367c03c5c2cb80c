"""The release becomes true: signed metadata names it.

Takes a release that stands at the origin and that every edge serves, gives ``Committed``. The rest is ``trust.commit``.

next: ``pipeline.publish``
"""

from __future__ import annotations

from pipeline.release import Channel, Release
from pipeline.steps.ready import Ready
from pipeline.steps.serve import Served
from pipeline.trust.changes import AddRelease, Change, MoveChannel
from pipeline.trust.commit import Committed, commit_changes
from pipeline.trust.facts import facts_of
from pipeline.trust.view import View


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
    known = release.model in view.models() and channel in view.channels(release.model)
    return Release.parse(view.channel(release.model, channel).release) if known else None
