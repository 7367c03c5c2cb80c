"""The flags of tasks that serve: ``site.serve`` and ``site.nginx`` share all, for who serves a site is no matter to those who ask it.

next: ``site_orders``
"""

from __future__ import annotations

from typing import NamedTuple

from bundles.site.terms import LISTEN


class Serving(NamedTuple):
    """How a site is served, as these flags say it: all of it still text."""

    site: str
    listen: str = ""
    token_file: str = ""
    tls_cert: str = ""
    tls_key: str = ""
    allow_origin: tuple[str, ...] = ()
    upstream: str = ""
    cache_size: str = ""


SITE_HELP = "Folder of a site: what was installed into."
LISTEN_HELP = "Address and port to serve at, such as 0.0.0.0:8080 for every address of this machine."
UPSTREAM_HELP = "Base URL of a tree: what is not here is brought from there, and kept. Default: none."
SERVING = {
    "site": SITE_HELP,
    "listen": f"{LISTEN_HELP} Default {LISTEN}.",
    "token_file": "File of tokens, one a line, of which clients bring one. Default: everybody may read.",
    "tls_cert": "PEM file of a certificate with its chain, to serve https. Default: plain http.",
    "tls_key": "PEM file of the certificate's key, needed with it. Default: plain http.",
    "allow_origin": "Web origin whose pages may read, such as https://app.example, or *; repeat it. Default: none but the site's own.",
    "upstream": UPSTREAM_HELP,
    "cache_size": "Most bytes kept of the upstream, such as 500GiB: what was used longest ago goes first. Default 100GiB.",
}
