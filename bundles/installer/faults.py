"""Every way in which an installation ends without being done, and the exit code of each.

The classes bear the names and codes of modelport's own errors (docs/reference/exit-codes.md), so that a
person meets one set of answers. The text says what failed, what was expected and what was found; ``hint``
says what to do next.

next: ``strictjson``
"""

from __future__ import annotations

import errno
from collections.abc import Mapping

_NOT_OURS = "Run it as the user whom the site belongs to, or choose another --site."
_HINTS = {
    errno.EACCES: _NOT_OURS,
    errno.EPERM: _NOT_OURS,
    errno.EROFS: "It is mounted read-only: mount it for writing, or choose another --site.",
}
OWN_RECORD = "This site's own record was altered: restore it, or move it away and run this again."
_OTHERWISE = "Check free space, the owner and the disk; then run it again."


class ModelportError(Exception):
    """The root of all; ``hint`` is one line."""

    exit_code = 1

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


class UsageError(ModelportError):
    """The command, the medium or the site cannot be used as given."""

    exit_code = 2


class IntegrityError(ModelportError):
    """Bytes are not what they must be."""

    exit_code = 3


class TrustError(ModelportError):
    """A signature, a version or a root was not what this site trusts."""

    exit_code = 4


class DiskError(ModelportError):
    """No space, a read-only or failing disk, or a medium that was pulled out."""

    exit_code = 6


def raise_first(faults: Mapping[str, ModelportError]) -> None:
    """Raise the first of some faults, by their places, if there are any; the other places are named, to be put right with it."""
    for first in list(faults.values())[:1]:
        others = list(faults)[1:]
        first.args = (f"{first} (and {len(others)} more: {', '.join(others[:20])})" if others else str(first),)
        raise first


def disk_fault(error: OSError, what: str, hint: str = "") -> DiskError:
    """Turn the system's error about ``what`` into ours."""
    return DiskError(f"{what}: {error.strerror or error}", hint or _HINTS.get(error.errno or 0, _OTHERWISE))
