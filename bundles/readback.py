"""Reading a volume back as the medium gives it, not as memory remembers it.

Takes the path of a volume that is synced, gives its sha256 and what is wrong with it.

next: ``bundles.beside``
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

from bundles.hashing import drop_cache, frame_fault, member_fault, member_faults
from bundles.index import INDEX, Bundle
from bundles.medium import medium_error, opened
from bundles.ustar import TRAILER, filled, header_for
from pipeline.digest import Sha256


def read_back(path: Path, bundle: Bundle, number: int, known: Sha256 | None, done: Callable[[int], None]) -> tuple[Sha256, str]:
    """Read a volume past the cache: its sha256 (``known``, where the writer hashed it), and what is wrong with it, or "".

    Raises:
        DiskError
    """
    layout = bundle.layout(number)

    try:
        with opened(path) as (fd, _):
            drop_cache(fd)
            fault = frame_fault(fd, bundle, layout)
            if fault:
                return Sha256(""), fault
            if known is not None:
                for _, placed, found in member_faults([(fd, layout)], member_fault, done):
                    return known, f"{placed.member.key}: {found}"
                return known, ""
            whole = hashlib.sha256()
            index = bundle.index(number)
            whole.update(header_for(INDEX, len(index)) + index + bytes(filled(len(index)) - len(index)))
            for placed in layout.members:
                found = member_fault(fd, placed, whole.update)
                if found:
                    return Sha256(""), f"{placed.member.key}: {found}"
                done(placed.member.size)
            whole.update(bytes(TRAILER))
            return Sha256(whole.hexdigest()), ""
    except OSError as error:
        raise medium_error(error, path) from error
