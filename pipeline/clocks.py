"""The clocks of this machine: what time it is, and how much has passed.

Takes nothing. Whoever waits or judges ages takes one of these as a parameter, so that tests take no time.

next: ``processors``
"""

from __future__ import annotations

import time
from datetime import UTC, datetime


def utc_now() -> datetime:
    """Read the system's clock, UTC."""
    return datetime.now(UTC)


def elapsed_s() -> float:
    """Seconds that passed, those too in which this machine was asleep, where the system counts them."""
    return time.clock_gettime(time.CLOCK_BOOTTIME) if hasattr(time, "CLOCK_BOOTTIME") else time.monotonic()
