"""Proxies of a corporate network: which one a request takes, by the usual variables' rules.

Takes the values of HTTPS_PROXY, HTTP_PROXY and NO_PROXY, gives a ``Proxy`` or None for a URL.

next: ``sources.pace``
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, field
from urllib.parse import unquote, urlsplit

from pipeline.errors import SettingsError
from pipeline.sources.auth import basic
from pipeline.sources.redirects import Origin


@dataclass(frozen=True, slots=True)
class Proxy:
    """A proxy and the credentials it wants, as a field value; "" for none."""

    host: str
    port: int
    authorization: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True)
class Proxies:
    """The three values, as they stand in the environment."""

    https: str = field(default="", repr=False)
    http: str = field(default="", repr=False)
    no_proxy: str = ""

    def pick(self, origin: Origin) -> Proxy | None:
        """Choose the proxy for an origin.

        Raises:
            SettingsError: the value is no http URL.
        """
        value = self.https if origin.scheme == "https" else self.http
        if not value or _bypassed(origin, self.no_proxy):
            return None
        return read_proxy(value, f"{origin.scheme.upper()}_PROXY")

    @property
    def secrets(self) -> tuple[str, ...]:
        """The passwords in both spellings, and what a proxy is sent of them, for masks."""
        found: list[str] = []
        for value in filter(None, (self.https, self.http)):
            try:
                parts = urlsplit(value if "://" in value else f"http://{value}")
                password, user = parts.password, parts.username
            except ValueError:
                continue
            if password:
                sent = basic(unquote(user or ""), unquote(password))
                found += [password, unquote(password), sent.removeprefix("Basic ")]
        return tuple(dict.fromkeys(found))


def read_proxy(value: str, where: str) -> Proxy:
    """Read a proxy's URL; without a scheme it is ``host:port``.

    Raises:
        SettingsError: it is not one. The value is not repeated, for it may hold a password.
    """
    try:
        parts = urlsplit(value if "://" in value else f"http://{value}")
        host, port = parts.hostname, parts.port
    except ValueError:
        raise _no_proxy(where) from None
    if parts.scheme != "http" or not host:
        raise _no_proxy(where)
    user = parts.username
    authorization = basic(unquote(user), unquote(parts.password or "")) if user else ""
    # As curl does when none is said.
    return Proxy(host, port or 1080, authorization)


def _no_proxy(where: str) -> SettingsError:
    return SettingsError(
        f"{where} is not the URL of an http proxy", hint="Spell it http://host:port or http://user:password@host:port."
    )


def _bypassed(origin: Origin, no_proxy: str) -> bool:
    host = origin.host.lower().rstrip(".")
    for entry in no_proxy.replace(",", " ").lower().split():
        name, _, port = entry.rpartition(":") if entry.count(":") == 1 else (entry, "", "")
        if port and port != str(origin.port):
            continue
        bare = name.removeprefix("*").strip(".")
        if entry == "*" or host == bare or (bare and host.endswith(f".{bare}")) or _within(host, name):
            return True
    return False


def _within(host: str, network: str) -> bool:
    try:
        return ipaddress.ip_address(host) in ipaddress.ip_network(network, strict=False)
    except (ValueError, TypeError):
        return False
