"""HTML and SVG: attributes, inline styles, scripts and import maps (WHATWG HTML, SVG 2).

Takes the text of a page or drawing; gives its references and the base that relative ones are joined with. html.parser
divides the markup into tags and text; where an attribute's value stands is read from the tag itself (§13.2.5.33 on).

next: ``sw.scan.kinds``
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from html.parser import HTMLParser
from itertools import accumulate

from sw.scan.documents import import_map_references
from sw.scan.scripts import script_references
from sw.scan.styles import style_references
from sw.scan.text import How, Reference, Text, text_of, translate

_ATTRIBUTE = re.compile(
    r"[\s/]*(?P<name>[^\s/>=][^\s/>=]*)(?:\s*=\s*(?:\"(?P<double>[^\"]*)\"|'(?P<single>[^']*)'|(?P<bare>[^\s>\"'][^\s>]*)))?"
)
# A named reference may lack its semicolon, but in an attribute not before "=" or a letter or digit (§13.2.5.73).
_ENTITY = re.compile(r"&(?:#[0-9]+;?|#[xX][0-9a-fA-F]+;?|[a-zA-Z][a-zA-Z0-9]{0,31}(?:;|(?![=a-zA-Z0-9])))")
_REFRESH = re.compile(r"\s*[0-9.]*\s*[;,]?\s*(?:[uU][rR][lL]\s*=\s*)?(?:\"([^\"]*)|'([^']*)|(\S.*))", re.DOTALL)
_DESCRIPTORS = re.compile(r"(?:[^,(]|\([^)]*\)?)*")
_NOT_SPACE = re.compile(r"[^ \t\n\r\f,][^ \t\n\r\f]*")
_SCRIPT_TYPES = frozenset(
    {"", "module", "text/javascript", "application/javascript", "text/ecmascript", "application/ecmascript"}
)
_RAW = frozenset({"script", "style"})
# Their content is text, whatever it looks like (§13.2.5.2, §13.2.5.3); html.parser knows the former two.
_WORDS = frozenset({"textarea", "title", "xmp", "iframe", "noembed", "noframes"})

_URL_ATTRIBUTES: dict[str, dict[str, How]] = {
    "a": {"href": "route", "xlink:href": "route"},
    "area": {"href": "route"},
    "audio": {"src": "url"},
    "body": {"background": "url"},
    "button": {"formaction": "route"},
    "embed": {"src": "url"},
    "feimage": {"href": "url", "xlink:href": "url"},
    "form": {"action": "route"},
    "frame": {"src": "route"},
    "iframe": {"src": "route"},
    "image": {"href": "url", "xlink:href": "url"},
    "img": {"src": "url"},
    "input": {"src": "url", "formaction": "route"},
    "link": {"href": "url"},
    "object": {"data": "url"},
    "script": {"src": "url", "href": "url", "xlink:href": "url"},
    "source": {"src": "url"},
    "table": {"background": "url"},
    "td": {"background": "url"},
    "th": {"background": "url"},
    "track": {"src": "url"},
    "use": {"href": "url", "xlink:href": "url"},
    "video": {"src": "url", "poster": "url"},
    # SVG: gradients, patterns and text paths may point into another drawing.
    "lineargradient": {"href": "url", "xlink:href": "url"},
    "mpath": {"href": "url", "xlink:href": "url"},
    "pattern": {"href": "url", "xlink:href": "url"},
    "radialgradient": {"href": "url", "xlink:href": "url"},
    "textpath": {"href": "url", "xlink:href": "url"},
}
_SETS: dict[str, tuple[str, ...]] = {"img": ("srcset",), "source": ("srcset",), "link": ("imagesrcset",)}
# Read by scripts of many makers, by no browser: a reference only if it leads to a file.
_MAYBE = frozenset({"data-src", "data-poster", "data-background", "data-bg", "data-href"})
_MAYBE_SETS = frozenset({"data-srcset"})
# Links that name a page or another site's address rather than something to fetch.
_ROUTE_LINKS = frozenset({"canonical", "alternate", "next", "prev", "author", "license", "search", "help"})
# Properties of <meta> that are addresses of pictures and sounds.
_META = frozenset(
    {
        "og:image", "og:image:url", "og:image:secure_url", "og:video", "og:audio",
        "twitter:image", "twitter:image:src", "msapplication-tileimage", "msapplication-config",
    }
)  # fmt: skip


@dataclass(slots=True)
class Markup:
    """What a page refers to; ``base`` is the ``href`` of its first ``<base>``."""

    references: list[Reference] = field(default_factory=list)
    base: str | None = None


@dataclass(frozen=True, slots=True)
class _Attribute:
    name: str
    value: Text


def markup_references(data: bytes) -> Markup:
    """Find what a page or a drawing refers to."""
    text = text_of(data)
    reader = _Reader(text, data)
    reader.feed(text.text)
    reader.close()
    return reader.found


class _Reader(HTMLParser):
    """Gathers references; positions come from lines, as html.parser counts them."""

    def __init__(self, text: Text, data: bytes) -> None:
        super().__init__(convert_charrefs=False)
        self.found = Markup()
        self._text = text
        self._data = data
        self._lines = [0, *accumulate(len(line) + 1 for line in text.text.split("\n"))]
        self._raw = ""
        self._script_type = ""
        self._drawing = False

    def parse_marked_section(self, i: int, report: bool = True) -> int:  # noqa: FBT001, FBT002 - the library's signature
        """Pass over ``<![``; what follows may be anything, and is a comment then (§13.2.5.42)."""
        place = self.lineno, self.offset
        try:
            return super().parse_marked_section(i, report)
        except AssertionError:
            # So html.parser says that it is no section of SGML, and it counts what it read of it twice.
            self.lineno, self.offset = place
            return self.parse_bogus_comment(i, report)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        del attrs  # Decoded, and without their places.
        if tag == "svg":
            self._drawing = True
        start = self._here()
        attributes = list(_attributes(self._text, start, self.get_starttag_text() or ""))
        self._take(tag, {one.name: one.value for one in reversed(attributes)})
        if tag in _WORDS and not self._drawing:
            self.set_cdata_mode(tag)
        if tag in _RAW:
            self._raw = tag
            self._script_type = next((one.value.text.strip().lower() for one in attributes if one.name == "type"), "")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        self._raw = ""

    def handle_endtag(self, tag: str) -> None:
        if tag == "svg":
            self._drawing = False
        self._raw = ""

    def handle_data(self, data: str) -> None:
        if self._raw:
            start = self._here()
            self._take_raw(self._text.part(start, start + len(data)))

    def handle_pi(self, data: str) -> None:
        # <?xml-stylesheet href="…"?> of a drawing.
        if data.startswith("xml-stylesheet"):
            start = self._here()
            for one in _attributes(self._text, start, f"<?{data}>"):
                if one.name == "href":
                    self._add(one.value)

    def _here(self) -> int:
        line, column = self.getpos()
        return self._lines[line - 1] + column

    def _add(self, url: Text, how: How = "url", integrity: Text | None = None) -> None:
        self.found.references.append(Reference(url, how, integrity))

    def _take(self, tag: str, attributes: dict[str, Text]) -> None:
        if tag == "base" and "href" in attributes and self.found.base is None:
            self.found.base = attributes["href"].text
        for name, value in attributes.items():
            how = _URL_ATTRIBUTES.get(tag, {}).get(name) or ("maybe" if name in _MAYBE else None)
            if how is not None:
                self._add(value, self._how(tag, how, attributes), self._integrity(tag, attributes))
            elif name in _SETS.get(tag, ()) or name in _MAYBE_SETS:
                for url in _candidates(value):
                    self._add(url, "maybe" if name in _MAYBE_SETS else "url")
            elif name == "style" or (self._drawing and "url(" in value.text.lower()):
                self.found.references += style_references(value)
            elif name == "srcdoc" and tag == "iframe":
                self.found.references += _inner_page(value)
        if tag == "meta":
            self._take_meta(attributes)

    def _how(self, tag: str, how: How, attributes: dict[str, Text]) -> How:
        if tag == "link" and "rel" in attributes and set(attributes["rel"].text.lower().split()) <= _ROUTE_LINKS:
            return "route"
        return how

    def _integrity(self, tag: str, attributes: dict[str, Text]) -> Text | None:
        return attributes.get("integrity") if tag in {"script", "link"} else None

    def _take_meta(self, attributes: dict[str, Text]) -> None:
        content = attributes.get("content")
        if content is None:
            return
        names = {attributes[name].text.strip().lower() for name in ("name", "property", "itemprop") if name in attributes}
        if names & _META:
            self._add(content, "maybe")
        elif "http-equiv" in attributes and attributes["http-equiv"].text.strip().lower() == "refresh":
            match = _REFRESH.match(content.text)
            for group in (1, 2, 3):
                if match and match[group]:
                    self._add(content.group(match, group), "route")

    def _take_raw(self, text: Text) -> None:
        if self._raw == "style":
            self.found.references += style_references(_decoded(text) if self._drawing else text)
            return
        data = self._data[text.at[0] : text.at[-1]]
        if self._script_type in _SCRIPT_TYPES:
            self.found.references += script_references(data, text.at[0])
        elif self._script_type == "importmap":
            self.found.references += import_map_references(data, text.at[0])


def _attributes(text: Text, start: int, tag: str) -> Iterator[_Attribute]:
    """Read the attributes of the tag that stands at ``start``, as it is written there."""
    at = re.match(r"<[?/]?[^\s/>]*", tag)
    position = at.end() if at else 0
    while match := _ATTRIBUTE.match(tag, position):
        position = match.end()
        group = next((name for name in ("double", "single", "bare") if match[name] is not None), "")
        value = text.part(start + match.start(group), start + match.end(group)) if group else text.part(start, start)
        yield _Attribute(match["name"].lower(), _decoded(value))


def _decoded(text: Text) -> Text:
    return translate(text, _ENTITY, lambda match: html.unescape(match[0]))


def _candidates(value: Text) -> Iterator[Text]:
    """Divide a ``srcset`` (§4.8.4.3.10): a comma inside an address is part of it, one at its end is not."""
    position = 0
    while match := _NOT_SPACE.search(value.text, position):
        url = value.group(match)
        bare = url.text.rstrip(",")
        yield url.part(0, len(bare))
        position = match.end()
        if bare == url.text:
            descriptors = _DESCRIPTORS.match(value.text, position)
            position = descriptors.end() if descriptors else position


def _inner_page(value: Text) -> list[Reference]:
    """References of a page that is itself an attribute: found in its own words, moved to where these stand."""
    inner = markup_references(value.text.encode("utf-8", "surrogateescape"))
    plain = text_of(value.text.encode("utf-8", "surrogateescape"))
    index = {offset: number for number, offset in enumerate(plain.at)}

    def moved(text: Text) -> Text:
        return Text(text.text, [value.at[index[offset]] for offset in text.at])

    return [Reference(moved(one.url), one.how, moved(one.integrity) if one.integrity else None) for one in inner.references]
