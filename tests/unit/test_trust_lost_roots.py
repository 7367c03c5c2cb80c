"""A tree that lost its first roots: readers are told, and nobody begins another tree in its place."""

import pytest
from tuf.api.metadata import Metadata

from pipeline.digest import sha256_of
from pipeline.errors import NotPinned
from pipeline.release import Release
from pipeline.trust.roles import next_root
from pipeline.trust.sealed import seal
from pipeline.trust.setup import init_on_first_use, init_trust
from pipeline.trust.state import TrustState
from tests.trust_world import World, put, read, stored, world_with_release


@pytest.fixture
def world(tmp_path) -> World:
    """A tree of three roots."""
    world = world_with_release(tmp_path, Release.parse("bert-v1.0.0"))
    root = Metadata.from_bytes(stored(world, "metadata/1.root.json")).signed
    for version in (2, 3):
        root = next_root(root, world.at)
        put(world, f"metadata/{version}.root.json", seal(root, [world.root]).data)
    return world


@pytest.mark.parametrize(
    "lost, pinned, said",
    [
        ((1,), 3, "a tree whose root 1 is lost; root 3, which this place trusts, is there"),
        ((1, 2), 1, "a tree whose roots 1 to 2 are lost; root 3 has fingerprint"),
        ((1, 2, 3), 1, "has metadata/timestamp.json, and its roots are lost"),
    ],
)
def test_tree_that_lost_its_first_roots_is_told_and_is_not_called_empty(world, lost, pinned, said):
    state = TrustState(world.folder / "fresh")
    state.pin(sha256_of(stored(world, f"metadata/{pinned}.root.json")))
    for version in lost:
        world.store.delete(f"metadata/{version}.root.json")
    with pytest.raises(NotPinned, match=said) as caught:
        read(world, state)
    assert "put them back" in caught.value.hint
    # Nobody begins another tree in its place.
    publisher = world.publisher()
    with pytest.raises(NotPinned, match="lost"):
        init_trust(publisher)
    with pytest.raises(NotPinned, match="lost"):
        init_on_first_use(publisher, world.folder / "home")


def test_reader_that_followed_the_roots_needs_none_before_its_own(world):
    state = world.state()
    read(world, state)
    world.store.delete("metadata/1.root.json")
    assert read(world, state).root.version == 3
