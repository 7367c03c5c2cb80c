"""Class H of docs/faults.md: a source behind TLS: authorities, names, dates, and connections that break off."""

from __future__ import annotations

import ssl

import pytest
import trustme

from pipeline.errors import StoreUnavailable, UnavailableError
from pipeline.sources.pace import Limits
from tests.http_world import BODY, OBJECTS, read
from tests.servers import hostile
from tests.servers.hostile import run_hostile

# --- TLS -------------------------------------------------------------------------------------------


def test_tls_is_verified_by_the_given_authority(open_reader, server_tls, ca_file):
    with run_hostile(OBJECTS, context=server_tls) as secured:
        reader = open_reader(secured.url, ca_file=str(ca_file))
        read(reader)
        read(reader, 0, len(BODY))
        assert secured.connections == 1


@pytest.mark.parametrize("lie", [hostile.short, hostile.short_reset, hostile.chunked_without_end], ids=lambda lie: lie.__name__)
def test_tls_that_breaks_off_is_noticed(open_reader, server_tls, ca_file, lie):
    with run_hostile(OBJECTS, context=server_tls) as secured:
        reader = open_reader(secured.url, ca_file=str(ca_file))
        secured.behave(lie, times=1)
        with pytest.raises(StoreUnavailable):
            read(reader)
        read(reader)


def certificate(authority, *names, **more):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(*names, **more).configure_cert(context)
    return context


def test_unknown_authority_is_named_with_what_to_do(open_reader, ca_file):
    stranger = trustme.CA(organization_name="Corporate Proxy Inc.")
    with (
        run_hostile(OBJECTS, context=certificate(stranger, "127.0.0.1")) as secured,
        pytest.raises(UnavailableError, match=r"is not trusted: .*its issuer is .*Corporate Proxy Inc") as refused,
    ):
        read(open_reader(secured.url, ca_file=str(ca_file)))
    assert "--ca-bundle" in refused.value.hint
    assert not refused.value.retryable
    assert secured.requests == []


def test_certificate_of_another_host_is_refused(open_reader, authority, ca_file):
    with (
        run_hostile(OBJECTS, context=certificate(authority, "example.org")) as secured,
        pytest.raises(UnavailableError, match=r"certificate is not valid for '127\.0\.0\.1'"),
    ):
        read(open_reader(secured.url, ca_file=str(ca_file)))


def test_expired_certificate_is_refused(open_reader, authority, ca_file):
    from datetime import UTC, datetime

    context = certificate(
        authority, "127.0.0.1", not_before=datetime(2020, 1, 1, tzinfo=UTC), not_after=datetime(2021, 1, 1, tzinfo=UTC)
    )
    with run_hostile(OBJECTS, context=context) as secured, pytest.raises(UnavailableError, match="certificate has expired"):
        read(open_reader(secured.url, ca_file=str(ca_file)))


def test_server_without_tls_is_told_from_a_wrong_certificate(server, open_reader, ca_file):
    with pytest.raises(StoreUnavailable, match=r"no TLS with 127.0.0.1"):
        read(open_reader(server.url.replace("http:", "https:"), ca_file=str(ca_file), limits=Limits(idle_s=0.3)))
