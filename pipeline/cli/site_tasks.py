"""The tasks of a site that is there: serve it, and look after it.

Takes flags, gives the answers of the walks. Walks are imported inside the tasks (see ``pipeline.cli``).

next: ``trust_tasks``
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.cli.answer import Answer
from pipeline.cli.commands import Run, command

if TYPE_CHECKING:
    from bundles.site.serving import UpstreamOrder

SITE_HELP = "Folder that was installed into."
# Who asks a mirror waits for its upstream: shorter than what a fetch of its own would.
CONNECT_S = 5.0
WAIT_FACTOR = 4


@command(
    settings=("ca_bundle",),
    help={
        "site": SITE_HELP + " With --upstream it may be new.",
        "listen": "Address and port, such as 0.0.0.0:8080 for every address of this machine. Default 127.0.0.1:8080.",
        "token_file": "File of tokens, one a line, of which clients bring one. Default: everybody may read.",
        "tls_cert": "PEM file of a certificate with its chain, to serve https. Default: plain http.",
        "tls_key": "PEM file of the certificate's key, needed with it. Default: plain http.",
        "allow_origin": "Web origin whose pages may read, such as https://app.example, or *; repeat it. Default: none but the site's own.",
        "upstream": "Base URL of a tree: what is not here is brought from there, verified, and kept. Default: none.",
        "cache_size": "Most bytes kept of the upstream, such as 500GiB: what was used longest ago goes first. Default 100GiB.",
        "max_age": "Seconds for which the upstream's signed timestamp is taken for the newest. Default 10.",
        "upstream_timeout": "Seconds without a byte after which the upstream counts as stalled; asked twice, then 504. Default 15.",
        "root_fingerprint": "Fingerprint of the upstream's root, 64 hex digits, told by another way. Default: the one trusted here.",
    },
    group="site",
)
def serve(
    run: Run,
    *,
    site: str,
    listen: str = "",
    token_file: str = "",
    tls_cert: str = "",
    tls_key: str = "",
    allow_origin: tuple[str, ...] = (),
    upstream: str = "",
    cache_size: str = "",
    max_age: str = "",
    upstream_timeout: str = "",
    root_fingerprint: str = "",
) -> Answer:
    """Serve what was installed at a site: files, web applications, /simple/ for pip, and Hugging Face clients.

    It serves until it is stopped (Ctrl-C, SIGTERM), and follows installations and switches by itself. A tree that was kept
    (--keep-parts) is served, too, so that others can fetch from here. With --upstream it is a caching mirror.

    Example: invoke site.serve --site /srv/models --listen 127.0.0.1:8080
    Exit codes: 0 stopped, 2 no site there, or a flag that cannot be, 3 or 4 the upstream cannot be trusted, 5 the port is in use,
    6 the site cannot be read.
    """
    _need_extra()
    from bundles.site.serving import ServeOrder, serve_site
    from pipeline.cli.site_summaries import served_summary

    order = ServeOrder(
        site=Path(site),
        listen=listen or "127.0.0.1:8080",
        token_file=_path(token_file),
        tls_cert=_path(tls_cert),
        tls_key=_path(tls_key),
        origins=allow_origin,
        upstream=_upstream(
            run, upstream, cache_size=cache_size, max_age=max_age, timeout=upstream_timeout, fingerprint=root_fingerprint
        ),
    )
    done = serve_site(order, run.listen)
    return Answer(done, served_summary(done))


@command(
    help={
        "site": SITE_HELP,
        "listen": "Address and port of nginx, such as 0.0.0.0:80. Default 127.0.0.1:8080.",
        "token_file": "File of tokens, one a line, of which clients bring one. Default: everybody may read.",
        "tls_cert": "PEM file of a certificate with its chain, to serve https. Default: plain http.",
        "tls_key": "PEM file of the certificate's key, needed with it. Default: plain http.",
        "allow_origin": "Web origin whose pages may read, such as https://app.example, or *; repeat it. Default: none but the site's own.",
        "upstream": "Tree or site to take from what is not here, kept in slices. Default: none.",
        "upstream_limit": "Most bytes that are kept of the upstream, such as 200GiB. Default 20GiB.",
    },
    group="site",
)
def nginx(
    run: Run,
    *,
    site: str,
    listen: str = "",
    token_file: str = "",
    tls_cert: str = "",
    tls_key: str = "",
    allow_origin: tuple[str, ...] = (),
    upstream: str = "",
    upstream_limit: str = "",
) -> Answer:
    """Write a configuration with which nginx serves the same as site.serve, and the folder of links that it looks names up in.

    site.use, site.remove and bundle.install keep that folder true; after an installation by install.pyz run this once more.
    nginx needs no reload for either. It does not verify what it takes from an upstream: clients must.

    Example: invoke site.nginx --site /srv/models --listen 0.0.0.0:8080
    Exit codes: 0 done, 2 no site there, or a flag that cannot be, 6 disk.
    """
    from bundles.site.nginx_site import NginxOrder, write_nginx
    from pipeline.cli.site_summaries import nginx_summary
    from pipeline.setting_checks import parse_size

    order = NginxOrder(
        site=Path(site),
        listen=listen or "127.0.0.1:8080",
        token_file=_path(token_file),
        tls_cert=_path(tls_cert),
        tls_key=_path(tls_key),
        origins=allow_origin,
        upstream=upstream,
        cache_limit=parse_size(upstream_limit, "--upstream-limit") if upstream_limit else 20 << 30,
    )
    done = write_nginx(order, dry=run.dry)
    return Answer(done, nginx_summary(done))


@command(
    help={
        "site": SITE_HELP,
        "url": "Address by which others reach the site, such as http://models.site:8080.",
        "listen": "Address and port for the server of the unit. Default 0.0.0.0 with the port of --url.",
        "upstream": "Upstream of a caching mirror, for the unit. Default: none.",
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
    from pipeline.cli.site_summaries import setup_summary

    del run
    port = urlsplit(url).netloc.rpartition(":")[2]
    where = listen or f"0.0.0.0:{port if port.isdigit() else 8080}"
    user = Path(site).owner() if Path(site).is_dir() else "root"
    done = describe_setup(Path(site), url, where, shutil.which("modelport") or "/usr/bin/modelport", user, upstream=upstream)
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


@command(help={"site": SITE_HELP, "model": "An installed release, such as bert-v2.1.0."}, group="site")
def use(run: Run, *, site: str, model: str) -> Answer:
    """Make an installed release the live one of its model, by one rename; running servers follow.

    Example: invoke site.use --site /srv/models --model bert-v2.0.0
    Exit codes: 0 done, 2 not installed or a site in use, 3 a record was altered, 6 disk, 8 a dependency would be left open.
    """
    from bundles.site.tending import use_release
    from pipeline.cli.site_summaries import switched_summary

    done = use_release(Path(site), model, dry=run.dry)
    return Answer(done, switched_summary(done, dry=run.dry))


@command(help={"site": SITE_HELP, "model": "An installed release that is not live, such as bert-v2.0.0."}, group="site")
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


def _upstream(run: Run, url: str, *, cache_size: str, max_age: str, timeout: str, fingerprint: str) -> UpstreamOrder | None:
    from bundles.site.serving import UpstreamOrder
    from pipeline.connect import open_reader
    from pipeline.errors import UsageError
    from pipeline.setting_checks import parse_size
    from pipeline.sources.pace import Limits
    from pipeline.state_folders import trust_home
    from pipeline.trust.state import TrustState

    if not url:
        if cache_size or max_age or timeout or fingerprint:
            raise UsageError(
                "--cache-size, --max-age, --upstream-timeout and --root-fingerprint belong to --upstream",
                hint="Name the upstream: --upstream URL",
            )
        return None
    idle_s = _seconds(timeout or "15", "--upstream-timeout")
    settings = run.settings
    # Its credentials and its channel are those of the source of this address.
    source = next((dict(one) for one in settings.source if one["url"].rstrip("/") == url.rstrip("/")), {"url": url})
    reader = open_reader(settings, source, limits=Limits(connect_s=min(CONNECT_S, idle_s), idle_s=idle_s, window_s=idle_s))
    return UpstreamOrder(
        reader,
        parse_size(cache_size or "100GiB", "--cache-size"),
        fingerprint,
        TrustState(trust_home(settings.places.state, reader.url, "")).pins,
        source.get("channel", "stable"),
        _seconds(max_age or "10", "--max-age"),
        # Whoever waits sees both attempts fail before losing patience.
        WAIT_FACTOR * idle_s,
    )


def _seconds(text: str, flag: str) -> float:
    from pipeline.errors import UsageError

    if not (text.isascii() and text.isdigit() and len(text) <= 6):
        raise UsageError(f"{flag} {text} is no number of seconds", hint=f"Write it as {flag} 10.")
    return float(text)


def _need_extra() -> None:
    from importlib.util import find_spec

    from pipeline.errors import UsageError

    missing = [name for name in ("starlette", "uvicorn", "httptools") if find_spec(name) is None]
    if missing:
        raise UsageError(f"site.serve needs {', '.join(missing)}", hint="Install them: pip install 'modelport[site]'")


def _path(text: str) -> Path | None:
    return Path(text) if text else None


WALK = (serve, nginx, setup, list, use, remove, verify)
"""Every task of a site."""
