"""The tasks around what stays and what goes: pins, and the collection of garbage.

Takes flags, gives the answers of the walks. Walks are imported inside the tasks (see ``pipeline.cli``).

next: ``fetch_tasks``
"""

from __future__ import annotations

from pipeline.cli.answer import Answer
from pipeline.cli.commands import STORE, Run, command
from pipeline.cli.flags import ALLOW_UNSAFE_STORE, REASON, RELEASE, UNDO


@command(
    settings=STORE,
    help={
        "model": f"{RELEASE} Repeat it for more, in one commit.",
        "reason": f"{REASON} A pin needs one, which is its name; --undo takes back the pin of this reason, or without it all of the release.",
        "until": "How long: a span (30d, 8w, 1y = 365 days), a day (UTC) or a time with its zone. Default: for ever.",
        "undo": UNDO,
        "allow_unsafe_store": ALLOW_UNSAFE_STORE,
    },
)
def keep(
    run: Run,
    *,
    model: tuple[str, ...] = (),
    reason: str = "",
    until: str = "",
    undo: bool = False,
    allow_unsafe_store: bool = False,
) -> Answer:
    """Pin a release, signed: it cannot be retired, and gc keeps all of it, until the pin ends or is taken back.

    Example: invoke keep --model bert-v2.1.0 --reason "shipped to site A" --until 1y
    Exit codes: 0 done, 2 unknown release or not a time, 4 keys or trust, 5 store, 8 conflict.
    """
    from pipeline.cli.garbage_summaries import keep_summary
    from pipeline.cli.times import end_of
    from pipeline.errors import UsageError
    from pipeline.keeping import keep_releases, release_pins
    from pipeline.release import Release

    if undo and until:
        raise UsageError("--undo and --until contradict each other", hint="Give another time without --undo.")
    if not model:
        raise UsageError("--model is needed", hint="As in --model bert-v2.1.0.")
    releases = [Release.parse(name) for name in model]
    if undo:
        done = release_pins(releases, run.place, run.listen, reason=reason, allow_unsafe=allow_unsafe_store)
    else:
        end = end_of(until, "--until") if until else None
        done = keep_releases(releases, run.place, run.listen, reason=reason, until=end, allow_unsafe=allow_unsafe_store)
    return Answer(done, keep_summary(done))


@command(
    settings=STORE,
    help={
        "apply": "Record what nothing needs, and delete what an earlier run recorded long enough ago. Default: only plan.",
        "grace": "How long parts, manifests, channels' documents and web files wait after they were recorded. Default 7d, at least 1d.",
        "metadata_grace": "How long files of roles wait. Default 30d, at least 1d.",
    },
)
def gc(run: Run, *, apply: bool = False, grace: str = "", metadata_grace: str = "") -> Answer:
    """Show what no release, pin, channel, lease or web view needs, when it may go, and what keeps the rest.

    With --apply it is recorded, and deleted by a run that comes after the grace, counted by the store's clock from that
    record. It stops where somebody publishes. No key is needed.

    Example: invoke gc --apply
    Exit codes: 0 done (also when it stopped for a publisher), 2 flags, 3 a release lacks its manifest, 4 trust,
    5 store, or it does not let us delete, 6 disk.
    """
    from pipeline.cli.garbage_summaries import gc_summary
    from pipeline.cli.times import span_of
    from pipeline.collect import CollectOrder, collect_garbage

    order = CollectOrder(
        span_of(grace or "7d", "--grace"), span_of(metadata_grace or "30d", "--metadata-grace"), apply=apply and not run.dry
    )
    done = collect_garbage(order, run.place, run.listen)
    return Answer(done, gc_summary(done))


WALK = (keep, gc)
