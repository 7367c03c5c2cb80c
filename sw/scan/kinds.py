"""Which scanner reads which file: by its ending, as the web server's content type will be.

Takes a path and bytes, gives ``Scanned``.

next: ``sw.urls``
"""

from __future__ import annotations

from dataclasses import dataclass

from sw.scan.documents import app_manifest_references, source_map_references
from sw.scan.markup import markup_references
from sw.scan.scripts import script_references
from sw.scan.styles import style_references
from sw.scan.text import Reference, text_of

PAGES = (".html", ".htm", ".xhtml")
_UTF16 = (b"\xff\xfe", b"\xfe\xff")


@dataclass(frozen=True, slots=True)
class Scanned:
    """What a file refers to. ``base`` is the ``<base>`` of a page; ``fault`` why it was not read."""

    references: tuple[Reference, ...] = ()
    base: str | None = None
    fault: str = ""


def has_references(path: str) -> bool:
    """Whether a file of this name can refer to others: the rest need not be kept in memory."""
    return path.lower().endswith((*PAGES, ".svg", ".css", ".js", ".mjs", ".cjs", ".webmanifest", "manifest.json", ".map"))


def is_page(path: str) -> bool:
    """Whether a path is a page, which people and other sites know by its name."""
    return path.lower().endswith(PAGES)


def scan(path: str, data: bytes) -> Scanned:
    """Find what the file ``path`` refers to."""
    name = path.lower()
    if not has_references(name):
        return Scanned()
    if data.startswith(_UTF16):
        return Scanned(fault="it is UTF-16: save it as UTF-8 to have its references rewritten")
    if name.endswith((*PAGES, ".svg")):
        markup = markup_references(data)
        return Scanned(tuple(markup.references), markup.base)
    if name.endswith(".css"):
        return Scanned(tuple(style_references(text_of(data))))
    if name.endswith(".map"):
        return Scanned(tuple(source_map_references(data)))
    if name.endswith((".webmanifest", "manifest.json")):
        return Scanned(tuple(app_manifest_references(data)))
    return Scanned(tuple(script_references(data)))
