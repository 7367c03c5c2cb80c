"""The way out of this machine, as its settings have it: proxies, and whose certificates are trusted.

Takes ``Settings``, gives what adapters take.

next: ``connect_cdns``
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.errors import SettingsError
from pipeline.settings import Settings, is_file

if TYPE_CHECKING:
    from pipeline.sources.proxies import Proxies


def proxies_of(settings: Settings) -> Proxies:
    """The proxies to go by."""
    from pipeline.sources.proxies import Proxies

    network = settings.network
    return Proxies(network.https_proxy, network.http_proxy, network.no_proxy)


def authorities_of(settings: Settings) -> str | None:
    """The file of certificate authorities to trust, None for the system's.

    Raises:
        SettingsError: there is no such file; a vendor's SDK would say so in its own words, or too late.
    """
    path = settings.network.ca_file
    if path and not is_file(Path(path)):
        where = settings.origins["ca_bundle"] if settings.ca_bundle else "SSL_CERT_FILE"
        raise SettingsError(f"{where}: there is no file {path}", hint="Name a file of PEM certificates.")
    return path or None
