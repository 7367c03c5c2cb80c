"""What the head of an HTTP answer means before a byte of its body is believed.

Takes a ``Head``; gives the body's length, or one of our errors that says what was found and what to do. Pure.

next: ``sources.ranges``
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime

from pipeline.errors import AccessDenied, ModelportError, ObjectMissing, SourceLied, StoreUnavailable, UnavailableError

REDIRECTS = frozenset({301, 302, 303, 307, 308})
# What is older than this cannot be written again within the second that its validator is made of.
_SETTLED = timedelta(seconds=2)
# "Too early" and "request timeout" are asked again like the server errors (RFC 9110 §15.5.9, RFC 8470 §5.2).
_TRY_AGAIN = frozenset({408, 425, 429})
_ALTERED = "Something between here and the source alters answers: a proxy or an optimiser. Switch it off for this host."


@dataclass(frozen=True, slots=True)
class Head:
    """Status and fields of an answer. Field names are lower case; repeated fields are kept apart."""

    status: int
    fields: tuple[tuple[str, str], ...] = ()

    def every(self, name: str) -> list[str]:
        """All values of a field."""
        return [value.strip() for found, value in self.fields if found == name]

    def first(self, name: str) -> str:
        """The first value of a field, or ""."""
        return next(iter(self.every(name)), "")


def body_length(head: Head, told: str) -> int | None:
    """Say how many bytes the body has; None when only its own end can tell.

    Raises:
        SourceLied: lengths that contradict each other, or bytes that are not the object's own (RFC 9112 §6.3).
    """
    for coding in head.every("content-encoding"):
        if coding.lower() not in {"", "identity"}:
            raise SourceLied(f"{told}: the answer is encoded as {plain(coding)!r}, expected the bytes as they are", hint=_ALTERED)
    lengths, transfer = head.every("content-length"), [value.lower() for value in head.every("transfer-encoding")]
    if transfer and (transfer != ["chunked"] or lengths):
        raise SourceLied(
            f"{told}: Transfer-Encoding {plain(', '.join(transfer))!r} with {len(lengths)} Content-Length, "
            "expected 'chunked' alone or one length",
            hint=_ALTERED,
        )
    if len(lengths) > 1:
        raise SourceLied(f"{told}: {len(lengths)} Content-Length fields ({plain(', '.join(lengths))})", hint=_ALTERED)
    if not lengths:
        return None
    if not re.fullmatch(r"[0-9]{1,16}", lengths[0]):
        raise SourceLied(f"{told}: Content-Length {plain(lengths[0])!r} is not a number", hint=_ALTERED)
    return int(lengths[0])


def refusal(head: Head, told: str, *, signed: str = "", at: datetime | None = None) -> ModelportError:
    """Say what an answer that is no success means. ``signed`` names the kind of credentials that were sent, ``at`` our time."""
    status = head.status
    if status == 407:
        return proxy_wants(told)
    if status in {401, 403}:
        sent = f"with {signed} credentials" if signed else "without credentials"
        return AccessDenied(f"{told}: HTTP {status}, asked {sent}{_clocks(head, at)}", hint=_auth_hint(signed))
    if status in {404, 410}:
        return ObjectMissing(f"{told}: HTTP {status}, there is no such object")
    if status in _TRY_AGAIN or status >= 500:
        return StoreUnavailable(
            f"{told}: HTTP {status}", hint="The source is busy or ill: run it again later.", retry_after_s=retry_after_s(head)
        )
    return UnavailableError(f"{told}: HTTP {status}, expected 200 or 206", hint="Check the source's address.")


def proxy_wants(told: str) -> AccessDenied:
    """Say that a proxy lets nobody pass without credentials (RFC 9110 §15.5.8)."""
    return AccessDenied(f"{told}: HTTP 407, the proxy wants credentials", hint="Check the user in HTTPS_PROXY or HTTP_PROXY.")


def date_of(head: Head) -> datetime | None:
    """The Date of an answer (RFC 9110 §6.6.1), UTC, or None."""
    return read_date(head.first("date"))


def retry_after_s(head: Head) -> float | None:
    """Seconds that an answer asks to wait, or None."""
    return read_retry_after(head.first("retry-after"), date_of(head))


def telling_etag(head: Head) -> str:
    """The ETag of an answer; "" where another body may have had the same.

    Web servers make it of a size and a time in whole seconds: what was written in the second of the answer may be written
    once more in it, and looks unchanged for ever (RFC 9110 §8.8.2.2).
    """
    written, answered = read_date(head.first("last-modified")), read_date(head.first("date"))
    if written is not None and answered is not None and answered - written < _SETTLED:
        return ""
    return head.first("etag")


def read_date(text: str) -> datetime | None:
    """Read an HTTP date (RFC 9110 §5.6.7) as UTC; None where it is none."""
    try:
        return parsedate_to_datetime(text).astimezone(UTC)
    # At the ends of the calendar another zone's time cannot be spelled as UTC.
    except (ValueError, OverflowError):
        return None


def read_retry_after(text: str, date: datetime | None) -> float | None:
    """Seconds that Retry-After asks for (RFC 9110 §10.2.3), in either of its forms, counted from the answer's ``date``, or None."""
    if re.fullmatch(r"[0-9]{1,6}", text):
        return float(text)
    until = read_date(text)
    return None if until is None else max(0.0, (until - (date or datetime.now(UTC))).total_seconds())


def plain(text: str, limit: int = 100) -> str:
    """Make foreign text fit for a message: one line, printable, short."""
    return "".join(character if character.isprintable() else " " for character in text)[:limit].strip()


def _auth_hint(signed: str) -> str:
    if signed:
        return f"Check the variables that source.auth ({signed}) names, and that they are not expired."
    return "If the source is private, set source.auth; if its address is right, ask its owner."


def _clocks(head: Head, at: datetime | None) -> str:
    # Signed URLs and cookies expire: a clock that is off looks like a wrong key.
    there = date_of(head)
    if at is None or there is None or abs((there - at).total_seconds()) < 300:
        return ""
    return f"; its clock says {there:%Y-%m-%dT%H:%M:%SZ}, this one {at:%Y-%m-%dT%H:%M:%SZ}"
