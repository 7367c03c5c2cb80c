"""One call to a control plane, over real sockets: what was never sent, what may have been carried out, what is no answer."""

from __future__ import annotations

import json
import logging
import socket
import threading
import time
from typing import ClassVar

import pytest

from pipeline.cdns.calling import Call, Calling, Turns, host_of
from pipeline.errors import (
    AccessDenied,
    CallRefused,
    CallUnanswered,
    CdnUnavailable,
    RedirectRefused,
    SettingsError,
    UnavailableError,
)
from pipeline.sources.proxies import Proxies
from tests.servers.control_planes.door import run_plane
from tests.servers.control_planes.plane import Plane, Refused, Told
from tests.servers.processes import free_port
from tests.servers.relay import Rule, run_relay
from tests.servers.tunnel import run_tunnel

CANARY = "canary-of-the-calling-tests"


class Echo(Plane):
    """Tells what it was asked."""

    REFUSALS: ClassVar = {
        "throttled": (429, "Throttled", "slow down"),
        "ill": (503, "Ill", "ill"),
        "quota": (400, "Quota", "none left"),
        "url": (400, "Url", "bad"),
        "unknown": (404, "Unknown", "no such call"),
    }

    def name_of(self, asked):
        return asked.path.strip("/")

    def check(self, asked):
        if asked.headers.get("authorization") != f"Key {CANARY}":
            raise Refused("unknown")

    def carry_out(self, name, asked):
        return Told({"name": name, "headers": dict(asked.headers), "target": asked.target, "body": asked.body.decode()})

    def refusal(self, status, code, message):
        return Told({"Code": code, "Message": message}, status)


@pytest.fixture
def plane(server_tls):
    with run_plane(Echo(), server_tls) as running:
        yield running


@pytest.fixture
def calling(ca_file):
    return Calling(ca_file=str(ca_file), answer_s=5)


def push(where, **more):
    return Call(
        "acme Push",
        "POST",
        f"{where}/Push?a=b",
        {"Authorization": f"Key {CANARY}", "Content-Type": "application/json"},
        b'{"urls":[]}',
        secrets=(CANARY,),
        **more,
    )


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_call_arrives_as_it_was_signed(plane, calling, scheme):
    endpoint = getattr(plane, scheme)
    reply = calling.send(push(endpoint))
    assert reply.status == 200
    assert reply.document["target"] == "/Push?a=b"
    assert reply.document["body"] == '{"urls":[]}'
    assert reply.document["headers"]["host"] == host_of(endpoint)
    assert reply.date == plane.now


def test_the_hosts_of_usual_ports_are_signed_without_them():
    assert host_of("https://api.example:443/x") == host_of("https://API.example") == "api.example"
    assert host_of("http://api.example:8080/x") == "api.example:8080"


def test_a_refusal_with_a_document_is_left_to_the_adapter(plane, calling):
    plane.spoil("throttled", headers={"Retry-After": "9"})
    reply = calling.send(push(plane.http))
    assert (reply.status, reply.document["Code"], reply.retry_after_s) == (429, "Throttled", 9.0)


@pytest.mark.parametrize("how", ["reset", "lost", "cut", "truncated", "html", "500", "slow", "hang"])
def test_a_lost_answer_may_have_been_carried_out_unless_the_call_only_asks(plane, how):
    calling = Calling(answer_s=0.5)
    plane.spoil(how, times=2)
    with pytest.raises(CallUnanswered, match="may have been carried out"):
        calling.send(push(plane.http))
    with pytest.raises(CdnUnavailable):
        calling.send(push(plane.http, asks=True))
    assert len(plane.calls) == 2


@pytest.mark.parametrize("how", ["hang", "slow"])
def test_an_answer_that_goes_on_and_on_is_ended(plane, how):
    # A byte now and then keeps a socket from timing out; the plane would go on for half a minute.
    plane.spoil(how)
    began = time.monotonic()
    with pytest.raises(CallUnanswered):
        Calling(answer_s=0.3).send(push(plane.http))
    assert time.monotonic() - began < 10


def test_an_answer_may_take_longer_than_the_connection(plane):
    fault = plane.spoil("hang")
    later = threading.Timer(0.6, fault.release.set)
    later.start()
    assert Calling(connect_s=0.2, answer_s=20).send(push(plane.http)).status == 200
    later.join()


def test_a_login_page_is_shown_and_named(plane, calling):
    plane.spoil("html")
    with pytest.raises(CallUnanswered, match=r"expected a JSON object, found '<!DOCTYPE html>.*sign in") as caught:
        calling.send(push(plane.http))
    assert "login" in caught.value.hint


@pytest.mark.parametrize(
    "status, kind",
    [
        (429, CdnUnavailable),
        (503, CdnUnavailable),
        (502, CallUnanswered),
        (401, AccessDenied),
        (403, AccessDenied),
        (407, AccessDenied),
        (404, CallRefused),
        (413, CallRefused),
    ],
)
def test_an_answer_without_a_document_is_judged_by_its_status(plane, calling, status, kind):
    plane.spoil("status", status=status, body="<html>", headers={"Retry-After": "4"})
    with pytest.raises(kind) as caught:
        calling.send(push(plane.http))
    assert str(status) in str(caught.value)
    if kind is CdnUnavailable:
        assert caught.value.retry_after_s == 4.0


def test_a_redirect_is_not_followed(plane, calling):
    with run_plane(Echo()) as other:
        plane.spoil("redirect", body=f"{other.http}/Push?token=x")
        with pytest.raises(RedirectRefused, match="goes nowhere else") as caught:
            calling.send(push(plane.http))
        assert other.calls == []
    assert "token" not in str(caught.value)


@pytest.mark.parametrize("body", [b"[" * 200_000, b"[1]", b'{"a":' + b"9" * 5000 + b"}", b"\xff\xfe{\x00}\x00", b"null", b""])
def test_what_is_no_object_is_no_answer(plane, calling, body):
    plane.carry_out = lambda name, asked: Told(body)
    with pytest.raises(CallUnanswered, match="expected a JSON object"):
        calling.send(push(plane.http))


def test_an_empty_answer_is_enough_where_it_is_allowed(plane, calling):
    plane.carry_out = lambda name, asked: Told(b"", 202)
    assert calling.send(push(plane.http, may_be_empty=True)).document == {}


def test_an_endless_answer_is_cut(plane, calling):
    plane.carry_out = lambda name, asked: Told(b" " * (17 << 20))
    with pytest.raises(CallUnanswered, match="more than 16777216 bytes"):
        calling.send(push(plane.http))


def test_what_cannot_be_reached_was_never_sent(calling):
    with pytest.raises(CdnUnavailable, match="nothing was sent"):
        calling.send(push(f"http://127.0.0.1:{free_port()}"))
    with pytest.raises(CdnUnavailable, match="nothing was sent"):
        calling.send(push("http://nobody.invalid"))


def test_a_handshake_that_breaks_off_sent_nothing(calling):
    with socket.create_server(("127.0.0.1", 0)) as server:

        def hang_up():
            taken, _ = server.accept()
            taken.close()

        thread = threading.Thread(target=hang_up)
        thread.start()
        with pytest.raises(CdnUnavailable, match="nothing was sent"):
            calling.send(push(f"https://127.0.0.1:{server.getsockname()[1]}"))
        thread.join()


def test_a_stranger_s_certificate_is_refused_before_anything_is_sent(plane):
    with pytest.raises(UnavailableError, match=r"certificate is not trusted.*nothing was sent") as caught:
        Calling().send(push(plane.https))
    assert not caught.value.retryable
    assert plane.calls == []


def test_an_endpoint_that_is_no_url_is_a_setting_to_correct(calling):
    with pytest.raises(SettingsError, match="no http or https URL"):
        calling.send(push("ftp://api.example"))


def test_a_proxy_is_used_with_its_credentials(plane):
    with run_relay(plane.http) as relay:
        host = relay.endpoint.removeprefix("http://")
        calling = Calling(Proxies(http=f"http://me:{CANARY}@{host}"))
        assert calling.send(push("http://api.example")).status == 200
        (request,) = relay.requests
    assert request.path == "http://api.example/Push?a=b"
    assert request.headers["proxy-authorization"].startswith("Basic ")
    assert request.headers["host"] == "api.example"


def test_https_goes_through_a_tunnel_that_sees_no_secret_of_the_call(plane, ca_file):
    with run_tunnel() as (proxy, heads):
        calling = Calling(Proxies(https=f"http://me:pass@{proxy}"), ca_file=str(ca_file))
        assert calling.send(push(plane.https)).status == 200
    (head,) = heads
    assert head.startswith(f"CONNECT {plane.https.removeprefix('https://')} HTTP/1.")
    assert "Proxy-Authorization: Basic bWU6cGFzcw==" in head
    assert CANARY not in head
    ((_, asked),) = plane.calls
    assert "proxy-authorization" not in asked.headers
    assert asked.headers["host"] == plane.https.removeprefix("https://")


def test_a_tunnel_that_wants_credentials_says_so(plane, ca_file):
    with run_tunnel(b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n") as (proxy, _):
        calling = Calling(Proxies(https=f"http://{proxy}"), ca_file=str(ca_file))
        with pytest.raises(AccessDenied, match="407"):
            calling.send(push(plane.https))
    assert plane.calls == []


def test_questions_keep_to_a_rate_and_calls_that_change_something_wait_for_nobody(plane):
    now, waits = [100.0], []
    calling = Calling(sleep=waits.append, turns=Turns(lambda: now[0]))
    for _ in range(3):
        calling.send(push(plane.http, asks=True, per_second=4.0))
    calling.send(push(plane.http))
    assert waits == [0.25, 0.5]
    now[0] = 200.0
    calling.send(push(plane.http, asks=True, per_second=4.0))
    assert waits == [0.25, 0.5]


def test_a_proxy_s_407_is_not_the_vendor_s(plane):
    with run_relay(plane.http) as relay:
        relay.spoil(Rule("answer", status=407))
        calling = Calling(Proxies(http=relay.endpoint))
        with pytest.raises(AccessDenied, match="proxy wants credentials"):
            calling.send(push("http://api.example"))


def test_a_page_that_repeats_the_proxy_s_password_is_masked(plane):
    plane.spoil("status", status=403, body="<html>hello me:a-password-canary, go away")
    calling = Calling(Proxies(https="http://me:a-password-canary@proxy.example"))
    with pytest.raises(AccessDenied, match=r"hello me:\*\*\*, go away"):
        calling.send(push(plane.http))


def test_secrets_stand_in_no_error_repr_or_log(plane, calling, caplog):
    caplog.set_level(logging.DEBUG)
    echoed = json.dumps({"Authorization": f"Key {CANARY}"})
    plane.spoil("status", status=502, body=f"<html>{echoed}")
    call = push(plane.http)
    with pytest.raises(CallUnanswered) as caught:
        calling.send(call)
    calling.send(call)
    assert "***" in str(caught.value)
    for text in (str(caught.value), repr(caught.value), repr(call), repr(calling), caplog.text):
        assert CANARY not in text
