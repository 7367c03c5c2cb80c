"""Bytes of a file looked at where they lie in the system's cache, without a copy of them.

Takes a descriptor and a place in the file, gives a view of the cache's own pages for the length of a block, or None where
that cannot be: whoever asks reads then, and learns what is wrong as an error with a name (docs/adr/0158).

next: ``bundles.hashing``
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from contextlib import contextmanager

# At a time: what is mapped counts as memory of this process.
WINDOW_BYTES = 4 << 20
# madvise(2), Linux 5.14: bring the pages in now and say what went wrong, where a later access would end in a signal.
_POPULATE_READ = 22


@contextmanager
def mapped(fd: int, at: int, size: int) -> Iterator[memoryview | None]:
    """A view of ``size`` bytes of a regular file from ``at`` on, all of them in memory; None where it must be read.

    Nobody may look at the view after the block.
    """
    begin = at - at % mmap.ALLOCATIONGRANULARITY
    try:
        pages = mmap.mmap(fd, at + size - begin, flags=mmap.MAP_SHARED, prot=mmap.PROT_READ, offset=begin)
    except (OSError, ValueError):
        # No file system maps everything, and a file that ends within is told by whoever reads it.
        yield None
        return
    with pages:
        try:
            pages.madvise(_POPULATE_READ)
        except OSError:
            # An older system, or a place that cannot be read.
            yield None
            return
        with memoryview(pages) as whole, whole[at - begin :] as view:
            yield view
