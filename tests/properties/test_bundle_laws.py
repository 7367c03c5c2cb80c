"""Laws of dividing parts among volumes."""

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bundles.carving import FAT32_BYTES, MEDIA, Contents, carve_volumes, media_volume_size, overhead_bytes
from bundles.index import Member, bundle_of, decode_index
from bundles.ustar import header_for, member_bytes, stated_size
from pipeline.digest import Sha256, sha256_of
from pipeline.errors import UsageError

HEX = "cd" * 32


def contents(sizes, documents=(900, 40_000)):
    names = [sha256_of(str(number).encode()) for number in range(len(sizes) + len(documents))]
    parts = tuple(Member(f"parts/{name[:2]}/{name}", size, name) for name, size in zip(names, sizes, strict=False))
    proofs = tuple(
        Member(f"targets/bert/{number}.0.0/{name}.manifest.json", size, name)
        for number, (name, size) in enumerate(zip(names[len(sizes) :], documents, strict=True))
    )
    return Contents("bert-v2.1.0", Sha256(HEX), 7, (), (), proofs, parts)


def least(held):
    with pytest.raises(UsageError) as refused:
        carve_volumes(held, 1)
    return int(refused.value.hint.rsplit(" ", 1)[1].rstrip("."))


SIZES = st.lists(st.integers(1, 300_000), min_size=1, max_size=40)


@given(SIZES, st.integers(0, 1_000_000))
@settings(max_examples=60, deadline=None)
def test_volumes_hold_every_part_once_in_order_and_keep_the_size(sizes, more):
    held = contents(sizes)
    size = least(held) + more
    bundle = bundle_of(carve_volumes(held, size))
    assert [part for volume in bundle.plan.volumes for part in volume] == list(held.parts)
    assert all(volume for volume in bundle.plan.volumes)
    for number in bundle.numbers():
        layout = bundle.layout(number)
        assert layout.size <= size
        assert layout.size % 512 == 0
        assert [placed.member for placed in layout.members][: len(held.documents)] == list(held.documents)
        assert decode_index(bundle.index(number), what="it") == (bundle, number)


@given(SIZES)
@settings(max_examples=60, deadline=None)
def test_the_least_size_that_is_named_works_and_one_byte_less_does_not(sizes):
    held = contents(sizes)
    size = least(held)
    carve_volumes(held, size)
    with pytest.raises(UsageError):
        carve_volumes(held, size - 1)


@given(SIZES, st.integers(0, 1_000_000))
@settings(max_examples=40, deadline=None)
def test_no_two_neighbouring_volumes_would_fit_into_one(sizes, more):
    held = contents(sizes)
    size = least(held) + more
    bundle = bundle_of(carve_volumes(held, size))
    for before, after in pairwise(bundle.plan.volumes):
        assert overhead_bytes(held) + sum(member_bytes(part.size) for part in (*before, after[0])) > size


@given(SIZES)
@settings(max_examples=20, deadline=None)
def test_no_limit_makes_one_volume(sizes):
    assert len(carve_volumes(contents(sizes), None).volumes) == 1


def test_a_bundle_without_parts_has_one_volume():
    held = contents([])
    assert carve_volumes(held, least(held)).volumes == ((),)


@given(st.text("abcdefghijklmnopqrstuvwxyz0123456789/._-", min_size=1, max_size=90), st.integers(0, 8**11 - 1))
def test_a_header_states_its_size_to_whoever_knows_its_name(key, size):
    header = header_for(key, size)
    assert len(header) == 512
    assert stated_size(header, key) == size
    assert stated_size(header, key + "x") is None


@pytest.mark.parametrize("medium", sorted(MEDIA))
@pytest.mark.parametrize("parity", [0, 1, 10, 50, 100])
def test_volume_and_parity_fit_on_the_medium(medium, parity):
    capacity, largest = MEDIA[medium]
    size = media_volume_size(medium, parity)
    assert size <= largest
    if capacity:
        assert size * (100 + parity) / 100 < capacity
    else:
        assert size == FAT32_BYTES < 2**32 - 1
