"""On what terms a site is served, whoever serves it: site.serve itself, or nginx.

next: ``setups``
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pipeline.errors import UsageError

LISTEN = "127.0.0.1:8080"
# Most bytes that are kept of an upstream.
CACHE_BYTES = 100 << 30
_LAST_PORT = 65535


@dataclass(frozen=True)
class Terms:
    """What a person asks for. ``listen`` is host:port.

    Raises:
        UsageError: a certificate without its key, or a key without its certificate.
    """

    site: Path
    listen: str = LISTEN
    token_file: Path | None = None
    tls_cert: Path | None = None
    tls_key: Path | None = None
    origins: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if (self.tls_cert is None) != (self.tls_key is None):
            raise UsageError("--tls-cert and --tls-key go together", hint="Name both, or neither to serve plain http.")


def read_address(listen: str) -> tuple[str, int]:
    """Divide host:port; an IPv6 address stands in brackets, which are taken off.

    Raises:
        UsageError
    """
    host, _, port = listen.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not host or not port.isascii() or not port.isdigit() or int(port) > _LAST_PORT:
        raise UsageError(f"--listen {listen} is not host:port", hint=f"Write it as --listen {LISTEN} or --listen [::1]:8080")
    return host, int(port)
