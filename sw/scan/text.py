"""Text that knows where it stands: decoded characters, each with the byte offset of its spelling in the file.

Takes bytes, gives ``Text``. Entities, escapes and percent signs are decoded by ``translate``, one layer after the
other, and every character still knows its place: so a reference can be changed where it stands without
spelling anything around it anew.

next: ``sw.scan.styles``
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

# How a browser resolves it:
# ``url``     against the base of the file or document that holds it
# ``module``  as an import: bare names belong to import maps and lead nowhere by themselves
# ``page``    a script's string, against the page or worker that runs it, which the script does not know
# ``route``   a place to go to: the application may answer it without a file
# ``maybe``   an attribute that only a script reads: a reference if it leads to a file
# ``keep``    a script whose name a browser remembers (a service worker): it keeps it
# ``back``    from a source map to its script: no dependency
How = Literal["url", "module", "page", "route", "maybe", "key", "keep", "back"]


@dataclass(frozen=True, slots=True)
class Text:
    """``text`` decoded; ``at[i]`` is the byte offset where character ``i`` is spelled, ``at[-1]`` that of the end."""

    text: str
    at: Sequence[int]

    def part(self, start: int, end: int) -> Text:
        """The characters from ``start`` up to ``end``."""
        return Text(self.text[start:end], self.at[start : end + 1])

    def group(self, match: re.Match[str], group: int | str = 0) -> Text:
        """What a group of a match on ``text`` holds."""
        return self.part(*match.span(group))


@dataclass(frozen=True, slots=True)
class Reference:
    """A URL in a file. ``integrity`` is the span of the digest beside it that the browser checks, in bytes."""

    url: Text
    how: How = "url"
    integrity: Text | None = None


def text_of(data: bytes, start: int = 0) -> Text:
    """Decode UTF-8; a byte that is none becomes a lone surrogate, which no reference holds. ``start`` is where ``data`` begins."""
    text = data.decode("utf-8", "surrogateescape")
    if len(text) == len(data):
        return Text(text, range(start, start + len(data) + 1))
    points = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype="<u4")
    widths = 1 + (points >= 0x80) + (points >= 0x800) + (points >= 0x10000)
    widths[(points >= 0xDC80) & (points <= 0xDCFF)] = 1
    return Text(text, [start, *(start + np.cumsum(widths)).tolist()])


def translate(text: Text, pattern: re.Pattern[str], spell: Callable[[re.Match[str]], str]) -> Text:
    """Decode one layer: every match becomes what ``spell`` says, all of it standing where the match began."""
    pieces: list[str] = []
    places: list[int] = []
    done = 0
    for match in pattern.finditer(text.text):
        decoded = spell(match)
        pieces += text.text[done : match.start()], decoded
        places += text.at[done : match.start()]
        places += [text.at[match.start()]] * len(decoded)
        done = match.end()
    if not pieces:
        return text
    pieces.append(text.text[done:])
    places += text.at[done:]
    return Text("".join(pieces), places)
