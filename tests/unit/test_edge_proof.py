"""The proof that an edge serves a release: what passes, what is named, what is mended, how much is asked."""

import pytest

from pipeline.digest import sha256_of
from pipeline.errors import AccessDenied, EdgeProofFailed, StoreUnavailable
from pipeline.layout import FOREVER, TIMESTAMP
from pipeline.steps.edge_proof import EdgeObject, cache_rule_fault, cold_at, prove_edge
from pipeline.steps.show_edge import prove_names, show_timestamp
from pipeline.stores.memory import MemoryStore
from tests.edges import Clock, MemoryEdge


@pytest.fixture
def store():
    return MemoryStore("origin")


@pytest.fixture
def objects(store):
    found = []
    for number in range(40):
        body = bytes([number]) * (100 + number)
        key = f"parts/{number:02x}/{number:02x}{'0' * 62}"
        store.put(key, body, sha256=sha256_of(body))
        found.append(EdgeObject(key, len(body), sha256_of(body)))
    return found


@pytest.fixture
def clock():
    return Clock()


def put(store, key, body):
    store.put(key, body, sha256=sha256_of(body))


def test_every_object_is_asked_for_once_and_hits_and_misses_are_counted(store, objects, clock):
    edge = MemoryEdge(store)
    edge.warm([one.key for one in objects[:30]])
    proof = prove_edge(edge, objects, sample_percent=0, timestamp=False, waiting=clock.waiting())
    assert sorted(edge.asked) == sorted(one.key for one in objects)
    assert (proof.objects, proof.hits, proof.misses, proof.unknown) == (40, 30, 10, 0)
    assert proof.cold == tuple(one.key for one in objects[30:])
    assert proof.requests == 40


def test_byte_that_is_asked_for_is_anyone_of_the_object(store, objects, clock):
    asked = {}

    class Watched(MemoryEdge):
        def look(self, key, *, at, size):
            asked[key] = at
            return super().look(key, at=at, size=size)

    prove_edge(Watched(store), objects, sample_percent=0, timestamp=False, waiting=clock.waiting())
    assert all(0 <= asked[one.key] < one.size for one in objects)
    # Forty drawn evenly: that they are few has a chance below one in 10^30.
    assert len(set(asked.values())) > 10


def test_edge_that_tells_nothing_of_its_cache_is_unknown_not_cold(store, objects, clock):
    edge = MemoryEdge(store, tells=False)
    proof = prove_edge(edge, objects, sample_percent=0, waiting=clock.waiting())
    assert (proof.hits, proof.misses, proof.unknown, proof.cold) == (0, 0, 40, ())
    assert cold_at(edge, objects, waiting=clock.waiting()) == []


@pytest.mark.parametrize("percent, read", [(0, 0), (0.01, 1), (50, 20), (100, 40)])
def test_sample_is_read_back_and_hashed(store, objects, clock, percent, read):
    proof = prove_edge(MemoryEdge(store), objects, sample_percent=percent, waiting=clock.waiting())
    assert proof.read == read
    assert (proof.bytes_read > 0) == (read > 0)


def test_other_bytes_of_the_right_size_are_found_by_the_sample(store, objects, clock):
    edge = MemoryEdge(store, vices={objects[7].key: "other"})
    prove_edge(edge, objects, sample_percent=0, waiting=clock.waiting())
    with pytest.raises(EdgeProofFailed, match="sha256") as refused:
        prove_edge(edge, objects, sample_percent=100, waiting=clock.waiting())
    assert objects[7].key in str(refused.value)
    assert objects[7].sha256 in str(refused.value)


@pytest.mark.parametrize(
    "vice, words",
    [
        ("gzip", "encoded as 'gzip'"),
        ("whole", "the whole object came for a range"),
        ("rule", f"Cache-Control is 'max-age=60', expected '{FOREVER}'"),
        ("html", "a web page came"),
        ("redirect", "HTTP 302 to http://other.test/"),
        ("short", "an object of 106 bytes came, expected 107"),
    ],
)
def test_object_that_is_served_wrongly_is_named_with_its_fault(store, objects, clock, vice, words):
    edge = MemoryEdge(store, vices={objects[7].key: vice})
    with pytest.raises(EdgeProofFailed) as refused:
        prove_edge(edge, objects, waiting=clock.waiting(), mend=edge.forget)
    assert refused.value.exit_code == 3
    assert words in str(refused.value)
    assert objects[7].key in str(refused.value)
    assert "1 of 40 objects" in str(refused.value)
    assert edge.forgotten == []


def test_many_faults_are_counted_and_a_few_are_named(store, objects, clock):
    with pytest.raises(EdgeProofFailed, match=r"40 of 40 objects .* \(and 37 more\)"):
        prove_edge(MemoryEdge(store, vices={"*": "gzip"}), objects, timestamp=False, waiting=clock.waiting())


def test_object_whose_404_is_remembered_is_refreshed_once_and_found(store, objects, clock):
    edge = MemoryEdge(store)
    edge.kept = {one.key: None for one in objects[:2]}
    proof = prove_edge(edge, objects, sample_percent=0, mend=edge.forget, waiting=clock.waiting())
    assert edge.forgotten == [one.key for one in objects[:2]]
    assert proof.hits + proof.misses == 40


def test_object_that_stays_missing_is_named_after_ten_minutes(store, objects, clock):
    edge = MemoryEdge(store)
    store.delete(objects[3].key)
    with pytest.raises(EdgeProofFailed, match=f"{objects[3].key}: there is no such object"):
        prove_edge(edge, objects, mend=lambda keys: None, waiting=clock.waiting())
    assert 600 <= clock.now_s <= 700


def test_edge_that_is_down_is_asked_again_and_then_unavailable(store, objects, clock):
    edge = MemoryEdge(store, vices={objects[0].key: "down"})
    with pytest.raises(StoreUnavailable):
        prove_edge(edge, objects, waiting=clock.waiting())
    assert edge.asked.count(objects[0].key) == 5


def test_edge_that_refuses_us_is_no_failed_proof(store, objects, clock):
    class Closed(MemoryEdge):
        def look(self, key, *, at, size):
            raise AccessDenied("HTTP 403")

    with pytest.raises(AccessDenied):
        prove_edge(Closed(store), objects, waiting=clock.waiting())


def test_timestamp_that_the_edge_would_keep_is_refused(store, objects, clock):
    put(store, TIMESTAMP, b"{}")
    with pytest.raises(EdgeProofFailed, match="expected 'no-cache'"):
        prove_edge(MemoryEdge(store, vices={TIMESTAMP: "rule"}), objects, waiting=clock.waiting())


def test_order_and_spaces_of_a_cache_rule_carry_no_meaning():
    assert cache_rule_fault("parts/00/x", "immutable,Public ,  max-age=31536000") == ""
    assert cache_rule_fault("parts/00/x", "public, max-age=31536000")
    assert cache_rule_fault("parts/00/x", "")
    assert cache_rule_fault(TIMESTAMP, "no-cache") == ""
    assert cache_rule_fault(TIMESTAMP, FOREVER)


def test_cold_objects_are_those_the_edge_had_to_fetch_or_knows_as_missing(store, objects, clock):
    edge = MemoryEdge(store)
    edge.warm([one.key for one in objects])
    del edge.kept[objects[5].key]
    edge.kept[objects[9].key] = None
    assert cold_at(edge, objects, waiting=clock.waiting()) == [objects[5].key, objects[9].key]


# --- metadata -------------------------------------------------------------------------------------


class Fronted:
    """A front whose control plane forgets at its own edge."""

    def __init__(self, edge):
        self.edge = edge
        self.cdn = edge


def refresh(cdn, keys):
    cdn.forget(keys)


def test_new_name_whose_404_is_remembered_is_refreshed(store, clock):
    edge, other = MemoryEdge(store), MemoryEdge(store)
    edge.kept = {"metadata/2.snapshot.json": None}
    put(store, "metadata/2.snapshot.json", b"{}")
    prove_names([Fronted(edge), Fronted(other)], store, ["metadata/2.snapshot.json"], refresh, waiting=clock.waiting())
    assert edge.forgotten == ["metadata/2.snapshot.json"]
    assert other.forgotten == []


def test_new_name_that_the_edge_never_shows_stops_the_commit(store, clock):
    edge = MemoryEdge(store)
    edge.kept = {"metadata/2.snapshot.json": b"another"}
    put(store, "metadata/2.snapshot.json", b"{}")
    with pytest.raises(EdgeProofFailed, match=r"metadata/2\.snapshot\.json: 7 other bytes|bytes came"):
        prove_names([Fronted(edge)], store, ["metadata/2.snapshot.json"], lambda cdn, keys: None, waiting=clock.waiting())
    assert 600 <= clock.now_s <= 700


def test_root_is_refreshed_though_our_edge_shows_it(store, clock):
    edge = MemoryEdge(store)
    put(store, "metadata/2.root.json", b"{}")
    prove_names([Fronted(edge)], store, ["metadata/2.root.json"], refresh, waiting=clock.waiting())
    assert edge.forgotten == ["metadata/2.root.json"]


def test_timestamp_is_refreshed_everywhere_and_seen(store, clock):
    edge = MemoryEdge(store, keeps_timestamp=True)
    put(store, TIMESTAMP, b"old")
    edge.warm([TIMESTAMP])
    put(store, TIMESTAMP, b"new")
    assert show_timestamp([Fronted(edge)], store, refresh, waiting=clock.waiting()) == ()
    assert edge.forgotten == [TIMESTAMP]


def test_edge_that_goes_on_serving_the_old_timestamp_is_told(store, clock):
    edge = MemoryEdge(store, keeps_timestamp=True)
    put(store, TIMESTAMP, b"old")
    edge.warm([TIMESTAMP])
    put(store, TIMESTAMP, b"newer")
    stale = show_timestamp([Fronted(edge)], store, lambda cdn, keys: None, waiting=clock.waiting())
    assert [(one.edge, one.found) for one in stale] == [(edge.url, "3 other bytes came")]


def test_another_publishers_later_timestamp_is_as_good(store, clock):
    edge = MemoryEdge(store)
    put(store, TIMESTAMP, b"ours")

    def overtaken(cdn, keys):
        put(store, TIMESTAMP, b"theirs")

    assert show_timestamp([Fronted(edge)], store, overtaken, waiting=clock.waiting()) == ()


def test_without_a_cdn_nothing_is_asked(store):
    prove_names([], store, ["metadata/2.root.json"], refresh)
    assert show_timestamp([], store, refresh) == ()
