"""The tasks of a site that is there: serve it.

Takes flags, gives the answers of the walks. Walks are imported inside the tasks (see ``pipeline.cli``).

next: ``trust_tasks``
"""

from __future__ import annotations

from pathlib import Path

from pipeline.cli.commands import Answer, Run, command


@command(
    help={
        "site": "Folder that was installed into.",
        "listen": "Address and port, such as 0.0.0.0:8080 for every address of this machine. Default 127.0.0.1:8080.",
        "token_file": "File of tokens, one a line, of which clients bring one. Default: everybody may read.",
        "tls_cert": "PEM file of a certificate with its chain, to serve https. Default: plain http.",
        "tls_key": "PEM file of the certificate's key.",
        "allow_origin": "Web origin whose pages may read, such as https://app.example, or *; repeat it. Default: none but the site's own.",
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
) -> Answer:
    """Serve what was installed at a site: files, web applications, /simple/ for pip, and Hugging Face clients.

    It serves until it is stopped (Ctrl-C, SIGTERM), and follows installations and switches by itself. A tree that was kept
    (--keep-parts) is served, too, so that others can fetch from here.

    Example: invoke site.serve --site /srv/models --listen 127.0.0.1:8080
    Exit codes: 0 stopped, 2 no site there, or a flag that cannot be, 5 the port is in use, 6 the site cannot be read.
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
    )
    done = serve_site(order, run.listen)
    return Answer(done, served_summary(done))


def _need_extra() -> None:
    from importlib.util import find_spec

    from pipeline.errors import UsageError

    missing = [name for name in ("starlette", "uvicorn", "httptools") if find_spec(name) is None]
    if missing:
        raise UsageError(f"site.serve needs {', '.join(missing)}", hint="Install them: pip install 'modelport[site]'")


def _path(text: str) -> Path | None:
    return Path(text) if text else None


WALK = (serve,)
"""Every task of a site."""
