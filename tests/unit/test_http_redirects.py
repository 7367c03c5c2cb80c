"""Where a redirect may lead, judged by its text alone."""

import pytest

from pipeline.errors import RedirectRefused
from pipeline.sources.redirects import Origin, is_public, names_inside, next_hop, origin_of, shown

HERE = "https://cdn.example/tree/parts/ab/x"


@pytest.mark.parametrize(
    "location, target",
    [
        ("https://other.example/y", "https://other.example/y"),
        ("HTTPS://other.example/y", "https://other.example/y"),
        ("/y?sig=1#part", "https://cdn.example/y?sig=1"),
        ("y", "https://cdn.example/tree/parts/ab/y"),
        ("//other.example:8443/y", "https://other.example:8443/y"),
        ("https://other.example/a b", "https://other.example/a%20b"),
        ("https://203.0.114.5/y", "https://203.0.114.5/y"),
    ],
)
def test_redirect_leads_on(location, target):
    assert next_hop(HERE, location, hops=5, public=True, told="here") == target


@pytest.mark.parametrize(
    "location",
    [
        "http://cdn.example/y",
        "file:///etc/passwd",
        "ftp://cdn.example/y",
        "javascript:alert(1)",
        "https://user@other.example/",
        "https://other.example:99999/",
        "https://[::1",
        "https://localhost/",
        "https://LOCALHOST./",
        "https://db.localhost/",
        "https://printer.local/",
        "https://metadata.google.internal/",
        "https://127.0.0.1/",
        "https://10.1.2.3/",
        "https://172.16.0.1/",
        "https://192.168.0.1/",
        "https://169.254.169.254/latest/meta-data/",
        "https://100.64.0.1/",
        "https://0.0.0.0/",
        "https://[::1]/",
        "https://[::]/",
        "https://[fe80::1]/",
        "https://[fd00::1]/",
        "https://[::ffff:127.0.0.1]/",
        "https://[64:ff9b::7f00:1]/",
        "https://[2002:7f00:1::]/",
        "https://224.0.0.1/",
    ],
)
def test_redirect_of_a_public_source_is_refused(location):
    with pytest.raises(RedirectRefused):
        next_hop(HERE, location, hops=1, public=True, told="here")


def test_inner_source_may_lead_to_another_inner_one():
    assert next_hop("http://10.0.0.1/x", "http://10.0.0.2/x", hops=1, public=False, told="here") == "http://10.0.0.2/x"
    assert next_hop("http://10.0.0.1/x", "https://10.0.0.2/x", hops=1, public=False, told="here") == "https://10.0.0.2/x"


def test_sixth_redirect_is_refused():
    with pytest.raises(RedirectRefused, match="more than 5"):
        next_hop(HERE, "/y", hops=6, public=False, told="here")


@pytest.mark.parametrize("address", ["8.8.8.8", "2606:4700::1111", "64:ff9b::808:808", "::ffff:8.8.8.8"])
def test_public_addresses_are_public(address):
    assert is_public(address)
    assert not names_inside(address)


def test_names_are_judged_only_when_they_are_dialled():
    assert not names_inside("intranet.example")


@pytest.mark.parametrize(
    "url, origin",
    [
        ("https://Host.Example/x", Origin("https", "host.example", 443)),
        ("http://host.example:8080", Origin("http", "host.example", 8080)),
        ("http://[::1]:80/x", Origin("http", "::1", 80)),
        ("https://bücher.example/", Origin("https", "xn--bcher-kva.example", 443)),
        ("s3://bucket/x", None),
        ("/path", None),
        ("http://host:port/", None),
        ("http://[::1/", None),
    ],
)
def test_origin_of_a_url(url, origin):
    assert origin_of(url) == origin


@pytest.mark.parametrize(
    "origin, text",
    [
        (Origin("https", "a.example", 443), "https://a.example"),
        (Origin("http", "a.example", 443), "http://a.example:443"),
        (Origin("http", "::1", 80), "http://[::1]"),
    ],
)
def test_origin_as_text(origin, text):
    assert str(origin) == text


def test_shown_url_has_no_secret():
    assert shown("https://u:p@a.example/x?sig=s#f") == "https://a.example/x"
    assert shown("https://[::1") == "an unreadable URL"
    assert "\n" not in shown("https://a.example/x\ny")
