"""Packing: which part a chunk goes into, how large parts are, which base parts are kept."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import UsageError
from pipeline.manifest import CHUNK_BYTES, PART_BYTES, PART_SIZES, WEB_PART_BYTES
from pipeline.plan.pack import Packer, Slot, check_part_size, choose_part_size, kept_parts

SIZES = st.lists(st.integers(1, 40), min_size=1, max_size=60)
FLAGS = st.lists(st.booleans(), min_size=60, max_size=60)


def packed(packer, sizes, starts=(), base_starts=()):
    return [packer.place(size, starts_file=at in starts, starts_base_part=at in base_starts) for at, size in enumerate(sizes)]


def test_part_closes_when_the_next_chunk_would_pass_its_size():
    assert packed(Packer(10, one_file=False), [4, 6, 1, 9, 10, 3]) == [
        Slot(0, 0, closes=False),
        Slot(0, 4, closes=False),
        Slot(1, 0, closes=True),
        Slot(1, 1, closes=False),
        Slot(2, 0, closes=True),
        Slot(3, 0, closes=True),
    ]


@given(SIZES, FLAGS, FLAGS, st.booleans(), st.integers(40, 100))
def test_parts_are_full_runs_within_their_size(sizes, starts, base_starts, one_file, part_size):
    starts = {at for at, flag in enumerate(starts) if flag} | {0}
    base_starts = {at for at, flag in enumerate(base_starts) if flag}
    slots = packed(Packer(part_size, one_file), sizes, starts, base_starts)
    used = {}
    part = 0
    for at, (slot, size) in enumerate(zip(slots, sizes, strict=True)):
        # Parts are numbered without a gap, and their chunks lie end to end.
        assert slot.part == part + slot.closes
        part = slot.part
        assert slot.offset == used.get(part, 0)
        used[part] = slot.offset + size
        if at and slot.closes:
            full = used[part - 1] + size > part_size
            breaks = one_file and (at in starts or at in base_starts)
            assert full or breaks
        if one_file and (at in starts or at in base_starts):
            assert slot.offset == 0
    assert all(0 < size <= part_size for size in used.values())


@given(SIZES, FLAGS)
def test_files_share_parts_only_in_the_default_profile(sizes, starts):
    starts = {at for at, flag in enumerate(starts) if flag}
    alone = packed(Packer(10**6, one_file=True), sizes, starts)
    assert alone[-1].part == len([at for at in range(1, len(sizes)) if at in starts])
    assert packed(Packer(10**6, one_file=False), sizes, starts)[-1].part == 0


@given(st.integers(0, 1 << 50), st.integers(0, 1 << 50), st.integers(0, 10**7))
def test_part_size_grows_with_the_release_and_shrinks_with_the_quota(plain, more, quota):
    small, large = sorted((plain, plain + more))
    for profile in ("default", "raw"):
        one, two = (choose_part_size(size, profile=profile, daily_prefetch=quota) for size in (small, large))
        assert one in PART_SIZES
        assert one <= two
        assert choose_part_size(small, profile=profile, daily_prefetch=quota + 1) <= one
        fits = [size for size in PART_SIZES if -(-small // size) <= quota * 0.8]
        assert one == (min(fits) if fits else PART_SIZES[-1])


MIB = 1 << 20


@pytest.mark.parametrize(
    "plain, quota, size",
    [
        (0, None, 64 * MIB),
        (1 << 50, None, 64 * MIB),
        (80 * 64 * MIB, 100, 64 * MIB),
        (80 * 64 * MIB + 1, 100, 128 * MIB),
        (80 * 128 * MIB, 100, 128 * MIB),
        (80 * 128 * MIB + 1, 100, 256 * MIB),
        (1 << 50, 100, 256 * MIB),
        (1, 0, 256 * MIB),
        (0, 0, 64 * MIB),
        (64 * MIB, 1, 256 * MIB),
        (64 * MIB, 2, 64 * MIB),
    ],
)
def test_part_size_keeps_within_80_percent_of_the_configured_quota(plain, quota, size):
    assert choose_part_size(plain, profile="default", daily_prefetch=quota) == size


def test_web_parts_are_16_mib_whatever_the_quota():
    assert {choose_part_size(1 << 40, profile="web", daily_prefetch=quota) for quota in (None, 1, 10**6)} == {WEB_PART_BYTES}


@pytest.mark.parametrize("profile, most", [("default", PART_BYTES), ("raw", PART_BYTES), ("web", WEB_PART_BYTES)])
def test_part_size_has_bounds(profile, most):
    for size in (CHUNK_BYTES, most):
        assert check_part_size(size, profile) == size
    for size in (CHUNK_BYTES - 1, most + 1, 0, -1):
        with pytest.raises(UsageError, match=f"--part-size {size} is out of bounds"):
            check_part_size(size, profile)


def test_base_part_is_kept_from_a_quarter_on():
    sizes = {"a": 100, "b": 100, "c": 101, "d": 3, "e": 4}
    used = {"a": 25, "b": 24, "c": 25, "d": 1, "e": 1}
    assert kept_parts(sizes, used) == {"a", "d", "e"}
    assert kept_parts(sizes, {}) == set()
