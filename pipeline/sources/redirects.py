"""Redirects, followed by hand: where one may lead, and what may go along.

Takes the URL that answered, where it stands, and the Location; gives the next URL, or refuses. Pure, but for names:
where a name leads is judged again when it is dialled (``sources.dialing``).

next: ``sources.auth``
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from urllib.parse import quote, urljoin, urlsplit

from pipeline.errors import RedirectRefused
from pipeline.sources.answers import plain

HOPS = 5
ASTRAY = "Something before the source sends requests astray: check its address and the network."
_PORTS = {"http": 80, "https": 443}
# RFC 6052 §2.1: IPv4 addresses inside the well-known prefix lead to IPv4 hosts.
_NAT64 = ipaddress.ip_network("64:ff9b::/96")


@dataclass(frozen=True, slots=True)
class Origin:
    """What credentials belong to (RFC 6454 §4)."""

    scheme: str
    host: str
    port: int

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}" + ("" if self.port == _PORTS[self.scheme] else f":{self.port}")


def origin_of(url: str) -> Origin | None:
    """The origin of an http or https URL, or None for any other text."""
    try:
        parts = urlsplit(url)
        scheme, host, port = parts.scheme.lower(), parts.hostname, parts.port
        if scheme not in _PORTS or not host:
            return None
        name = host if ":" in host else host.encode("idna").decode("ascii")
    except ValueError:
        return None
    return Origin(scheme, name, _PORTS[scheme] if port is None else port)


def next_hop(url: str, location: str, *, hops: int, public: bool, told: str) -> str:
    """Resolve the ``Location`` of the ``hops``-th redirect in a row, which came from ``url``; ``public``: from the Internet.

    Raises:
        RedirectRefused: one too many, plain http after https, another scheme, a user name, or an inner address.
    """
    if hops > HOPS:
        raise RedirectRefused(f"{told}: more than {HOPS} redirects", hint="Set the source to where they end.")
    try:
        target = urljoin(url, quote(location.strip(), safe="%/:=&?~#+!$,;'@()*[]"))
    except ValueError:
        raise RedirectRefused(f"{told}: redirected to {shown(location)}, which is not followed", hint=ASTRAY) from None
    there, here = origin_of(target), origin_of(url)
    if there is None or "@" in urlsplit(target).netloc:
        raise RedirectRefused(f"{told}: redirected to {shown(target)}, which is not followed", hint=ASTRAY)
    if here is not None and here.scheme == "https" and there.scheme != "https":
        raise RedirectRefused(f"{told}: redirected from https to {there}: it is never downgraded", hint=ASTRAY)
    if public and names_inside(there.host):
        raise RedirectRefused(f"{told}: a public source redirected to {there}, an inner address", hint=ASTRAY)
    return urlsplit(target)._replace(fragment="").geturl()


def shown(url: str) -> str:
    """A URL for people: without user, query and fragment, which may hold what signs it."""
    try:
        parts = urlsplit(url)
        text = parts._replace(netloc=parts.netloc.rpartition("@")[2], query="", fragment="").geturl()
    except ValueError:
        return "an unreadable URL"
    return plain(text, 200)


def names_inside(host: str) -> bool:
    """Tell whether a host is, by its spelling alone, this machine or inside a private network."""
    bare = host.rstrip(".").lower()
    if bare == "localhost" or bare.endswith((".localhost", ".local", ".internal")):
        return True
    try:
        return not is_public(bare)
    except ValueError:
        return False


def is_public(address: str) -> bool:
    """Tell whether an IP address is one of the public Internet, looking through IPv6 wrappings of IPv4.

    Raises:
        ValueError: it is not an IP address.
    """
    found = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(found, ipaddress.IPv6Address):
        inner = found.ipv4_mapped or found.sixtofour
        if found in _NAT64:
            inner = ipaddress.IPv4Address(int(found) & 0xFFFFFFFF)
        if inner is not None:
            return inner.is_global and not inner.is_multicast
    return found.is_global and not found.is_multicast
