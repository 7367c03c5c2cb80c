"""On what terms a site is served, whoever serves it: site.serve itself, or nginx.

next: ``guard``
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Terms:
    """What a person asks for. ``listen`` is host:port."""

    site: Path
    listen: str = "127.0.0.1:8080"
    token_file: Path | None = None
    tls_cert: Path | None = None
    tls_key: Path | None = None
    origins: tuple[str, ...] = ()
