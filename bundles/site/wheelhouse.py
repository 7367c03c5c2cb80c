"""``/simple/``: the live wheelhouses as pip reads them (PEP 503 as pages, PEP 691 as JSON).

Takes a catalogue and the Accept header, gives pages. Files lie below ``/wheels/<release>/``; each link carries the
sha256 of the signed manifest.

next: ``registry``
"""

from __future__ import annotations

import re
from html import escape
from typing import Any, NamedTuple

from bundles.site.answers import HTML, Found, Made, Moved, not_found
from bundles.site.catalogue import Catalogue
from bundles.site.targets import join_target, quote
from pipeline.wire import encode_document

SIMPLE_JSON = "application/vnd.pypi.simple.v1+json"
SIMPLE_HTML = "application/vnd.pypi.simple.v1+html"
# The answer depends on what was accepted; caches must know.
_VARY = (("Vary", "Accept"),)
_WHEEL = re.compile(r"([A-Za-z0-9](?:[A-Za-z0-9._]*[A-Za-z0-9])?)-[^/]+\.whl")
_SDIST = re.compile(r"([A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?)-[0-9][^/-]*\.(?:tar\.gz|zip)")


class Wheel(NamedTuple):
    """A file that pip can install, and where it is."""

    name: str
    url: str
    sha256: str
    size: int


def normal_name(text: str) -> str:
    """A project's name as PEP 503 compares it."""
    return re.sub(r"[-_.]+", "-", text).lower()


def projects_of(catalogue: Catalogue) -> dict[str, list[Wheel]]:
    """Project → its files in all live wheelhouses; of files with one name the first one counts."""
    found: dict[str, dict[str, Wheel]] = {}
    for held in catalogue.live_of_kind("wheels"):
        for file in held.files.values():
            match = _WHEEL.fullmatch(file.path) or _SDIST.fullmatch(file.path)
            if match:
                wheel = Wheel(file.path, join_target(("wheels", held.release, file.path)), file.sha256, file.size)
                found.setdefault(normal_name(match[1]), {}).setdefault(file.path, wheel)
    return {name: [files[key] for key in sorted(files)] for name, files in sorted(found.items())}


def find_simple(catalogue: Catalogue, names: tuple[str, ...], accept: str) -> Found:
    """Answer what stands below ``/simple``; ``names`` are those after it."""
    form = accepted_form(accept)
    if not names or (names[-1] and len(names) == 1):
        return Moved(join_target(("simple", *(normal_name(name) for name in names), "")))
    projects = projects_of(catalogue)
    if names == ("",):
        return _index(projects, form)
    name = normal_name(names[0])
    if len(names) != 2 or names[1] or name not in projects:
        return not_found("no live wheelhouse has this project")
    if name != names[0]:
        return Moved(join_target(("simple", name, "")))
    return _project(name, projects[name], form)


def accepted_form(accept: str) -> str:
    """The content type of the answer: JSON for who prefers it (PEP 691), a page for everybody else."""
    weights: dict[str, float] = {}
    for item in accept.split(","):
        kind, *parameters = (word.strip().lower() for word in item.split(";"))
        weights[kind] = next((_weight(word[2:]) for word in parameters if word.startswith("q=")), 1.0)
    html = max(weights.get(kind, 0.0) for kind in (SIMPLE_HTML, "text/html"))
    if weights.get(SIMPLE_JSON, 0.0) > html:
        return SIMPLE_JSON
    return SIMPLE_HTML if weights.get(SIMPLE_HTML, 0.0) > weights.get("text/html", 0.0) else HTML


def _weight(text: str) -> float:
    return float(text) if re.fullmatch(r"[01](?:\.[0-9]{0,3})?", text) else 0.0


def _index(projects: dict[str, list[Wheel]], form: str) -> Made:
    if form == SIMPLE_JSON:
        return _json({"meta": {"api-version": "1.0"}, "projects": [{"name": name} for name in projects]})
    return _page("wheels", [(f"{quote(name)}/", name) for name in projects], form)


def _project(name: str, wheels: list[Wheel], form: str) -> Made:
    if form == SIMPLE_JSON:
        files = [{"filename": one.name, "url": one.url, "hashes": {"sha256": one.sha256}, "size": one.size} for one in wheels]
        return _json({"meta": {"api-version": "1.0"}, "name": name, "files": files})
    return _page(name, [(f"{one.url}#sha256={one.sha256}", one.name) for one in wheels], form)


def _json(document: Any) -> Made:
    return Made(encode_document(document), SIMPLE_JSON, headers=_VARY)


def _page(title: str, links: list[tuple[str, str]], form: str) -> Made:
    lines = "".join(f'<a href="{escape(target)}">{escape(text)}</a><br>\n' for target, text in links)
    head = f'<meta name="pypi:repository-version" content="1.0"><title>{escape(title)}</title>'
    body = f"<!DOCTYPE html>\n<html><head>{head}</head><body>\n{lines}</body></html>\n"
    return Made(body.encode(), form, headers=_VARY)
