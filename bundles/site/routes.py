"""Which URL is what: from the names of a path to an answer.

Takes a catalogue and a request's path, query and Accept header, gives a ``Found``. Only what a signed manifest or the
layout of the tree names can be found; ``state/``, ``control/``, ``bin/`` and staging folders have no route.

    /                                       what is here, for people
    /models/<release>/<path>  /wheels/…     files of releases, live or not
    /web/<name>/<path>                      the live release of a web application
    /simple/                                live wheelhouses, for pip
    /api/models/…  /<repo>/resolve/…        for Hugging Face clients
    /v2/…                                   for container tools: the pull half of a registry
    /metadata/…  /targets/…  /parts/…       the tree, where it was kept, for modelport itself

next: ``terms``
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from bundles.site.answers import TEXT, Found, Made, Moved, Stored, not_found
from bundles.site.catalogue import Catalogue
from bundles.site.hub import find_file, find_info, is_repo_request, stored_file
from bundles.site.pages import index_page, release_page
from bundles.site.registry import find_artifact
from bundles.site.targets import join_target, split_target
from bundles.site.wheelhouse import find_simple
from pipeline.layout import FOREVER, PRIVATE, WEB, headers_for, object_kind, part_name
from pipeline.wire import DOCUMENT_BYTES

HEALTH = "/healthz"
INDEX_HTML = "index.html"


@dataclass(frozen=True, slots=True)
class Request:
    """What of a request decides which answer it gets. ``query`` holds the last value of each name."""

    target: bytes
    query: dict[str, str]
    accept: str = ""


def find(catalogue: Catalogue, request: Request, *, tree: bool) -> Found:
    """What a request asks for; ``tree``: the tree was kept."""
    names = split_target(request.target)
    if names is None:
        return not_found()
    if names == ("",):
        return index_page(catalogue, tree=tree)
    if names == (HEALTH[1:],):
        return Made(b"ok\n", TEXT, PRIVATE)
    if is_repo_request(names):
        return find_file(catalogue, names)
    route = _ROUTES.get(names[0])
    if route is not None:
        return route(catalogue, names, request)
    if names[0] in {"metadata", "targets", "parts"}:
        return find_object(names) if tree else not_found("this site keeps no tree: install with --keep-parts")
    return not_found()


def find_object(names: tuple[str, ...]) -> Found:
    """An object of the tree."""
    key = "/".join(names)
    kind = object_kind(key)
    if kind is None:
        return not_found()
    headers = headers_for(key)
    part = part_name(key)
    if part is not None:
        return Stored(key, None, part, headers.content_type, headers.cache_control)
    if kind in {"manifest", "channel"}:
        digest = names[-1].partition(".")[0]
        return Stored(key, None, digest, headers.content_type, headers.cache_control)
    return Stored(key, None, "", headers.content_type, headers.cache_control, cap=DOCUMENT_BYTES)


def _find_release(catalogue: Catalogue, names: tuple[str, ...], request: Request) -> Found:
    """``/models/<release>/<path>``, and ``/wheels/…``."""
    del request
    held = catalogue.releases.get(names[1]) if len(names) > 1 else None
    if held is None or held.folder != "/".join(names[:2]):
        return not_found("no such release is installed here")
    if len(names) == 2:
        return Moved(join_target((*names, "")))
    if names[2:] == ("",):
        return release_page(held)
    file = held.files.get("/".join(names[2:]))
    return stored_file(held, file, FOREVER) if file else not_found(f"{held.release} has no such file")


def _find_web(catalogue: Catalogue, names: tuple[str, ...], request: Request) -> Found:
    """``/web/<name>/<path>``: the live release; a folder is its index.html."""
    del request
    held = catalogue.live_release(names[1]) if len(names) > 1 else None
    if held is None or held.kind != "web":
        return not_found("no such web application is live here")
    if len(names) == 2:
        return Moved(join_target((*names, "")))
    path = "/".join(names[2:])
    if path == "" or path.endswith("/"):
        path += INDEX_HTML
    file = held.files.get(path)
    if file is None:
        folder = f"{path}/{INDEX_HTML}" in held.files
        return Moved(join_target((*names, ""))) if folder else not_found(f"{held.release} has no such file")
    headers = headers_for(f"{WEB}{held.model}/{path}")
    return Stored(f"{held.folder}/{path}", file.size, file.sha256, headers.content_type, headers.cache_control)


def _find_simple(catalogue: Catalogue, names: tuple[str, ...], request: Request) -> Found:
    return find_simple(catalogue, names[1:], request.accept)


def _find_api(catalogue: Catalogue, names: tuple[str, ...], request: Request) -> Found:
    recursive = request.query.get("recursive", "").lower() in {"true", "1"}
    return find_info(catalogue, names[2:], recursive=recursive) if names[1:2] == ("models",) else not_found()


def _find_artifact(catalogue: Catalogue, names: tuple[str, ...], request: Request) -> Found:
    del request
    return find_artifact(catalogue, names[1:])


_ROUTES: dict[str, Callable[[Catalogue, tuple[str, ...], Request], Found]] = {
    "models": _find_release,
    "wheels": _find_release,
    "web": _find_web,
    "simple": _find_simple,
    "api": _find_api,
    "v2": _find_artifact,
}
