"""From flags, which are text, to what fetch and ``verify --folder`` take.

Takes a task's flags and the settings. Apart from ``orders``, which brings all that publishing needs with it.

next: ``fetch_summaries``
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from pipeline.fetch import FetchOrder
from pipeline.plan.wants import read_want
from pipeline.settings import Settings


def fetch_order(
    settings: Settings,
    *,
    model: str,
    to: str,
    include: Iterable[str],
    exclude: Iterable[str],
    deps: bool,
    allow_yanked: bool,
) -> FetchOrder:
    """The order of a fetch that these flags make; connections that nobody set are left to the line.

    Raises:
        NameRefused: ``model`` is none of the forms that name a release.
    """
    return FetchOrder(
        want=read_want(model),
        place=absolute(settings.models_dir),
        to=absolute(Path(to)) if to else None,
        include=tuple(include),
        exclude=tuple(exclude),
        dependencies=deps,
        allow_yanked=allow_yanked,
        connections=fixed_connections(settings),
    )


def fixed_connections(settings: Settings) -> int | None:
    """Connections that a person fixed; None lets the line decide."""
    return None if settings.origins["connections"] == "default" else settings.connections


def absolute(path: Path) -> Path:
    """The path from the root, without ``..``; links in it stay links, to be refused where they are not wanted."""
    return Path(os.path.abspath(path.expanduser()))  # noqa: PTH100 (resolve() follows links)
