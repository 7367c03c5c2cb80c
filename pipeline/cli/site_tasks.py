"""The tasks of a site that is there: serve it, and look after it.

Takes flags, gives the answers of the walks. Walks are imported inside the tasks (see ``pipeline.cli``).

next: ``trust_tasks``
"""

from __future__ import annotations

from pathlib import Path

from pipeline.cli.answer import Answer
from pipeline.cli.commands import Run, command
from pipeline.cli.flags import RELEASE, ROOT_FINGERPRINT
from pipeline.cli.serving import LISTEN_HELP, SERVING, SITE_HELP, UPSTREAM_HELP, Serving


@command(
    settings=("ca_bundle",),
    help={
        **SERVING,
        "max_age": "Seconds for which the upstream's signed timestamp is taken for the newest. Default 10.",
        "upstream_timeout": "Seconds without a byte after which the upstream counts as stalled; asked twice, then 504. Default 15.",
        "root_fingerprint": f"{ROOT_FINGERPRINT} Default: the one that is trusted already.",
    },
    group="site",
    shared=Serving,
)
def serve(run: Run, serving: Serving, *, max_age: str = "", upstream_timeout: str = "", root_fingerprint: str = "") -> Answer:
    """Serve what was installed at a site: files, web applications, /simple/ for pip, and Hugging Face clients.

    It serves until it is stopped (Ctrl-C, SIGTERM), and follows installations and switches by itself. A tree that was kept
    (--keep-parts) is served, too, so that others can fetch from here. With --upstream it is a caching mirror, which verifies
    what it brings; its site may be new.

    Example: invoke site.serve --site /srv/models --listen 127.0.0.1:8080
    Exit codes: 0 stopped, 2 no site there, or a flag that cannot be, 3 or 4 the upstream cannot be trusted, 5 the port is in use,
    6 the site cannot be read.
    """
    _need_extra()
    from bundles.site.serving import ServeOrder, serve_site
    from pipeline.cli.site_orders import terms_of, upstream_order
    from pipeline.cli.site_summaries import served_summary

    upstream = upstream_order(run.settings, serving, max_age=max_age, timeout=upstream_timeout, fingerprint=root_fingerprint)
    done = serve_site(ServeOrder(terms_of(serving), upstream), run.listen, dry=run.dry)
    return Answer(done, served_summary(done, dry=run.dry))


@command(help=SERVING, group="site", shared=Serving)
def nginx(run: Run, serving: Serving) -> Answer:
    """Write a configuration with which nginx serves the same as site.serve, and the folder of links that it looks names up in.

    site.use, site.remove and bundle.install keep that folder true; after an installation by install.pyz run this once more.
    nginx needs no reload for either. It does not verify what it takes from an upstream: clients must.

    Example: invoke site.nginx --site /srv/models --listen 0.0.0.0:8080
    Exit codes: 0 done, 2 no site there, or a flag that cannot be, 6 disk.
    """
    from bundles.site.nginx_site import NginxOrder, write_nginx
    from pipeline.cli.site_orders import cache_bytes, terms_of, upstream_url
    from pipeline.cli.site_summaries import nginx_summary

    done = write_nginx(NginxOrder(terms_of(serving), upstream_url(serving.upstream), cache_bytes(serving)), dry=run.dry)
    return Answer(done, nginx_summary(done))


@command(
    help={
        "site": SITE_HELP,
        "url": "Address by which others reach the site, such as http://models.site:8080.",
        "listen": f"{LISTEN_HELP} Default 0.0.0.0 with the port of --url.",
        "upstream": UPSTREAM_HELP,
    },
    group="site",
)
def setup(run: Run, *, site: str, url: str, listen: str = "", upstream: str = "") -> Answer:
    """Print a systemd unit, and what clients are told: pip, conda, containers, Hugging Face, modelport.

    Example: invoke site.setup --site /srv/models --url http://models.site:8080
    Exit codes: 0 done, 2 an address or a folder that cannot be written so.
    """
    import shutil
    from urllib.parse import urlsplit

    from bundles.site.setups import describe_setup
    from pipeline.cli.site_orders import check_upstream
    from pipeline.cli.site_summaries import setup_summary

    del run
    port = urlsplit(url).netloc.rpartition(":")[2]
    where = listen or f"0.0.0.0:{port if port.isdigit() else 8080}"
    user = Path(site).owner() if Path(site).is_dir() else "root"
    done = describe_setup(
        Path(site), url, where, shutil.which("modelport") or "/usr/bin/modelport", user, upstream=check_upstream(upstream)
    )
    return Answer(done, setup_summary(done))


@command(help={"site": SITE_HELP}, group="site")
def list(run: Run, *, site: str) -> Answer:  # noqa: A001 (the task's name)
    """Say what is installed at a site, and which releases are live.

    Example: invoke site.list --site /srv/models
    Exit codes: 0 done, 2 no site there, 3 a record was altered, 6 the site cannot be read.
    """
    from bundles.site.tending import list_site
    from pipeline.cli.site_summaries import listed_summary

    del run
    done = list_site(Path(site))
    return Answer(done, listed_summary(done))


@command(help={"site": SITE_HELP, "model": f"{RELEASE} It is installed."}, group="site")
def use(run: Run, *, site: str, model: str) -> Answer:
    """Make an installed release the live one of its model, by one rename; running servers follow.

    Example: invoke site.use --site /srv/models --model bert-v2.0.0
    Exit codes: 0 done, 2 not installed or a site in use, 3 a record was altered, 6 disk, 8 a dependency would be left open.
    """
    from bundles.site.tending import use_release
    from pipeline.cli.site_summaries import switched_summary

    done = use_release(Path(site), model, dry=run.dry)
    return Answer(done, switched_summary(done, dry=run.dry))


@command(help={"site": SITE_HELP, "model": f"{RELEASE} It is installed, and not live."}, group="site")
def remove(run: Run, *, site: str, model: str) -> Answer:
    """Remove an installed release that is not live, and the older generations that name it.

    Example: invoke site.remove --site /srv/models --model bert-v2.0.0
    Exit codes: 0 done, 2 not installed or a site in use, 3 a record was altered, 6 disk, 8 it is live.
    """
    from bundles.site.tending import remove_release
    from pipeline.cli.site_summaries import removed_summary

    done = remove_release(Path(site), model, dry=run.dry)
    return Answer(done, removed_summary(done))


@command(help={"site": SITE_HELP}, group="site")
def verify(run: Run, *, site: str) -> Answer:
    """Prove every installed file by its signed digest; asks no network. Fit for a timer.

    Example: invoke site.verify --site /srv/models
    Exit codes: 0 all is as it was signed, 2 no site there, 3 files are missing or altered, 6 the disk failed.
    """
    from bundles.site.tending import verify_whole
    from pipeline.cli.site_summaries import verified_summary
    from pipeline.errors import VerifyFailed

    done = verify_whole(Path(site), run.listen)
    left = None
    if done.damaged:
        names = ", ".join(sorted(done.damaged))
        left = VerifyFailed(
            f"{names} in {site} was altered since it was installed",
            hint="Install it again from its medium: that rewrites the bad files only.",
        )
    return Answer(done, verified_summary(done), left=left)


def _need_extra() -> None:
    from importlib.util import find_spec

    from pipeline.errors import UsageError

    missing = [name for name in ("starlette", "uvicorn", "httptools") if find_spec(name) is None]
    if missing:
        raise UsageError(f"site.serve needs {', '.join(missing)}", hint="Install them: pip install 'modelport[site]'")


WALK = (serve, nginx, setup, list, use, remove, verify)
"""Every task of a site."""
