"""Dialling: from an origin to a connected, tuned, verified socket.

Takes an ``Origin``, tries its addresses so that a dead one costs a quarter of a second, and judges each address before it
is dialled. TLS is always verified; what a server shows instead is named.

next: ``sources.http_wire``
"""

from __future__ import annotations

import errno
import os
import selectors
import socket
import ssl
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from pipeline.errors import RedirectRefused, StoreUnavailable, UnavailableError
from pipeline.sources.certificates import issuer_of
from pipeline.sources.redirects import ASTRAY, is_public

# RFC 8305 §5: the next address is tried while the one before is still silent.
STAGGER_S = 0.25
CONGESTION = b"bbr"
Address = tuple[socket.AddressFamily, tuple[Any, ...]]
Resolve = Callable[[str, int], Sequence[Address]]


def resolve(host: str, port: int) -> list[Address]:
    """Ask the system for the addresses of a host, in its order of preference."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [(family, where) for family, _, _, _, where in found]


@dataclass(frozen=True, slots=True)
class Dialler:
    """Opens TCP connections. ``is_public`` judges an address; ``resolve`` finds those of a name."""

    connect_s: float = 10.0
    resolve: Resolve = resolve
    is_public: Callable[[str], bool] = is_public

    def dial(self, host: str, port: int, *, public_only: bool, told: str) -> socket.socket:
        """Connect to the first address that answers. ``public_only``: inner addresses are refused.

        Raises:
            RedirectRefused: ``public_only``, and every address is an inner one.
            StoreUnavailable: nobody answers, or the name is unknown.
        """
        try:
            addresses = list(dict.fromkeys(self.resolve(host, port)))
        except OSError as error:
            raise StoreUnavailable(
                f"{told}: the name {host} is not known: {error.strerror}", hint="Check the address and the network's DNS."
            ) from None
        if public_only:
            # Judged by the very address that is dialled: a name may mean another one the next time it is asked for.
            outside = [address for address in addresses if self.is_public(address[1][0])]
            if not outside:
                raise RedirectRefused(f"{told}: a public source redirected to {host}, an inner address", hint=ASTRAY)
            addresses = outside
        return _first_to_answer(_interleaved(addresses), self.connect_s, f"{told}: {host}:{port}")


def _interleaved(addresses: Sequence[Address]) -> list[Address]:
    """Alternate between the families, beginning with the first one's (RFC 8305 §4)."""
    first = [address for address in addresses if address[0] == addresses[0][0]]
    second = [address for address in addresses if address[0] != addresses[0][0]]
    mixed = [address for pair in zip(first, second, strict=False) for address in pair]
    shorter = min(len(first), len(second))
    return mixed + first[shorter:] + second[shorter:]


def _first_to_answer(addresses: Sequence[Address], connect_s: float, told: str) -> socket.socket:
    until = time.monotonic() + connect_s
    waiting, faults, next_at = list(addresses), list[str](), 0.0
    open_sockets: list[socket.socket] = []
    winner: socket.socket | None = None
    with selectors.DefaultSelector() as selector:
        try:
            while winner is None and (now := time.monotonic()) < until and (waiting or selector.get_map()):
                if waiting and (now >= next_at or not selector.get_map()):
                    address = waiting.pop(0)
                    next_at = now + STAGGER_S
                    if (begun := _begin(address, faults)) is not None:
                        open_sockets.append(begun)
                        selector.register(begun, selectors.EVENT_WRITE, address)
                    continue
                for ready, _ in selector.select(min(until, next_at if waiting else until) - now):
                    candidate = ready.fileobj
                    if not isinstance(candidate, socket.socket):
                        continue
                    selector.unregister(candidate)
                    fault = candidate.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
                    if not fault:
                        winner = candidate
                        break
                    faults.append(f"{ready.data[1][0]}: {os.strerror(fault)}")
        finally:
            for other in open_sockets:
                if other is not winner:
                    other.close()
    if winner is None:
        why = "; ".join(faults) or f"no answer in {connect_s:g} s from {', '.join(str(found[1][0]) for found in addresses)}"
        raise StoreUnavailable(f"{told} cannot be reached: {why}", hint="Check the address, the network and the proxy.")
    return winner


def _begin(address: Address, faults: list[str]) -> socket.socket | None:
    family, where = address
    try:
        made = socket.socket(family, socket.SOCK_STREAM)
    except OSError as error:
        faults.append(f"{where[0]}: {error.strerror}")
        return None
    made.setblocking(False)
    made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if hasattr(socket, "TCP_CONGESTION"):
        # Where the kernel does not offer it, or not to us, its own choice stays.
        with suppress(OSError):
            made.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, CONGESTION)
    fault = made.connect_ex(where)
    if fault and fault not in {errno.EINPROGRESS, errno.EWOULDBLOCK}:
        faults.append(f"{where[0]}: {os.strerror(fault)}")
        made.close()
        return None
    return made


def congestion_of(connected: socket.socket) -> str:
    """Name the congestion control that a connection uses, "" where the system does not tell."""
    if not hasattr(socket, "TCP_CONGESTION"):
        return ""
    return connected.getsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, 16).rstrip(b"\0").decode("ascii", "replace")


def secure(dial: Callable[[], socket.socket], host: str, context: ssl.SSLContext, told: str) -> ssl.SSLSocket:
    """Speak TLS over what ``dial`` connects and verify the certificate for ``host``.

    Raises:
        UnavailableError: it is not trusted; the message names the issuer.
        StoreUnavailable: the handshake broke off.
    """
    connected = dial()
    try:
        return context.wrap_socket(connected, server_hostname=host)
    except ssl.SSLCertVerificationError as error:
        connected.close()
        raise UnavailableError(
            f"{told}: the certificate of {host} is not trusted: {error.verify_message}; its issuer is {issuer_of(dial, host)}",
            hint="If your network replaces certificates, give its authority with --ca-bundle FILE; "
            "verification is never switched off.",
        ) from None
    except (OSError, ValueError) as error:
        connected.close()
        reason = getattr(error, "reason", None) or error
        raise StoreUnavailable(f"{told}: no TLS with {host}: {reason}", hint="Check the address and the proxy.") from None
