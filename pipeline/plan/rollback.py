"""Where a channel goes when its last release is taken back.

Takes the moves of a channel's history, gives the release before. Pure.

next: ``plan.wants``
"""

from __future__ import annotations

from collections.abc import Callable, Sequence


def release_before(moves: Sequence[tuple[str, str]], usable: Callable[[str], bool]) -> str | None:
    """The release that the channel showed before its present one, or None.

    ``moves`` are (from, to) in order. A move back to a release takes with it whatever came after that release, so that a
    second rollback goes one further back instead of forward again. Releases that are not ``usable`` are passed over.
    """
    shown: list[str] = []
    for origin, to in moves:
        if not shown and origin:
            shown.append(origin)
        if to in shown:
            del shown[shown.index(to) + 1 :]
        else:
            shown.append(to)
    return next((release for release in reversed(shown[:-1]) if usable(release)), None)
