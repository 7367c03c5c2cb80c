"""How many processors this process may use.

Takes nothing. A container or a job is often held to fewer than the machine has, and a thread more than there are processors
only waits for the others.

next: ``digest``
"""

from __future__ import annotations

import os


def usable_processors() -> int:
    """Count them as the system lets this process use them (sched_getaffinity(2))."""
    return len(os.sched_getaffinity(0))
