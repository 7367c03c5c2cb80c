"""From flags to times: how long, and until when.

Takes text such as 7d, 1y or 2027-11-22, gives spans and instants.

next: ``garbage_tasks``
"""

from __future__ import annotations

import re
from contextlib import suppress
from datetime import UTC, datetime, timedelta

from pipeline.errors import UsageError

_SPAN = re.compile(r"([1-9][0-9]{0,4})(h|d|w|y)")
_UNITS = {"h": timedelta(hours=1), "d": timedelta(days=1), "w": timedelta(weeks=1), "y": timedelta(days=365)}
# Added to any day of this age, it stays within what a calendar of four digits holds.
_MOST_YEARS = 1000


def span_of(text: str, flag: str) -> timedelta:
    """Read a span of time: a whole number of hours, days, weeks or years of 365 days.

    Raises:
        UsageError: naming the flag.
    """
    match = _SPAN.fullmatch(text.strip())
    if match is None:
        raise UsageError(f"{flag} {text!r} is not a span of time", hint=f"Use h, d, w or y (365 days), as in {flag} 7d.")
    span = int(match[1]) * _UNITS[match[2]]
    if span > _MOST_YEARS * _UNITS["y"]:
        raise UsageError(f"{flag} {text!r} is over {_MOST_YEARS} years", hint=f"Give less, as in {flag} 1y.")
    return span


def end_of(text: str, flag: str) -> datetime | timedelta:
    """Read until when: a span, the last second of a day (UTC), or an instant with its zone.

    Raises:
        UsageError: naming the flag.
    """
    if _SPAN.fullmatch(text.strip()):
        return span_of(text, flag)
    with suppress(ValueError, OverflowError):
        found = datetime.fromisoformat(text.strip())
        if re.fullmatch(r"\d{4}-\d\d-\d\d", text.strip()):
            return found.replace(hour=23, minute=59, second=59, tzinfo=UTC)
        if found.tzinfo is not None:
            return found.astimezone(UTC)
    raise UsageError(
        f"{flag} {text!r} is neither a span, a day nor a time with its zone",
        hint=f"As in {flag} 1y, {flag} 2027-11-22 or {flag} 2027-11-22T10:00:00Z.",
    )
