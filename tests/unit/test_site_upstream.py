"""What a caching mirror believes of roots that are older than the one it pinned."""

import threading

import pytest
from securesystemslib.signer import CryptoSigner
from tuf.api.metadata import Key, Metadata, Root

from bundles.site.upstream import Upstream
from pipeline.digest import sha256_of
from pipeline.errors import BadSignature
from pipeline.sources.cachefolder import CacheFolder
from pipeline.sources.objects import StoreReader
from pipeline.trust.sealed import seal
from pipeline.trust.state import TrustState
from tests.trust_world import put, stored, world_with_rotated_root

FIRST, SECOND = "metadata/1.root.json", "metadata/2.root.json"


@pytest.fixture
def world(tmp_path):
    return world_with_rotated_root(tmp_path)


def upstream_of(world, reader=None, pin="metadata/3.root.json"):
    state = TrustState(world.folder / "mirror")
    state.pin(sha256_of(stored(world, pin)))
    cache = CacheFolder(world.folder / "cache", 1 << 20)
    made = Upstream(reader or StoreReader(world.store), state, cache, lambda event: None, now=lambda: world.at)
    made.refresh()
    assert made.known is not None, made.standing
    return made


def test_roots_older_than_the_pinned_one_are_served(world):
    upstream = upstream_of(world)
    for key in (FIRST, SECOND):
        assert upstream.document(key) == stored(world, key)


def test_older_root_that_anybody_could_have_made_is_not_served(world):
    """A stranger lists the true key beside their own: the newer root is signed by the one, the forgery by the other."""
    stranger = CryptoSigner.generate_ed25519()
    forged = Metadata[Root].from_bytes(stored(world, SECOND)).signed
    forged.add_key(Key.from_dict(stranger.public_key.keyid, stranger.public_key.to_dict()), "root")
    put(world, SECOND, seal(forged, [stranger]).data)
    upstream = upstream_of(world)
    with pytest.raises(BadSignature):
        upstream.document(SECOND)
    with pytest.raises(BadSignature):
        upstream.document(FIRST)


def test_upstream_that_is_slow_with_an_old_root_keeps_nobody_from_the_newest(world):
    is_up, asked, go_on = threading.Event(), threading.Event(), threading.Event()

    class Slow(StoreReader):
        def get(self, key, *, start=0, size=None):
            if key == FIRST and is_up.is_set():
                asked.set()
                assert go_on.wait(30)
            return super().get(key, start=start, size=size)

    upstream = upstream_of(world, Slow(world.store))
    is_up.set()
    waiting = threading.Thread(target=upstream.document, args=(FIRST,))
    waiting.start()
    assert asked.wait(30)
    refreshed = threading.Thread(target=upstream.refresh, daemon=True)
    upstream._looked_at = -float("inf")
    refreshed.start()
    refreshed.join(10)
    stuck = refreshed.is_alive()
    go_on.set()
    waiting.join()
    assert not stuck
