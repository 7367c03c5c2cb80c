"""Folders of trust: which one judges a tree, and where a dry run may change it.

Takes URLs and the folder of state, gives paths below it. What lies in them is ``pipeline.trust.state``'s.

next: ``outward``
"""

from __future__ import annotations

import atexit
import shutil
import tempfile
from pathlib import Path

from pipeline.digest import sha256_of


def trust_home(state: Path, whose: str, endpoint: str) -> Path:
    """Where trust in a tree is kept below ``state``: under its URL, or under the publisher of a bundle.

    Only a store has an endpoint.
    """
    return state / "trust" / place_id(whose, "" if whose.startswith(("http:", "https:", "bundle:")) else endpoint)


def place_id(url: str, endpoint: str) -> str:
    """Name a store for its folder of trust state; one bucket name at two endpoints is two stores."""
    return sha256_of(f"{endpoint} {url}".encode())[:32]


def set_aside(state: Path, home: Path) -> tuple[Path, Path]:
    """Copy trust state, and link key folders, to where a dry run may change them; gone when the process ends.

    A dry run that recorded what it pretended to commit would refuse the store from then on.
    """
    from pipeline.trust.state import TrustState

    folder = Path(tempfile.mkdtemp(prefix="modelport-dry-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    TrustState(state).copy_to(folder / "state")
    (folder / "keys").mkdir()
    for keys in home.glob("*/"):
        (folder / "keys" / keys.name).symlink_to(keys)
    return folder / "state", folder / "keys"
