"""Strict YAML for the two files that people write: ``modelport.yaml`` and ``model.yaml``.

Takes text, gives plain values and the line on which each key stands. Only what YAML's safe
loader knows; duplicate keys, aliases, several documents and non-text keys are refused, because each of
them is read differently by different programs.

next: ``ports``
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import yaml

from pipeline.errors import UsageError

YAML_BYTES = 1 << 20
NESTING = 32


@dataclass(frozen=True, slots=True)
class YamlDocument:
    """``values`` of the top mapping, and ``lines``: the line (from 1) of each key by its dotted path."""

    values: Mapping[str, Any]
    lines: Mapping[str, int]


def read_yaml(text: str, *, what: str, error: type[UsageError]) -> YamlDocument:
    """Read a YAML document that is one mapping, or empty.

    Raises:
        UsageError: as the class ``error``, naming ``what``, the line and the reason.
    """
    if len(text.encode("utf-8", errors="replace")) > YAML_BYTES:
        raise error(f"{what} has more than {YAML_BYTES} bytes", hint="It is meant to be a short file written by a person.")
    lines: dict[str, int] = {}
    try:
        loader = yaml.SafeLoader(text)
    except yaml.YAMLError as fault:
        raise error(f"{what}: it is not YAML: {str(fault).splitlines()[0]}", hint=_HINT) from fault
    try:
        node = loader.get_single_node()
        values = {} if node is None else _build(loader, node, "", lines, set())
    except _Refused as refused:
        raise error(f"{what}, line {refused.line}: {refused.reason}", hint=_HINT) from None
    except yaml.MarkedYAMLError as fault:
        at = f", line {fault.problem_mark.line + 1}" if fault.problem_mark else ""
        raise error(f"{what}{at}: it is not YAML: {fault.problem}", hint=_HINT) from fault
    except (yaml.YAMLError, ValueError, RecursionError) as fault:
        raise error(f"{what}: it is not YAML: {str(fault).splitlines()[0]}", hint=_HINT) from fault
    finally:
        loader.dispose()
    if not isinstance(values, dict):
        raise error(f"{what} is not a mapping of keys to values", hint=_HINT)
    return YamlDocument(values, lines)


# What a mapping or a list has without a tag of its own (yaml.org/spec/1.1, 2002 repository).
_PLAIN_TAGS = ("tag:yaml.org,2002:map", "tag:yaml.org,2002:seq")
_HINT = "Write it as 'key: value' lines."


class _Refused(ValueError):
    """YAML that is well formed and still not taken."""

    def __init__(self, node: yaml.Node, reason: str) -> None:
        super().__init__(reason)
        self.line = node.start_mark.line + 1
        self.reason = reason


def _build(loader: yaml.SafeLoader, node: yaml.Node, path: str, lines: dict[str, int], seen: set[int]) -> Any:
    if id(node) in seen:
        raise _Refused(node, "an alias; write the value out")
    seen.add(id(node))
    if path.count(".") > NESTING:
        raise _Refused(node, "nested too deeply")
    if not isinstance(node, yaml.ScalarNode) and node.tag not in _PLAIN_TAGS:
        raise _Refused(node, f"the tag {node.tag}; write plain keys and values")
    if isinstance(node, yaml.MappingNode):
        found: dict[str, Any] = {}
        for key_node, value_node in node.value:
            key = _scalar(loader, key_node) if isinstance(key_node, yaml.ScalarNode) else None
            if not isinstance(key, str):
                raise _Refused(key_node, "a key that is not text; put it in quotes")
            if key in found:
                raise _Refused(key_node, f"the key {key!r} stands twice")
            inner = f"{path}.{key}" if path else key
            lines[inner] = key_node.start_mark.line + 1
            found[key] = _build(loader, value_node, inner, lines, seen)
        return found
    if isinstance(node, yaml.SequenceNode):
        return [_build(loader, item, f"{path}.{index}", lines, seen) for index, item in enumerate(node.value)]
    return _scalar(loader, node)


def _scalar(loader: yaml.SafeLoader, node: yaml.Node) -> Any:
    try:
        return loader.construct_object(node)
    except (ValueError, LookupError, AttributeError):
        # What the loader raises for a value that its tag, written out or found by its form, does not fit: "!!bool maybe".
        kind = node.tag.rpartition(":")[2]
        raise _Refused(node, f"it is not YAML: {node.value[:80]!r} is no {kind}; put it in quotes, without a tag") from None
