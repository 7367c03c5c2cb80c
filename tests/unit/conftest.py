"""What several test modules of this folder begin with."""

from __future__ import annotations

import pytest

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
