"""How slow a source may be: time limits, and the least speed below which a connection counts as dead.

Takes the bytes and seconds of each read, gives nothing or a ``TimeoutError``. Only time spent in reading counts: a slow
disk on this side is not the source's fault.

next: ``sources.dialing``
"""

from __future__ import annotations

from dataclasses import dataclass

from pipeline.retry import CRAWL_PER_S


@dataclass(frozen=True, slots=True)
class Limits:
    """Seconds to connect, seconds without a byte, and at least ``least_per_s`` bytes a second over ``window_s`` seconds."""

    connect_s: float = 10.0
    idle_s: float = 30.0
    window_s: float = 15.0
    least_per_s: int = CRAWL_PER_S


class Pace:
    """Watches the reads of one answer. The wait for its first byte is limited by ``idle_s`` alone."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._started = False
        self._bytes = 0
        self._spent_s = 0.0

    def note(self, size: int, spent_s: float) -> None:
        """Count a read of ``size`` bytes that took ``spent_s`` seconds.

        Raises:
            TimeoutError: a window has passed with too few bytes.
        """
        self._bytes += size
        if not self._started:
            self._started = True
            return
        self._spent_s += spent_s
        limits = self._limits
        if self._spent_s < limits.window_s:
            return
        if self._bytes < limits.least_per_s * self._spent_s:
            raise TimeoutError(
                f"{self._bytes} bytes in {self._spent_s:.1f} s, expected at least {limits.least_per_s} bytes a second"
            )
        self._bytes = 0
        self._spent_s = 0.0
