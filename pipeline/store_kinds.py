"""Kinds of stores: the facts of each that others than its adapter need.

Takes the URL or path of a store, gives its kind. Whether it costs money and whose it is follow from here, and so does what
help and messages say of a store; ``pipeline.connect`` opens each kind.

next: ``digest``
"""

from __future__ import annotations

import re
from typing import NamedTuple


class StoreKind(NamedTuple):
    """``spelling`` is how a person writes one; ``charged``: its requests cost money.

    ``own``: it is the directory or the process of whoever publishes, so that keys may be made there on first use.
    """

    spelling: str
    charged: bool = False
    own: bool = False


KINDS = {
    "": StoreKind("a path", own=True),
    "file": StoreKind("file:///…", own=True),
    "s3": StoreKind("s3://bucket/prefix", charged=True),
    "oss": StoreKind("oss://bucket/prefix", charged=True),
}
"""Scheme → its kind; a path has none."""
IN_MEMORY = "memory"
"""The scheme of a store for tests and programs: it ends with its process, so nobody is told of it."""
WEB = ("http", "https")
"""The schemes of sources that are no stores."""
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):")
_SPELLINGS = [kind.spelling for kind in KINDS.values()]
SPELLED = f"{', '.join(_SPELLINGS[:-1])} or {_SPELLINGS[-1]}"
"""How stores are written, for help and hints."""


def scheme_of(place: str) -> str:
    """The scheme of a store or source, however it is spelled (RFC 3986, 3.1); "" for a path."""
    found = _SCHEME.match(place)
    return found[1].lower() if found else ""


def with_plain_scheme(place: str) -> str:
    """A store or source with its scheme in small letters: it must be one place however it is spelled."""
    scheme = scheme_of(place)
    return scheme + place[len(scheme) :]


def is_charged(store: str) -> bool:
    """Whether the requests to this store cost money."""
    kind = KINDS.get(scheme_of(store))
    return kind is not None and kind.charged


def is_own(store: str) -> bool:
    """Whether this store is nobody else's: a directory, or the memory of this process."""
    scheme = scheme_of(store)
    return scheme == IN_MEMORY or (scheme in KINDS and KINDS[scheme].own)
