"""Laws of fetch plans: every byte has one origin, none is asked for in vain, and what breaks off goes on."""

from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.plan.fetching import RANGE_BYTES, Spot, places_of, plan_fetch, rest_of
from pipeline.plan.lanes import LEAST, MOST, Lanes
from tests.makers.fetching import manifest_of

SIZES = dict(zip("abcdefgh", (1, 17, 1000, 4096, 99_999, 1 << 20, 3 << 20, 4 << 20), strict=True))
files = st.lists(st.lists(st.sampled_from(sorted(SIZES)), max_size=6), min_size=1, max_size=5)


@settings(deadline=None)
@given(files, st.data())
def test_every_place_has_exactly_one_origin(names, data):
    manifest = manifest_of([[(name, SIZES[name]) for name in file] for file in names])
    places = places_of(manifest, range(len(names)))
    right = {target for target in places if data.draw(st.booleans())}
    digests = sorted({chunk.blake3 for chunk in places.values()})
    held = {digest: Spot(0, "x", 0) for digest in digests if data.draw(st.booleans())}
    plan = plan_fetch(manifest, places, right, held)
    pieces = [piece for one in plan.ranges for piece in one.pieces]
    copied = [copy.piece for copy in plan.copies]
    reached = [target for piece in [*pieces, *copied] for target in piece.targets]
    assert len(reached) == len(set(reached))
    assert {*reached} == places.keys() - right
    for piece in [*pieces, *copied]:
        assert all(places[target].blake3 == piece.chunk.blake3 for target in piece.targets)
    assert plan.fetch_bytes == sum(piece.chunk.stored for piece in pieces)
    assert plan.kept + plan.copy_bytes + sum(piece.chunk.plain * len(piece.targets) for piece in pieces) == manifest.plain_bytes
    assert all(one.size <= RANGE_BYTES for one in plan.ranges)
    assert all(one.start >= 0 and one.start + one.size <= one.part_size for one in plan.ranges)


@settings(deadline=None)
@given(files, st.data())
def test_a_range_that_breaks_off_again_and_again_comes_whole(names, data):
    manifest = manifest_of([[(name, SIZES[name]) for name in file] for file in names])
    plan = plan_fetch(manifest, places_of(manifest, range(len(names))), set(), {})
    for one in plan.ranges:
        came, left = [], one
        while left is not None:
            done = data.draw(st.integers(1, len(left.pieces)))
            came += left.pieces[:done]
            left = rest_of(left, done)
        assert tuple(came) == one.pieces


@settings(deadline=None)
@given(st.lists(st.floats(0, 1e12), max_size=200))
def test_connections_stay_within_their_bounds(rates):
    lanes = Lanes()
    for rate in rates:
        assert LEAST <= lanes.sample(rate) <= MOST
