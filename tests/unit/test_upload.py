"""Parts into a store: what is there is believed only by a digest, and never overwritten unasked."""

import errno
import os

import pytest

from pipeline.errors import AccessDenied, DiskError, PoisonedObject, SourceChanged, StoreUnavailable
from pipeline.events import PartDone, Progress, StepFinished, StepStarted, ignore
from pipeline.layout import part_key
from pipeline.ports import read_object
from pipeline.retry import Patience, Retry
from pipeline.sources.reading import SourceReader
from pipeline.steps import rooms
from pipeline.steps.rooms import PARTS_AT_ONCE
from pipeline.steps.upload import LOOK_AGAIN, put_part, upload_release
from pipeline.stores import drafts
from pipeline.stores.directory import DirectoryStore
from pipeline.stores.faulty import Fault, FaultyStore
from pipeline.stores.memory import MemoryStore
from pipeline.stores.retrying import RetryingStore
from tests.makers.releases import MIB, cut_folder, folder_bytes, lay_files, name_part, noise, rebuild
from tests.makers.small_cuts import CHUNK, small_cuts
from tests.makers.stores import DigestlessStore, FlickeringStore, plant
from tests.open_files import open_below

pytestmark = pytest.mark.timeout(60)

BODY = noise(5000, 1)
PART = name_part(memoryview(BODY))
KEY = part_key(PART.blake3)
STORES = [MemoryStore, DigestlessStore]


def put(store, *, repair=False):
    return put_part(store, PART, memoryview(BODY), repair=repair)


@pytest.mark.parametrize("make", STORES)
def test_part_that_is_not_there_is_sent_once(make):
    store = make()
    assert put(store) == "sent"
    assert put(store) == "present"
    assert put(store, repair=True) == "present"
    assert read_object(store, KEY, cap=MIB) == BODY
    assert [info.key for info in store.list("")] == [KEY]


@pytest.mark.parametrize("make", STORES)
@pytest.mark.parametrize(
    "other", [b"x" * 5000, BODY[:-1], BODY[:100], b"", BODY + b"!"], ids=["same size", "one short", "torn", "empty", "longer"]
)
def test_other_bytes_under_its_name_are_reported_and_kept(make, other):
    store = make()
    plant(store, KEY, other)
    with pytest.raises(PoisonedObject) as error:
        put(store)
    assert KEY in str(error.value)
    assert "expected" in str(error.value)
    assert "--repair" in error.value.hint
    assert error.value.exit_code == 3
    assert read_object(store, KEY, cap=MIB) == other


@pytest.mark.parametrize("make", STORES)
@pytest.mark.parametrize("other", [b"x" * 5000, BODY[:100]])
def test_repair_replaces_other_bytes(make, other):
    store = make()
    plant(store, KEY, other)
    assert put(store, repair=True) == "replaced"
    assert read_object(store, KEY, cap=MIB) == BODY
    assert put(store) == "present"


def test_store_that_vouches_for_no_digest_is_read_and_one_that_does_is_not():
    store = DigestlessStore()
    put(store)
    assert store.gets == 0
    put(store)
    assert store.gets == 1
    vouching = FaultyStore(MemoryStore())
    put(vouching)
    put(vouching)
    assert [op for op, _ in vouching.calls] == ["head", "put", "head"]


def test_size_alone_shows_a_torn_object_without_reading_it():
    store = DigestlessStore()
    plant(store, KEY, BODY[:10])
    with pytest.raises(PoisonedObject, match="10 bytes, expected 5000"):
        put(store)
    assert store.gets == 0


def test_part_that_somebody_else_writes_meanwhile_is_looked_at_again():
    store = MemoryStore()
    racing = FaultyStore(store, [Fault("put", "hold", meanwhile=lambda: plant(store, KEY, BODY))])
    assert put(racing) == "present"
    poisoned = MemoryStore()
    racing = FaultyStore(poisoned, [Fault("put", "hold", meanwhile=lambda: plant(poisoned, KEY, b"theirs"))])
    with pytest.raises(PoisonedObject):
        put(racing)


@pytest.mark.parametrize("times, ends", [(0, "sent"), (LOOK_AGAIN - 1, "sent"), (LOOK_AGAIN, "gives up")])
def test_object_that_comes_and_goes_is_not_chased_for_ever(times, ends):
    store = FlickeringStore(times)
    if ends == "sent":
        assert put(store) == "sent"
    else:
        with pytest.raises(StoreUnavailable, match="there when it is written and gone when it is read"):
            put(store)


def test_answer_that_was_lost_ends_in_one_object():
    store = MemoryStore()
    retry = Retry(Patience(attempts=3), sleep=lambda _: None)
    unlucky = RetryingStore(FaultyStore(store, [Fault("put", "lose answer")]), retry=retry)
    assert put(unlucky) == "present"
    assert read_object(store, KEY, cap=MIB) == BODY


@pytest.fixture
def model(tmp_path):
    lay_files(tmp_path, {f"w{n}.bin": noise(3 * CHUNK, n) for n in range(4)} | {"empty": b""})
    with small_cuts():
        yield tmp_path


@pytest.fixture(params=["memory", "directory"])
def store(request, tmp_path_factory):
    """One that takes whole parts, and one that takes them while they fill; nothing stays of what was not put."""
    if request.param == "memory":
        yield MemoryStore()
        return
    folder = tmp_path_factory.mktemp("store") / "store"
    yield DirectoryStore(folder)
    assert [path.name for path in folder.glob(".tmp/*") if path.name != "lock"] == []
    assert open_below(folder) == []


def stored(store):
    return {info.key.rpartition("/")[2]: read_object(store, info.key, cap=300 * MIB) for info in store.list("parts/")}


def upload(place, store, *, repair=False, listen=ignore, check=None):
    return upload_release(cut_folder(place, part_size=4 * CHUNK), store, repair=repair, listen=listen, check=check)


def test_release_is_uploaded_and_found_again(model, store):
    told = []
    done = upload(model, store, listen=told.append)
    assert rebuild(done.indexed.manifest, stored(store)) == folder_bytes(model)
    assert isinstance(told[0], StepStarted)
    assert isinstance(told[-1], StepFinished)
    parts = [event for event in told if isinstance(event, PartDone)]
    assert {event.how for event in parts} == {"sent"}
    assert sum(event.size for event in parts) == done.indexed.manifest.stored_bytes
    again = []
    second = upload(model, store, listen=again.append)
    assert second.indexed.data == done.indexed.data
    assert {event.how for event in again if isinstance(event, PartDone)} == {"present"}
    assert second.replaced == ()


def test_repair_names_what_it_replaced(model, store):
    done = upload(model, store)
    keys = sorted(part_key(part.blake3) for part in done.indexed.manifest.parts)
    plant(store, keys[0], b"poison")
    plant(store, keys[2], b"poison")
    with pytest.raises(PoisonedObject):
        upload(model, store)
    assert upload(model, store, repair=True).replaced == (keys[0], keys[2])
    assert rebuild(done.indexed.manifest, stored(store)) == folder_bytes(model)


@pytest.mark.parametrize("number", range(1, 4))
@pytest.mark.parametrize("error", [AccessDenied, DiskError, StoreUnavailable])
@pytest.mark.parametrize("op", ["put", "head"])
def test_upload_that_failed_anywhere_is_taken_up_where_it_stopped(model, store, number, error, op):
    failing = FaultyStore(store, [Fault(op, "refuse", nth=number, times=99, error=lambda: error("planned"))])
    with pytest.raises(error, match="planned"):
        upload(model, failing)
    there = set(stored(store))
    assert len(there) <= number
    told = []
    done = upload(model, store, listen=told.append)
    sent = {event.blake3 for event in told if isinstance(event, PartDone) and event.how == "sent"}
    assert not sent & there
    assert rebuild(done.indexed.manifest, stored(store)) == folder_bytes(model)


def test_source_that_changes_leaves_nothing_but_parts(model, store):
    seen = []

    def write(event):
        # The first bytes are read; the last file is not yet.
        if isinstance(event, Progress) and not seen:
            seen.append(event)
            (model / "w3.bin").write_bytes(b"new")

    with pytest.raises(SourceChanged, match=r"w3\.bin changed"):
        upload(model, store, listen=write)
    assert {info.key.split("/")[0] for info in store.list("")} <= {"parts"}


def test_check_that_refuses_a_part_ends_the_upload(model, store):
    def check(name, how):
        raise DiskError(f"{how} is not in the plan")

    with pytest.raises(DiskError, match="sent is not in the plan"):
        upload(model, store, check=check)


class Drafting(DirectoryStore):
    """Counts the drafts that are begun."""

    drafts = 0

    def draft(self):
        self.drafts += 1
        return super().draft()


def test_parts_that_are_found_are_not_written_for_nothing(model, tmp_path_factory):
    folder = tmp_path_factory.mktemp("store")
    first = Drafting(folder)
    parts = upload(model, first).indexed.manifest.parts
    assert first.drafts == len(parts) > PARTS_AT_ONCE
    again = Drafting(folder)
    upload(model, again)
    # Before the first answer came, as many as may be under way were begun.
    assert 1 <= again.drafts <= PARTS_AT_ONCE
    last = Drafting(folder)
    last.delete(part_key(parts[-1].blake3))
    upload(model, last)
    assert set(stored(last)) == {part.blake3 for part in parts}


def test_a_part_that_is_there_costs_no_space_that_is_missing(model, tmp_path_factory, monkeypatch):
    folder = tmp_path_factory.mktemp("store")
    upload(model, DirectoryStore(folder))

    def fail(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(drafts, "write_past_cache", fail)
    told = []
    upload(model, DirectoryStore(folder), listen=told.append)
    assert {event.how for event in told if isinstance(event, PartDone)} == {"present"}


def test_source_that_fails_in_the_middle_of_a_part_leaves_nothing_of_it(model, store, monkeypatch):
    real, calls = SourceReader.read_into, []

    def fail(reader, at, room):
        calls.append(at)
        if len(calls) == 7:
            raise SourceChanged("gone")
        real(reader, at, room)

    monkeypatch.setattr(SourceReader, "read_into", fail)
    with pytest.raises(SourceChanged, match="gone"):
        upload(model, store)
    assert {name: name_part(memoryview(body)).blake3 for name, body in stored(store).items()} == {
        name: name for name in stored(store)
    }


def test_memory_that_cannot_be_had_for_a_part_ends_the_upload_and_ships_no_torn_one(model, store, monkeypatch):
    real, copies = rooms._copy, []

    def fail(data, room):
        copies.append(data)
        if len(copies) == 2:
            raise MemoryError
        real(data, room)

    monkeypatch.setattr(rooms, "_copy", fail)
    with pytest.raises(MemoryError):
        upload(model, store)
    assert {name: name_part(memoryview(body)).blake3 for name, body in stored(store).items()} == {
        name: name for name in stored(store)
    }
