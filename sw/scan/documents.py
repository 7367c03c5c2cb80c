"""JSON: web app manifests, import maps and source maps, read as the JavaScript that they also are.

Takes the bytes of a document, gives its references. The syntax tree tells where each string stands, which no JSON
reader does; what is not JSON is found out by whoever reads it, not here.

next: ``sw.scan.markup``
"""

from __future__ import annotations

from collections.abc import Iterator

from tree_sitter import Node

from sw.scan.scripts import parse_script, string_text
from sw.scan.text import How, Reference, Text

# W3C Application Manifest: members that hold URLs, "*" for each item of a list.
_APP_MANIFEST: dict[tuple[str, ...], How] = {
    ("start_url",): "route",
    ("scope",): "route",
    ("icons", "*", "src"): "url",
    ("screenshots", "*", "src"): "url",
    ("shortcuts", "*", "url"): "route",
    ("shortcuts", "*", "icons", "*", "src"): "url",
    ("share_target", "action"): "route",
    ("file_handlers", "*", "action"): "route",
    ("file_handlers", "*", "icons", "*", "src"): "url",
    ("protocol_handlers", "*", "url"): "route",
    ("serviceworker", "src"): "keep",
    ("widgets", "*", "ms_ac_template"): "url",
    ("widgets", "*", "data"): "url",
}


def app_manifest_references(data: bytes) -> list[Reference]:
    """Find what a web app manifest refers to."""
    return [Reference(value, _APP_MANIFEST[path]) for path, _, value in _strings(data) if value and path in _APP_MANIFEST]


def source_map_references(data: bytes) -> list[Reference]:
    """Find the script that a source map belongs to (ECMA-426 ``file``); its sources are nobody's assets."""
    # The mappings may be megabytes; what stands before them is enough when it is there.
    return [Reference(value, "back") for path, _, value in _strings(data) if value and path == ("file",)]


def import_map_references(data: bytes, start: int) -> list[Reference]:
    """Find what an import map leads to, and the addresses among its keys (WHATWG HTML §8.1.6.2).

    A key that is an address has to follow the file that it names, and a digest the bytes that it vouches for.
    """
    found = []
    for path, key, value in _strings(data, start):
        match path:
            case ("imports", _) | ("scopes", _, _):
                found.append(Reference(key, "key"))
                if value:
                    found.append(Reference(value, "module"))
            case ("integrity", _) if value:
                found.append(Reference(key, "key", integrity=value))
            case ("scopes", _):
                found.append(Reference(key, "key"))
            case _:
                pass
    return found


def _strings(data: bytes, start: int = 0) -> Iterator[tuple[tuple[str, ...], Text, Text | None]]:
    """Each member with its path and key; the value where it is a string."""
    # A bracket makes an expression of what would be a block; it moves everything by one byte.
    whole = parse_script(b"(" + data + b")")
    moved = start - 1
    held = b"(" + data
    waiting: list[tuple[tuple[str, ...], Node]] = [((), whole.root_node)]
    while waiting:
        path, node = waiting.pop(0)
        if node.type == "pair":
            key_node, value_node = node.child_by_field_name("key"), node.child_by_field_name("value")
            key = string_text(key_node, held, moved) if key_node else None
            if key is None or value_node is None:
                continue
            inner = (*path, key.text)
            yield inner, key, string_text(value_node, held, moved)
            waiting.append((inner, value_node))
        elif node.type == "array":
            waiting += [((*path, "*"), child) for child in node.named_children]
        elif node.type in {"object", "program", "expression_statement", "parenthesized_expression"}:
            waiting += [(path, child) for child in node.named_children]
