"""The tasks around sources: copy one, examine all, measure one, and lists for people without modelport.

Takes flags, gives the answers of the walks. Walks are imported inside the tasks (see ``pipeline.cli``).

next: ``trust_tasks``
"""

from __future__ import annotations

from pipeline.cli.answer import Answer
from pipeline.cli.commands import Run, command
from pipeline.cli.fetch_tasks import SOURCES
from pipeline.cli.flags import ALLOW_UNSAFE_STORE, ALLOW_YANKED, NAME, NO_DEPS, WANT
from pipeline.store_kinds import SPELLED

OCI = "oci"


@command(
    settings=(*SOURCES, "connections"),
    help={
        "to": f"Store that becomes the copy: {SPELLED}; repeat it: the first decides.",
        "to_endpoint": "URL of the endpoint of --to. Default: --endpoint.",
        "to_region": "Region of the bucket of --to. Default: --region.",
        "model": f"{NAME} Repeat it for more. Default: all.",
        "all": "Copy every release of every model, which is done without --model too. Default: off.",
        "no_deps": NO_DEPS,
        "delete": "Show what the copy holds that the source no longer has. Default: off.",
        "apply": "With --delete: remove it, once it was recorded 7 days ago (metadata 30) by an earlier run. Default: off.",
        "repair": "Put right what stands in the store under a content name with other bytes. Without --to: in the copies that fell behind. Default: it is an error.",
        "quorum": "How many of several stores must hold it in the end, the first counted. Default: all.",
        "allow_unsafe_store": ALLOW_UNSAFE_STORE,
    },
)
def mirror(
    run: Run,
    *,
    to: tuple[str, ...] = (),
    to_endpoint: str = "",
    to_region: str = "",
    model: tuple[str, ...] = (),
    all: bool = False,  # noqa: A002 (the flag's name)
    no_deps: bool = False,
    delete: bool = False,
    apply: bool = False,
    repair: bool = False,
    allow_unsafe_store: bool = False,
    quorum: str = "",
) -> Answer:
    """Copy the signed tree unchanged from the source into a store: what is missing, verified, the timestamp last.

    A copy that is newer than the source is left alone. Run again after any interruption: it goes on.
    With --model, what it needs comes too. Metadata is always copied whole.
    No key is needed, and the copy is trusted by the same root. Of several --to the first decides, and its tree is copied
    to the others; --repair without --to brings level what fell behind the store (publish with several --store).

    Example: invoke mirror --to /srv/mirror --source https://cdn.example/tree
    Exit codes: 0 done, 2 unknown name or unsafe store, 3 altered objects, 4 trust or a copy newer than the source,
    5 source or store unreachable, 6 disk, 7 too few stores hold it, 8 another tree stands there, 130 interrupted.
    """
    from pipeline.cli.copy_orders import first_of, open_copy
    from pipeline.cli.orders import name_of
    from pipeline.cli.source_summaries import mirror_summary
    from pipeline.connect import open_target, whoami
    from pipeline.errors import UsageError
    from pipeline.mirroring import MirrorOrder, mirror_tree
    from pipeline.release import Release
    from pipeline.spreading import Spreading, behind_error, check_targets, spread_tree
    from pipeline.trust.reading import read_view

    if model and all:
        raise UsageError("--model and --all contradict each other", hint="Copy everything: --all; one model: --model bert")
    if apply and not delete:
        raise UsageError("--apply goes with --delete", hint="Without --delete nothing is ever removed.")
    if not to and repair:
        return _repair(run, quorum=quorum, allow_unsafe=allow_unsafe_store)
    if not to:
        raise UsageError("--to is needed", hint="invoke --help mirror shows an example.")
    names = tuple(name for text in model if (name := name_of(text)) is not None)
    several = len(to) > 1
    order = MirrorOrder(
        names, delete, apply, repair, allow_unsafe_store, run.settings.connections, not no_deps, read_back=several or repair
    )
    store = open_target(run.settings, to[0], endpoint=to_endpoint, region=to_region, dry=run.dry, listen=run.listen)
    first = first_of(run.settings, store, endpoint=to_endpoint, region=to_region)
    others = [open_copy(run.settings, url, run.listen, endpoint=to_endpoint, region=to_region) for url in to[1:]]
    enough = check_targets(first, others, quorum)
    supply = run.supply()
    done = mirror_tree(order, supply, store, run.listen, by=whoami(), dry=run.dry)
    if others and not run.dry:
        copying = MirrorOrder(
            tuple(Release.parse(text) for text in done.releases) if names else (),
            repair=repair,
            allow_unsafe=allow_unsafe_store,
            connections=run.settings.connections,
        )
        spreading = Spreading(first, lambda: read_view(store, supply.state, now=supply.now), copying, whoami())
        done.copies = spread_tree(spreading, others, run.listen)
    left = behind_error(f"{store.url} holds snapshot {done.announced}", done.copies, enough)
    return Answer(done, mirror_summary(done, applied=apply, dry=run.dry), left=left if others and not run.dry else None)


def _repair(run: Run, *, quorum: str, allow_unsafe: bool) -> Answer:
    """Bring the copies of the settings' store level."""
    from pipeline.cli.copy_orders import first_of, repair_copies
    from pipeline.cli.source_summaries import repaired_summary
    from pipeline.errors import UsageError
    from pipeline.mirroring import MirrorOrder
    from pipeline.spreading import Repaired, behind_error

    if quorum:
        raise UsageError("--quorum goes with several --to", hint="A repair is done when every copy is level.")
    if run.dry:
        raise UsageError("a repair has no dry run", hint="invoke mirror --to … --repair with --dry looks at one copy.")
    place = run.place
    order = MirrorOrder(connections=run.settings.connections, allow_unsafe=allow_unsafe)
    copies = repair_copies(run.settings, first_of(run.settings, place.store), place.view, order, run.listen, by=place.by)
    done = Repaired(store=place.store.url, copies=copies)
    left = behind_error(f"{done.store} was looked after", copies, len(copies) + 1)
    return Answer(done, repaired_summary(done), left=left)


@command(settings=(*SOURCES, "connections", "cache_limit"), help={})
def doctor(run: Run) -> Answer:
    """Examine every source, the kernel's network settings, and the settings here with where each came from.

    Of each source: reachable, latency, ranges, ETag, throughput over a sample, clock, TLS issuer, trust. A source that
    does not work is reported; the run fails only when none works.

    Example: invoke doctor
    Exit codes: 0 at least one source works, 2 settings, 5 none works.
    """
    from pipeline.cli.source_orders import setting_rows
    from pipeline.cli.source_summaries import doctor_summary
    from pipeline.doctor import diagnose
    from pipeline.errors import UnavailableError

    found = diagnose(run.supply(), setting_rows(run.settings), run.listen)
    left = None
    if not found.working:
        left = UnavailableError("no source works", hint="The report says of each why.")
    return Answer(found, doctor_summary(found), left=left)


@command(
    settings=SOURCES,
    help={
        "model": f"{WANT} Repeat it for more sizes. Default: the largest release.",
        "at": "Number of connections; repeat it for more. Default: 1, 4, 16.",
        "repeat": "How often each is measured, in turn; medians are shown. Default 3.",
        "work": "Folder to write in, each time anew. Default: the system's folder for temporary files.",
    },
)
def bench(run: Run, *, model: tuple[str, ...] = (), at: tuple[str, ...] = (), repeat: str = "", work: str = "") -> Answer:
    """Measure fetching: size, connections, seconds, CPU; beside curl and aria2c where they are installed.

    Without a source, the working folder's store is served on this machine for the length of the run.

    Example: invoke bench --model bert-v2.1.0 --at 4
    Exit codes: 0 done, 2 unknown release or nothing to measure against, 4 trust, 5 the source failed, 6 disk.
    """
    from pipeline.bench import measure
    from pipeline.cli.source_orders import bench_order, ours_for, source_to_measure
    from pipeline.cli.source_summaries import bench_summary

    with source_to_measure(run.settings) as url, ours_for(run.settings, url) as ours:
        order = bench_order(model=model, at=at, repeat=repeat, work=work, url=url)
        done = measure(order, run.supply(), ours, run.listen)
    return Answer(done, bench_summary(done))


@command(
    settings=SOURCES,
    help={
        "model": f"{WANT} For lists one of profile raw.",
        "format": "metalink (RFC 5854), aria2 (its input file), curl (its configuration), or oci (an OCI image layout).",
        "to": "Folder for the list, assemble.sh and the sums; or for the layout, which may hold other releases already.",
        "url": "Base URL under which people reach the tree; repeat it for more. Not with --format oci. Default: the sources.",
        "allow_yanked": ALLOW_YANKED,
    },
)
def export(
    run: Run,
    *,
    model: str,
    format: str,  # noqa: A002 (the flag's name)
    to: str,
    url: tuple[str, ...] = (),
    allow_yanked: bool = False,
) -> Answer:
    """Write a release's part list for aria2c, curl or a Metalink program, with assemble.sh and SHA256SUMS; or as an OCI layout.

    For people without modelport: they download the parts into an empty folder, run assemble.sh beside them, and have
    the release, proven by sha256. Lists are for releases published with --profile raw only. An OCI image layout holds the
    files as layers (CNCF ModelPack): skopeo copies it into any registry.

    Example: invoke export --model bert-v2.1.0 --format aria2 --to handout --url https://cdn.example/tree
    Exit codes: 0 done, 2 unknown release, another profile or no address, 3 damaged source, 4 trust, 5 source, 6 disk.
    """
    from pipeline.cli.source_orders import export_order
    from pipeline.cli.source_summaries import export_summary
    from pipeline.export import export_release

    if format == OCI:
        return _export_oci(run, model, to, allow_yanked=allow_yanked)
    order = export_order(run.settings, model=model, form=format, to=to, urls=url, allow_yanked=allow_yanked)
    done = export_release(order, run.supply(), run.listen, dry=run.dry)
    return Answer(done, export_summary(done))


def _export_oci(run: Run, model: str, to: str, *, allow_yanked: bool) -> Answer:
    from pathlib import Path

    from pipeline.cli.source_summaries import layout_summary
    from pipeline.ociexport import OciOrder, export_layout
    from pipeline.plan.wants import read_want

    done = export_layout(OciOrder(read_want(model), Path(to), allow_yanked), run.supply(), run.listen, dry=run.dry)
    return Answer(done, layout_summary(done))


WALK = (mirror, doctor, bench, export)
