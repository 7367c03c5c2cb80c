"""The tasks of bundles: plan and build one for media, prove it, make a damaged one whole.

Takes flags, gives the answers of the walks. Walks are imported inside the tasks (see ``pipeline.cli``).

next: ``trust_tasks``
"""

from __future__ import annotations

from pathlib import Path

from pipeline.cli.answer import Answer
from pipeline.cli.commands import Run, command
from pipeline.cli.fetch_tasks import SOURCES
from pipeline.cli.flags import FROM, ROOT_FINGERPRINT
from pipeline.cli.packing import PACKING, Packing


@command(settings=(*SOURCES, "connections"), help=PACKING, group="bundle", shared=Packing)
def plan(run: Run, packing: Packing) -> Answer:
    """Show what a bundle would hold: volumes, their sizes, and how many media it takes. Nothing is written.

    Example: invoke bundle.plan --model bert-v2.1.0 --volume-size dvd
    Exit codes: 0 done, 2 unknown release or a volume size that cannot work, 3 damaged source, 4 trust, 5 source unreachable.
    """
    from bundles.planning import plan_bundle
    from bundles.recipes import RecipeShelf
    from pipeline.cli.bundle_orders import bundle_order
    from pipeline.cli.bundle_summaries import plan_summary

    order = bundle_order(run.settings, run.listen, packing)
    shelf = RecipeShelf(run.settings.places.state / "bundles")
    planned = plan_bundle(order, run.supply(), run.listen, shelf=shelf)
    return Answer(planned.document, plan_summary(planned.document))


@command(
    settings=(*SOURCES, "connections"),
    help={
        **PACKING,
        "to": "Folder to write to, on the medium or to be copied there. Made if it is missing.",
        "bundle": "First digits of the id of a bundle built here before, to write the same one again. Default: as the tree is now.",
        "keep_for": "Pin what the bundle needs in the store, such as 90d or 1y; takes the signing keys. Default: nothing is pinned.",
        "wheels": "Folder with zstandard wheels to carry. Default: those of the cache, which pip fills by their digests.",
        "python": "Python of the site, such as 3.11; repeat it for more. Default: all from 3.9 to 3.14.",
        "platform": "Machine of the site: x86_64 or aarch64; repeat it for more. Default: both.",
    },
    group="bundle",
    shared=Packing,
)
def build(
    run: Run,
    packing: Packing,
    *,
    to: str,
    bundle: str = "",
    keep_for: str = "",
    wheels: str = "",
    python: tuple[str, ...] = (),
    platform: tuple[str, ...] = (),
) -> Answer:
    """Pack releases into volumes for a site without a network, with installer, README.txt and SHA256SUMS.

    Run again after any interruption: what is right is kept. When it is done, every volume was read back from the medium.
    The same tree, flags and volume size give the same bytes.

    Example: invoke bundle.build --model bert-v2.1.0 --to /media/usb --parity 10%
    Exit codes: 0 done, 2 unknown release or a volume size that cannot work, 3 damaged source or a medium that lies, 4 trust,
    5 source unreachable, 6 disk or medium, 8 another bundle or build is in the folder, 130 interrupted.
    """
    from bundles.building import build_bundle
    from bundles.keeping import pin_bundle
    from bundles.planning import plan_bundle
    from bundles.recipes import Recipe, RecipeShelf
    from pipeline.cli.bundle_orders import beside_for, bundle_order
    from pipeline.cli.bundle_summaries import build_summary, plan_summary
    from pipeline.cli.times import span_of

    order = bundle_order(run.settings, run.listen, packing, bundle=bundle)
    span = span_of(keep_for, "--keep-for") if keep_for else None
    settings = run.settings
    shelf = RecipeShelf(settings.places.state / "bundles")
    folder = Path(to).absolute()
    beside = beside_for(wheels, python, platform, settings.places.cache, run.listen)
    if run.dry:
        planned = plan_bundle(order, run.supply(), run.listen, shelf=shelf, to=folder)
        return Answer(planned.document, plan_summary(planned.document))

    def pin(recipe: Recipe) -> None:
        if span is not None:
            pin_bundle(recipe.bundle, run.place, run.listen, span=span)

    built = build_bundle(order, run.supply(), folder, run.listen, shelf=shelf, beside=beside, pin=pin)
    return Answer(built, build_summary(built))


@command(
    help={
        "from_": FROM,
        "root_fingerprint": f"{ROOT_FINGERPRINT} Default: it is printed to compare.",
        "sums": "Hash volumes whole, too, as sha256sum -c does; takes far longer. Default: volumes are proven by their index alone.",
        "some": "Let volumes be missing, as when media come one by one. Default: all must be here.",
    },
    group="bundle",
)
def verify(
    run: Run, *, from_: tuple[str, ...] = (), root_fingerprint: str = "", sums: bool = False, some: bool = False
) -> Answer:
    """Prove media: every byte of every volume, and what is signed of it. Asks no network and writes nothing.

    Example: invoke bundle.verify --from /media/usb
    Exit codes: 0 all is right, 2 no bundle there or two of them, 3 damaged or missing volumes (each is named), 4 trust, 6 the
    medium is failing.
    """
    from bundles.verifying import verify_bundle
    from pipeline.cli.bundle_orders import check_fingerprint_flag, folders_of
    from pipeline.cli.bundle_summaries import verify_summary

    done = verify_bundle(
        folders_of(from_, flag="from"),
        run.listen,
        fingerprint=check_fingerprint_flag(root_fingerprint),
        all_there=not some,
        sums=sums,
    )
    return Answer(done, verify_summary(done))


@command(
    help={
        "folder": "Folder whose volumes are to be made whole.",
        "from_": f"{FROM} Copies, which may be damaged, too. Default: parity alone.",
    },
    group="bundle",
)
def repair(run: Run, *, folder: str, from_: tuple[str, ...] = ()) -> Answer:
    """Make damaged volumes whole: from copies that are damaged elsewhere, and from parity. Then what stands beside them.

    Only bytes that were proven are written. Copies are only read. Parity that was lost is made anew for a volume that is whole.

    Example: invoke bundle.repair --folder /media/usb --from /media/usb2
    Exit codes: 0 whole, 2 no bundle there, or no par2, 3 more is damaged or gone than can be made good (it is named), 6 disk.
    """
    from bundles.repairing import repair_bundle
    from pipeline.cli.bundle_orders import folders_of
    from pipeline.cli.bundle_summaries import repair_summary

    (place,) = folders_of((folder,), flag="folder")
    done = repair_bundle(place, folders_of(from_, flag=""), run.listen)
    return Answer(done, repair_summary(done))


WALK = (plan, build, verify, repair)
