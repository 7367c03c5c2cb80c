"""The driver before every provider's control plane: whatever happens to a call, each URL is brought through, or named."""

from __future__ import annotations

import random
from datetime import UTC, datetime

import pytest

from pipeline.ports import Op
from pipeline.steps.driving import Tempo
from pipeline.steps.edge_proof import Front
from pipeline.steps.ledger import Ledger
from pipeline.steps.prefetch import Dispatch, refresh_keys, warm_release
from pipeline.stores.memory import MemoryStore
from tests.our_cdns import ACCOUNTS, BASE_URL, open_ours
from tests.servers.control_planes.door import run_plane
from tests.servers.control_planes.plane import BEGIN

KEYS = [f"parts/aa/{number:04d}" for number in range(24)]
# How many calls the vendor's limits make of them.
CALLS = {"cloudfront": 1, "cloudflare": 1, "akamai": 1, "fastly": 24, "qiniu": 2, "dragonfly": 1}


class Acts:
    """What a plane did at its edge."""

    def __init__(self):
        self.urls = []

    def __call__(self, op, url):
        self.urls.append(url)


@pytest.fixture
def acts():
    return Acts()


@pytest.fixture(params=ACCOUNTS)
def name(request):
    return request.param


@pytest.fixture
def plane(name, acts):
    account = ACCOUNTS[name]
    with run_plane(account.plane(act=acts, takes_s=20, now=datetime.now(UTC) if account.real_clock else BEGIN)) as running:
        yield running


@pytest.fixture
def drive(name, plane):
    cdn = open_ours(name, plane, answer_s=2)

    def elapsed_s():
        return plane.now.timestamp()

    tempo = Tempo(
        now=lambda: plane.now,
        elapsed_s=elapsed_s,
        sleep=plane.advance,
        rng=random.Random(4),
    )
    dispatch = Dispatch(Ledger(MemoryStore()), "a lease", "a test", tempo)

    def run(keys):
        if Op.PREFETCH in cdn.limits:
            return warm_release([Front(cdn, None)], "job", keys, dispatch)
        return refresh_keys([cdn], keys, dispatch)

    return run


def urls_of(keys):
    return {f"{BASE_URL}/{key}" for key in keys}


def test_every_url_goes_through(name, plane, drive, acts):
    driven = drive(KEYS)
    plane.advance(60)
    assert driven.complete
    assert driven.shares[0].done == len(KEYS)
    assert sorted(acts.urls) == sorted(urls_of(KEYS))
    if name in CALLS:
        assert driven.shares[0].calls == CALLS[name]


@pytest.mark.parametrize("how", ["lost", "reset", "truncated", "500", "throttled", "ill", "html"])
@pytest.mark.parametrize("nth", [1, 2])
def test_every_url_goes_through_whatever_happens_to_a_call(name, plane, drive, acts, how, nth):
    plane.spoil(how, nth=nth, times=2)
    driven = drive(KEYS)
    plane.advance(60)
    assert driven.complete
    assert set(acts.urls) == urls_of(KEYS)
    if name == "cloudfront":
        # The same CallerReference: however often it was sent, it was done once.
        assert len(acts.urls) == len(KEYS)


def test_one_malformed_url_is_named_and_the_others_go_through(plane, drive, acts):
    good = plane._is_good
    plane._is_good = lambda url, allowed: good(url, allowed) and not url.endswith("0007")
    plane.rate = 1000
    driven = drive(KEYS)
    plane.advance(60)
    assert set(driven.shares[0].failed) == {"parts/aa/0007"}
    assert set(acts.urls) == urls_of(KEYS) - urls_of(["parts/aa/0007"])
