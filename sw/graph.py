"""Circles and order: which files must be named together, and which before which (Tarjan, SIAM J. Comput. 1, 1972).

Takes edges, gives groups, each after all groups that it leads to. Pure, and without recursion: a chain of imports may be long.

next: ``sw.naming``
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence


def groups_in_order(edges: Mapping[str, Sequence[str]]) -> list[tuple[str, ...]]:
    """Divide nodes into strongly connected groups, what is led to first; members are sorted."""
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    open_nodes: list[str] = []
    is_open: set[str] = set()
    groups: list[tuple[str, ...]] = []
    for start in sorted(edges):
        if start in index:
            continue
        path: list[tuple[str, Iterator[str]]] = []

        def enter(node: str, path: list[tuple[str, Iterator[str]]] = path) -> None:
            index[node] = low[node] = len(index)
            open_nodes.append(node)
            is_open.add(node)
            path.append((node, iter(sorted(set(edges.get(node, ()))))))

        enter(start)
        while path:
            node, targets = path[-1]
            target = next(targets, None)
            if target is not None:
                if target not in index:
                    enter(target)
                elif target in is_open:
                    low[node] = min(low[node], index[target])
                continue
            path.pop()
            if path:
                low[path[-1][0]] = min(low[path[-1][0]], low[node])
            if low[node] == index[node]:
                at = open_nodes.index(node)
                groups.append(tuple(sorted(open_nodes[at:])))
                is_open.difference_update(open_nodes[at:])
                del open_nodes[at:]
    return groups
