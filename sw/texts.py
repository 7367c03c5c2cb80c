"""Names of renamed files that a script says as a plain text: a bundler's way to give the address of a picture.

Takes scripts with their references and the paths that get other names; gives where such a text stands. Nothing is changed:
a text is no reference, but whoever wrote it wants to know. Pure.

next: ``sw.graph``
"""

from __future__ import annotations

from collections.abc import Collection, Iterator

from sw.naming import Loaded

_QUOTES = b"\"'`"
_ENDINGS = (".js", ".mjs", ".cjs")
# A longer text is no address.
_MOST_BYTES = 300


def texts_that_name(scripts: Collection[Loaded], renamed: Collection[str]) -> Iterator[tuple[str, int, str]]:
    """Find texts of scripts that are the address of a renamed file from the top of the site: (script, line, file)."""
    # To look for folders is much faster than to look for each file.
    needles = {f"{path.partition('/')[0]}/" if "/" in path else path for path in renamed}
    for script in scripts:
        data = script.data
        if data is None or not script.path.lower().endswith(_ENDINGS):
            continue
        known = {link.reference.url.at[0] for link in script.links}
        for needle in sorted(needles):
            # A bare name is any word; with a slash it is an address.
            wanted = (b"/" + needle.encode()) if "/" not in needle else needle.encode()
            at = data.find(wanted)
            while at >= 0:
                first = at - 1 if data[at - 1 : at] == b"/" else at
                path = _text(data, first)
                if path in renamed and first not in known:
                    yield script.path, data.count(b"\n", 0, first) + 1, path
                at = data.find(wanted, at + len(wanted))


def _text(data: bytes, start: int) -> str:
    """The path in the literal that begins at ``start``, "" if none begins there."""
    quote = data[start - 1 : start]
    if not quote or quote not in _QUOTES:
        return ""
    end = data.find(quote, start, start + _MOST_BYTES)
    return data[start:end].decode(errors="replace").partition("?")[0].partition("#")[0].lstrip("/") if end > 0 else ""
