"""Which file leads to which: references become links, or are reported as leading nowhere.

Takes what the scanners found and the paths there are; gives ``Link`` and ``Dangling`` values. Pure.

next: ``sw.graph``
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass

from sw.scan.kinds import Scanned
from sw.scan.text import Reference
from sw.urls import folder_of, is_relative_module, local_path

_LINE_END = re.compile(rb"\r\n|\r|\n")


@dataclass(frozen=True, slots=True)
class Link:
    """A reference and the file it leads to."""

    reference: Reference
    target: str


@dataclass(frozen=True, slots=True)
class Dangling:
    """A reference of this site that leads to no file; ``line`` is counted from 1. Without the folder ``base`` it would lead to one."""

    path: str
    line: int
    url: str
    base: str = ""

    def __str__(self) -> str:
        """``file:line: what``, as editors and terminals know it."""
        why = f"; without /{self.base}/ it would: let the bundler build for the base ./" if self.base else ""
        return f"{self.path}:{self.line}: {self.url!r} leads to no file{why}"


def links_of(path: str, data: bytes, scanned: Scanned, paths: Collection[str]) -> tuple[list[Link], list[Dangling]]:
    """Resolve the references of ``path``."""
    links: list[Link] = []
    dangling: list[Dangling] = []
    folder = folder_of(path)
    if scanned.base is not None:
        base = local_path(scanned.base, folder)
        if base is None and scanned.base.strip() and not scanned.base.strip().startswith(("?", "#")):
            # Everything relative leads to another site.
            return [], []
        folder = folder_of(base.path) if base else folder
    for reference in scanned.references:
        url = reference.url.text
        tried = list(_tries(reference, path, folder))
        target = next((one for one in tried if one in paths), None)
        if target is not None:
            links.append(Link(reference, target))
        elif tried and _must_exist(reference, tried[0]):
            top, _, rest = tried[0].partition("/")
            line = len(_LINE_END.findall(data, 0, reference.url.at[0])) + 1
            dangling.append(Dangling(path, line, url, top if rest in paths else ""))
    return links, dangling


def _tries(reference: Reference, path: str, folder: str) -> Iterator[str]:
    """The files that a reference may lead to, the likeliest first."""
    url = reference.url.text
    if reference.how in {"module", "key"} and not is_relative_module(url.strip()):
        return
    # A script's own string is relative to the page that runs it: pages lie at the top, or beside their scripts.
    folders = ("", folder_of(path)) if reference.how in {"page", "keep"} else (folder,)
    for one in folders:
        local = local_path(url, one)
        if local is not None:
            yield f"{local.path}index.html" if not local.path or local.path.endswith("/") else local.path
            if reference.how == "route":
                yield f"{local.path}.html"


def _must_exist(reference: Reference, target: str) -> bool:
    """Whether a reference without a file is worth a warning."""
    if reference.how in {"maybe", "key", "back"}:
        return False
    # /basket is for the application to answer; /help.html is not.
    return reference.how != "route" or "." in target.rpartition("/")[2].removesuffix("index.html")
