"""Descriptors of the files that are being written, few enough for any limit, shared by all threads.

Takes file numbers, gives descriptors that stay open as long as they are used.

next: ``steps.landing``
"""

from __future__ import annotations

import errno
import os
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager

MOST = 128


class OpenFiles:
    """At most ``MOST`` idle descriptors; the one that was used longest ago is closed first."""

    def __init__(self, open_one: Callable[[int], int]) -> None:
        self._open = open_one
        self._lock = threading.Lock()
        self._found: OrderedDict[int, list[int]] = OrderedDict()
        self._shut = False

    @contextmanager
    def using(self, file: int) -> Iterator[int]:
        """The descriptor of a file, open for the length of the block."""
        with self._lock:
            if self._shut:
                # A thread that was given up on must not open anything in what may be another folder by now.
                raise OSError(errno.EBADF, os.strerror(errno.EBADF))
            entry = self._found.get(file)
            if entry is None:
                entry = self._found[file] = [self._open(file), 0]
            entry[1] += 1
            self._found.move_to_end(file)
            self._trim()
        try:
            yield entry[0]
        finally:
            with self._lock:
                entry[1] -= 1
                if self._shut and not entry[1]:
                    os.close(self._found.pop(file)[0])

    def close(self, *, for_good: bool = False) -> None:
        """Close what nobody uses; ``for_good``: nothing is opened any more, and what is in use is closed after that."""
        with self._lock:
            self._shut = for_good
            for file in [file for file, (_, users) in self._found.items() if users == 0]:
                os.close(self._found.pop(file)[0])

    def _trim(self) -> None:
        if len(self._found) <= MOST:
            return
        for file in [file for file, (_, users) in self._found.items() if users == 0][: len(self._found) - MOST]:
            os.close(self._found.pop(file)[0])
