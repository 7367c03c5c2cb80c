"""Connect the CDNs: picks the adapters of control planes that the settings name, and the edges before them.

Takes ``Settings``, gives a ``Delivery``, or its control planes alone. An adapter is imported when it is first asked for something.

next: ``connect``
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from pipeline.outward import authorities_of, proxies_of
from pipeline.ports import Cdn
from pipeline.providers import PROVIDERS, Credentials
from pipeline.settings import Settings

if TYPE_CHECKING:
    from pipeline.sources.auth import Auth
    from pipeline.steps.edge_proof import Front
    from pipeline.steps.serve import Delivery


def open_cdns(settings: Settings) -> tuple[Cdn, ...]:
    """Open the control planes of the CDNs that the settings name, in their order.

    Nobody is called, and an adapter is imported when it is first asked for something: credentials that it lacks are told then.
    """
    from pipeline.cdns.configured import ConfiguredCdn

    return tuple(
        ConfiguredCdn(
            one["provider"],
            one["base_url"],
            partial(_open_adapter, settings, one, credentials),
            prefetch_per_day=one.get("prefetch_per_day"),
            urls_per_call=one.get("urls_per_call"),
            per_second=one.get("calls_per_second"),
        )
        for one, credentials in _called(settings)
    )


def _called(settings: Settings) -> list[tuple[Mapping[str, Any], Credentials]]:
    """The CDNs that have a control plane; the others are quotas alone."""
    pairs = zip(settings.cdn, settings.cdn_credentials, strict=True)
    return [(one, credentials) for one, credentials in pairs if "provider" in one]


def _check(settings: Settings) -> None:
    for one, credentials in _called(settings):
        credentials.check(PROVIDERS[one["provider"]])
        # What an adapter lacks besides, it says when it is opened.
        _open_adapter(settings, one, credentials)


def _open_adapter(settings: Settings, one: Mapping[str, Any], credentials: Credentials) -> Cdn:
    from pipeline.cdns.calling import Calling

    adapter = import_module(f"pipeline.cdns.{one['provider']}")
    cdn: Cdn = adapter.open_cdn(
        base_url=one["base_url"],
        endpoint=one["endpoint"],
        credentials=credentials,
        options={key: one[key] for key in PROVIDERS[one["provider"]].options if key in one},
        calling=Calling(proxies=proxies_of(settings), ca_file=authorities_of(settings)),
    )
    return cdn


def open_fronts(settings: Settings) -> tuple[Front, ...]:
    """Open the CDNs that the settings name, each with its edge as users see it; nobody is called.

    Raises:
        SettingsError: there is no such file of certificate authorities; ``auth`` of an edge is of no known kind.
    """
    if not _called(settings):
        return ()
    from pipeline.sources.edge import HttpEdge
    from pipeline.steps.edge_proof import Front

    proxies, ca_file = proxies_of(settings), authorities_of(settings)
    return tuple(
        Front(cdn, HttpEdge(cdn.base_url, auth=_edge_auth(settings, one), proxies=proxies, ca_file=ca_file))
        for (one, _), cdn in zip(_called(settings), open_cdns(settings), strict=True)
    )


def open_delivery(settings: Settings) -> Delivery:
    """Open all that stands before the store; nobody is called.

    Raises:
        SettingsError: as ``open_fronts``.
    """
    from pipeline.steps.serve import Delivery

    return Delivery(open_fronts(settings), check=partial(_check, settings))


def _edge_auth(settings: Settings, one: Mapping[str, Any]) -> Auth:
    from pipeline.sources.auth import LateAuth, check_auth, open_auth

    given, where = one.get("auth", {}), f"{settings.origins['cdn']}: auth"
    check_auth(given, where)
    host = urlsplit(one["base_url"]).hostname or ""
    # Most commands never ask an edge, and need no variable for it.
    return LateAuth(given.get("kind", ""), partial(open_auth, given, settings.auth_variables, host, where=where))
