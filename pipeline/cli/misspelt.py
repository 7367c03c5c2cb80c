"""Misspelt folders: what a person probably meant whose folder or file is not there.

Takes a failure and the flags of its task, gives the flag as it should perhaps have been typed. Here, and not
where each folder is opened: what stands beside it is of use to somebody who typed it, not to a walk.

next: ``commands``
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from pipeline.cli.typable import flag_words
from pipeline.meant import nearest

# The flags whose values are paths, at least in some tasks.
PLACES = (
    "source", "store", "models_dir", "folder", "from_", "to", "site", "assets", "wheels", "plan", "have", "change",
    "token_file", "tls_cert", "tls_key", "ca_bundle",
)  # fmt: skip


def meant_instead(message: str, given: Mapping[str, object]) -> str:
    """Ask whether the nearest neighbour was meant of a path that ``message`` names and that is not there; else nothing."""
    for name in PLACES:
        value = given.get(name)
        for text in value if isinstance(value, list | tuple) else [value]:
            if isinstance(text, str) and _names(message, text) and (near := _neighbour(Path(text))):
                return f"Did you mean{flag_words(**{name: str(near)})}?"
    return ""


def _names(message: str, text: str) -> bool:
    """Tell whether a path stands in a message as a whole; in bert-v2.1.0 there is no folder bert."""
    return bool(text) and re.search(rf"(?<![\w.-]){re.escape(text)}(?![\w-]|\.\w)", message) is not None


def _neighbour(path: Path) -> Path | None:
    """The path with its first component that is not there replaced by the nearest that is."""
    here = Path(path.anchor)
    parts = path.relative_to(path.anchor).parts
    for index, part in enumerate(parts):
        try:
            if (here / part).exists():
                here /= part
                continue
            near = nearest(part, sorted(entry.name for entry in here.iterdir()))
        except OSError:
            return None
        found = here.joinpath(near, *parts[index + 1 :])
        return found if near and found.exists() else None
    return None
