"""The setting ``store`` where it names several: the first one decides, the others hold copies of its tree.

Takes a value as a person wrote it (a text, one a line; or a list of texts and mappings), gives the first and the others.

next: ``settings``
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipeline.errors import SettingsError

_FIELDS = ("url", "endpoint", "region")


def split_stores(value: Any, where: str) -> tuple[Any, tuple[Mapping[str, Any], ...]]:
    """The first store, unchecked, and the others as mappings of ``url``, ``endpoint`` and ``region``.

    Raises:
        SettingsError: an empty list, or a mapping that has other keys.
    """
    if isinstance(value, str):
        first, *others = value.split("\n")
        return first, tuple({"url": one} for one in others)
    if not isinstance(value, list):
        return value, ()
    found = [{"url": item} if isinstance(item, str) else item for item in value]
    for item in found:
        if not isinstance(item, Mapping) or "url" not in item or set(item) - set(_FIELDS):
            raise SettingsError(
                f"{where}: {item!r} is no store, expected a path or URL, or a mapping of {', '.join(_FIELDS)}",
                hint="Write it as store: [./store, {url: s3://bucket/prefix, region: eu-west-1}]",
            )
    if not found or set(found[0]) != {"url"}:
        raise SettingsError(
            f"{where}: the first store is a path or URL", hint="Its endpoint and region are the settings of these names."
        )
    return found[0]["url"], tuple(found[1:])


def check_copies(copies: tuple[Mapping[str, Any], ...], where: str, folder: Path, checks: Mapping[str, Any]) -> Any:
    """The others, each field checked as the setting of its name; ``url`` as ``store``."""
    return tuple(
        {field: checks["store" if field == "url" else field].check(text, where, folder) for field, text in one.items()}
        for one in copies
    )
