"""When a file that is replaced was changed, for readers that know whole seconds.

Takes the file that is to stand there and the name it takes, gives it a date that HTTP can tell from the one before
(docs/adr/0234). Of two files of one second a web server says "not modified" to whoever saw the first.

next: ``plan``
"""

from __future__ import annotations

import os

SECOND_NS = 10**9


def date_after(fd: int, name: str | os.PathLike[str], *, folder_fd: int | None = None) -> None:
    """Date the file ``fd`` at least one whole second after the file ``name`` that it is about to replace, if there is one.

    RFC 9110, 8.8.2: Last-Modified has no fractions, and servers make weak ETags of it and of the size.

    Raises:
        OSError
    """
    try:
        before = os.stat(name, dir_fd=folder_fd, follow_symlinks=False).st_mtime_ns // SECOND_NS
    except FileNotFoundError:
        return
    if os.fstat(fd).st_mtime_ns // SECOND_NS <= before:
        after = (before + 1) * SECOND_NS
        os.utime(fd, ns=(after, after))
        os.fsync(fd)
