"""Status, headers and spans of one request: RFC 9110 in one pure function.

Takes the method, the headers that matter and what is there; gives a ``Reply`` whose body is a list of bytes and
spans of the file, with its exact length. An ETag is always a strong one: the sha256 of the content.

next: ``hub``
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus

from bundles.site.answers import Headers
from bundles.site.ranges import Span, Unsatisfiable, read_range

_ETAG = re.compile(r'(W/)?"([\x21\x23-\x7e\x80-\xff]*)"')


@dataclass(frozen=True, slots=True)
class Content:
    """What is there: so many bytes with this ETag."""

    size: int
    etag: str
    content_type: str
    cache: str
    headers: Headers = ()
    status: int = HTTPStatus.OK


@dataclass(frozen=True, slots=True)
class Reply:
    """What to send. ``pieces`` are bytes of ours and spans of the content; none for HEAD."""

    status: int
    headers: Headers
    pieces: tuple[bytes | Span, ...]


def reply_to(method: str, asked: Mapping[str, str], content: Content) -> Reply:
    """The reply to GET or HEAD; ``asked`` holds the request's headers in lower case."""
    tag = f'"{content.etag}"'
    shared = (("ETag", tag), ("Cache-Control", content.cache), *content.headers)
    if content.status == HTTPStatus.OK:
        wanted = asked.get("if-match")
        if wanted is not None and not _matches(wanted, content.etag, weak=False):
            return Reply(HTTPStatus.PRECONDITION_FAILED, (*shared, ("Content-Length", "0")), ())
        known = asked.get("if-none-match")
        if known is not None and _matches(known, content.etag, weak=True):
            return Reply(HTTPStatus.NOT_MODIFIED, shared, ())
    shared = (*shared, ("Accept-Ranges", "bytes"))
    # A range is defined for GET alone (§14.2): HEAD tells of the whole.
    spans = read_range(asked["range"], content.size) if method == "GET" and _ranges_count(asked, content) else None
    if isinstance(spans, Unsatisfiable):
        refused = (("Content-Range", f"bytes */{content.size}"), ("Content-Length", "0"))
        return Reply(HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE, (*shared, *refused), ())
    if spans is None:
        whole = (("Content-Type", content.content_type), ("Content-Length", str(content.size)))
        pieces = (Span(0, content.size),) if method == "GET" and content.size else ()
        return Reply(content.status, (*shared, *whole), pieces)
    if len(spans) == 1:
        one = (
            ("Content-Type", content.content_type),
            ("Content-Length", str(spans[0].size)),
            ("Content-Range", _range_text(spans[0], content.size)),
        )
        return Reply(HTTPStatus.PARTIAL_CONTENT, (*shared, *one), spans)
    return _multipart(shared, spans, content)


def _ranges_count(asked: Mapping[str, str], content: Content) -> bool:
    """Whether the Range header counts: not if it is meant for content with another ETag (§13.1.5)."""
    if "range" not in asked or content.status != HTTPStatus.OK:
        return False
    condition = asked.get("if-range")
    # A date never matches, for no Last-Modified is ever sent.
    return condition is None or condition.strip() == f'"{content.etag}"'


def _matches(header: str, etag: str, *, weak: bool) -> bool:
    if header.strip() == "*":
        return True
    return any(opaque == etag and (weak or not prefix) for prefix, opaque in _ETAG.findall(header))


def _range_text(span: Span, size: int) -> str:
    return f"bytes {span.start}-{span.end - 1}/{size}"


def _multipart(shared: Headers, spans: tuple[Span, ...], content: Content) -> Reply:
    # Bound to the content's own digest, so that no content can hold it except by a collision.
    boundary = hashlib.sha256(f"{content.etag} {spans}".encode()).hexdigest()[:32]
    pieces: list[bytes | Span] = []
    for span in spans:
        head = f"--{boundary}\r\nContent-Type: {content.content_type}\r\nContent-Range: {_range_text(span, content.size)}\r\n\r\n"
        pieces += [(b"\r\n" if pieces else b"") + head.encode(), span]
    pieces.append(f"\r\n--{boundary}--\r\n".encode())
    size = sum(piece.size if isinstance(piece, Span) else len(piece) for piece in pieces)
    headers = (("Content-Type", f"multipart/byteranges; boundary={boundary}"), ("Content-Length", str(size)))
    return Reply(HTTPStatus.PARTIAL_CONTENT, (*shared, *headers), tuple(pieces))
