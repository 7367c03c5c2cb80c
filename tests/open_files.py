"""What this process holds open below a folder: other tests' leftovers, closed by the garbage collector, do not count."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path


def open_below(folder: Path) -> list[str]:
    """The paths of all descriptors that lead to ``folder`` or below it, in order."""
    top = folder.resolve()
    return sorted(str(path) for path in _open() if path.is_relative_to(top))


def _open() -> Iterator[Path]:
    for link in Path("/proc/self/fd").iterdir():
        # The descriptor of this very listing is gone by now.
        with suppress(FileNotFoundError):
            yield link.readlink()
