"""The tasks of a site: install what media bring, and say what is there.

Takes flags, gives the answers of the walks. Walks are imported inside the tasks (see ``pipeline.cli``).

next: ``trust_tasks``
"""

from __future__ import annotations

from pathlib import Path

from pipeline.cli.answer import Answer
from pipeline.cli.commands import Run, command
from pipeline.cli.flags import ALLOW_DOWNGRADE, ALLOW_YANKED, FROM, ROOT_FINGERPRINT
from pipeline.cli.serving import SITE_HELP


@command(
    help={
        "from_": FROM,
        "site": f"{SITE_HELP} Made if it is missing.",
        "root_fingerprint": f"{ROOT_FINGERPRINT} Default: the one that is trusted already.",
        "require_fresh": "Refuse expired metadata. Default: a recorded warning.",
        "allow_downgrade": ALLOW_DOWNGRADE,
        "allow_yanked": ALLOW_YANKED,
        "keep_parts": "Keep the tree, too, so that the site can serve it to others. Default: parts are dropped.",
        "keep": "Number of generations to keep. Default 3.",
    },
    group="bundle",
)
def install(
    run: Run,
    *,
    from_: tuple[str, ...] = (),
    site: str,
    root_fingerprint: str = "",
    require_fresh: bool = False,
    allow_downgrade: bool = False,
    allow_yanked: bool = False,
    keep_parts: bool = False,
    keep: str = "",
) -> Answer:
    """Verify a bundle and install it at a site; asks no network. Volumes may come in any order, one medium at a time.

    Nothing old is touched before everything new is safe on the disk; then one rename makes it live. Run again after any
    interruption, or with the next medium: it goes on. Files of a release that were altered are put right. install.pyz does
    the same on a machine that has Python and nothing else.

    Example: invoke bundle.install --from /media/usb --site /srv/models --root-fingerprint 0123…cdef
    Exit codes: 0 done, 2 wrong base, open dependency or a place in use, 3 damaged volumes, 4 trust, 6 disk or medium,
    7 volumes are still missing, 130 interrupted.
    """
    from bundles.installer.program import left_undone
    from bundles.installing import install_bundle
    from bundles.site.nginx_site import refresh_view
    from pipeline.cli.install_orders import install_order
    from pipeline.cli.install_summaries import install_summary
    from pipeline.errors import LeftInLedger
    from pipeline.sources.installed import Installs

    order = install_order(
        from_,
        site,
        root_fingerprint,
        require_fresh=require_fresh,
        allow_downgrade=allow_downgrade,
        allow_yanked=allow_yanked,
        keep_parts=keep_parts,
        keep=keep,
    )
    done = install_bundle(order, run.listen, installs=Installs(run.settings.places.state / "installed"), dry=run.dry)
    if not done.dry and done.generation:
        # An nginx that serves this site looks names up in a folder of links.
        refresh_view(Path(done.site))
    left = None
    if done.missing and not done.dry:
        error, hint = left_undone(done.name, done.missing, done.volumes)
        left = LeftInLedger(error, hint=hint)
    return Answer(done, install_summary(done), left=left)


@command(
    help={
        "site": SITE_HELP,
        "to": "New file to write, such as inventory.json.",
        "key": "The site's signing key as a URI, such as file2:site.pem. Default: the inventory is not signed.",
    },
    group="bundle",
)
def inventory(run: Run, *, site: str, to: str, key: str = "") -> Answer:
    """Write down what a site has, to carry to the publisher, who packs only what it lacks.

    Example: invoke bundle.inventory --site /srv/models --to inventory.json
    Exit codes: 0 done, 2 no site there, 4 the key cannot be used, 6 the file is there already or cannot be written.
    """
    import os
    import sys

    from bundles.site_inventory import export_inventory
    from pipeline.cli.commands import ask_passphrase
    from pipeline.cli.install_summaries import inventory_summary
    from pipeline.settings import read_key_variables
    from pipeline.trust.keys import KeySecrets

    ask = ask_passphrase if sys.stdin.isatty() and sys.stderr.isatty() else None
    secrets = KeySecrets(read_key_variables({"site": (key,)}, os.environ), ask)
    done = export_inventory(Path(site), Path(to), key=key, secrets=secrets, dry=run.dry)
    return Answer(done, inventory_summary(done))


WALK = (install, inventory)
