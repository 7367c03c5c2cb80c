"""Reading real edges: nginx with slices before SeaweedFS, set up well and in every bad way, and Varnish."""

import pytest

from pipeline.digest import sha256_of
from pipeline.errors import EdgeProofFailed, ObjectMissing, RedirectRefused, SourceLied
from pipeline.layout import TIMESTAMP, part_key
from pipeline.ports import Op
from pipeline.sources.edge import HttpEdge
from pipeline.steps.edge_proof import EdgeObject, cold_at, prove_edge
from pipeline.steps.show_edge import show_timestamp
from tests.edges import Clock
from tests.servers.edges import VICES, run_nginx, run_varnish
from tests.servers.origins import open_origin, public_bucket

# Three slices and a bit: another byte of it may be cold when one is warm.
LARGE = (3 << 20) + 77


@pytest.fixture(scope="module")
def bucket(seaweedfs):
    return public_bucket(seaweedfs)


@pytest.fixture(scope="module")
def origin(seaweedfs, bucket):
    return open_origin(seaweedfs, bucket)


@pytest.fixture(scope="module")
def objects(origin):
    store, found = origin.shelf.open(), []
    for number, size in enumerate((1, 300, 5000, LARGE)):
        body = bytes([number + 1]) * size
        key = part_key(f"{number:064x}")
        store.put(key, body, sha256=sha256_of(body))
        found.append(EdgeObject(key, size, sha256_of(body)))
    store.put(TIMESTAMP, b"{}", sha256=sha256_of(b"{}"))
    return found


@pytest.fixture
def nginx(origin):
    with run_nginx(origin.server, origin.path) as server:
        yield server


@pytest.fixture
def edge_to():
    opened = []

    def make(server):
        opened.append(HttpEdge(server.url))
        return opened[-1]

    yield make
    for edge in opened:
        edge.close()


def test_release_is_proved_through_nginx_and_missed_then_hit(nginx, edge_to, objects):
    edge = edge_to(nginx)
    first = prove_edge(edge, objects, sample_percent=0)
    assert (first.hits, first.misses) == (0, 4)
    whole = prove_edge(edge, objects, sample_percent=100)
    assert (whole.read, whole.bytes_read) == (4, sum(one.size for one in objects))
    last = prove_edge(edge, objects, sample_percent=0)
    assert (last.hits, last.misses) == (4, 0)
    assert edge.requests == 3 * (len(objects) + 1) + len(objects)


def test_one_warm_slice_does_not_pass_for_a_warm_object(nginx, edge_to, objects):
    nginx.get(f"{nginx.url}/{objects[3].key}", {"Range": "bytes=0-0"})
    edge = edge_to(nginx)
    found = {edge.look(objects[3].key, at=at, size=LARGE).cached for at in (0, 1 << 20, 2 << 20, 3 << 20)}
    assert found == {"hit", "miss"}


def test_prefetch_warms_every_slice_and_refresh_evicts_them(nginx, edge_to, objects):
    edge, urls = edge_to(nginx), [f"{nginx.url}/{one.key}" for one in objects]
    nginx.act(Op.PREFETCH, urls)
    assert cold_at(edge, objects) == []
    nginx.act(Op.REFRESH, urls[2:])
    assert cold_at(edge, objects) == [one.key for one in objects[2:]]


def test_timestamp_is_asked_for_at_the_origin_every_time(nginx, edge_to, origin, objects):
    store, edge = origin.shelf.open(), edge_to(nginx)
    assert b"".join(edge.get(TIMESTAMP)) == b"{}"
    store.put(TIMESTAMP, b"{ }", sha256=sha256_of(b"{ }"))
    assert b"".join(edge.get(TIMESTAMP)) == b"{ }"


def test_404_that_was_asked_for_too_early_is_remembered_and_refreshed(nginx, edge_to, origin):
    store, edge, body = origin.shelf.open(), edge_to(nginx), b"late"
    late = EdgeObject(part_key("a" * 64), len(body), sha256_of(body))
    with pytest.raises(ObjectMissing):
        edge.look(late.key, at=0, size=4)
    store.put(late.key, body, sha256=late.sha256)
    with pytest.raises(EdgeProofFailed, match="there is no such object"):
        prove_edge(edge, [late], mend=lambda keys: None, waiting=Clock().waiting())
    refreshed = []

    def mend(keys):
        refreshed.extend(keys)
        nginx.act(Op.REFRESH, [f"{nginx.url}/{key}" for key in keys])

    assert prove_edge(edge, [late], mend=mend, waiting=Clock().waiting()).misses == 1
    assert refreshed == [late.key]


WORDS = {
    "gzip": "the answer is encoded as 'gzip', expected the bytes as they are",
    "ranges": "the whole object came for a range",
    "rules": "Cache-Control is 'max-age=60', expected 'public, max-age=31536000, immutable'",
    "size": "an object of 5 bytes came, expected",
    "login page": "a web page came, expected an object of the tree",
    "redirect": "HTTP 302 to http://other.example/",
}


@pytest.mark.parametrize("vice", WORDS)
def test_badly_set_up_edge_is_refused_with_its_line(origin, edge_to, objects, vice):
    with run_nginx(origin.server, origin.path, vice=vice) as server:
        edge = edge_to(server)
        with pytest.raises(EdgeProofFailed) as refused:
            prove_edge(edge, objects[1:], waiting=Clock().waiting())
    assert refused.value.exit_code == 3
    assert WORDS[vice] in str(refused.value)
    assert f"{server.url}" in str(refused.value)
    assert "\n" not in str(refused.value)
    assert refused.value.hint


def test_every_vice_has_its_line():
    assert WORDS.keys() | {"stale timestamp"} == VICES.keys()


def test_edge_that_keeps_the_timestamp_is_told(origin, edge_to, objects):
    store = origin.shelf.open()

    class Front:
        cdn = None

    with run_nginx(origin.server, origin.path, vice="stale timestamp") as server:
        front = Front()
        front.edge = edge_to(server)
        old = b"".join(front.edge.get(TIMESTAMP))
        new = old + b" "
        store.put(TIMESTAMP, new, sha256=sha256_of(new))
        stale = show_timestamp([front], store, lambda cdn, keys: None, waiting=Clock().waiting())
        assert [one.edge for one in stale] == [server.url]

        def refresh(cdn, keys):
            server.act(Op.REFRESH, [f"{server.url}/{key}" for key in keys])

        assert show_timestamp([front], store, refresh, waiting=Clock().waiting()) == ()


def test_redirect_is_not_followed_by_a_read_either(origin, edge_to, objects):
    with run_nginx(origin.server, origin.path, vice="redirect") as server, pytest.raises(RedirectRefused):
        edge_to(server).get(objects[1].key)


def test_web_page_is_not_read_either(origin, edge_to, objects):
    with run_nginx(origin.server, origin.path, vice="login page") as server, pytest.raises(SourceLied):
        edge_to(server).get(objects[1].key)


def test_release_is_proved_through_varnish_which_forgets_a_prefix(origin, edge_to, objects):
    with run_varnish(origin.server, origin.path) as server:
        edge = edge_to(server)
        assert prove_edge(edge, objects, sample_percent=100).misses == 4
        assert prove_edge(edge, objects, sample_percent=0).hits == 4
        server.act(Op.REFRESH, [f"{server.url}/{objects[0].key}"])
        assert cold_at(edge, objects) == [objects[0].key]
        server.act(Op.REFRESH_PREFIX, [f"{server.url}/parts/"])
        assert cold_at(edge, objects) == [one.key for one in objects]
        assert cold_at(edge, objects) == []
