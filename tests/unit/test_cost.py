"""What a publish will take: counts, money, and the inputs that settle a manifest."""

from pipeline.manifest import Dependency
from pipeline.plan.cost import FIXED_READS, FIXED_WRITES, PlannedPart, Prices, estimate_of, total_of
from pipeline.plan.inputs import source_identity
from tests.makers.manifests import digest


def planned(name, size, *, present):
    return PlannedPart(blake3=digest(name), sha256=digest(name + "s"), size=size, present=present)


PARTS = (planned("a", 100, present=True), planned("b", 20, present=False), planned("c", 3, present=False))


def test_only_new_parts_and_the_manifest_are_sent():
    totals = total_of(PARTS, 1000)
    assert (totals.objects, totals.bytes) == (3, 1023)
    assert (totals.writes, totals.reads) == (2 + FIXED_WRITES, 6 + FIXED_READS)
    assert total_of((), 7).bytes == 7


def test_money_follows_the_prices_that_stand_in_the_estimate():
    totals = total_of(PARTS, 10**9)
    prices = Prices(write_1000=1, read_1000=10_000, gb_month=2)
    found = estimate_of(totals, charged=True, prices=prices)
    assert found.prices == prices
    assert found.requests == round((totals.writes + 10_000 * totals.reads) / 1000)
    assert found.storage_month == 2
    assert estimate_of(totals, charged=True).prices == Prices()


def test_a_store_that_is_only_a_disk_costs_nothing():
    found = estimate_of(total_of(PARTS, 10**9), charged=False)
    assert (found.requests, found.storage_month) == (0, 0)


def test_source_is_named_by_what_is_known_before_it_is_read():
    dependency = Dependency(model="t", version="^1")
    same = source_identity("model", (dependency,), [("a", 1, False), ("b", 2, True)])
    assert same == source_identity("model", (dependency,), [("a", 1, False), ("b", 2, True)])
    others = [
        source_identity("web", (dependency,), [("a", 1, False), ("b", 2, True)]),
        source_identity("model", (), [("a", 1, False), ("b", 2, True)]),
        source_identity("model", (dependency,), [("a", 2, False), ("b", 2, True)]),
        source_identity("model", (dependency,), [("a", 1, True), ("b", 2, True)]),
        source_identity("model", (dependency,), [("a", 1, False)]),
        source_identity("model", (dependency,), [("aa", 1, False), ("b", 2, True)]),
    ]
    assert len({same, *others}) == 7
