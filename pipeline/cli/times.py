"""From flags to times: how long, and until when.

Takes text such as 7d, 1y or 2027-11-22, gives spans and instants.

next: ``garbage_tasks``
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

from pipeline.errors import UsageError

_SPAN = re.compile(r"([1-9][0-9]{0,4})(h|d|w|y)")
_UNITS = {"h": timedelta(hours=1), "d": timedelta(days=1), "w": timedelta(weeks=1), "y": timedelta(days=365)}


def span_of(text: str, flag: str) -> timedelta:
    """Read a span of time: a whole number of hours, days, weeks or years of 365 days.

    Raises:
        UsageError: naming the flag.
    """
    match = _SPAN.fullmatch(text.strip())
    if match is None:
        raise UsageError(f"{flag} {text!r} is not a span of time", hint=f"Use h, d, w or y (365 days), as in {flag} 7d.")
    return int(match[1]) * _UNITS[match[2]]


def end_of(text: str, flag: str) -> datetime | timedelta:
    """Read until when: a span, the last second of a day (UTC), or an instant with its zone.

    Raises:
        UsageError: naming the flag.
    """
    if _SPAN.fullmatch(text.strip()):
        return span_of(text, flag)
    try:
        found = datetime.fromisoformat(text.strip())
    except ValueError:
        found = None
    if found is not None and re.fullmatch(r"\d{4}-\d\d-\d\d", text.strip()):
        return found.replace(hour=23, minute=59, second=59, tzinfo=UTC)
    if found is None or found.tzinfo is None:
        raise UsageError(
            f"{flag} {text!r} is neither a span, a day nor a time with its zone",
            hint=f"As in {flag} 1y, {flag} 2027-11-22 or {flag} 2027-11-22T10:00:00Z.",
        )
    return found.astimezone(UTC)
