"""How often progress is worth a line: chunks go by hundreds of times a second, readers do not.

Takes ``Progress`` events, gives fewer with the same sum: at most one in ``every_s`` seconds for each step,
and what is left when the step ends.

next: ``report``
"""

from __future__ import annotations

import time
from collections.abc import Callable

from pipeline.events import Progress


class Pace:
    """The progress of each step that has not been told yet."""

    def __init__(self, every_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._every_s = every_s
        self._clock = clock
        self._told_s: dict[str, float] = {}
        self._untold: dict[str, int] = {}

    def add(self, event: Progress) -> Progress | None:
        """Take ``event`` in; what to tell now, if it is time."""
        now = self._clock()
        self._untold[event.step] = self._untold.get(event.step, 0) + event.bytes
        if now - self._told_s.setdefault(event.step, now) < self._every_s:
            return None
        self._told_s[event.step] = now
        return self.rest(event.step)

    def rest(self, step: str) -> Progress | None:
        """What is left to tell of ``step``."""
        left = self._untold.pop(step, 0)
        return Progress(step, left) if left else None
