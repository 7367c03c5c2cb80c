"""Where a URL leads: joined with its base as a browser would (WHATWG URL §4), to a path of the site.

Takes the decoded URL of a reference and the folder it is relative to; gives the site path, or None for
what is not of this site. Pure.

next: ``sw.graph``
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import unquote

from sw.scan.text import Text

_SCHEME = re.compile(r"[a-zA-Z][a-zA-Z0-9+.-]*:")
_DOT = re.compile(r"\.|%2[eE]")
# §4.4: leading and trailing controls and spaces go, tabs and line ends everywhere.
_AROUND = "".join(map(chr, range(0x21)))
_INSIDE = re.compile(r"[\t\n\r]")


@dataclass(frozen=True, slots=True)
class Local:
    """A place of this site. ``path`` has no slash at its front; one at its end is a folder."""

    path: str


def local_path(url: str, folder: str) -> Local | None:
    """Join ``url`` with ``folder`` (``""``, or a site path that ends with a slash); None if it leaves the site or is no path."""
    text = _INSIDE.sub("", url.strip(_AROUND)).replace("\\", "/")
    if not text or text[0] in "?#" or text.startswith("//") or _SCHEME.match(text):
        return None
    path = re.split(r"[?#]", text, maxsplit=1)[0]
    steps = [] if path.startswith("/") else folder.split("/")[:-1]
    given = path.split("/")
    for step in given:
        plain = unquote(step, errors="surrogateescape")
        if plain == "..":
            del steps[-1:]
        elif plain not in {"", "."}:
            steps.append(plain)
    ends = given[-1] == "" or unquote(given[-1]) in {".", ".."}
    return Local("/".join(steps) + ("/" if ends and steps else ""))


def is_relative_module(specifier: str) -> bool:
    """Whether an import names an address; any other belongs to import maps (WHATWG HTML §8.1.6.3)."""
    return specifier.startswith(("/", "./", "../"))


def place_of_hash(url: Text) -> int | None:
    """The byte offset where ``.<hash>`` goes: before the dot of the file's ending. None if it has none."""
    text = url.text
    end = len(re.split(r"[?#]", text, maxsplit=1)[0].rstrip(_AROUND))
    name = max(text.rfind("/", 0, end), text.rfind("\\", 0, end)) + 1
    dots = [match.start() for match in _DOT.finditer(text, name, end)]
    return url.at[dots[-1]] if dots else None


def folder_of(path: str) -> str:
    """The folder of a site path, with a slash at its end; ``""`` for the top."""
    return path[: path.rfind("/") + 1]
