"""A site behind nginx: its configuration, and the view that this looks names up in.

Takes the folder of a site and where nginx shall listen, writes ``SITE/nginx/``; afterwards ``refresh_view`` keeps the view true
whenever modelport itself changes the site.

next: ``tending``
"""

from __future__ import annotations

import os
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import msgspec

from bundles.site.guard import read_tokens
from bundles.site.holdings import Holdings
from bundles.site.nginx_conf import describe_server, token_lines
from bundles.site.nginx_routes import Server
from bundles.site.nginx_view import PLACE, VIEW, write_view
from bundles.site.terms import CACHE_BYTES, LISTEN, Terms, read_address
from pipeline.errors import DiskError, UsageError

CONFIGURATION = "nginx/site.conf"
TOKENS = "nginx/tokens.conf"
CACHE = "nginx/cache"
# What would end a word of the configuration, or begin a variable.
_UNSPELLABLE = frozenset(" \t\n\r\"'\\;{}$#")


@dataclass(frozen=True)
class NginxOrder:
    """What a person asks for. At most ``cache_limit`` bytes of the upstream are kept."""

    terms: Terms
    upstream: str = ""
    cache_limit: int = CACHE_BYTES


class NginxWritten(msgspec.Struct, frozen=True, kw_only=True):
    """What ``site.nginx`` wrote. ``commands`` make nginx use it."""

    site: str
    configuration: str
    view: str
    releases: list[str]
    url: str
    upstream: str
    commands: list[str]


def write_nginx(order: NginxOrder, *, dry: bool = False) -> NginxWritten:
    """Write the configuration and the view.

    Raises:
        UsageError: no site, or an address, a path, an origin or a token that cannot stand in a configuration.
        DiskError
    """
    host, port = _address(order.terms.listen)
    place = order.terms.site.resolve()
    paths = {"--tls-cert": order.terms.tls_cert, "--tls-key": order.terms.tls_key}
    spelled = {flag: str(path.resolve()) if path else "" for flag, path in paths.items()}
    for flag, text in {"--site": str(place), **spelled}.items():
        _check_word(flag, text)
    for origin in order.terms.origins:
        _check_word("--allow-origin", origin)
    tokens = read_tokens(order.terms.token_file)
    server = Server(
        site=str(place),
        host=host,
        port=port,
        tokens_file=str(place / TOKENS) if tokens else "",
        tls_cert=spelled["--tls-cert"],
        tls_key=spelled["--tls-key"],
        origins=order.terms.origins,
        upstream=_upstream(order.upstream),
        cache=str(place / CACHE),
        cache_limit=order.cache_limit,
    )
    with closing(Holdings(place)) as holdings:
        catalogue = holdings.look()
        view = place / VIEW
        if not dry:
            view = write_view(place, catalogue, tree=holdings.keeps_tree)
            try:
                _put(place / CONFIGURATION, describe_server(server), 0o644)
                if tokens:
                    _put(place / TOKENS, token_lines(tokens), 0o600)
                else:
                    (place / TOKENS).unlink(missing_ok=True)
            except OSError as error:
                raise DiskError(
                    f"{place / CONFIGURATION} cannot be written: {error}", hint="Free the disk, run it again."
                ) from error
        shown = f"[{host}]" if ":" in host else host
        return NginxWritten(
            site=str(place),
            configuration=str(place / CONFIGURATION),
            view=str(view),
            releases=sorted(catalogue.releases),
            url=f"{'https' if order.terms.tls_cert else 'http'}://{shown}:{port}",
            upstream=server.upstream,
            commands=[
                f"ln -sf {place / CONFIGURATION} /etc/nginx/conf.d/modelport.conf",
                "nginx -t && systemctl reload nginx",
            ],
        )


def refresh_view(place: Path) -> bool:
    """Make the view anew after a change of the site; False where nginx was never set up.

    Raises:
        DiskError: the view is the one before.
    """
    if not (place / PLACE).is_dir():
        return False
    with closing(Holdings(place)) as holdings:
        write_view(place, holdings.look(), tree=holdings.keeps_tree)
    return True


def _put(path: Path, text: str, mode: int) -> None:
    growing = path.with_name(f".{path.name}-{os.getpid()}")
    with suppress(FileNotFoundError):
        growing.unlink()
    # Never readable to others, not even for a moment, where it must not be.
    descriptor = os.open(growing, os.O_CREAT | os.O_EXCL | os.O_WRONLY, mode)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        os.fchmod(file.fileno(), mode)
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    growing.rename(path)


def _address(where: str) -> tuple[str, int]:
    host, port = read_address(where)
    if not port:
        raise UsageError(f"--listen {where}: nginx needs a port", hint=f"Name it, as in --listen {LISTEN}")
    _check_word("--listen", where)
    return host, port


def _upstream(url: str) -> str:
    if not url:
        return ""
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"} or not parts.hostname or parts.query or parts.fragment or "@" in parts.netloc:
        raise UsageError(f"--upstream {url} is no address of a tree", hint="Write it as --upstream https://cdn.example/tree")
    _check_word("--upstream", url)
    return url.rstrip("/")


def _check_word(flag: str, text: str) -> None:
    found = sorted(set(text) & _UNSPELLABLE)
    if found or not text.isprintable():
        raise UsageError(
            f"{flag} {text!r} cannot stand in a configuration of nginx: it holds {found[0]!r}" if found else f"{flag} {text!r}",
            hint="Name it without spaces, quotes, backslashes and any of ; { } $ #.",
        )
