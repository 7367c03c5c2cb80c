"""The index of a wheelhouse: ``simple/`` as pip reads it from a folder or a web server (PEP 503).

Takes the names of the files of a ``wheels`` release, gives the pages to lay beside them.

next: ``verifying``
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from bundles.installer.manifest import File

SIMPLE = "simple"
_WHEEL = re.compile(r"([A-Za-z0-9](?:[A-Za-z0-9._]*[A-Za-z0-9])?)-[^/]+\.whl")
_SDIST = re.compile(r"([A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?)-[0-9][^/-]*\.(?:tar\.gz|zip)")
_PLAIN = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")
_PAGE = '<!DOCTYPE html>\n<html><head><meta name="pypi:repository-version" content="1.0"><title>{}</title></head><body>\n{}</body></html>\n'


def simple_pages(files: Sequence[File]) -> dict[str, bytes]:
    """Path → page, below the release's folder; none where the release has a ``simple/`` of its own."""
    if any(file.path.split("/")[0] == SIMPLE for file in files):
        return {}
    projects: dict[str, list[File]] = {}
    for file in files:
        found = _WHEEL.fullmatch(file.path) or _SDIST.fullmatch(file.path)
        if found:
            projects.setdefault(re.sub(r"[-_.]+", "-", found[1]).lower(), []).append(file)
    pages = {f"{SIMPLE}/index.html": _page("wheels", [(f"{name}/", name) for name in sorted(projects)])}
    for name, members in projects.items():
        links = [(f"../../{_quoted(file.path)}#sha256={file.sha256}", file.path) for file in members]
        pages[f"{SIMPLE}/{name}/index.html"] = _page(name, links)
    return pages


def _page(title: str, links: Sequence[tuple[str, str]]) -> bytes:
    lines = "".join(f'<a href="{target}">{_escaped(text)}</a><br>\n' for target, text in links)
    return _PAGE.format(_escaped(title), lines).encode()


def _quoted(text: str) -> str:
    return "".join(chr(byte) if chr(byte) in _PLAIN else f"%{byte:02X}" for byte in text.encode())


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
