"""Range answers, judged by status and Content-Range together: neither is to be believed alone.

Takes what was ``Asked`` and the ``Head`` that came; gives how to read the body (``Accepted``), or a refusal. Pure.
Real edges answer a range with 200 and a Content-Range, with 206 and another range, with the whole object, or with a
login page (docs/faults.md, class H).

next: ``sources.redirects``
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import NoReturn

from pipeline.errors import SourceLied
from pipeline.sources.answers import Head, body_length, plain

# No object of the tree that is read by ranges is larger than a part (docs/format.md §3).
SKIP_BYTES = 256 << 20
_HINT = "The source, or something before it, answers ranges wrongly: use another source."


@dataclass(frozen=True, slots=True)
class Asked:
    """A request for ``size`` bytes (None: all the rest) from ``start`` of an object of ``total`` bytes, if that is known.

    ``exact``: fewer bytes will not do, not even at the object's end. ``ranged`` says whether a Range was sent;
    ``html`` whether the object itself may be a web page.
    """

    start: int = 0
    size: int | None = None
    total: int | None = None
    exact: bool = True
    ranged: bool = False
    html: bool = False


@dataclass(frozen=True, slots=True)
class Accepted:
    """How to read a body: drop ``skip`` bytes, then take ``size`` (None: until it ends).

    ``ends``: the body must end there, one byte more is a lie. ``honoured``: it was the range alone that came.
    """

    skip: int
    size: int | None
    ends: bool
    honoured: bool


def range_field(start: int, size: int | None) -> str:
    """The Range field that asks for these bytes (RFC 9110 §14.2)."""
    return f"bytes={start}-{'' if size is None else start + size - 1}"


def judge(head: Head, asked: Asked, told: str) -> Accepted:
    """Say how to read the body of a 200 or 206.

    Raises:
        SourceLied: the answer contradicts what was asked, or itself.
    """
    length = body_length(head, told)
    kind = head.first("content-type").lower()
    if kind.startswith("multipart/"):
        _refuse(told, f"several ranges in one body ({plain(kind)})", "one range")
    if kind.startswith("text/html") and not asked.html:
        raise SourceLied(
            f"{told}: a web page came, expected an object of the tree",
            hint="Check the source's address, and whether this network wants a login.",
        )
    spans = head.every("content-range")
    if len(spans) > 1:
        _refuse(told, f"{len(spans)} Content-Range fields", "one")
    if spans:
        return _slice(head.status, spans[0], length, asked, told)
    if head.status == 206:
        _refuse(told, "206 without Content-Range", f"bytes {asked.start}-")
    return _whole(length, asked, told)


def _slice(status: int, span: str, length: int | None, asked: Asked, told: str) -> Accepted:
    match = re.fullmatch(r"bytes ([0-9]{1,16})-([0-9]{1,16})/([0-9]{1,16}|\*)", span)
    if match is None:
        _refuse(told, f"Content-Range {plain(span)!r}", _expected(asked))
    first, last = int(match[1]), int(match[2])
    total = None if match[3] == "*" else int(match[3])
    if last < first or (total is not None and last >= total):
        _refuse(told, f"the impossible Content-Range {plain(span)!r}", _expected(asked))
    if first != asked.start or (asked.size is not None and last >= asked.start + asked.size):
        _refuse(told, f"{status} with Content-Range {plain(span)!r}", _expected(asked))
    if total is not None:
        _check_total(total, asked, told)
    size = last - first + 1
    whole = total is not None and size == total
    # A 200 says "all of it": it stands for a range only where every number agrees, and so does a 206 that nobody asked for.
    to_the_end = total is not None and last == total - 1
    exact = to_the_end if asked.size is None else last == asked.start + asked.size - 1 or (to_the_end and not asked.exact)
    if (status == 200 and not (exact and total is not None)) or not (asked.ranged or whole):
        _refuse(told, f"{status} with Content-Range {plain(span)!r}", _expected(asked))
    # Whoever asked for all up to the object's end at most has nobody who asks for the rest.
    if not asked.exact and total is not None and not exact:
        _refuse(told, f"{status} with Content-Range {plain(span)!r}", _expected(asked))
    if length is not None and length != size:
        _refuse(told, f"{length} bytes for Content-Range {plain(span)!r}", f"{size} bytes")
    return Accepted(skip=0, size=size, ends=True, honoured=True)


def _whole(length: int | None, asked: Asked, told: str) -> Accepted:
    if length is not None:
        _check_total(length, asked, told)
    if asked.start > SKIP_BYTES:
        _refuse(told, "the whole object instead of a range", f"at most {SKIP_BYTES} bytes before the range")
    size = asked.size
    if length is not None:
        rest = max(0, length - asked.start)
        size = rest if size is None else min(size, rest)
    ends = size is None or (asked.total is not None and asked.start + size == asked.total)
    return Accepted(skip=asked.start, size=size, ends=ends, honoured=not asked.ranged)


def _check_total(total: int, asked: Asked, told: str) -> None:
    if asked.total is not None and total != asked.total:
        _refuse(told, f"an object of {total} bytes", f"{asked.total}")
    if asked.exact and asked.size is not None and total < asked.start + asked.size:
        _refuse(told, f"an object of {total} bytes", f"at least {asked.start + asked.size}")


def _expected(asked: Asked) -> str:
    if not asked.ranged:
        return "the whole object"
    end = "" if asked.size is None else asked.start + asked.size - 1
    return f"bytes {asked.start}-{end}/{'*' if asked.total is None else asked.total}"


def _refuse(told: str, found: str, expected: str) -> NoReturn:
    raise SourceLied(f"{told}: {found} came, expected {expected}", hint=_HINT)
