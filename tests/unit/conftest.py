"""What several test modules of this folder begin with."""

from __future__ import annotations

import shutil

import pytest

from tests.bundle_world import begin_tree, build_with_parity
from tests.collect_world import Garden


@pytest.fixture(scope="module")
def grown(tmp_path_factory) -> Garden:
    return Garden(tmp_path_factory.mktemp("grown")).plant()


@pytest.fixture
def garden(grown, tmp_path) -> Garden:
    return grown.copy(tmp_path)


@pytest.fixture
def ripe(garden) -> Garden:
    """What is retired was recorded 8 days ago."""
    garden.collect()
    garden.pass_days(8)
    return garden


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    return begin_tree(tmp_path_factory.mktemp("tree"), tensor_bytes=64 << 10)


@pytest.fixture(scope="module")
def built(tree):
    """A bundle of several volumes with parity."""
    return build_with_parity(tree)


@pytest.fixture
def copy(built, tmp_path):
    return shutil.copytree(built, tmp_path / "copy")
