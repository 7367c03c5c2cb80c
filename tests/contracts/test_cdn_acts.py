"""From an adapter's call to what users get: each vendor's control plane acts at a real edge before a real store."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from pipeline.digest import sha256_of
from pipeline.layout import part_key
from pipeline.ports import Op, TaskState
from tests.our_cdns import ACCOUNTS, BASE_URL, open_ours
from tests.servers.control_planes.acting import acting_at
from tests.servers.control_planes.door import run_plane
from tests.servers.control_planes.plane import BEGIN
from tests.servers.edges import run_nginx, run_varnish
from tests.servers.origins import open_origin, public_bucket

BODY = bytes(range(256)) * 8192


@pytest.fixture(scope="module")
def origin(seaweedfs):
    return open_origin(seaweedfs, public_bucket(seaweedfs))


@pytest.fixture(scope="module")
def nginx(origin):
    with run_nginx(origin.server, origin.path) as server:
        yield server


@pytest.fixture(scope="module")
def varnish(origin):
    with run_varnish(origin.server, origin.path) as server:
        yield server


@pytest.fixture(params=ACCOUNTS)
def name(request):
    return request.param


@pytest.fixture
def acting(name):
    """Run the plane of a vendor at an edge; gives it and our adapter before it."""
    opened = []

    def run(edge):
        account = ACCOUNTS[name]
        context = run_plane(account.plane(act=acting_at(edge), now=datetime.now(UTC) if account.real_clock else BEGIN))
        opened.append(context)
        plane = context.__enter__()
        return plane, open_ours(name, plane)

    yield run
    for context in opened:
        context.__exit__(None, None, None)


@pytest.fixture
def key(name, request):
    """A part's key that no other test uses."""
    return part_key(sha256_of(request.node.name.encode()))


def upload(origin, key):
    origin.shelf.open().put(key, BODY, sha256=sha256_of(BODY))


def cached(edge, key):
    """The status that a user gets, and what the edge says of its cache."""
    answer = edge.get(f"{edge.url}/{key}")
    assert answer.status != 200 or answer.data == BODY
    assert "Content-Encoding" not in answer.headers
    return answer.status, answer.headers.get("X-Cache")


def carried_out(plane, cdn, op, url, state=TaskState.DONE):
    (task,) = cdn.submit(op, [url], key=sha256_of(f"{op} {url}".encode()))
    plane.advance(90)
    assert cdn.poll([task])[task.id].state is (state if cdn.can_poll else TaskState.ACCEPTED)


def test_prefetch_makes_a_hit_and_refresh_a_miss(acting, nginx, origin, key):
    plane, cdn = acting(nginx)
    upload(origin, key)
    url = f"{BASE_URL}/{key}"
    if Op.PREFETCH in cdn.limits:
        carried_out(plane, cdn, Op.PREFETCH, url)
    else:
        nginx.get(f"{nginx.url}/{key}")
    assert cached(nginx, key) == (200, "HIT")
    if Op.REFRESH in cdn.limits:
        carried_out(plane, cdn, Op.REFRESH, url)
        assert cached(nginx, key) == (200, "MISS")


def test_a_prefetch_before_the_upload_fails_and_leaves_a_404_until_a_refresh(acting, nginx, origin, key):
    plane, cdn = acting(nginx)
    url = f"{BASE_URL}/{key}"
    if Op.PREFETCH in cdn.limits:
        carried_out(plane, cdn, Op.PREFETCH, url, TaskState.FAILED)
    else:
        nginx.get(f"{nginx.url}/{key}")
    upload(origin, key)
    assert cached(nginx, key) == (404, "HIT")
    if Op.REFRESH in cdn.limits:
        carried_out(plane, cdn, Op.REFRESH, url)
        assert cached(nginx, key) == (200, "MISS")


def requests_behind(varnish, key):
    headers = varnish.get(f"{varnish.url}/{key}").headers
    return (headers.get("X-Varnish") or headers["X-Vinyl"]).split()


def test_refresh_of_a_prefix_evicts_all_below_it_and_nothing_beside(acting, varnish, origin, key):
    plane, cdn = acting(varnish)
    if Op.REFRESH_PREFIX not in cdn.limits:
        return
    folder, beside = key.rpartition("/")[0], part_key(sha256_of(key.encode()))
    for one in (key, beside):
        upload(origin, one)
        varnish.get(f"{varnish.url}/{one}")
    aged = [requests_behind(varnish, one) for one in (key, beside)]
    # Two numbers: the request's own, and that of the one that filled the cache.
    assert [len(numbers) for numbers in aged] == [2, 2]
    carried_out(plane, cdn, Op.REFRESH_PREFIX, f"{BASE_URL}/{folder}/")
    assert [len(requests_behind(varnish, one)) for one in (key, beside)] == [1, 2]
