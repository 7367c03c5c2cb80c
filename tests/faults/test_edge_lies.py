"""An edge that answers wrongly in every way, on a raw socket: no lie passes for a proof, and none costs much."""

import random

import pytest

from pipeline.digest import sha256_of
from pipeline.errors import EdgeProofFailed, IntegrityError, StoreUnavailable, UnavailableError
from pipeline.layout import FOREVER, part_key
from pipeline.retry import Patience
from pipeline.sources.edge import HttpEdge
from pipeline.sources.pace import Limits
from pipeline.steps.edge_proof import LOOKS_AT_ONCE, EdgeObject, prove_edge
from tests.edges import Clock
from tests.servers import hostile
from tests.servers.hostile import Talk, run_hostile

BODY = random.Random(5).randbytes(300_000)
PART = EdgeObject(part_key("ab" * 32), len(BODY), sha256_of(BODY))
QUICK = Limits(connect_s=5.0, idle_s=0.5, window_s=0.5, least_per_s=2000)
TRIES = 2
# Found when the one byte is asked for, or when all of it is read.
LIES = [
    *(hostile.whole, hostile.whole_chunked, hostile.whole_until_close),
    *(hostile.ok_with_other_span, hostile.earlier, hostile.later, hostile.other_total, hostile.no_span, hostile.two_spans),
    *(hostile.multipart, hostile.not_satisfiable, hostile.short_span, hostile.short_reset),
    *(hostile.encoded, hostile.encoded_range, hostile.encoded_transfer, hostile.web_page),
    *(hostile.two_lengths, hostile.length_and_chunks, hostile.bad_length, hostile.not_http, hostile.bit_flip),
    *(hostile.silent, hostile.hang_up, hostile.reset, hostile.negative_chunk, hostile.endless_continue, hostile.many_fields),
]


@pytest.fixture(autouse=True)
def ruled(monkeypatch):
    """Let every answer carry the right cache rule, so that it is the lie that is found."""
    head = Talk.head
    monkeypatch.setattr(Talk, "head", lambda talk, status, *fields: head(talk, status, f"Cache-Control: {FOREVER}", *fields))


def prove(server, **how):
    edge = HttpEdge(server.url, limits=QUICK, **how)
    try:
        waiting = Clock().waiting(patience=Patience(attempts=TRIES))
        return prove_edge(edge, [PART], sample_percent=100, timestamp=False, waiting=waiting)
    finally:
        edge.close()


def test_honest_edge_is_proved_in_two_requests():
    with run_hostile({PART.key: BODY}) as server:
        proof = prove(server)
    assert (proof.objects, proof.read, proof.bytes_read, proof.requests) == (1, 1, len(BODY), 2)
    assert server.connections == 1


@pytest.mark.parametrize("lie", LIES, ids=lambda lie: lie.__name__)
def test_lie_never_passes_for_a_proof(lie):
    with run_hostile({PART.key: BODY}) as server:
        server.behave(lie)
        with pytest.raises((IntegrityError, StoreUnavailable)) as refused:
            prove(server)
    assert "Cache-Control" not in str(refused.value)
    assert "\n" not in str(refused.value)
    assert PART.key in str(refused.value)
    # As often as patience says, and once more where a kept connection was closed under our feet.
    assert len(server.requests) <= 2 * (TRIES + 1)


@pytest.mark.parametrize("lie", [hostile.reset, hostile.hang_up, hostile.silent], ids=lambda lie: lie.__name__)
def test_edge_that_fails_once_is_asked_again(lie):
    with run_hostile({PART.key: BODY}) as server:
        server.behave(lie, times=1)
        assert prove(server).read == 1


@pytest.mark.parametrize("status, kind", [(500, StoreUnavailable), (503, StoreUnavailable), (418, UnavailableError)])
def test_edge_that_is_ill_is_unavailable_not_wrong(status, kind):
    with run_hostile({PART.key: BODY}) as server:
        server.behave(hostile.answers(status))
        with pytest.raises(kind) as refused:
            prove(server)
    assert refused.value.exit_code == 5


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_redirect_is_refused_and_the_other_host_never_asked(status):
    with run_hostile({PART.key: BODY}) as server, run_hostile({PART.key: BODY}) as other:
        server.behave(hostile.redirects(other.url + "{target}", status))
        with pytest.raises(EdgeProofFailed, match=f"HTTP {status} to {other.url}"):
            prove(server)
        assert other.requests == []


def test_edge_over_tls_is_verified(server_tls, ca_file):
    with run_hostile({PART.key: BODY}, context=server_tls) as server:
        assert prove(server, ca_file=str(ca_file)).read == 1
        with pytest.raises(UnavailableError, match="not trusted"):
            prove(server)


def test_a_thousand_objects_take_as_many_requests_on_a_few_kept_connections():
    bodies = {part_key(f"{number:064x}"): bytes([number % 251]) * (1 + number) for number in range(1000)}
    objects = [EdgeObject(key, len(body), sha256_of(body)) for key, body in bodies.items()]
    with run_hostile(bodies) as server:
        edge = HttpEdge(server.url)
        proof = prove_edge(edge, objects, sample_percent=0, timestamp=False)
        edge.close()
    assert proof.requests == len(server.requests) == 1000
    assert server.connections <= LOOKS_AT_ONCE
