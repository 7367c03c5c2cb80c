"""The tasks of channels: what users of a channel get from now on.

Takes flags, gives the answers of ``pipeline.promote``.

next: ``trust_tasks``
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pipeline.cli.answer import Answer
from pipeline.cli.commands import STORE, Run, command
from pipeline.cli.flags import ALLOW_UNSAFE_STORE, MODEL, PROMOTE_COLD, QUOTA_OK, RELEASE, SAMPLE

if TYPE_CHECKING:
    from pipeline.promote import Moved

CHANNEL_HELP = "The channel. Default stable."


@command(
    settings=STORE,
    help={
        "model": RELEASE,
        "channel": CHANNEL_HELP,
        "promote_cold": PROMOTE_COLD,
        "sample": SAMPLE,
        "quota_ok": QUOTA_OK,
        "allow_unsafe_store": ALLOW_UNSAFE_STORE,
    },
)
def promote(
    run: Run,
    *,
    model: str,
    channel: str = "",
    promote_cold: bool = False,
    sample: str = "",
    quota_ok: bool = False,
    allow_unsafe_store: bool = False,
) -> Answer:
    """Move a channel to a release that the origin and every edge have; users see it when this ends.

    One signed commit, then a refresh of the one mutable URL and a look whether every edge serves it.

    Example: invoke promote --model bert-v2.1.0 --channel stable
    Exit codes: 0 done, 2 unknown release, 3 an edge lacks it or serves it wrongly, 4 keys or trust, 5 store or edge,
    7 moved, but an edge does not show it yet, 8 yanked, or somebody else moved the channel.
    """
    from pipeline.cli.orders import sample_of
    from pipeline.promote import promote_release
    from pipeline.release import Release, check_channel

    moved = promote_release(
        Release.parse(model),
        check_channel(channel or "stable"),
        run.place,
        run.listen,
        cold=promote_cold,
        sample_percent=sample_of(sample),
        allow_unsafe=allow_unsafe_store,
    )
    return _answer(moved, quota_ok=quota_ok)


@command(
    settings=STORE,
    help={
        "model": MODEL,
        "channel": CHANNEL_HELP,
        "to": "The release to go back to. Default: the one before in the channel's history that is neither yanked nor retired.",
        "sample": SAMPLE,
        "quota_ok": QUOTA_OK,
        "allow_unsafe_store": ALLOW_UNSAFE_STORE,
    },
)
def rollback(
    run: Run,
    *,
    model: str,
    channel: str = "",
    to: str = "",
    sample: str = "",
    quota_ok: bool = False,
    allow_unsafe_store: bool = False,
) -> Answer:
    """Move a channel back to the release before. What an edge lacks of it is fetched after the move, which does not wait.

    A second rollback goes one release further back.

    Example: invoke rollback --model bert --channel stable
    Exit codes: 0 done, 2 there is no release before, 3 objects are gone from the origin, 4 keys or trust, 5 store or edge,
    7 moved, but an edge lacks objects or serves them wrongly, 8 yanked, or somebody else moved the channel.
    """
    from pipeline.cli.orders import sample_of
    from pipeline.promote import rollback_channel
    from pipeline.release import Release, check_channel, check_model

    moved = rollback_channel(
        check_model(model),
        check_channel(channel or "stable"),
        run.place,
        run.listen,
        to=Release.parse(to) if to else None,
        sample_percent=sample_of(sample),
        allow_unsafe=allow_unsafe_store,
    )
    return _answer(moved, quota_ok=quota_ok)


def _answer(moved: Moved, *, quota_ok: bool) -> Answer:
    from pipeline.cli.summaries import moved_summary
    from pipeline.outcome import left_error

    left = left_error(f"{moved.model}@{moved.channel} points to {moved.to}", moved.left)
    return Answer(moved, moved_summary(moved), left=None if quota_ok else left)


WALK = (promote, rollback)
