"""What was just written comes into memory, if disk and memory lie idle (docs/adr/0225).

Takes an object that is safe on disk, gives nothing: whoever proves, serves or carries it next may find it in the page cache.

next: ``stores.directory``
"""

from __future__ import annotations

import os
import threading
import time

from pipeline.past_cache import UNCACHED_BYTES, bring_in


class ReadAhead:
    """The large objects of one store, and how long its disk waits for them."""

    def __init__(self) -> None:
        self._over_s = time.monotonic()

    def written(self, fd: int, size: int, busy_s: float) -> None:
        """Take an object that was written just now, which took the disk ``busy_s``.

        It is read only if the disk stood idle before it for as long as it took to write it, so that there is time for that.
        A disk that a publish waits for is never asked.
        """
        if size < UNCACHED_BYTES:
            return
        before_s, self._over_s = self._over_s, time.monotonic()
        if self._over_s - before_s >= 2 * busy_s:
            _begin(fd, size)


def _begin(fd: int, size: int) -> None:
    """On a thread of its own, for asking takes as long as the disk does, and a publish ends with its last part."""
    try:
        own = os.dup(fd)
    except OSError:
        # No descriptor is left: it was only a hint.
        return
    threading.Thread(target=_ask, args=(own, size), name="read-ahead", daemon=True).start()


def _ask(own: int, size: int) -> None:
    try:
        bring_in(own, size)
    finally:
        os.close(own)
