"""The sentences of ``ports.ObjectStore``, checked against every store, on real servers, over http and https."""

from __future__ import annotations

import array
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest

from pipeline.digest import sha256_of
from pipeline.errors import ConditionFailed, DigestMismatch, ObjectExists, ObjectMissing
from pipeline.layout import headers_for
from pipeline.ports import BLOCK, read_object
from pipeline.release import NameRefused
from pipeline.store_kinds import IN_MEMORY, KINDS, scheme_of

KEYS = [
    "parts/ab/" + "ab" * 32,
    "web/demo/模型 + ünïcode & co.js",
    "web/demo/a+b c%20d.css",
    "web/demo/100%/~tilde/(x)!'*.js",
    "metadata/1.root.json",
]


def put(store, key, body, **conditions):
    return store.put(key, body, sha256=sha256_of(body), **conditions)


def body_of(store, key, **span):
    return b"".join(store.get(key, **span))


def test_what_was_put_is_shown_by_get_head_and_list_on_every_client(subject):
    told = {key: put(subject.store, key, b"hello" + key.encode()) for key in KEYS}
    for client in (subject.store, subject.again()):
        for key in KEYS:
            assert body_of(client, key) == b"hello" + key.encode()
            found = client.head(key)
            assert (found.key, found.size, found.etag) == (key, told[key].size, told[key].etag)
        assert [(info.key, info.size) for info in client.list("")] == sorted((key, told[key].size) for key in KEYS)


def test_put_and_head_tell_the_same_etag_and_only_verified_digests(subject):
    told = put(subject.store, "parts/x", b"hello")
    found = subject.store.head("parts/x")
    assert told.etag
    assert told.etag == found.etag
    assert found.sha256 == (sha256_of(b"hello") if subject.keeps_sha256 else None)
    assert told.sha256 == found.sha256
    assert subject.store.properties.keeps_sha256 == subject.keeps_sha256


def test_another_body_has_another_etag(store):
    one = put(store, "metadata/timestamp.json", b"one")
    two = put(store, "metadata/timestamp.json", b"two")
    assert one.etag != two.etag
    assert store.head("metadata/timestamp.json").etag == two.etag


def test_an_unconditional_put_replaces(store):
    put(store, "parts/x", b"longer than the next")
    put(store, "parts/x", b"next")
    assert body_of(store, "parts/x") == b"next"
    assert store.head("parts/x").size == 4


def test_an_empty_body_is_an_object(store):
    put(store, "parts/empty", b"", if_absent=True)
    assert store.head("parts/empty").size == 0
    assert list(store.get("parts/empty")) == []
    assert list(store.get("parts/empty", start=0, size=10)) == []


def test_a_body_is_anything_with_a_buffer(store):
    data = bytes(range(256)) * 4
    for kind in (bytes, bytearray, memoryview, lambda data: memoryview(array.array("I", data))):
        store.put("parts/x", kind(data), sha256=sha256_of(data))
        assert body_of(store, "parts/x") == data


def test_a_large_body_comes_back_in_blocks_of_at_most_one_mebibyte(subject):
    data = os.urandom(3 * BLOCK + 17)
    put(subject.store, "parts/large", data)
    assert subject.store.head("parts/large").size == len(data)
    if not subject.keeps_large:
        with pytest.raises(ObjectMissing, match="dry run keeps no body"):
            subject.store.get("parts/large")
        return
    blocks = list(subject.store.get("parts/large"))
    assert b"".join(blocks) == data
    assert max(map(len, blocks)) <= BLOCK
    assert body_of(subject.store, "parts/large", start=BLOCK - 5, size=BLOCK + 9) == data[BLOCK - 5 : 2 * BLOCK + 4]


def test_a_range_is_what_a_slice_is(store):
    put(store, "parts/digits", b"0123456789")
    for start in (0, 3, 9, 10, 500):
        for size in (None, 0, 1, 4, 10, 100):
            end = None if size is None else start + size
            assert body_of(store, "parts/digits", start=start, size=size) == b"0123456789"[start:end], (start, size)


def test_a_get_left_halfway_harms_nothing(store):
    put(store, "parts/x", b"abc" * 1000)
    for _ in range(20):
        next(store.get("parts/x"))
    assert body_of(store, "parts/x") == b"abc" * 1000


def test_get_of_a_missing_object_raises_at_once(store):
    for span in ({}, {"start": 3}, {"size": 0}, {"start": 2, "size": 5}):
        with pytest.raises(ObjectMissing):
            store.get("parts/none", **span)


def test_head_of_a_missing_object_raises(store):
    with pytest.raises(ObjectMissing, match="parts/none"):
        store.head("parts/none")


def test_read_object_reads_it_whole(store):
    put(store, "control/leases/x.json", b"{}")
    assert read_object(store, "control/leases/x.json", cap=2) == b"{}"


def test_delete_removes_and_a_missing_object_is_no_error(store):
    put(store, "parts/x", b"x")
    store.delete("parts/x")
    store.delete("parts/x")
    store.delete("never/was")
    with pytest.raises(ObjectMissing):
        store.head("parts/x")
    assert list(store.list("")) == []


def test_a_deleted_key_can_be_made_again(store):
    put(store, "parts/x", b"x", if_absent=True)
    store.delete("parts/x")
    put(store, "parts/x", b"y", if_absent=True)
    assert body_of(store, "parts/x") == b"y"


def test_list_is_in_key_order_and_by_prefix_of_the_text(store):
    keys = ["a-b", "a.b", "a/b", "a/b-c", "a/b/c" + "d", "a0", "aé", "b", "A", "a /x"]
    keys.remove("a/b")
    for key in keys:
        put(store, f"web/{key}", key.encode())
    assert [info.key for info in store.list("")] == sorted(f"web/{key}" for key in keys)
    assert [info.key for info in store.list("web/a/")] == ["web/a/b-c", "web/a/b/cd"]
    assert [info.key for info in store.list("web/a/b")] == ["web/a/b-c", "web/a/b/cd"]
    assert [info.key for info in store.list("we")] == sorted(f"web/{key}" for key in keys)
    assert list(store.list("nothing/")) == []
    assert list(store.list("web/a/b-c/")) == []


def test_list_tells_what_head_tells(store):
    put(store, "parts/x", b"hello")
    listed, found = next(store.list("parts/")), store.head("parts/x")
    assert (listed.key, listed.size, listed.etag) == (found.key, found.size, found.etag)
    assert abs(listed.modified_at - found.modified_at) < timedelta(seconds=1.001)


def test_list_gives_all_pages(subject):
    keys = sorted(f"control/{'a/' * (n % 2)}{n:04d}" for n in range(1050))
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda key: put(subject.store, key, b"."), keys))
    assert [info.key for info in subject.store.list("control/")] == keys


def test_create_only_refuses_a_second_object(subject):
    put(subject.store, "metadata/2.snapshot.json", b"first", if_absent=True)
    if not subject.create_only:
        put(subject.store, "metadata/2.snapshot.json", b"second", if_absent=True)
        assert body_of(subject.store, "metadata/2.snapshot.json") == b"second"
        return
    for body in (b"second", b"first"):
        with pytest.raises(ObjectExists):
            put(subject.again(), "metadata/2.snapshot.json", body, if_absent=True)
    assert body_of(subject.store, "metadata/2.snapshot.json") == b"first"


def test_one_of_twenty_creators_wins(subject):
    outcomes = _race(subject, lambda client, n: put(client, "metadata/3.snapshot.json", b"by %d" % n, if_absent=True))
    winners = [n for n, error in outcomes.items() if error is None]
    if not subject.create_only:
        assert len(winners) > 1
        return
    assert len(winners) == 1
    assert {type(error) for error in outcomes.values() if error} == {ObjectExists}
    assert body_of(subject.store, "metadata/3.snapshot.json") == b"by %d" % winners[0]


def test_compare_and_swap_refuses_another_etag(subject):
    first = put(subject.store, "metadata/timestamp.json", b"first")
    second = put(subject.store, "metadata/timestamp.json", b"second", if_etag=first.etag)
    if not subject.compare_and_swap:
        return
    with pytest.raises(ConditionFailed):
        put(subject.again(), "metadata/timestamp.json", b"third", if_etag=first.etag)
    assert body_of(subject.store, "metadata/timestamp.json") == b"second"
    put(subject.again(), "metadata/timestamp.json", b"third", if_etag=second.etag)


def test_compare_and_swap_refuses_a_missing_object(subject):
    if not subject.compare_and_swap:
        assert subject.store.properties.compare_and_swap is not True
        return
    with pytest.raises(ConditionFailed):
        put(subject.store, "metadata/timestamp.json", b"x", if_etag='"abc"')
    with pytest.raises(ObjectMissing):
        subject.store.head("metadata/timestamp.json")


def test_one_of_twenty_swappers_wins(subject):
    seen = put(subject.store, "metadata/timestamp.json", b"seen").etag
    outcomes = _race(subject, lambda client, n: put(client, "metadata/timestamp.json", b"by %d" % n, if_etag=seen))
    winners = [n for n, error in outcomes.items() if error is None]
    if not subject.compare_and_swap:
        assert len(winners) > 1
        return
    assert len(winners) == 1
    assert {type(error) for error in outcomes.values() if error} == {ConditionFailed}
    assert body_of(subject.store, "metadata/timestamp.json") == b"by %d" % winners[0]


def _race(subject, write):
    """Let twenty threads write at once; their number → the error each got, or None."""
    start = threading.Barrier(20)

    def one(n):
        start.wait()
        try:
            write(subject.store, n)
        except (ObjectExists, ConditionFailed) as error:
            return error
        return None

    with ThreadPoolExecutor(20) as pool:
        return dict(enumerate(pool.map(one, range(20))))


def test_a_probe_of_two_creations_tells_the_truth(subject):
    """What the publisher does to find a store without conditional writes."""
    put(subject.store, "control/probes/p", b"one", if_absent=True)
    try:
        put(subject.store, "control/probes/p", b"two", if_absent=True)
    except ObjectExists:
        honoured = True
    else:
        honoured = False
    assert honoured == subject.create_only
    assert subject.store.properties.create_only in {None, subject.create_only}


def test_bytes_that_do_not_match_their_digest_are_refused_where_the_store_looks(subject):
    wrong = sha256_of(b"other bytes")
    if not subject.verifies:
        subject.store.put("parts/x", b"these bytes", sha256=wrong)
        assert subject.store.head("parts/x").size == 11
        return
    with pytest.raises(DigestMismatch):
        subject.store.put("parts/x", b"these bytes", sha256=wrong)
    with pytest.raises(ObjectMissing):
        subject.store.head("parts/x")


def test_keys_that_stores_would_read_differently_are_refused(store):
    for key in ("", "/x", "../x", "a/../../x", "a//b", "./a", "a/.", "a/", "nul\0", "x" * 1001, "\ud800"):
        for call in (store.head, store.get, store.delete, lambda key: put(store, key, b"x")):
            with pytest.raises(NameRefused):
                call(key)
    assert list(store.list("")) == []


def test_times_are_utc_and_by_the_stores_clock(store):
    info = put(store, "parts/x", b"x")
    now = store.now()
    for at in (info.modified_at, store.head("parts/x").modified_at, now):
        assert at.utcoffset() == timedelta(0)
        assert abs(datetime.now(UTC) - at) < timedelta(seconds=30)
    assert store.head("parts/x").modified_at <= now + timedelta(seconds=2)


def test_the_store_clock_runs_on(store):
    first = store.now()
    assert store.now() >= first - timedelta(seconds=1)


def test_url_is_for_people(subject):
    url = subject.store.url
    assert scheme_of(url) in {IN_MEMORY, *filter(None, KINDS)}
    assert "testsecret" not in url
    assert "canary" not in url


def test_headers_of_the_layout_are_stored(subject, request):
    """Asked of the server itself; stores without headers have nothing to keep."""
    wanted = {key: headers_for(key) for key in ("parts/ab/x", "metadata/timestamp.json", "control/leases/x", "web/a/b.js")}
    for key in wanted:
        put(subject.store, key, b"x")
    if not subject.store.url.startswith(("s3:", "oss:")):
        assert body_of(subject.store, "parts/ab/x") == b"x"
        return
    server = request.getfixturevalue("juicefs" if "juicefs" in request.node.name else "seaweedfs")
    bucket, _, prefix = subject.store.url.partition("://")[2].partition("/")
    for key, headers in wanted.items():
        got = server.client().head_object(Bucket=bucket, Key=f"{prefix}/{key}")
        assert (got["ContentType"], got["CacheControl"]) == (headers.content_type, headers.cache_control)
        assert "ContentEncoding" not in got
