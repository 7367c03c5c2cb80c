"""CSS: ``url()``, ``@import``, ``image-set()`` and their kin, found by tokens (W3C CSS Syntax Level 3).

Takes the text of a style sheet, a ``<style>`` or a ``style`` attribute; gives its references. tinycss2 says where each
token begins, in lines and columns of text with unified line ends; what a token holds is read from the text itself.

next: ``sw.scan.scripts``
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

import tinycss2

from sw.scan.text import Reference, Text, translate

# Cheap to see that a sheet, or a stretch of it, refers to nothing.
_WORTH_READING = re.compile(r"(?:url|src|image)\s*\(|image-set\(|@import|sourceMappingURL|\\", re.IGNORECASE)
# An escape that may be a letter of these words.
_SPELLED = re.compile(r"\\(?:0{0,4}[4-7][0-9a-fA-F]|[g-zG-Z])")
# Where a stretch ends, and what is passed over as a whole because such a sign in it says nothing.
_LANDMARK = re.compile(
    r"/\*[\s\S]*?(?:\*/|\Z)|\"(?:[^\"\\\n\r\f]|\\(?:\r\n|[\s\S]))*\"?|'(?:[^'\\\n\r\f]|\\(?:\r\n|[\s\S]))*'?"
    r"|[uU][rR][lL]\([ \t\n\r\f]*(?![\"' \t\n\r\f])(?:[^)\\]|\\[\s\S])*\)?|\\[\s\S]|([(){};])"
)
_LINE_END = re.compile(r"\r\n|\r|\n|\f")
_STRING = re.compile(r"\"((?:[^\"\\\n\r\f]|\\(?:\r\n|[^\r])|\\\r)*)\"|'((?:[^'\\\n\r\f]|\\(?:\r\n|[^\r])|\\\r)*)'")
_URL = re.compile(
    r"[^(]*\([ \t\n\r\f]*(?:(?P<quote>[\"'])|(?P<bare>(?:[^ \t\n\r\f\"'()\\]|\\[0-9a-fA-F]{1,6}(?:\r\n|[ \t\n\r\f])?|\\[^\n\r\f0-9a-fA-F])*))"
)
# §4.3.7: up to six hex digits and one white space after them, a line end that goes on, or any other character.
_ESCAPE = re.compile(r"\\(?:([0-9a-fA-F]{1,6})(?:\r\n|[ \t\n\r\f])?|(\r\n|[\n\r\f])|([\s\S]))")
_MAP = re.compile(r"/\*[#@]\s*sourceMappingURL=\s*(\S+?)\s*\*/\s*\Z")
# Functions whose strings are URLs (CSS Images 4, CSS Values 5).
_URL_FUNCTIONS = frozenset({"url", "src"})
_IMAGE_FUNCTIONS = frozenset({"image-set", "-webkit-image-set", "image"})


def style_references(text: Text) -> list[Reference]:
    """Find what a style sheet refers to."""
    if not _WORTH_READING.search(text.text):
        return []
    # A name may be spelled with escapes: then only the tokens tell, everywhere.
    stretches = [(0, len(text.text))] if _SPELLED.search(text.text) else _stretches(text.text)
    found = [Reference(url) for start, end in stretches for url in _urls(text.part(start, end))]
    source_map = _MAP.search(text.text)
    if source_map:
        found.append(Reference(text.group(source_map, 1)))
    return found


def _stretches(text: str) -> Iterator[tuple[int, int]]:
    """The declarations and rules' heads that may refer to something: the rest of a sheet, most of it, needs no tokens."""
    start = depth = 0
    for match in _LANDMARK.finditer(text):
        mark = match[1]
        if mark == "(":
            depth += 1
        elif mark == ")":
            depth = max(0, depth - 1)
        elif mark is not None and not depth:
            if _WORTH_READING.search(text, start, match.end()):
                yield start, match.end()
            start = match.end()
    if _WORTH_READING.search(text, start):
        yield start, len(text)


def _urls(text: Text) -> Iterator[Text]:
    """Walk blocks and functions without recursion: they may be nested as deep as a file is long."""
    lines = [0, *(match.end() for match in _LINE_END.finditer(text.text))]
    nodes = tinycss2.parse_component_value_list(text.text)
    # (the rest of a list, whether a string in it is a URL as in image-set("a.png" 1x), the rule that it stands in)
    waiting: list[tuple[Iterator[Any], bool, str]] = [(iter(nodes), False, "")]
    while waiting:
        rest, strings, rule = waiting.pop()
        for node in rest:
            kind = node.type
            if kind == "at-keyword":
                rule = node.lower_value
            elif kind in {"{} block", "[] block", "() block"}:
                waiting += [(rest, strings, ""), (iter(node.content), False, "")]
                break
            elif kind == "literal" and node.value == ";":
                rule = ""
            elif rule == "namespace":
                # Its URL is a name, which nobody fetches.
                continue
            elif kind == "url":
                yield _url_at(text, _start(lines, node))
            elif kind == "string" and (strings or rule == "import"):
                yield _string_at(text, _start(lines, node))
                rule = "" if rule == "import" else rule
            elif kind == "function":
                # type("image/png") in an image-set is no image.
                takes = node.lower_name in _URL_FUNCTIONS or node.lower_name in _IMAGE_FUNCTIONS
                waiting += [(rest, strings, rule), (iter(node.arguments), takes, "")]
                break


def _start(lines: Sequence[int], node: Any) -> int:
    at: int = lines[node.source_line - 1] + node.source_column - 1
    return at


def _string_at(text: Text, start: int) -> Text:
    match = _STRING.match(text.text, start)
    if match is None:
        return text.part(start, start)
    return _unescaped(text.group(match, 1 if match[1] is not None else 2))


def _url_at(text: Text, start: int) -> Text:
    match = _URL.match(text.text, start)
    if match is None:
        return text.part(start, start)
    if match["quote"]:
        return _string_at(text, match.start("quote"))
    return _unescaped(text.group(match, "bare"))


def _unescaped(text: Text) -> Text:
    return translate(text, _ESCAPE, _unescape)


def _unescape(match: re.Match[str]) -> str:
    if match[1]:
        point = int(match[1], 16)
        return chr(point) if 0 < point <= 0x10FFFF and not 0xD800 <= point <= 0xDFFF else "\ufffd"
    return "" if match[2] else match[3]
