"""What a script need not say: parentheses and braces that group what belongs together anyway, and names of numbers.

Takes JavaScript in the manner of ``sw/worker/`` (``sw.shrink`` says which), gives a script that means the same. Pure.

next: ``sw.shrink``
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

from tree_sitter import Node

from sw.scan.scripts import parse_script

# How strongly operators bind (ECMA-262 §13): what binds at least as its place asks needs no parentheses there.
_BINDS = {
    operator: strength
    for strength, operators in enumerate(
        ("||", "&&", "|", "^", "&", "== != === !==", "< > <= >= in instanceof", "<< >> >>>", "+ -", "* / %"), start=3
    )
    for operator in operators.split()
}
_COMMA, _ASSIGNED, _CHOSEN, _UNARY, _WHOLE = 0, 1, 2, 14, 17
_KINDS = {
    "sequence_expression": _COMMA,
    "assignment_expression": _ASSIGNED,
    "augmented_assignment_expression": _ASSIGNED,
    "ternary_expression": _CHOSEN,
    "await_expression": _UNARY,
    "unary_expression": _UNARY,
    "call_expression": _WHOLE,
    "member_expression": _WHOLE,
    "identifier": _WHOLE,
    "object": _WHOLE,
}
# Where one expression stands for itself.
_ALONE = frozenset({"arguments", "array", "spread_element", "variable_declarator", "pair", "arrow_function", "return_statement"})
_HEADS = frozenset({"if_statement", "for_statement", "for_in_statement", "else_clause"})
_SIMPLE = frozenset({"expression_statement", "return_statement", "throw_statement", "try_statement"})
_NAMES = ("identifier", "shorthand_property_identifier", "shorthand_property_identifier_pattern")
_LITERALS = frozenset({"number", "string"})
# Where names are given, not used: everywhere in these, and in the named place of those.
_PATTERNS = frozenset({"formal_parameters", "array_pattern", "object_pattern", "rest_pattern", "pair_pattern"})
_GIVEN = frozenset({"name", "parameter"})
_GIVEN_LEFT = frozenset({"for_in_statement", "assignment_pattern", "object_assignment_pattern"})


def without_spare(data: bytes) -> bytes:
    """Leave out what a script need not say; what is left out becomes a space, so that no two words meet.

    Raises:
        ValueError: this is no JavaScript.
    """
    root = parse_script(data).root_node
    if root.has_error:
        raise ValueError("this is not JavaScript")
    found = nodes_by_type(root)
    edits = [
        *_parentheses(found["parenthesized_expression"]),
        *_braces(found["statement_block"]),
        *_empty_arguments(found["new_expression"]),
        *_constants(root, [node for kind in _NAMES for node in found[kind]]),
    ]
    pieces = []
    end = 0
    for start, stop, text in sorted(edits):
        pieces += [data[end:start], text]
        end = stop
    return b"".join([*pieces, data[end:]])


def nodes_by_type(root: Node) -> defaultdict[str, list[Node]]:
    """List all nodes of a tree by their types."""
    found = defaultdict(list)
    left = [root]
    while left:
        node = left.pop()
        found[node.type].append(node)
        left += node.children
    return found


_Edit = tuple[int, int, bytes]


def _parentheses(found: list[Node]) -> Iterator[_Edit]:
    for node in found:
        inside = node.named_children
        # An object at the beginning would be taken for a block.
        if len(inside) == 1 and inside[0].type != "object" and _strength(inside[0]) >= _asked(node):
            # Together with the line's end: after `return` it would end the statement.
            yield node.start_byte, inside[0].start_byte, b" "
            yield inside[0].end_byte, node.end_byte, b" "


def _strength(node: Node) -> int:
    if node.type == "binary_expression":
        return _BINDS.get(_operator(node), _COMMA)
    return _KINDS.get(node.type, _COMMA)


def _asked(node: Node) -> int:
    """How strongly what stands in this place has to bind; more than anything does where parentheses belong to the statement."""
    parent = node.parent
    if parent is None:
        return _WHOLE + 1
    if parent.type in _ALONE:
        return _ASSIGNED
    if parent.type in {"unary_expression", "await_expression"}:
        return _UNARY
    if parent.type == "binary_expression":
        # What the table lacks does not mix with everything: `??` not with `||` and `&&`, `**` not with what begins with a word.
        strength = _BINDS.get(_operator(parent), _UNARY - 1 if _operator(parent) == "??" else _WHOLE)
        return strength if parent.child_by_field_name("left") == node else strength + 1
    return _WHOLE + 1


def _operator(node: Node) -> str:
    operator = node.child_by_field_name("operator")
    return (operator.text or b"").decode() if operator else ""


def _braces(found: list[Node]) -> Iterator[_Edit]:
    for node in found:
        if node.parent is not None and node.parent.type in _HEADS:
            inside = [child for child in node.named_children if child.type != "comment"]
            if len(inside) == 1 and inside[0].type in _SIMPLE:
                yield node.start_byte, node.start_byte + 1, b" "
                yield node.end_byte - 1, node.end_byte, b" "


def _empty_arguments(found: list[Node]) -> Iterator[_Edit]:
    for node in found:
        arguments = node.child_by_field_name("arguments")
        continued = node.parent is not None and node.parent.type in {
            "member_expression",
            "call_expression",
            "subscript_expression",
        }
        if arguments is not None and not arguments.named_children and not continued:
            yield arguments.start_byte, arguments.end_byte, b" "


def _constants(root: Node, names: list[Node]) -> Iterator[_Edit]:
    """Put what a constant is where its name stands, if that is shorter; its name must be declared once in the whole script."""
    uses: dict[bytes, list[Node]] = defaultdict(list)
    for node in names:
        uses[node.text or b""].append(node)
    for statement in root.children:
        declared = statement.named_children if statement.type == "lexical_declaration" else []
        value = declared[0].child_by_field_name("value") if len(declared) == 1 else None
        name = declared[0].child_by_field_name("name") if value is not None else None
        if value is None or name is None or value.type not in _LITERALS or not (name.text or b"").isupper():
            continue
        others = [node for node in uses[name.text or b""] if node != name]
        literal = value.text or b""
        if not any(map(_is_more_than_a_use, others)) and len(others) * (len(literal) - 2) <= len(literal) + 4:
            yield statement.start_byte, statement.end_byte, b""
            for node in others:
                yield node.start_byte, node.end_byte, literal


def _is_more_than_a_use(node: Node) -> bool:
    """Whether a name is given here a second time, or says more than its value."""
    parent = node.parent
    if node.type != "identifier" or parent is None or parent.type in _PATTERNS:
        return True
    places = _GIVEN | {"left"} if parent.type in _GIVEN_LEFT else _GIVEN
    return any(parent.child_by_field_name(place) == node for place in places)
