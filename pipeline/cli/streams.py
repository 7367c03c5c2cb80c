"""stdout and stderr, whose readers may go away at any time.

Takes lines, writes them; a reader who left does not change what was done.

next: ``report``
"""

from __future__ import annotations

import os
import sys
from typing import TextIO

from pipeline.errors import DiskError


def write_line(stream: TextIO, line: str) -> None:
    """Write and flush a line; if nobody reads any more, it and all that follows is dropped.

    Raises:
        DiskError: a result cannot be written; what is only told on the way is dropped instead.
    """
    try:
        stream.write(line + "\n")
        stream.flush()
    except OSError as error:
        drop(stream)
        if stream is sys.stdout and not isinstance(error, BrokenPipeError):
            raise DiskError(f"the result cannot be written: {error.strerror}", hint="It was done all the same.") from error


def drop(stream: TextIO) -> None:
    """Let ``stream`` lead nowhere from here on: Python flushes once more at exit and would complain then."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
