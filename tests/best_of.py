"""How long something takes on a machine that others use, too.

Others make an attempt longer, never shorter: the quickest of a few tells what the code needs.
"""

from __future__ import annotations

import time
from collections.abc import Callable

TRIES = 3


def quickest_s(attempt: Callable[[], float], *, within_s: float) -> float:
    """Seconds of the quickest of up to three attempts, each of which measures itself; the first within the limit is enough."""
    best = float("inf")
    for _ in range(TRIES):
        best = min(best, attempt())
        if best < within_s:
            break
    return best


def seconds_of(action: Callable[[], object]) -> float:
    """Seconds that ``action`` takes."""
    begun = time.monotonic()
    action()
    return time.monotonic() - begun
