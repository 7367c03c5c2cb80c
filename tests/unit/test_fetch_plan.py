"""What is planned for a fetch: ranges, copies, selectors, and how many connections."""

import pytest

from pipeline.plan.fetching import (
    LEAST_RANGE_BYTES,
    RANGE_BYTES,
    Piece,
    Range,
    Spot,
    Target,
    join_ranges,
    places_of,
    plan_fetch,
    range_bytes,
    rest_of,
    wanted_files,
)
from pipeline.plan.lanes import FIRST, LEAST, MOST, REST_SAMPLES, Lanes
from pipeline.plan.wants import Want, read_want
from pipeline.release import Channel, NameRefused, Release, takes
from tests.makers.fetching import manifest_of

MIB = 1 << 20


def test_neighbours_in_a_part_come_as_one_range():
    manifest = manifest_of([[("a", MIB), ("b", MIB)], [("c", MIB)]])
    plan = plan_fetch(manifest, places_of(manifest, [0, 1]), set(), {})
    assert [(one.start, one.size, len(one.pieces)) for one in plan.ranges] == [(0, MIB, 1), (MIB, MIB, 1), (2 * MIB, MIB, 1)]
    small = manifest_of([[("a", 1000), ("b", 1000)], [("c", 1000)]])
    plan = plan_fetch(small, places_of(small, [0, 1]), set(), {})
    assert [(one.start, one.size, len(one.pieces)) for one in plan.ranges] == [(0, 3000, 3)]


def test_a_gap_is_not_fetched():
    manifest = manifest_of([[("a", 1000), ("b", 1000), ("c", 1000)]])
    plan = plan_fetch(manifest, places_of(manifest, [0]), {Target(0, 1000)}, {})
    assert [(one.start, one.size) for one in plan.ranges] == [(0, 1000), (2000, 1000)]
    assert (plan.kept, plan.fetch_bytes) == (1000, 2000)


def test_a_chunk_of_two_files_comes_once():
    manifest = manifest_of([[("a", 1000)], [("b", 500), ("a", 1000)]])
    plan = plan_fetch(manifest, places_of(manifest, [0, 1]), set(), {})
    (one,) = plan.ranges
    assert [piece.targets for piece in one.pieces] == [(Target(0, 0), Target(1, 500)), (Target(1, 0),)]
    assert plan.fetch_bytes == 1500


def test_what_is_held_is_copied_in_the_order_of_its_files():
    manifest = manifest_of([[("a", 1000), ("b", 1000), ("c", 1000)]])
    digest = {name: chunk.blake3 for name, chunk in zip("abc", manifest.files[0].chunks, strict=True)}
    held = {digest["b"]: Spot(1, "x", 0), digest["a"]: Spot(0, "y", 7)}
    plan = plan_fetch(manifest, places_of(manifest, [0]), set(), held)
    assert [copy.spot for copy in plan.copies] == [Spot(0, "y", 7), Spot(1, "x", 0)]
    assert (plan.copy_bytes, plan.fetch_bytes) == (2000, 1000)


@pytest.mark.parametrize(
    "total, longest", [(0, LEAST_RANGE_BYTES), (100 * MIB, LEAST_RANGE_BYTES), (512 * MIB, 2 * MIB), (1 << 40, RANGE_BYTES)]
)
def test_ranges_grow_with_the_release(total, longest):
    assert range_bytes(total) == longest


def test_what_is_left_of_a_range_begins_behind_its_last_whole_piece():
    manifest = manifest_of([[("a", 1000), ("b", 1000)]])
    (one,) = join_ranges(manifest, [Piece(chunk, ()) for chunk in manifest.files[0].chunks])
    left = rest_of(one, 1)
    assert isinstance(left, Range)
    assert (left.start, left.size) == (1000, 1000)
    assert rest_of(one, 0) == one
    assert rest_of(one, 2) is None


@pytest.mark.parametrize(
    "include, exclude, chosen",
    [
        ((), (), ["a/x.bin", "b.json", "c.bin"]),
        (("*.bin",), (), ["a/x.bin", "c.bin"]),
        (("*.bin",), ("a/*",), ["c.bin"]),
        ((), ("*",), []),
        (("[ab]*",), (), ["a/x.bin", "b.json"]),
        (("B.json",), (), []),
    ],
)
def test_patterns_match_whole_paths_with_case(include, exclude, chosen):
    manifest = manifest_of([[("a", 10)], [("b", 10)], [("c", 10)]], paths=["a/x.bin", "b.json", "c.bin"])
    assert [manifest.files[index].path for index in wanted_files(manifest, include, exclude)] == chosen


@pytest.mark.parametrize(
    "text, want",
    [
        ("bert-v2.1.0", Want("bert", release=Release("bert", "2.1.0"))),
        ("bert@stable", Want("bert", channel=Channel("stable"))),
        ("bert@^2.1", Want("bert", versions="^2.1")),
        ("bert@2.1.0", Want("bert", versions="2.1.0")),
        ("bert@>=1 <3", Want("bert", versions=">=1 <3")),
        ("bert@x", Want("bert", versions="x")),
        ("bert", Want("bert")),
    ],
)
def test_wants_are_read(text, want):
    assert read_want(text) == want


@pytest.mark.parametrize(
    "text", ["", "@stable", "bert@", "Bert@stable", "bert@not a range", "bert@1.0 - <2", "bert@" + "1" * 300, "a/b", "bert@../x"]
)
def test_what_names_nothing_is_refused(text):
    with pytest.raises(NameRefused):
        read_want(text)


@pytest.mark.parametrize(
    "versions, version, taken",
    [
        ("^2.1", "2.9.0", True),
        ("^2.1", "3.0.0", False),
        ("~2.1.0", "2.1.7", True),
        ("~2.1.0", "2.2.0", False),
        ("*", "2.0.0-rc.1", False),
        (">=2.0.0-rc.1", "2.0.0-rc.2", True),
    ],
)
def test_ranges_are_those_of_npm(versions, version, taken):
    assert takes(versions, Release("bert", version)) is taken


# --- connections ------------------------------------------------------------------------------------


def settle(rate_of, samples=12):
    lanes = Lanes()
    for _ in range(samples):
        lanes.sample(rate_of(lanes.count))
    return lanes.count


def test_a_limit_on_each_connection_is_answered_by_more_of_them():
    assert settle(lambda count: 20e6 * count) == MOST


def test_a_full_line_keeps_few():
    assert settle(lambda count: 1e9) == FIRST


def test_connections_that_disturb_each_other_are_given_up():
    assert settle(lambda count: 1e9 / count**0.5) == FIRST


def test_a_line_that_takes_sixteen_gets_about_sixteen():
    assert settle(lambda count: min(count, 16) * 20e6) == 16


def test_more_are_tried_again_when_the_line_changed():
    lanes = Lanes()
    for _ in range(4):
        lanes.sample(1e9)
    assert lanes.count == FIRST
    for _ in range(3):
        lanes.sample(100e6 * lanes.count / FIRST)
    assert lanes.count > FIRST


def test_a_limited_line_is_climbed_in_few_steps():
    lanes = Lanes()
    assert [lanes.sample(20e6 * lanes.count) for _ in range(4)] == [4, 16, 64, 64]


def test_it_looks_again_from_time_to_time():
    lanes = Lanes()
    counts = [lanes.sample(1e9) for _ in range(3 * REST_SAMPLES)]
    assert 2 * FIRST in counts[5:]
    assert min(counts) >= LEAST


def test_silence_is_no_sample():
    lanes = Lanes()
    lanes.sample(0)
    assert lanes.count == FIRST


def test_connections_that_nobody_limits_are_not_multiplied():
    lanes = Lanes()
    for rate in (600e6, 900e6, 1300e6, 2000e6, 3000e6):
        lanes.sample(rate)
    assert lanes.count == 4
    # The line became slow for each of them: then more are worth a look.
    for rate in (40e6, 80e6):
        lanes.sample(rate)
    assert lanes.count > 4
