"""Class H of docs/faults.md: where a request goes, what goes along, and over what: redirects, credentials, proxies, addresses."""

from __future__ import annotations

import contextlib
import socket

import pytest

from pipeline.errors import AccessDenied, RedirectRefused, StoreUnavailable, UnavailableError
from pipeline.sources.auth import FieldAuth, open_auth
from pipeline.sources.dialing import Dialler
from pipeline.sources.pace import Limits
from pipeline.sources.proxies import Proxies
from tests.best_of import quickest_s, seconds_of
from tests.http_world import BODY, OBJECTS, PART, read
from tests.servers import hostile
from tests.servers.hostile import run_hostile
from tests.servers.processes import free_port
from tests.servers.tunnel import run_tunnel


@pytest.fixture
def other():
    with run_hostile(OBJECTS) as running:
        yield running


@pytest.fixture
def contacted(monkeypatch):
    """Every address that this process connects to."""
    found = []
    plain, extended = socket.socket.connect, socket.socket.connect_ex

    def connect(self, address):
        found.append(address[:2])
        return plain(self, address)

    def connect_ex(self, address):
        found.append(address[:2])
        return extended(self, address)

    monkeypatch.setattr(socket.socket, "connect", connect)
    monkeypatch.setattr(socket.socket, "connect_ex", connect_ex)
    return found


def place_of(server):
    host, _, port = server.url.partition("://")[2].rpartition(":")
    return host, int(port)


# --- one source, one host -----------------------------------------------------------------------


def test_no_other_host_than_the_sources_is_contacted(server, open_reader, contacted, monkeypatch):
    for name in ("HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY", "https_proxy", "http_proxy", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.2:9")
    reader = open_reader(server.url + "/")
    read(reader)
    b"".join(reader.get(PART))
    reader.revalidate(PART, "", cap=1 << 20)
    server.behave(hostile.answers(503))
    with pytest.raises(StoreUnavailable):
        read(reader)
    assert set(contacted) == {place_of(server)}


def test_followed_redirect_is_the_only_other_host(server, other, open_reader, contacted):
    server.behave(hostile.redirects(other.url + "{target}"))
    reader = open_reader(server.url)
    read(reader)
    assert set(contacted) == {place_of(server), place_of(other)}
    assert reader.requests == 2


def test_prefix_of_the_source_stands_before_every_key(open_reader):
    with run_hostile({f"a%20b/tree/{PART}": BODY}) as server:
        read(open_reader(f"{server.url}/a b/tree/"))
        assert server.requests[0].target == f"/a%20b/tree/{PART}"


# --- redirects -----------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_redirect_is_followed_with_its_range(server, other, open_reader, status):
    server.behave(hostile.redirects(other.url + "{target}", status))
    read(open_reader(server.url))
    assert other.requests[0].field("range") == "bytes=1000-5999"


def test_relative_redirect_stays_on_its_host(server, open_reader):
    server.objects["moved/here"] = BODY
    server.behave(hostile.redirects("/moved/here"), key="parts/")
    read(open_reader(server.url))
    assert server.connections == 1


def test_five_redirects_are_followed_and_a_loop_is_refused(server, open_reader):
    server.behave(hostile.redirects("{target}"), times=5)
    reader = open_reader(server.url)
    read(reader)
    assert reader.requests == 6
    server.behave(hostile.redirects("{target}"))
    with pytest.raises(RedirectRefused, match="more than 5 redirects"):
        read(reader)
    assert reader.requests == 12


@pytest.mark.parametrize(
    "target", ["file:///etc/passwd", "ftp://127.0.0.1/x", "gopher://127.0.0.1/x", "http://user:secret@127.0.0.1/x", "http:///x"]
)
def test_redirect_to_what_is_no_plain_web_url_is_refused(server, open_reader, contacted, target):
    server.behave(hostile.redirects(target))
    with pytest.raises(RedirectRefused) as refused:
        read(open_reader(server.url))
    assert "secret" not in str(refused.value)
    assert set(contacted) == {place_of(server)}


def test_redirect_without_location_is_an_answer_that_cannot_be_used(server, open_reader):
    server.behave(hostile.answers(302))
    with pytest.raises(UnavailableError, match="HTTP 302"):
        read(open_reader(server.url))


def test_https_is_never_downgraded(other, open_reader, server_tls, ca_file):
    with run_hostile(OBJECTS, context=server_tls) as secured:
        secured.behave(hostile.redirects(other.url + "{target}"))
        with pytest.raises(RedirectRefused, match="never downgraded"):
            read(open_reader(secured.url, ca_file=str(ca_file)))
    assert other.requests == []


def outside(address):
    """As if 127.0.0.2 were on the Internet: no other address of this machine is."""
    return address == "127.0.0.2"


def test_public_source_does_not_lead_to_inner_addresses(other, open_reader, contacted):
    with run_hostile(OBJECTS, host="127.0.0.2") as public:
        public.behave(hostile.redirects(other.url + "{target}"))
        reader = open_reader(public.url, dialler=Dialler(is_public=outside))
        with pytest.raises(RedirectRefused, match="inner address"):
            read(reader)
        # By a name that only turns out to lead inside when it is asked for, as with DNS rebinding.
        port = place_of(other)[1]
        names = {"innocent.example": "127.0.0.1", "127.0.0.2": "127.0.0.2"}
        dialler = Dialler(is_public=outside, resolve=lambda host, port: [(socket.AF_INET, (names[host], port))])
        public.behave(hostile.redirects(f"http://innocent.example:{port}{{target}}"))
        with pytest.raises(RedirectRefused, match=r"innocent\.example, an inner address"):
            read(open_reader(public.url, dialler=dialler))
    assert other.requests == []
    assert place_of(other) not in contacted


def test_public_source_leads_to_public_ones_and_not_inside_from_there(other, open_reader):
    with run_hostile(OBJECTS, host="127.0.0.2") as public, run_hostile(OBJECTS, host="127.0.0.2") as second:
        # The judge of spelled-out addresses knows 127.0.0.2 for what it is: names are used instead.
        names = {"one.example": "127.0.0.2", "two.example": "127.0.0.2", "three.example": "127.0.0.1"}
        dialler = Dialler(is_public=outside, resolve=lambda host, port: [(socket.AF_INET, (names[host], port))])
        reader = open_reader(f"http://one.example:{place_of(public)[1]}", dialler=dialler)
        public.behave(hostile.redirects(f"http://two.example:{place_of(second)[1]}{{target}}"))
        read(reader)
        second.behave(hostile.redirects(f"http://three.example:{place_of(other)[1]}{{target}}"))
        with pytest.raises(RedirectRefused, match="inner address"):
            read(reader)
    assert other.requests == []


# --- credentials -----------------------------------------------------------------------------------


def test_credentials_go_to_the_source_and_nobody_else(server, other, open_reader):
    auth = FieldAuth("bearer", "Authorization", "Bearer opensesame")
    server.behave(hostile.redirects(other.url + "{target}"), times=1)
    reader = open_reader(server.url, auth=auth)
    read(reader)
    read(reader)
    assert [request.field("authorization") for request in server.requests] == ["Bearer opensesame"] * 2
    # Another port of the same machine is another origin.
    assert [request.field("authorization") for request in other.requests] == [""]


def test_redirect_to_the_source_itself_keeps_its_credentials(server, open_reader):
    server.behave(hostile.redirects("{target}?again=1"), times=1)
    read(open_reader(server.url, auth=FieldAuth("bearer", "Authorization", "Bearer opensesame")))
    assert [request.field("authorization") for request in server.requests] == ["Bearer opensesame"] * 2


def test_signed_url_reaches_the_edge_and_no_message(server, other, open_reader):
    auth = open_auth({"kind": "alibaba-a", "key": "EDGE_KEY"}, {"EDGE_KEY": "opensesame"}, "127.0.0.1", where="source")
    reader = open_reader(server.url, auth=auth)
    read(reader)
    assert server.requests[0].target.startswith(f"/{PART}?auth_key=")
    server.behave(hostile.redirects(other.url + "/elsewhere?token=t0ken"), times=1)
    with pytest.raises(Exception) as missing:
        read(reader)
    assert "auth_key" not in other.requests[0].target
    server.behave(hostile.answers(403, "Date: Sun, 22 Nov 2020 10:00:00 GMT"))
    with pytest.raises(AccessDenied, match="with alibaba-a credentials; its clock says 2020-11-22T10:00:00Z") as denied:
        read(reader)
    for text in (str(missing.value), str(denied.value), denied.value.hint, reader.url, repr(auth)):
        assert "opensesame" not in text
        assert "auth_key" not in text
        assert "t0ken" not in text


# --- addresses -------------------------------------------------------------------------------------


def test_dead_address_costs_a_moment_and_the_next_one_is_used(server, open_reader):
    host, port = place_of(server)
    # A listener whose queue is full answers no connection: a dead route on loopback.
    with socket.socket() as dead, contextlib.ExitStack() as stack:
        dead.bind(("127.0.0.3", port))
        dead.listen(0)
        for _ in range(2):
            filler = stack.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(("127.0.0.3", port))
        addresses = [
            (socket.AF_INET6, ("::1", port, 0, 0)),
            (socket.AF_INET, ("127.0.0.3", port)),
            (socket.AF_INET, (host, port)),
        ]

        def attempt():
            dialler = Dialler(connect_s=120, resolve=lambda *_: addresses)
            took = seconds_of(lambda: read(open_reader(f"http://many.example:{port}", dialler=dialler)))
            # However busy this machine is: nobody waited for the dead one to the end.
            assert took < 60
            return took

        assert quickest_s(attempt, within_s=3) < 3
    assert server.requests[0].field("host") == f"many.example:{port}"


def test_nobody_there_is_told_with_every_address(open_reader):
    port = free_port()
    addresses = [(socket.AF_INET, ("127.0.0.1", port)), (socket.AF_INET, ("127.0.0.2", port))]
    with pytest.raises(StoreUnavailable, match=r"127.0.0.1: Connection refused; 127.0.0.2: Connection refused"):
        read(open_reader(f"http://gone.example:{port}", dialler=Dialler(resolve=lambda *_: addresses)))


def test_silent_address_ends_with_the_time_limit(open_reader):
    with socket.socket() as dead, contextlib.ExitStack() as stack:
        dead.bind(("127.0.0.1", 0))
        dead.listen(0)
        port = dead.getsockname()[1]
        for _ in range(2):
            filler = stack.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(("127.0.0.1", port))
        with pytest.raises(StoreUnavailable, match=r"no answer in 0.3 s"):
            read(open_reader(f"http://127.0.0.1:{port}", limits=Limits(connect_s=0.3)))


def test_unknown_name_is_told(open_reader):
    def nowhere(host, port):
        raise socket.gaierror(-2, "Name or service not known")

    with pytest.raises(StoreUnavailable, match=r"the name gone\.example is not known"):
        read(open_reader("http://gone.example", dialler=Dialler(resolve=nowhere)))


def test_ipv6_source_is_reached(open_reader):
    with run_hostile(OBJECTS, host="::1") as server:
        read(open_reader(server.url))
        assert server.requests[0].field("host") == server.url.removeprefix("http://")


def test_connections_use_bbr_where_the_kernel_offers_it(server):
    from pathlib import Path

    from pipeline.sources.dialing import congestion_of

    offered = Path("/proc/sys/net/ipv4/tcp_available_congestion_control").read_text(encoding="ascii").split()
    default = Path("/proc/sys/net/ipv4/tcp_congestion_control").read_text(encoding="ascii").strip()
    with Dialler().dial(*place_of(server), public_only=False, told="test") as connected:
        assert congestion_of(connected) == ("bbr" if "bbr" in offered else default)
        assert connected.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


# --- proxies ---------------------------------------------------------------------------------------


def test_https_goes_through_a_tunnel_with_the_proxys_credentials_only(open_reader, server_tls, ca_file):
    with run_tunnel() as (proxy, heads), run_hostile(OBJECTS, context=server_tls) as secured:
        auth = FieldAuth("bearer", "Authorization", "Bearer opensesame")
        reader = open_reader(secured.url, ca_file=str(ca_file), auth=auth, proxies=Proxies(https=f"http://us%40er:pass@{proxy}"))
        read(reader)
        read(reader)
        host, port = place_of(secured)
        assert len(heads) == 1
        assert heads[0].startswith(f"CONNECT {host}:{port} HTTP/1.1\r\n")
        assert "Proxy-Authorization: Basic dXNAZXI6cGFzcw==" in heads[0]
        assert "opensesame" not in heads[0]
        assert secured.requests[0].field("proxy-authorization") == ""
        assert secured.requests[0].field("authorization") == "Bearer opensesame"


def test_proxy_that_wants_credentials_is_told_from_a_source_that_does(open_reader, server_tls, ca_file):
    refused = b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n"
    with (
        run_tunnel(refused) as (proxy, _),
        run_hostile(OBJECTS, context=server_tls) as secured,
        pytest.raises(AccessDenied, match=r"proxy .*HTTP 407, the proxy wants credentials") as denied,
    ):
        read(open_reader(secured.url, ca_file=str(ca_file), proxies=Proxies(https=f"http://user:pa55word@{proxy}")))
    assert "pa55word" not in str(denied.value) + denied.value.hint
    assert secured.requests == []


def test_plain_http_is_asked_of_the_proxy_by_its_whole_url(server, open_reader, contacted):
    # A server that takes the whole URL is all that a proxy for plain http is.
    reader = open_reader("http://tree.example/base", proxies=Proxies(http=f"http://u:p@{server.url.removeprefix('http://')}"))
    server.objects[f"base/{PART}"] = BODY
    read(reader)
    assert server.requests[0].target == f"http://tree.example/base/{PART}"
    assert server.requests[0].field("host") == "tree.example"
    assert server.requests[0].field("proxy-authorization") == "Basic dTpw"
    assert set(contacted) == {place_of(server)}


def test_hosts_of_no_proxy_are_asked_directly(server, open_reader, contacted):
    read(open_reader(server.url, proxies=Proxies(http="http://127.0.0.9:9", no_proxy="localhost,127.0.0.0/8")))
    assert set(contacted) == {place_of(server)}


def test_dead_proxy_is_named(open_reader):
    port = free_port()
    with pytest.raises(StoreUnavailable, match=f"proxy: 127.0.0.1:{port} cannot be reached"):
        read(open_reader("http://tree.example", proxies=Proxies(http=f"127.0.0.1:{port}")))
