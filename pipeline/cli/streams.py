"""stdout and stderr, whose readers may go away at any time.

Takes lines, writes them; a reader who left does not change what was done.

next: ``report``
"""

from __future__ import annotations

import os
from typing import TextIO


def write_line(stream: TextIO, line: str) -> None:
    """Write and flush a line; if nobody reads any more, it and all that follows is dropped."""
    try:
        stream.write(line + "\n")
        stream.flush()
    except BrokenPipeError:
        drop(stream)


def drop(stream: TextIO) -> None:
    """Let ``stream`` lead nowhere from here on: Python flushes once more at exit and would complain then."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
