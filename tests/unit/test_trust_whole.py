"""What goes along with a copy: the whole chain of roots, and none that the publisher did not make."""

import pytest
from securesystemslib.signer import CryptoSigner
from tuf.api.metadata import Key, Metadata, Root

from pipeline.digest import sha256_of
from pipeline.errors import BadSignature
from pipeline.trust.reading import read_view
from pipeline.trust.sealed import seal
from pipeline.trust.state import TrustState
from pipeline.trust.whole import root_chain
from tests.trust_world import put, stored, world_with_rotated_root

FIRST = "metadata/1.root.json"


@pytest.fixture
def world(tmp_path):
    return world_with_rotated_root(tmp_path)


def gathered(world):
    state = TrustState(world.folder / "copier")
    state.pin(sha256_of(stored(world, "metadata/3.root.json")))
    roots, _ = root_chain(read_view(world.store, state, now=lambda: world.at))
    return roots


def test_roots_before_the_pinned_one_come_along(world):
    assert [root.version for root in gathered(world)] == [1, 2, 3]


def test_older_root_that_anybody_could_have_made_is_not_gathered(world):
    """A stranger lists the true key beside their own: the next root is signed by the one, the forgery by the other."""
    stranger = CryptoSigner.generate_ed25519()
    forged = Metadata[Root].from_bytes(stored(world, FIRST)).signed
    forged.add_key(Key.from_dict(stranger.public_key.keyid, stranger.public_key.to_dict()), "root")
    put(world, FIRST, seal(forged, [stranger]).data)
    with pytest.raises(BadSignature, match=r"vouches for root 2 signed metadata/1\.root\.json"):
        gathered(world)
