"""The tasks of those who use releases: fetch, and the cache.

Takes flags, gives the answers of the walks. Walks are imported inside the tasks (see ``pipeline.cli``).

next: ``trust_tasks``
"""

from __future__ import annotations

from dataclasses import replace

from pipeline.cli.answer import Answer
from pipeline.cli.commands import STORE, Run, command

# The flags of a task that reads from sources.
SOURCES = ("source", "ca_bundle", *STORE)


@command(
    settings=(*SOURCES, "models_dir", "connections", "cache_limit"),
    help={
        "model": "What to fetch: bert-v2.1.0, bert@stable, bert@^2.1, or bert for the source's channel.",
        "to": "Folder that becomes the release. Default: the folder of its name in models_dir.",
        "include": "Pattern of files to fetch, such as '*.safetensors'; repeat it for more. Default: all.",
        "exclude": "Pattern of files to leave out; repeat it for more. Default: none.",
        "no_deps": "Leave the release's dependencies out. Default: they are fetched beside it.",
        "allow_yanked": "Take a release that was yanked, named exactly. Default: refused.",
        "allow_downgrade": "From media: take a model though newer metadata of it was read here (recorded). Default: refused.",
        "offline": "Make no request at all: all must be on this machine. Default: off.",
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
    settings=("cache_limit",),
    help={"keep": "Bytes that may stay, such as 5GiB: what was used longest ago goes first. Default: all goes."},
    group="cache",
)
def clean(run: Run, *, keep: str = "") -> Answer:
    """Empty the fetch cache, or make it smaller. Installed folders stay as they are.

    A file that an installed folder shares with the cache takes its space until that folder goes too.

    Example: invoke cache.clean --keep 5GiB
    Exit codes: 0 done, 2 not a size, 6 the disk failed.
    """
    from pipeline.cli.fetch_summaries import clean_summary
    from pipeline.setting_checks import parse_size
    from pipeline.sources.cachefolder import CacheFolder

    settings = run.settings
    cache = CacheFolder(settings.places.cache / "fetch", settings.cache_limit)
    removed = cache.shrink(parse_size(keep, "--keep") if keep else 0, dry=run.dry)
    return Answer(removed, clean_summary(removed, dry=run.dry))


WALK = (fetch,)
CACHE = (clean,)
