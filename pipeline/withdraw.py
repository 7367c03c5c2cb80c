"""Withdraw: yank a release so that nobody takes it any more, or retire it, or a channel, for good. All are commits.

Takes a release, or a channel, and a place, gives ``Withdrawn``. A yanked release can still be fetched by its exact
name; a retired one is gone once garbage is collected, and its name stays taken. A channel can be begun again.

next: ``pipeline.stores``
"""

from __future__ import annotations

from functools import partial

import msgspec

from pipeline.errors import ConflictError
from pipeline.events import Listener
from pipeline.layout import WEB
from pipeline.place import Heard, Place
from pipeline.release import Channel, ModelName, Release
from pipeline.steps.lease import held_lease
from pipeline.steps.probe import probe_store
from pipeline.steps.ready import ready_to_sign
from pipeline.trust.changes import Change, RemoveChannel, Retire, Unyank, Yank
from pipeline.trust.commit import commit_changes


class Withdrawn(msgspec.Struct, kw_only=True):
    """What a commit did to a release; ``changed`` is False when it was so already.

    ``channel``, where it is not "", is what was removed; the release it pointed to stays as it is.
    """

    release: str
    action: str
    changed: bool
    snapshot: int
    root_fingerprint: str
    store: str
    warnings: list[str]
    channel: str = ""


def yank_release(
    release: Release, place: Place, listen: Listener, *, reason: str, undo: bool = False, allow_unsafe: bool = False
) -> Withdrawn:
    """Mark ``release`` as one that nobody should take, or take the mark back.

    Raises:
        UnknownName, TrustError, UnavailableError, ConflictError
    """
    change = Unyank(release) if undo else Yank(release, place.by, reason)
    return _commit(release, place, listen, "unyank" if undo else "yank", change, allow_unsafe=allow_unsafe)


def retire_release(release: Release, place: Place, listen: Listener, *, reason: str, allow_unsafe: bool = False) -> Withdrawn:
    """Remove ``release``; refused while a channel, a pin or another release's dependency needs it.

    Raises:
        ConflictError: what needs it.
        UnknownName, TrustError, UnavailableError
    """
    return _commit(release, place, listen, "retire", Retire(release, place.by, reason), allow_unsafe=allow_unsafe)


def retire_channel(
    model: ModelName, channel: Channel, place: Place, listen: Listener, *, allow_unsafe: bool = False
) -> Withdrawn:
    """Remove ``channel`` of ``model``; what it pointed to stays. Whoever names it from now on is told that it is not there.

    Raises:
        UnknownName: there is no such channel.
        ConflictError: the web view shows it.
        ChannelMoved: somebody moved it meanwhile.
        TrustError, UnavailableError
    """
    view = place.view()
    points_to = Release.parse(view.channel(model, channel).release)
    if channel == place.web_channel and view.release(points_to, retired=True).facts.kind == "web":
        raise ConflictError(
            f"{model}@{channel} cannot be removed: {WEB}{model}/ shows it",
            hint="Let the setting web.channel name another channel, and run invoke web.sync, first.",
        )
    change = RemoveChannel(model, channel, points_to)
    done = _commit(points_to, place, listen, "retire", change, allow_unsafe=allow_unsafe)
    return msgspec.structs.replace(done, channel=channel)


def _commit(release: Release, place: Place, listen: Listener, action: str, change: Change, *, allow_unsafe: bool) -> Withdrawn:
    heard = Heard(listen)
    place.view().release(release, retired=True)
    probe = partial(probe_store, place.store, allow_unsafe=allow_unsafe)
    ready = ready_to_sign(place.publisher(heard.listen), place.keys, release, probe=probe)
    probe()
    with held_lease(place.store, str(release), heard.listen) as lease:
        committed = commit_changes(ready.publisher, [change])
        place.show(heard.listen, lease.key)
    return Withdrawn(
        release=str(release),
        action=action,
        changed=committed.changed,
        snapshot=committed.snapshot,
        root_fingerprint=committed.view.fingerprint,
        store=place.store.url,
        warnings=heard.warnings,
    )
