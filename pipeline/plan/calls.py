"""Which calls a CDN gets: the URLs of keys, legal chunks of them, and the name of each chunk. Pure.

Takes keys of the tree and a CDN's limits, gives URLs in their order, in chunks that one call may hold. The name of
a chunk is the same on every machine, so that a CDN which knows such names does a request once.

next: ``plan.records``
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from datetime import UTC, date, datetime, time, timedelta
from urllib.parse import quote, unquote, urlsplit

from pipeline.digest import Blake3, blake3_of
from pipeline.ports import CallLimits, Op

# What stands between two URLs in a body, at most: quotes, a comma, a space.
BETWEEN = 4
# RFC 3986 §2.2, §2.3: what may stand in a path as it is, and an escape.
_PATH_SAFE = "/-._~!$&'()*+,;=:@"
_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")
_HEX = re.compile(r"%[0-9A-Fa-f]{2}")
_PORTS = {"http": 80, "https": 443}


def normalise_url(url: str) -> str:
    """Spell a URL the one way: scheme and host in lower case, no default port, path escaped once, no fragment.

    Law: ``normalise_url(normalise_url(u)) == normalise_url(u)``.

    Raises:
        ValueError: no http or https URL, or one with a user name.
    """
    parts = urlsplit(url.strip())
    if parts.scheme.lower() not in _PORTS or not parts.hostname or "@" in parts.netloc:
        raise ValueError(f"{url[:200]!r} is no http or https URL")
    scheme = parts.scheme.lower()
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    port = "" if parts.port in {None, _PORTS[scheme]} else f":{parts.port}"
    query = f"?{_escaped(parts.query, _PATH_SAFE + '?')}" if parts.query else ""
    return f"{scheme}://{host}{port}{_escaped(parts.path or '/', _PATH_SAFE)}{query}"


def url_of(base_url: str, key: str) -> str:
    """Spell the URL of ``key`` at the edge.

    Law: ``key_of(b, url_of(b, k)) == k``.
    """
    return normalise_url(f"{base_url}/{quote(key, safe='/-._~')}")


def key_of(base_url: str, url: str) -> str | None:
    """The key under ``url``, None if it is not below ``base_url``."""
    start = url_of(base_url, "")
    found = normalise_url(url)
    return unquote(found.removeprefix(start)) if found.startswith(start) and "?" not in found else None


def fault_of(url: str, limits: CallLimits) -> str:
    """Say why no call of these limits may hold ``url``; "" if one may."""
    if len(url) > limits.url_chars:
        return f"the URL has {len(url)} characters, the CDN takes {limits.url_chars}"
    if limits.body_bytes is not None and _weight(url) > limits.body_bytes:
        return f"the URL alone fills more than a call's {limits.body_bytes} bytes"
    return ""


def chunk_urls(urls: Iterable[str], limits: CallLimits, *, batch: int | None = None) -> list[tuple[str, ...]]:
    """Divide ``urls``, in their order and each once, into what one call may hold: by number, bytes and hosts.

    ``batch`` is the number that the vendor's quota API tells.
    """
    most = max(1, min(limits.urls, batch or limits.urls))
    chunks: list[list[str]] = []
    size, hosts = 0, set[str]()
    for url in dict.fromkeys(urls):
        host = urlsplit(url).netloc
        full = (
            not chunks
            or len(chunks[-1]) >= most
            or (limits.body_bytes is not None and size + _weight(url) > limits.body_bytes)
            or (limits.hosts is not None and host not in hosts and len(hosts) >= limits.hosts)
        )
        if full:
            chunks.append([])
            size, hosts = 0, set()
        chunks[-1].append(url)
        size += _weight(url)
        hosts.add(host)
    return [tuple(chunk) for chunk in chunks]


def chunk_key(provider: str, account: str, op: Op, urls: Iterable[str], occasion: str) -> Blake3:
    """Name a request: the same for the same URLs in any order, another one on another ``occasion``."""
    return blake3_of("\n".join([provider, account, op, occasion, *sorted(urls)]).encode())


def halves(urls: Sequence[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Divide a refused chunk, to find out which of its URLs is at fault."""
    middle = len(urls) // 2
    return tuple(urls[:middle]), tuple(urls[middle:])


def is_hopeless(refusals: int, urls: int) -> bool:
    """Whether ``refusals`` in a row, and not one success, say that it is not a few of the ``urls`` that are at fault."""
    # One culprit is found after log2(n) refusals; the vendor that refuses more often refuses all.
    return refusals > urls.bit_length() + 2


def day_of(at: datetime, limits: CallLimits) -> date:
    """The day of the vendor's quota at a time."""
    return (at + limits.day_ahead).date()


def next_day_at(at: datetime, limits: CallLimits) -> datetime:
    """When the vendor's quota begins anew, UTC."""
    return datetime.combine(day_of(at, limits) + timedelta(days=1), time(), UTC) - limits.day_ahead


def last_day(rest: int, per_day: int | None, first: date) -> date:
    """The day on which ``rest`` URLs are through, when the next ones may be asked for on ``first``."""
    return first + timedelta(days=(rest - 1) // per_day if per_day and rest else 0)


def _escaped(text: str, safe: str) -> str:
    return _HEX.sub(lambda found: found[0].upper(), quote(_ESCAPE.sub("%25", text), safe=safe + "%"))


def _weight(url: str) -> int:
    return len(url.encode()) + BETWEEN
