"""What a volume consists of, cut where blocks end: nothing twice, nothing left out, and nothing over a border."""

import pytest

from bundles.index import gap_after
from bundles.medium import open_volume
from bundles.runs import stretches
from bundles.ustar import BLOCK, TRAILER, header_for
from tests.bundle_world import begin_tree, builder_of, volumes_in

BLOCKS = (4 << 10, 16 << 10, 4 << 20)


@pytest.fixture(scope="module")
def volume(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    builder_of(begin_tree(folder / "tree", tensor_bytes=100 << 10)).build(folder / "out", "bert@stable")
    path = volumes_in(folder / "out")[0]
    return open_volume(path), path.read_bytes()


@pytest.mark.parametrize("block_bytes", BLOCKS)
@pytest.mark.parametrize("first", [0, 2])
def test_runs_make_the_volume_behind_its_index(volume, block_bytes, first):
    found, data = volume
    members = found.layout.members[first:]
    given = {placed.member.key: data[placed.at : placed.at + placed.member.size] for placed in members[:3]}
    at = members[0].at - BLOCK
    for stretch in stretches(members, given, block_bytes):
        assert stretch[0].at == at
        for run in stretch:
            assert run.at == at
            assert run.data is None or run.data == data[at : at + run.size]
            at += run.size
        assert stretch[0].at // block_bytes == (at - 1) // block_bytes, "a stretch over a border"
        assert at % block_bytes == 0 or at == len(data) - TRAILER, "a stretch that ends early"
    assert at == len(data) - TRAILER


@pytest.mark.parametrize("block_bytes", BLOCKS)
def test_every_member_begins_and_ends_once_and_comes_whole(volume, block_bytes):
    found, _ = volume
    runs = [run for stretch in stretches(found.layout.members, {}, block_bytes) for run in stretch]
    for placed in found.layout.members:
        mine = [run for run in runs if run.placed == placed]
        assert [run.begins for run in mine].count(True) == [run.ends for run in mine].count(True) == 1
        assert mine[0].data == header_for(placed.member.key, placed.member.size)
        own = [run for run in mine if run.data is None]
        assert own[-1].ends
        assert sum(run.size for run in own) == placed.member.size
        assert sum(len(run.data) for run in mine if run.data is not None) == BLOCK + gap_after(placed)[1]
