"""All tasks, in the order in which a release engineer meets them.

Takes the tasks of the group modules, gives the namespace of ``invoke`` in a checkout and of ``modelport``
everywhere. A new task is added to its group's module and to ``WALK`` or its namespace here.

next: ``program``
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from copy import copy
from typing import Any

from invoke.collection import Collection
from invoke.program import Program
from invoke.tasks import Task

from pipeline.cli import (
    bundle_tasks,
    cdn_tasks,
    channel_tasks,
    dev_tasks,
    fetch_tasks,
    garbage_tasks,
    install_tasks,
    release_tasks,
    site_tasks,
    source_tasks,
    trust_tasks,
    web_tasks,
)
from pipeline.cli.streams import drop

GROUPS: dict[str, tuple[Task[Any], ...]] = {
    "": (
        *release_tasks.WALK,
        *channel_tasks.WALK,
        *release_tasks.WITHDRAWALS,
        *garbage_tasks.WALK,
        *fetch_tasks.WALK,
        *source_tasks.WALK,
    ),
    "cache": fetch_tasks.CACHE,
    "trust": trust_tasks.WALK,
    "cdn": cdn_tasks.WALK,
    "bundle": (*bundle_tasks.WALK, *install_tasks.WALK),
    "site": site_tasks.WALK,
    "web": web_tasks.WALK,
    "dev": dev_tasks.WALK,
}


def build_namespace() -> Collection:
    """Build the namespace; every task is in it once, under the name that it has everywhere."""
    root = Collection()
    for group, tasks in GROUPS.items():
        inner = root if not group else Collection(group)
        for task in tasks:
            # A copy: invoke takes the help out of the task that it parses a command line for.
            own = copy(task)
            own.help = dict(task.help)
            inner.add_task(own)
        if group:
            root.add_collection(inner)
    return root


def walk_order() -> list[str]:
    """All task names as they are typed, in the order of the walk."""
    return [f"{group}.{task.name}" if group else task.name for group, tasks in GROUPS.items() for task in tasks]


def in_walk_order(pairs: Iterable[tuple[str, str | None]]) -> list[tuple[str, str | None]]:
    """Sort invoke's (name, help) pairs of a listing; names that are no tasks of ours keep their place at the end."""
    ranks = {name.rpartition(".")[2] if "." in name else name: rank for rank, name in enumerate(walk_order())}
    full = {name: rank for rank, name in enumerate(walk_order())}
    # ``--list trust`` shows ".show", which is not the "show" at the top.
    return sorted(pairs, key=lambda pair: full.get(pair[0], ranks.get(pair[0].lstrip("."), len(full))))


def list_as_walk(program: Program) -> None:
    """Let ``--list`` of ``program`` keep the order of the walk: invoke sorts by name and has no setting for it."""

    def list_flat() -> None:
        pairs = program._make_pairs(program.scoped_collection)  # noqa: SLF001 (the only place where invoke makes the list)
        try:
            program.display_with_columns(in_walk_order(pairs))
            sys.stdout.flush()
        except BrokenPipeError:
            drop(sys.stdout)

    program.list_flat = list_flat  # type: ignore[method-assign]  # one program of one process, not invoke itself
