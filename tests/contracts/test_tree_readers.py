"""What ``ports.TreeReader`` promises, against every implementation of it."""

from __future__ import annotations

import contextlib
import itertools
import os
import random
import threading

import pytest

from bundles.index import Member, Plan, bundle_of
from bundles.medium import Medium, Volume
from bundles.reader import BundleReader
from pipeline.digest import sha256_of
from pipeline.errors import InvalidDocument, ObjectMissing, SourceLied, StoreUnavailable, UsageError
from pipeline.past_cache import aligned_memory
from pipeline.ports import Fresh, NotModified
from pipeline.sources.http import HttpReader
from pipeline.sources.mirrors import Mirrors
from pipeline.sources.objects import FolderReader, StoreReader
from pipeline.stores.directory import DirectoryStore
from pipeline.stores.memory import MemoryStore
from pipeline.stores.oss import OssStore
from pipeline.stores.s3 import S3Store
from tests.bundle_forge import write_volume
from tests.servers.hostile import run_hostile
from tests.servers.s3_servers import ACCESS_KEY, SECRET_KEY

PART = "parts/ef/" + "ef" * 32
BODY = random.Random(7).randbytes(1_300_000)
SMALL = "metadata/timestamp.json"
OBJECTS = {PART: BODY, SMALL: b'{"signed":{}}', "targets/bert/channels/x.stable.json": b"{}", "parts/00/empty": b""}
_COUNT = itertools.count(1)


def filled(store):
    for key, body in OBJECTS.items():
        store.put(key, body, sha256=sha256_of(body))
    return StoreReader(store)


def folder(request, stack):
    path = request.getfixturevalue("tmp_path") / "tree"
    filled(DirectoryStore(path))
    return FolderReader(path)


def directory_store(request, stack):
    return filled(DirectoryStore(request.getfixturevalue("tmp_path") / "tree"))


def memory_store(request, stack):
    return filled(MemoryStore())


def seaweedfs(request, stack):
    server = request.getfixturevalue("seaweedfs")
    bucket = request.getfixturevalue("bucket_on")(server)
    return filled(
        S3Store(bucket, f"tree{next(_COUNT)}", endpoint=server.endpoint, region=server.region, open_session=server.session)
    )


def volume(request, stack):
    """A bundle of one volume; made by hand, for no bundle of a tree holds an object without a byte."""
    path = request.getfixturevalue("tmp_path") / "bert-v1.0.0.vol001.tar"
    members = {key: Member(key, len(body), sha256_of(body)) for key, body in OBJECTS.items()}
    plan = Plan(
        name="bert-v1.0.0",
        root_fingerprint=sha256_of(b""),
        snapshot=1,
        releases=(),
        bases=(),
        documents=tuple(member for key, member in members.items() if not key.startswith("parts/")),
        volumes=(tuple(member for key, member in members.items() if key.startswith("parts/")),),
    )
    write_volume(path, plan, OBJECTS)
    bundle = bundle_of(plan)
    return BundleReader(path.parent, Medium((path.parent,), bundle, {1: (Volume(path, bundle, bundle.layout(1)),)}, ()))


def http(request, stack):
    return HttpReader(stack.enter_context(run_hostile(OBJECTS)).url)


def https(request, stack):
    server = stack.enter_context(run_hostile(OBJECTS, context=request.getfixturevalue("server_tls")))
    return HttpReader(server.url, ca_file=str(request.getfixturevalue("ca_file")))


def two_mirrors(request, stack):
    return Mirrors([http(request, stack), folder(request, stack)], visible_s=())


@pytest.fixture(
    params=[folder, directory_store, memory_store, seaweedfs, volume, http, https, two_mirrors], ids=lambda make: make.__name__
)
def reader(request):
    with contextlib.ExitStack() as stack:
        made = request.param(request, stack)
        yield made
        made.close()


def test_a_taker_may_have_blocks_in_its_own_memory(reader):
    for start, size in [(0, len(BODY)), (512, len(BODY) - 512), (700_001, 300_000)]:
        memory = aligned_memory(size)
        whole, at = memoryview(memory), 0

        def take(block, whole=whole):
            nonlocal at
            if block.obj is not whole.obj:
                whole[at : at + len(block)] = block
            at += len(block)
            return whole[at:]

        reader.read_range(PART, start, size, take, total=len(BODY))
        assert at == size
        assert whole[:size] == BODY[start : start + size]


def test_ranges_come_whole_and_in_order(reader):
    for start, size in [(0, 1), (0, len(BODY)), (1, len(BODY) - 1), (700_000, 300_001), (len(BODY) - 1, 1), (5, 0)]:
        got = bytearray()
        reader.read_range(PART, start, size, got.extend, total=len(BODY))
        assert got == BODY[start : start + size]
        got.clear()
        reader.read_range(PART, start, size, got.extend)
        assert got == BODY[start : start + size]


def test_objects_come_whole_or_from_a_byte_on(reader):
    assert b"".join(reader.get(PART)) == BODY
    assert b"".join(reader.get(SMALL)) == OBJECTS[SMALL]
    assert b"".join(reader.get(PART, start=1000, size=10)) == BODY[1000:1010]
    assert b"".join(reader.get(PART, start=1_299_990)) == BODY[-10:]
    assert b"".join(reader.get(PART, start=1_299_990, size=500)) == BODY[-10:]
    assert b"".join(reader.get(PART, start=len(BODY))) == b""
    assert b"".join(reader.get("parts/00/empty")) == b""


def test_missing_object_is_missing(reader):
    for call in (
        lambda: b"".join(reader.get("metadata/9.root.json")),
        lambda: reader.read_range("parts/00/none", 0, 10, bytes),
        lambda: reader.revalidate("metadata/9.root.json", "", cap=100),
    ):
        with pytest.raises(ObjectMissing) as missing:
            call()
        assert missing.value.exit_code == 3


@pytest.mark.parametrize(
    "start, size, total",
    [(0, len(BODY) + 1, None), (len(BODY), 1, None), (len(BODY) - 5, 10, None), (0, len(BODY) - 1, len(BODY) - 1)],
)
def test_object_of_another_size_is_refused(reader, start, size, total):
    got = bytearray()
    with pytest.raises(SourceLied):
        reader.read_range(PART, start, size, got.extend, total=total)
    assert BODY[start:].startswith(bytes(got))


def test_unchanged_object_is_told_and_a_large_one_refused(reader):
    fresh = reader.revalidate(SMALL, "", cap=1000)
    assert isinstance(fresh, Fresh)
    assert fresh.data == OBJECTS[SMALL]
    assert fresh.etag
    assert reader.revalidate(SMALL, fresh.etag, cap=1000) == NotModified(fresh.etag)
    assert reader.revalidate(SMALL, '"another"', cap=1000).data == OBJECTS[SMALL]
    with pytest.raises(InvalidDocument, match="more than 12 bytes"):
        reader.revalidate(SMALL, "", cap=12)
    with pytest.raises(InvalidDocument):
        reader.revalidate(PART, "", cap=1000)


@pytest.mark.parametrize(
    "key", ["../secret", "/etc/passwd", "a//b", "a/./b", "a/%2e%2e/b", "", "a\\b", "a\nb", "https://evil.example/x"]
)
def test_key_that_leads_elsewhere_is_refused(reader, key):
    for call in (
        lambda: b"".join(reader.get(key)),
        lambda: reader.read_range(key, 0, 1, bytes),
        lambda: reader.revalidate(key, "", cap=9),
    ):
        with pytest.raises((UsageError, ObjectMissing)):
            call()


def test_error_of_the_taker_goes_through(reader):
    def take(block):
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        reader.read_range(PART, 0, 100_000, take, total=len(BODY))
    got = bytearray()
    reader.read_range(PART, 0, 100, got.extend, total=len(BODY))
    assert got == BODY[:100]


def test_many_threads_read_at_once(reader):
    wrong = []

    def work(number):
        got = bytearray()
        for at in range(number * 1000, len(BODY), 400_000):
            got.clear()
            reader.read_range(PART, at, min(90_000, len(BODY) - at), got.extend, total=len(BODY))
            if bytes(got) != BODY[at : at + 90_000]:
                wrong.append((number, at))

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert reader.requests >= 8


def test_abandoned_reads_let_go_of_what_they_held(reader):
    for _ in range(3):
        blocks = reader.get(PART)
        next(blocks)
        del blocks
        reader.get(PART)
    assert b"".join(reader.get(SMALL)) == OBJECTS[SMALL]


def test_address_shows_no_credential(reader):
    assert ACCESS_KEY not in reader.url
    assert SECRET_KEY not in reader.url
    assert reader.url


def test_oss_store_is_read_as_any_store(oss_server, request):
    bucket = request.getfixturevalue("bucket_on")(oss_server)
    store = OssStore(bucket, "tree", endpoint=oss_server.endpoint, region=oss_server.region, credentials=oss_server)
    reader = filled(store)
    got = bytearray()
    reader.read_range(PART, 1000, 500_000, got.extend, total=len(BODY))
    assert got == BODY[1000:501_000]
    with pytest.raises(SourceLied):
        reader.read_range(PART, 0, len(BODY) - 1, bytes, total=len(BODY) - 1)


# --- folders -----------------------------------------------------------------------------------------


def test_folder_follows_no_link_and_opens_no_fifo(tmp_path):
    tree = tmp_path / "tree"
    (tree / "parts").mkdir(parents=True)
    (tmp_path / "secret").write_bytes(b"secret")
    (tree / "parts" / "link").symlink_to(tmp_path / "secret")
    (tree / "metadata").symlink_to(tmp_path)
    os.mkfifo(tree / "parts" / "fifo")
    reader = FolderReader(tree)
    for key in ("parts/link", "metadata/secret", "parts/fifo", "parts"):
        with pytest.raises(ObjectMissing):
            b"".join(reader.get(key))
    (tmp_path / "outer").symlink_to(tree)
    (tree / "parts" / "x").write_bytes(b"x")
    assert b"".join(FolderReader(tmp_path / "outer").get("parts/x")) == b"x"


def test_closed_folder_reader_stops_at_the_next_block(tmp_path):
    (tmp_path / "x").write_bytes(bytes(1_000_000))
    reader = FolderReader(tmp_path)
    blocks = []

    def take(block):
        blocks.append(len(block))
        reader.close()

    with pytest.raises(StoreUnavailable, match="closed") as ended:
        reader.read_range("x", 0, 1_000_000, take)
    assert blocks == [ended.value.delivered]
