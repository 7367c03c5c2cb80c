"""What the properties of commits begin with: the trust of a tree, before and after its first release."""

import pytest

from pipeline.trust.commit import commit_changes
from tests.trust_world import World


@pytest.fixture
def world(tmp_path) -> World:
    return World(tmp_path)


@pytest.fixture
def begun(world) -> World:
    publisher = world.begin()
    commit_changes(publisher, world.publish_changes(publisher, "bert-v1.0.0"))
    return world
