"""The worker as it is served: modules joined into one classic script, comments and indentation left out.

Takes the modules of ``sw/worker/``, gives the bytes of ``sw.js`` and ``sw-client.js``: the same for one version of modelport on
every machine. Nothing is renamed and no line is joined, so what a browser reports can be found in the sources.

next: ``sw.build``
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib.resources import files

from tree_sitter import Node

from sw.manifest import CLIENT, WORKER
from sw.scan.scripts import parse_script

_ENGINE = ("bytes", "fetch", "route", "plan", "store", "models", "serve", "install", "worker")
_WORDS = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_$#")


def engine_files() -> Mapping[str, bytes]:
    """The worker's files by the names that they are served under."""
    engine = b"\n".join(_module(name, join=True) for name in _ENGINE)
    return {WORKER: b'"use strict";(()=>{\n' + engine + b"\n})()\n", CLIENT: _module("client", join=False) + b"\n"}


def _module(name: str, *, join: bool) -> bytes:
    data = (files("sw") / "worker" / f"{name}.mjs").read_bytes()
    root = parse_script(data).root_node
    if root.has_error:
        raise ValueError(f"sw/worker/{name}.mjs is not JavaScript")
    return _spelled(list(_tokens(root, join=join)), data)


def _tokens(node: Node, *, join: bool) -> Iterator[Node]:
    if node.type == "comment":
        return
    if join and node.type == "import_statement":
        return
    if join and node.type == "export" and node.parent is not None and node.parent.type == "export_statement":
        return
    # What is inside strings, templates and regular expressions is theirs.
    if not node.children or node.type in {"string", "template_string", "regex"}:
        yield node
        return
    for child in node.children:
        yield from _tokens(child, join=join)


def _spelled(tokens: list[Node], data: bytes) -> bytes:
    pieces: list[bytes] = []
    end = 0
    for token in tokens:
        text = data[token.start_byte : token.end_byte]
        between = data[end : token.start_byte]
        if pieces and pieces[-1] and text:
            last, first = chr(pieces[-1][-1]), chr(text[0])
            if b"\n" in between and not _goes_on(last, first):
                pieces.append(b"\n")
            elif (last in _WORDS and first in _WORDS) or (last in "+-" and first == last):
                pieces.append(b" ")
        pieces.append(text)
        end = token.end_byte
    return b"".join(pieces)


def _goes_on(last: str, first: str) -> bool:
    """Whether a line end between these two says nothing: no statement could end there."""
    return last in "{([,;:?=&|<>" or first in "})],.;:?"
