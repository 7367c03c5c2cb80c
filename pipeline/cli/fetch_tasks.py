"""The tasks of those who use releases: fetch, and the cache.

Takes flags, gives the answers of the walks. Walks are imported inside the tasks (see ``pipeline.cli``).

next: ``trust_tasks``
"""

from __future__ import annotations

from dataclasses import replace

from pipeline.cli.answer import Answer
from pipeline.cli.commands import STORE, Run, command
from pipeline.cli.flags import ALLOW_DOWNGRADE, ALLOW_YANKED, NO_DEPS, OFFLINE, WANT

# The flags of a task that reads from sources.
SOURCES = ("source", "ca_bundle", *STORE)


@command(
    settings=(*SOURCES, "models_dir", "connections", "cache_limit"),
    help={
        "model": WANT,
        "to": "Folder that becomes the release. Default: the folder of its name in models_dir.",
        "include": "Pattern of files to fetch, such as '*.safetensors'; repeat it for more. Default: all.",
        "exclude": "Pattern of files to leave out; repeat it for more. Default: none.",
        "no_deps": NO_DEPS,
        "allow_yanked": ALLOW_YANKED,
        "allow_downgrade": ALLOW_DOWNGRADE,
        "offline": OFFLINE,
    },
)
def fetch(
    run: Run,
    *,
    model: str,
    to: str = "",
    include: tuple[str, ...] = (),
    exclude: tuple[str, ...] = (),
    no_deps: bool = False,
    allow_yanked: bool = False,
    allow_downgrade: bool = False,
    offline: bool = False,
) -> Answer:
    """Fetch a release into a folder, verified to the last byte. Run again after any interruption: it goes on.

    The folder appears under its name only when it is whole. What this machine has already is not fetched again.

    Example: invoke fetch --model bert@stable
    Exit codes: 0 done, 2 unknown or yanked release, dependencies that conflict, destination in use, 3 damaged source,
    4 trust, 5 no source reachable, 6 disk, 130 interrupted.
    """
    from pipeline.cli.fetch_orders import fetch_order
    from pipeline.cli.fetch_summaries import fetch_summary
    from pipeline.fetch import fetch_release

    order = fetch_order(
        run.settings, model=model, to=to, include=include, exclude=exclude, deps=not no_deps, allow_yanked=allow_yanked
    )
    supply = replace(run.supply(offline=offline), allow_downgrade=allow_downgrade)
    fetched = fetch_release(order, supply, run.listen, dry=run.dry)
    return Answer(fetched, fetch_summary(fetched, dry=run.dry))


@command(
    help={"leave": "Bytes that may stay, such as 5GiB: what was used longest ago goes first. Default: all goes."},
    group="cache",
)
def clean(run: Run, *, leave: str = "") -> Answer:
    """Empty the fetch cache, or make it smaller. Installed folders stay as they are.

    A file that an installed folder shares with the cache takes its space until that folder goes too.

    Example: invoke cache.clean --leave 5GiB
    Exit codes: 0 done, 2 not a size, 6 the disk failed.
    """
    from pipeline.cli.fetch_summaries import clean_summary
    from pipeline.setting_checks import parse_size
    from pipeline.sources.cachefolder import CacheFolder

    settings = run.settings
    cache = CacheFolder(settings.places.cache / "fetch", settings.cache_limit)
    removed = cache.shrink(parse_size(leave, "--leave") if leave else 0, dry=run.dry)
    return Answer(removed, clean_summary(removed, dry=run.dry))


WALK = (fetch,)
CACHE = (clean,)
