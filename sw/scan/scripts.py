"""JavaScript: imports, workers and URLs beside a module, found in the syntax tree (ECMAScript 2026, WHATWG HTML §8).

Takes the bytes of a script, gives its references. A string is a reference only in the places where the language or the
platform says so; ``fetch("data.json")`` is none, for its base is whatever page runs it.

next: ``sw.scan.documents``
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from typing import NamedTuple

import tree_sitter_javascript
from tree_sitter import Language, Node, Parser, Query, QueryCursor, Tree

from sw.scan.text import How, Reference, Text, text_of, translate

# No reference is without one of these: "import" stands in import.meta.url as well. Looked for from the end, in C.
_MARKS = (b"import", b"Worker", b"addModule")
# Bundlers put an empty string before it, so that others of their kind do not see it.
_BESIDE = re.compile(rb"(?:(?:\"\"|''|``)\s*\+\s*)?import\.meta\.url")
_FROM = re.compile(rb"from\s*[\"'/]")
# What stands this far behind the last of these words is read no more: an address and its attributes are shorter.
_BEHIND = 16 << 10
_QUERY = """
(import_statement source: (string) @module)
(export_statement source: (string) @module)
(call_expression function: (import) arguments: (arguments) @imported)
(new_expression
  constructor: [(identifier) @name (member_expression property: (property_identifier) @name)]
  arguments: (arguments . (_)) @given
  (#any-of? @name "URL" "Worker" "SharedWorker"))
(call_expression
  function: [(identifier) @name (member_expression property: (property_identifier) @name)] @called
  arguments: (arguments . (_)) @given
  (#any-of? @name "importScripts" "resolve" "addModule" "register"))
(variable_declarator name: (identifier) @listing (#eq? @listing "__vite__mapDeps") value: (arrow_function) @listed)
"""
# §12.9.4 of ECMAScript: what a backslash says in a string or template.
_ESCAPE = re.compile(
    r"\\(?:x([0-9a-fA-F]{2})|u([0-9a-fA-F]{4})|u\{([0-9a-fA-F]{1,6})\}|([0-7]{1,3})|(\r\n|[\n\r\u2028\u2029])|([\s\S]))"
)
_LETTERS = {"n": "\n", "t": "\t", "r": "\r", "b": "\b", "f": "\f", "v": "\v"}
_MAP = re.compile(
    rb"//[#@][ \t]*sourceMappingURL=[ \t]*([^\s'\"]+)[ \t]*|/\*[#@][ \t]*sourceMappingURL=[ \t]*([^\s'\"*]+)[ \t]*\*/"
)


class Call(NamedTuple):
    """A call or construction: the name at its end, the whole of what is called, and its arguments."""

    name: str
    called: str
    given: Sequence[Node]


def script_references(data: bytes, start: int = 0) -> list[Reference]:
    """Find what a script refers to; ``start`` is where ``data`` begins in its file."""
    found = [*_captured(_worth_reading(data), start)]
    last = next(iter(deque(_MAP.finditer(data), maxlen=1)), None)
    if last is not None and _is_comment(data, last):
        group = 1 if last[1] is not None else 2
        found.append(Reference(text_of(last[group], start + last.start(group))))
    return found


def _worth_reading(data: bytes) -> bytes:
    """The script up to where nothing can be a reference any more: often its first lines, of megabytes."""
    last = max(data.rfind(mark) for mark in _MARKS)
    origin = data.rfind(b"from")
    while origin > last and not _FROM.match(data, origin):
        origin = data.rfind(b"from", 0, origin)
    last = max(last, origin)
    if last < 0:
        return b""
    end = data.find(b"\n", last + _BEHIND)
    return data if end < 0 else data[:end]


def _is_comment(data: bytes, found: re.Match[bytes]) -> bool:
    line = data.rfind(b"\n", 0, found.start()) + 1
    if not data[line : found.start()].strip() and not data[found.end() :].strip():
        # A whole line at the end: a string, template or comment that it was inside of would never end.
        return True
    node = parse_script(data).root_node.descendant_for_byte_range(found.start(), found.end())
    return node is not None and node.type == "comment"


def parse_script(data: bytes) -> Tree:
    """Parse JavaScript; what is none becomes error nodes, not an exception."""
    return Parser(_language()).parse(data)


def string_text(node: Node, data: bytes, start: int = 0) -> Text | None:
    """What a string, or a template without substitutions, says; None for anything else."""
    if node.type not in {"string", "template_string"} or any(child.type == "template_substitution" for child in node.children):
        return None
    inside = text_of(data[node.start_byte + 1 : node.end_byte - 1], start + node.start_byte + 1)
    return translate(inside, _ESCAPE, _unescape)


def _captured(data: bytes, start: int) -> Iterator[Reference]:
    if not data:
        return
    for _, captures in QueryCursor(_query()).matches(parse_script(data).root_node):
        if "listing" in captures:
            # Vite's list of what a lazy import brings along: paths below the site's base.
            yield from (Reference(url, "page") for url in _listed(captures["listed"][0], data, start))
        elif "name" not in captures:
            # A comment may stand before what is imported; what stands behind it are attributes.
            nodes = captures.get("module") or _given(captures["imported"][0])[:1]
            yield from (Reference(url, "module") for node in nodes if (url := string_text(node, data, start)) is not None)
        else:
            for node, how in _places(_call(captures, data), data):
                url = string_text(node, data, start)
                if url is not None:
                    yield Reference(url, how)


def _listed(node: Node, data: bytes, start: int) -> Iterator[Text]:
    """The strings of every list in a function."""
    waiting = [node]
    while waiting:
        one = waiting.pop()
        if one.type == "array":
            yield from filter(None, (string_text(item, data, start) for item in one.named_children))
        else:
            waiting += one.named_children


def _call(captures: Mapping[str, Sequence[Node]], data: bytes) -> Call:
    name = captures["name"][0]
    called = captures.get("called", [name])[0]
    return Call(
        data[name.start_byte : name.end_byte].decode(),
        data[called.start_byte : called.end_byte].decode("utf-8", "replace"),
        _given(captures["given"][0]),
    )


def _given(arguments: Node) -> Sequence[Node]:
    return [node for node in arguments.named_children if node.type != "comment"]


def _places(call: Call, data: bytes) -> Iterator[tuple[Node, How]]:
    """Which arguments are URLs, and what they are relative to."""
    first, *more = call.given
    match call.name:
        case "URL":
            # Without this base it is relative to whatever the base argument says at run time.
            if more and _BESIDE.fullmatch(data, more[0].start_byte, more[0].end_byte):
                yield first, "url"
        case "Worker" | "SharedWorker":
            yield first, "page"
        case "importScripts":
            for node in call.given:
                yield node, "page"
        case "addModule":
            yield first, "page"
        case "resolve" if call.called == "import.meta.resolve":
            yield first, "module"
        case "register" if call.called.endswith("serviceWorker.register"):
            yield first, "keep"


def _unescape(match: re.Match[str]) -> str:
    code = match[1] or match[2] or match[3]
    if code:
        point = int(code, 16)
        return chr(point) if point <= 0x10FFFF else "\ufffd"
    if match[4]:
        return chr(int(match[4], 8) & 0xFF)
    return "" if match[5] else _LETTERS.get(match[6], match[6])


@cache
def _language() -> Language:
    return Language(tree_sitter_javascript.language())


@cache
def _query() -> Query:
    return Query(_language(), _QUERY)
