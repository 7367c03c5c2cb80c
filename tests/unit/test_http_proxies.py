"""Which requests take the proxy, and how its URL is read."""

import pytest

from pipeline.errors import SettingsError
from pipeline.sources.auth import basic
from pipeline.sources.proxies import Proxies, Proxy, read_proxy
from pipeline.sources.redirects import Origin

HOST = Origin("https", "cdn.example.com", 443)


@pytest.mark.parametrize(
    "no_proxy, direct",
    [
        ("", False),
        ("*", True),
        ("example.com", True),
        (".example.com", True),
        ("*.example.com", True),
        ("CDN.example.com", True),
        ("ample.com", False),
        ("example.org, cdn.example.com", True),
        ("example.org cdn.example.com", True),
        ("cdn.example.com:443", True),
        ("cdn.example.com:8443", False),
        ("10.0.0.0/8", False),
    ],
)
def test_no_proxy_names_hosts_that_are_asked_directly(no_proxy, direct):
    assert (Proxies(https="p:1", no_proxy=no_proxy).pick(HOST) is None) is direct


@pytest.mark.parametrize(
    "no_proxy, direct", [("10.0.0.0/8", True), ("10.1.2.3", True), ("11.0.0.0/8", False), ("fd00::/8", False)]
)
def test_no_proxy_takes_networks(no_proxy, direct):
    assert (Proxies(http="p:1", no_proxy=no_proxy).pick(Origin("http", "10.1.2.3", 80)) is None) is direct


def test_each_scheme_has_its_proxy():
    proxies = Proxies(https="http://s:1", http="http://p:2")
    assert proxies.pick(HOST) == Proxy("s", 1)
    assert proxies.pick(Origin("http", "a", 80)) == Proxy("p", 2)
    assert Proxies(https="http://s:1").pick(Origin("http", "a", 80)) is None


@pytest.mark.parametrize(
    "value, proxy",
    [
        ("proxy.example:3128", Proxy("proxy.example", 3128)),
        ("http://proxy.example", Proxy("proxy.example", 1080)),
        ("http://a%40b:p%3Aw@proxy.example:8080/", Proxy("proxy.example", 8080, "Basic YUBiOnA6dw==")),
        ("http://[::1]:3128", Proxy("::1", 3128)),
    ],
)
def test_proxy_url_is_read(value, proxy):
    assert read_proxy(value, "HTTPS_PROXY") == proxy


@pytest.mark.parametrize(
    "value", ["socks5://u:secret@p:1", "https://u:secret@p", "http://", "http://u:secret@p:port", "http://[u:secret"]
)
def test_other_proxies_are_refused_without_showing_them(value):
    with pytest.raises(SettingsError, match="HTTPS_PROXY is not the URL of an http proxy") as refused:
        read_proxy(value, "HTTPS_PROXY")
    assert "secret" not in str(refused.value)


def test_credentials_stand_in_no_repr():
    assert "secret" not in repr(Proxies(https="http://u:secret@p:1"))
    assert "Basic" not in repr(read_proxy("http://u:secret@p:1", "HTTPS_PROXY"))


def test_passwords_are_known_in_every_spelling_they_could_be_repeated_in():
    proxies = Proxies(https="http://me:p%40ss@proxy.example:3128", http="proxy.example:3128")
    assert proxies.secrets == ("p%40ss", "p@ss", basic("me", "p@ss").removeprefix("Basic "))
    assert Proxies(https="http://[", http="http://me@proxy.example").secrets == ()
