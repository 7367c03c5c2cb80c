"""The tasks of web releases: build, check and try one, and the view that a store serves.

Takes flags, gives the answers of ``sw`` and of ``pipeline.webview``. What they import is in the extra ``web``.

next: ``trust_tasks``
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from bundles.site.terms import LISTEN, read_address
from pipeline.cli.answer import Answer
from pipeline.cli.commands import STORE, Run, command
from pipeline.cli.serving import LISTEN_HELP

if TYPE_CHECKING:
    from sw.options import WebOptions

web_command = partial(command, group="web")
TO_HELP = "Folder that holds, or will hold, what is served. It is written by web.build alone."


@web_command(
    settings=STORE,
    help={
        "assets": "Folder of web assets, as a bundler or a person left them.",
        "to": TO_HELP,
        "name": "Name of the application. Default: that of the build before in --to, else app.",
        "version": "SemVer version that people see. Default: 0.0.0.",
        "strict": "Refuse references that lead to no file. Default: they are warnings.",
        "single_file": "Put the manifest into sw.js, for hosts that want one file. Default: two files beside it.",
        "kill": "Only tell every worker to remove what it stored and to leave; builds nothing. Default: off.",
    },
)
def build(
    run: Run,
    *,
    assets: str = "",
    to: str,
    name: str = "",
    version: str = "",
    strict: bool = False,
    single_file: bool = False,
    kill: bool = False,
) -> Answer:
    """Turn a folder of web assets into hashed files, a manifest, and the worker that precaches them.

    Running it again into the same folder adds patches from the release before. Settings below `web:` say what is not
    hashed, what is optional, how navigations are answered, and which models a page may ask for.

    Example: invoke web.build --assets dist/ --to public/ --name shop --version 1.4.0
    Exit codes: 0 done, 2 unusable assets, folder, flag or setting (with --strict: a reference leads nowhere), 3 an asset
    changed while it was read, 4 trust (of a model), 5 store (of a model), 6 disk.
    """
    from pipeline.cli.web_summaries import built_summary, killed_summary
    from pipeline.errors import UsageError

    if kill:
        from sw.build import kill_release

        return Answer({"killed": str(kill_release(Path(to), dry=run.dry))}, killed_summary(to))
    if not assets:
        raise UsageError("--assets is needed", hint="invoke --help web.build shows an example.")
    _need_extra()
    from sw.assemble import engine_files
    from sw.build import BuildOrder, build_web
    from sw.output import Output, standing_name

    release = _release(name or standing_name(Output(Path(to))) or "app", version or "0.0.0")
    order = BuildOrder(
        assets=Path(assets),
        to=Path(to),
        name=release[0],
        version=release[1],
        engine=engine_files(),
        options=_options(run, single_file=single_file),
        strict=strict,
        dry=run.dry,
    )
    built = build_web(order, run.listen)
    return Answer(built, built_summary(built))


@web_command(help={"to": TO_HELP})
def check(run: Run, *, to: str) -> Answer:
    """Hold a built folder against its manifest: every digest, pack and patch, every reference, the worker and its size.

    Example: invoke web.check --to public/
    Exit codes: 0 all is right, 2 there is no release, 3 a finding (each is named).
    """
    from pipeline.cli.web_summaries import checked_summary
    from pipeline.errors import VerifyFailed
    from pipeline.events import Warned

    _need_extra()
    from sw.check import check_folder

    checked = check_folder(Path(to))
    if checked.findings:
        for one in checked.findings:
            run.listen(Warned("web-finding", one))
        more = f" (and {len(checked.findings) - 1} more)" if len(checked.findings) > 1 else ""
        raise VerifyFailed(f"{checked.findings[0]}{more}", hint=f"Build it again: invoke web.build --assets dist/ --to {to}")
    return Answer(checked, checked_summary(checked))


@web_command(
    help={
        "to": TO_HELP,
        "listen": f"{LISTEN_HELP} Default {LISTEN}.",
        "isolate": "Send the headers of cross-origin isolation, which threads need. Default: off.",
    }
)
def serve(run: Run, *, to: str, listen: str = "", isolate: bool = False) -> Answer:
    """Serve a built folder for trying it, with the headers that a real server should give, until Ctrl-C.

    Browsers run service workers of this machine and of https alone.

    Example: invoke web.serve --to public/ --listen 127.0.0.1:8080
    Exit codes: 0 stopped, 2 no such folder or flag, 5 the port is in use.
    """
    from contextlib import suppress
    from ipaddress import ip_address

    from pipeline.events import Serving, Warned

    _need_extra()
    from sw.serve import open_server, url_of

    with open_server(Path(to), read_address(listen or LISTEN), isolate=isolate) as server:
        url = url_of(server)
        if not ip_address(str(server.server_address[0])).is_loopback:
            run.listen(Warned("exposed", f"{url} serves {to} to everybody who reaches this address"))
        if not run.dry:
            run.listen(Serving(url, to))
            # As of site.serve: to be stopped is how a server ends well, and there is nothing to go on with.
            with suppress(KeyboardInterrupt):
                server.serve_forever()
    return Answer({"url": url, "folder": to}, f"{to} {'would be' if run.dry else 'was'} served at {url}")


@web_command(settings=STORE, help={"model": "The web application, as in shop."})
def sync(run: Run, *, model: str) -> Answer:
    """Make the web view of a store again from signed metadata: every file below web/NAME/ is read and compared.

    Publish, promote and rollback keep it by themselves; this is for a view that somebody damaged, or a run that was
    killed and will not be run again.

    Example: invoke web.sync --model shop
    Exit codes: 0 done, 2 no such web application, 3 a part is missing or wrong, 4 trust, 5 store, 7 an edge was not told.
    """
    from pipeline.cli.web_summaries import synced_summary
    from pipeline.outcome import left_error
    from pipeline.release import check_model
    from pipeline.webview import sync_view

    synced = sync_view(check_model(model), run.place, run.listen)
    return Answer(synced, synced_summary(synced), left=left_error(f"{synced.prefix} shows {synced.shows}", synced.left))


def _release(name: str, version: str) -> tuple[str, str]:
    from pipeline.release import Release

    release = Release.parse(f"{name}-v{version}")
    return str(release.model), str(release.version)


def _options(run: Run, *, single_file: bool) -> WebOptions:
    from sw.manifest import Navigate
    from sw.models import find_models
    from sw.options import WebOptions

    given = dict(run.settings.web)
    del given["channel"]
    navigate = Navigate(**given.pop("navigate", {}))
    wanted = given.pop("models", {})
    # Without models no store is opened: assets are built on machines that have none.
    models = find_models(wanted, run.place.view()) if wanted else {}
    return WebOptions(**given, navigate=navigate, models=models, single_file=single_file)


def _need_extra() -> None:
    """See that the scanners are there.

    Raises:
        UsageError: they are not; the message says how to get them.
    """
    from importlib.util import find_spec

    from pipeline.errors import UsageError

    missing = [name for name in ("tinycss2", "tree_sitter", "tree_sitter_javascript") if find_spec(name) is None]
    if missing:
        raise UsageError(f"{missing[0]} is not installed", hint="pip install 'modelport[web]'")


WALK = (build, check, serve, sync)
