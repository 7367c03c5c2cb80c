"""What a route found, before anybody asked for a part of it.

Takes nothing, gives values: bytes that were made, or a file of the site and what its signed manifest says of it.

next: ``replies``
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from http import HTTPStatus

from pipeline.layout import REVALIDATE

Headers = tuple[tuple[str, str], ...]

HTML = "text/html; charset=utf-8"
TEXT = "text/plain; charset=utf-8"
# What pages of other origins may read of an answer.
EXPOSED = "Accept-Ranges, Content-Length, Content-Range, ETag, Modelport-Upstream, X-Error-Code, X-Error-Message, X-Linked-Etag, X-Linked-Size, X-Repo-Commit"


@dataclass(frozen=True, slots=True)
class Stored:
    """A file below the site. ``size`` None: it is as long as it is; ``etag`` "": read it whole (at most ``cap`` bytes) and hash it."""

    path: str
    size: int | None
    etag: str
    content_type: str
    cache: str
    headers: Headers = ()
    cap: int = 0


@dataclass(frozen=True, slots=True)
class Made:
    """Bytes that were made for this answer; their ETag is their sha256."""

    body: bytes
    content_type: str
    cache: str = REVALIDATE
    status: int = HTTPStatus.OK
    headers: Headers = ()

    @property
    def etag(self) -> str:
        """Digest of the body."""
        return hashlib.sha256(self.body).hexdigest()


@dataclass(frozen=True, slots=True)
class Moved:
    """Ask there instead. ``to`` is a path of this server."""

    to: str


@dataclass(frozen=True, slots=True)
class Refused:
    """No answer, and why, in one line."""

    status: int
    why: str
    headers: Headers = ()


Found = Stored | Made | Moved | Refused


def not_found(why: str = "there is no such thing here", headers: Headers = ()) -> Refused:
    """The refusal for whatever is not there."""
    return Refused(HTTPStatus.NOT_FOUND, why, headers)
