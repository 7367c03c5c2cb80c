"""A script in fewer bytes: no comments, no spaces, and short names for what it declares.

Takes JavaScript of ES2022 in the manner of ``sw/worker/`` (no ``var``, ``eval``, labels or empty statements, a semicolon after
each statement), gives a script that does the same. Properties, strings and the names of the platform stay. The bytes follow
from the script alone. Pure.

next: ``pipeline.webview``
"""

from __future__ import annotations

import itertools
import string
from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field

from tree_sitter import Node

from sw.scan.scripts import parse_script
from sw.spare import nodes_by_type, without_spare

_FUNCTIONS = frozenset(
    {"function_declaration", "function_expression", "generator_function_declaration", "arrow_function", "method_definition"}
)
_SCOPES = _FUNCTIONS | {"program", "statement_block", "for_statement", "for_in_statement", "catch_clause"}
_REFERENCES = frozenset({"identifier", "shorthand_property_identifier", "shorthand_property_identifier_pattern"})
_SHORTHANDS = _REFERENCES - {"identifier"}
_SHORTER = {"const": "let", "true": "!0", "false": "!1", "undefined": "void 0"}
_VERBATIM = frozenset({"string_fragment", "escape_sequence"})
_ENDS = frozenset({")", "]", "}"})
_LETTERS = frozenset(string.ascii_letters + string.digits + "_$#")
# The letters of the platform's names, the frequent ones first: what is made of these packs best.
_FREQUENT = "esatnroicldupfmhgwbyvkxjqz" + string.ascii_uppercase
_WORDS = frozenset({"as", "do", "if", "in", "of"})


@dataclass(eq=False, slots=True)
class _Scope:
    """What is declared between two braces: a slot for each name, numbered so that neighbours share theirs."""

    outer: _Scope | None
    first: int
    slots: dict[str, int] = field(default_factory=dict)

    @property
    def following(self) -> int:
        return self.first + len(self.slots)

    def slot_of(self, name: str) -> int | None:
        if name in self.slots:
            return self.slots[name]
        return self.outer.slot_of(name) if self.outer else None


def shrunk(data: bytes, own: Collection[str] = ()) -> bytes:
    """Write ``data`` shortly. ``own`` are properties that nobody else knows, so that they may have short names as well.

    Raises:
        ValueError: this is no JavaScript, or one scope declares a name twice.
    """
    root = parse_script(_with_short_names(without_spare(data), own)).root_node
    tokens: list[tuple[str, str]] = []
    _read_tokens(root, tokens)
    return _spelled(tokens)


def _with_short_names(data: bytes, own: Collection[str]) -> bytes:
    """Rename what ``data`` declares: every identifier gets a name that nothing in its reach uses yet.

    Raises:
        ValueError: one scope declares a name twice.
    """
    root = parse_script(data).root_node
    found: list[tuple[Node, int | None]] = []
    _find_references(root, _Scope(None, 0), found, at_top=True)
    used = Counter(slot for _, slot in found if slot is not None)
    taken = {_text(node) for node, slot in found if slot is None and node.type != "property_identifier"}
    short = (name for name in _names() if name not in taken)
    names = {slot: next(short) for slot, _ in sorted(used.items(), key=lambda pair: (-pair[1], pair[0]))}
    properties = _short_properties(root, own)
    pieces: list[bytes] = []
    end = 0
    for node, slot in found:
        text = _text(node)
        key = properties.get(text, text)
        name = text if slot is None else names[slot]
        if node.type == "property_identifier":
            name = key
        elif node.type in _SHORTHANDS and key != name:
            name = f"{key}:{name}"
        pieces += [data[end : node.start_byte], name.encode()]
        end = node.end_byte
    return b"".join([*pieces, data[end:]])


def _short_properties(root: Node, own: Collection[str]) -> dict[str, str]:
    found = nodes_by_type(root)
    counted = Counter(_text(node) for kind in (*_SHORTHANDS, "property_identifier") for node in found[kind])
    short = (name for name in _names() if name not in counted)
    return {name: next(short) for name, _ in sorted(counted.items(), key=lambda pair: (-pair[1], pair[0])) if name in own}


def _find_references(node: Node, scope: _Scope, found: list[tuple[Node, int | None]], *, at_top: bool = False) -> None:
    """Add each name in order, with the slot of its declaration; None for the platform's."""
    kind = node.type
    if kind in _SCOPES:
        if not at_top:
            scope = _Scope(scope, scope.following)
        for name in sorted(_declared(node), key=lambda one: one.start_byte):
            if _text(name) in scope.slots:
                raise ValueError(f"{_text(name)} is declared twice")
            scope.slots[_text(name)] = scope.following
    if kind in _REFERENCES:
        found.append((node, scope.slot_of(_text(node))))
    elif kind == "property_identifier":
        found.append((node, None))
    own_name = node.child_by_field_name("name") if kind in _FUNCTIONS else None
    for child in node.children:
        # A function's name belongs to those around it.
        inside = scope.outer if own_name is not None and child == own_name and scope.outer else scope
        _find_references(child, inside, found)


# Where a scope's own names stand, besides the statements in it.
_PLACES = {"catch_clause": ("parameter",), "for_in_statement": ("left",)} | dict.fromkeys(_FUNCTIONS, ("parameters", "parameter"))


def _declared(scope: Node) -> Iterator[Node]:
    if scope.type in _PLACES:
        for place in _PLACES[scope.type]:
            yield from _bound(scope.child_by_field_name(place))
        return
    # What is exported keeps its name.
    for child in scope.children:
        if child.type == "lexical_declaration":
            for one in child.named_children:
                yield from _bound(one.child_by_field_name("name"))
        elif child.type in {"function_declaration", "generator_function_declaration", "class_declaration"}:
            yield from _bound(child.child_by_field_name("name"))


def _bound(pattern: Node | None) -> Iterator[Node]:
    """The names that a pattern declares."""
    if pattern is None:
        return
    if pattern.type in {"identifier", "shorthand_property_identifier_pattern"}:
        yield pattern
    elif pattern.type == "pair_pattern":
        yield from _bound(pattern.child_by_field_name("value"))
    elif pattern.type in {"assignment_pattern", "object_assignment_pattern"}:
        yield from _bound(pattern.child_by_field_name("left"))
    elif pattern.type in {"formal_parameters", "object_pattern", "array_pattern", "rest_pattern"}:
        for child in pattern.named_children:
            yield from _bound(child)


def _names() -> Iterator[str]:
    for length in itertools.count(1):
        for letters in itertools.product(_FREQUENT, repeat=length):
            name = "".join(letters)
            if name not in _WORDS:
                yield name


def _read_tokens(node: Node, found: list[tuple[str, str]]) -> None:
    """Add the words of a script, each with its kind."""
    kind, children = node.type, node.children
    # What is inside strings and regular expressions is theirs.
    if not children or kind in {"string", "regex"}:
        found.append((kind, _SHORTER.get(kind, _text(node))))
        return
    if kind == "formal_parameters" and _is_alone(node):
        children = node.named_children
    if kind == "program":
        # Functions are there before anything is done: without them in between more declarations follow each other.
        children = sorted(children, key=lambda child: child.type != "function_declaration")
    before = ""
    for child in children:
        if child.type == "comment":
            continue
        at = len(found)
        _read_tokens(child, found)
        if child.type == before == "lexical_declaration":
            # One `let` for all that follow each other.
            found[at] = ("joined", ",")
        before = child.type


def _is_alone(parameters: Node) -> bool:
    names = parameters.named_children
    arrow = parameters.parent is not None and parameters.parent.type == "arrow_function"
    return arrow and len(names) == 1 and names[0].type == "identifier"


def _spelled(tokens: Iterable[tuple[str, str]]) -> bytes:
    words: list[str] = []
    before = ""
    for kind, word in tokens:
        last = words[-1] if words and before not in _VERBATIM else ""
        if (last == ";" and (word == "}" or kind == "joined")) or (last == "," and word in _ENDS):
            words.pop()
            last = words[-1] if words else ""
        if kind not in _VERBATIM and last and _run_together(last[-1], word[0]):
            words.append(" ")
        words.append(word)
        before = kind
    return "".join(words).encode()


def _run_together(last: str, first: str) -> bool:
    return (last in _LETTERS and first in _LETTERS) or (last in "+-" and first == last)


def _text(node: Node) -> str:
    return (node.text or b"").decode()
