"""What a control plane's refusal means: from its error code, by the vendor's table, to one of our errors.

Takes a ``Reply`` with the code and message that an adapter read out of it, gives the error to raise. Pure.

next: the adapters, ``cdns.aliyun`` …
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from enum import Enum, auto

from pipeline.cdns.calling import NOT_BEGUN, Reply
from pipeline.errors import AccessDenied, CallRefused, CdnUnavailable, ClockSkew, ModelportError, QuotaUsedUp

# No vendor takes a signature that is further off than this.
SKEW = timedelta(minutes=5)
# How long before that of UTC a day begins at the vendors whose home is China.
CHINA = timedelta(hours=8)
_TOKEN = re.compile(r"[^\s\"'`,;<>\[\](){}|\\]+")


class Verdict(Enum):
    """What to do about an error code."""

    AGAIN = auto()
    """Nothing was changed: send it again, later."""
    UNSURE = auto()
    """It may have been carried out."""
    REFUSED = auto()
    """It will never be done as it is."""
    QUOTA = auto()
    """Nothing more today."""
    DENIED = auto()
    """The credentials, or what they may do."""
    CLOCK = auto()
    """The time in the signature."""


def verdict_of(code: str, status: int, table: Mapping[str, Verdict]) -> Verdict:
    """Look ``code`` up in ``table``: itself, then without what follows its last dot, and so on; else judge by the HTTP status."""
    rest = code
    while rest:
        if rest in table:
            return table[rest]
        rest = rest.rpartition(".")[0]
    if status in NOT_BEGUN:
        return Verdict.AGAIN
    if status in {401, 403}:
        return Verdict.DENIED
    return Verdict.UNSURE if status >= 500 else Verdict.REFUSED


def failure(
    reply: Reply,
    table: Mapping[str, Verdict],
    *,
    code: str,
    message: str,
    now: datetime,
    request_id: str = "",
    urls: Sequence[str] = (),
    resets_at: datetime | None = None,
) -> ModelportError:
    """Make the error of a refusal. ``urls`` are those of the call, ``now`` is the time it was signed with."""
    call = reply.call
    code = call.shown(code)
    said = " ".join(part for part in (f"HTTP {reply.status}", code, call.shown(message)) if part)
    request = f" (request {call.shown(request_id)})" if request_id else ""
    told = f"{call.told}: {said}{request}"
    verdict = verdict_of(code, reply.status, table)
    there = reply.date
    off = there is not None and abs(there - now) > SKEW
    if verdict is Verdict.CLOCK or (verdict is Verdict.DENIED and off):
        other = f"{there:%Y-%m-%dT%H:%M:%SZ}" if there is not None else "unknown"
        return ClockSkew(
            f"{call.told}: this clock says {now:%Y-%m-%dT%H:%M:%SZ}, the CDN's says {other}; it refused the signature: {said}",
            hint="Set this machine's clock.",
        )
    if verdict is Verdict.DENIED:
        where = " and ".join(call.variables) or "the vendor's variables"
        return AccessDenied(told, hint=f"Check the credentials in {where}, and what they may do.")
    if verdict is Verdict.QUOTA:
        return QuotaUsedUp(told, hint="The rest waits for the next day: modelport cdn.resume.", resets_at=resets_at)
    if verdict is Verdict.AGAIN:
        return CdnUnavailable(told, hint="The CDN is busy: run it again later.", retry_after_s=reply.retry_after_s)
    if verdict is Verdict.UNSURE:
        return call.lost(f"{said}{request}")
    named = named_in(message, urls)
    return CallRefused(told, hint="Check the URLs it names, and the settings of the CDN.", code=code, urls=named)


def named_in(message: str, urls: Iterable[str]) -> tuple[str, ...]:
    """Find those of ``urls`` that a message names, in their order."""
    tokens = set(_TOKEN.findall(message))
    # A sentence may end with the URL.
    tokens |= {token.rstrip(".:!?") for token in tokens}
    return tuple(url for url in urls if url in tokens)
