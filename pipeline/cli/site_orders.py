"""From flags, which are text, to how a site is served.

Takes a task's flags and the settings, gives orders, or one line that says which flag cannot be what it is.

next: ``site_summaries``
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from bundles.site.terms import CACHE_BYTES, LISTEN, Terms
from pipeline.cli.serving import Serving
from pipeline.errors import UsageError
from pipeline.setting_checks import SOURCES, check_place, check_scheme, parse_size
from pipeline.settings import Settings, refuse_memory
from pipeline.store_kinds import IN_MEMORY, SPELLED, scheme_of

if TYPE_CHECKING:
    from bundles.site.serving import UpstreamOrder

# Who asks a mirror waits for its upstream: shorter than what a fetch of its own would.
CONNECT_S = 5.0
WAIT_FACTOR = 4


def terms_of(serving: Serving) -> Terms:
    """The terms that these flags make."""
    return Terms(
        site=Path(serving.site),
        listen=serving.listen or LISTEN,
        token_file=_path(serving.token_file),
        tls_cert=_path(serving.tls_cert),
        tls_key=_path(serving.tls_key),
        origins=serving.allow_origin,
    )


def cache_bytes(serving: Serving) -> int:
    """Most bytes to keep of the upstream.

    Raises:
        UsageError: there is no upstream, or it is not a size.
    """
    if serving.cache_size and not serving.upstream:
        raise _without_upstream("--cache-size")
    return parse_size(serving.cache_size, "--cache-size") if serving.cache_size else CACHE_BYTES


def upstream_order(settings: Settings, serving: Serving, *, max_age: str, timeout: str, fingerprint: str) -> UpstreamOrder | None:
    """What a caching mirror takes from; None where no upstream is named.

    Raises:
        UsageError: naming the flag, and what is expected.
    """
    from bundles.site.serving import UpstreamOrder
    from pipeline.connect import open_reader
    from pipeline.sources.pace import Limits
    from pipeline.state_folders import trust_home
    from pipeline.trust.state import TrustState, read_fingerprint

    limit = cache_bytes(serving)
    if not serving.upstream:
        given = {"--max-age": max_age, "--upstream-timeout": timeout, "--root-fingerprint": fingerprint}
        for flag in (flag for flag, text in given.items() if text):
            raise _without_upstream(flag)
        return None
    url = upstream_url(serving.upstream)
    idle_s = _seconds(timeout or "15", "--upstream-timeout")
    # Its credentials and its channel are those of the source of this address.
    source = next((dict(one) for one in settings.source if one["url"].rstrip("/") == url.rstrip("/")), {"url": url})
    named = replace(settings, source=(source,), origins={**settings.origins, "source": "--upstream"})
    refuse_memory(named)
    reader = open_reader(named, source, limits=Limits(connect_s=min(CONNECT_S, idle_s), idle_s=idle_s, window_s=idle_s))
    return UpstreamOrder(
        reader,
        limit,
        read_fingerprint(fingerprint) if fingerprint else "",
        TrustState(trust_home(settings.places.state, reader.url, "")).pins,
        source.get("channel", "stable"),
        _seconds(max_age or "10", "--max-age"),
        # Whoever waits sees both attempts fail before losing patience.
        WAIT_FACTOR * idle_s,
    )


def upstream_url(text: str) -> str:
    """The address of an upstream as a source of the settings is spelled; nothing for nothing.

    Raises:
        SettingsError: a scheme that no source has, or credentials in it.
    """
    if not text:
        return ""
    url = check_place(text, "--upstream", Path.cwd())
    if scheme_of(url) != IN_MEMORY:
        check_scheme(url, "--upstream", "the source", SOURCES)
    return url


def check_upstream(text: str) -> str:
    """The address of an upstream for a unit, which starts in no folder of anybody's; or nothing.

    Raises:
        UsageError: a path that depends on where one stands. SettingsError: as ``upstream_url``.
    """
    if text and not (scheme_of(text) or Path(text).is_absolute()):
        raise UsageError(f"--upstream {text} is no address of a tree", hint=f"Use http://… or https://…, {SPELLED}.")
    return upstream_url(text)


def _without_upstream(flag: str) -> UsageError:
    return UsageError(f"{flag} belongs to --upstream", hint="Name the upstream: --upstream https://cdn.example/tree")


def _seconds(text: str, flag: str) -> float:
    if not (text.isascii() and text.isdigit() and len(text) <= 6):
        raise UsageError(f"{flag} {text} is no number of seconds", hint=f"Write it as {flag} 10.")
    return float(text)


def _path(text: str) -> Path | None:
    return Path(text) if text else None
