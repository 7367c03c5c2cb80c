"""Every referenced part is seen at the origin before anything is signed."""

import dataclasses
import time

import pytest

from pipeline.errors import AccessDenied, PoisonedObject, VerifyFailed
from pipeline.events import StepFinished, ignore
from pipeline.layout import part_key
from pipeline.steps.placed import PROOF_S, place_manifest, proof_is_old, prove_again
from pipeline.steps.prove import LATE_WAITS_S, prove_origin, prove_parts
from pipeline.steps.readback import fault_of
from pipeline.steps.upload import upload_release
from pipeline.stores.faulty import Fault, FaultyStore
from pipeline.stores.memory import MemoryStore
from tests.makers.releases import cut_folder, lay_files, name_part, noise
from tests.makers.stores import DigestlessStore, plant

BODIES = [noise(100 + n, n) for n in range(40)]
PARTS = [name_part(memoryview(body)) for body in BODIES]


def filled(make=MemoryStore):
    store = make()
    for part, body in zip(PARTS, BODIES, strict=True):
        plant(store, part_key(part.blake3), body)
    return store


def never(_):
    raise AssertionError("nothing to wait for")


def test_parts_that_are_there_are_proved_without_waiting():
    told = []
    prove_parts(filled(), PARTS, told.append, sleep=never)
    assert isinstance(told[-1], StepFinished)
    assert told[-1].items == len(PARTS)
    prove_parts(MemoryStore(), [], ignore, sleep=never)


def test_release_is_proved_as_it_was_uploaded(tmp_path):
    lay_files(tmp_path, {"a": b"1", "b": b"22"})
    store = MemoryStore()
    uploaded = upload_release(cut_folder(tmp_path), store, repair=False, listen=ignore)
    proved = prove_origin(uploaded, ignore, sleep=never)
    assert proved.uploaded is uploaded
    store.delete(part_key(uploaded.indexed.manifest.parts[0].blake3))
    with pytest.raises(VerifyFailed):
        prove_origin(uploaded, ignore, sleep=lambda _: None)


def test_proof_is_old_when_this_machine_slept_since(tmp_path, monkeypatch):
    lay_files(tmp_path, {"a": b"1"})
    slept_s, real = [0.0], time.clock_gettime
    monkeypatch.setattr(time, "clock_gettime", lambda clock: real(clock) + (slept_s[0] if clock == time.CLOCK_BOOTTIME else 0))
    uploaded = upload_release(cut_folder(tmp_path), MemoryStore(), repair=False, listen=ignore)
    placed = place_manifest(prove_origin(uploaded, ignore), repair=False)
    assert not proof_is_old(placed)
    slept_s[0] = PROOF_S + 1
    assert proof_is_old(placed)
    assert not proof_is_old(prove_again(placed, ignore))
    assert not proof_is_old(dataclasses.replace(placed, at_s=placed.at_s + PROOF_S))


@pytest.mark.parametrize("gone", [1, 3, 40])
def test_missing_parts_are_counted_and_named(gone):
    store = filled()
    for part in PARTS[:gone]:
        store.delete(part_key(part.blake3))
    waits = []
    with pytest.raises(VerifyFailed) as error:
        prove_parts(store, PARTS, ignore, sleep=waits.append)
    assert f"{gone} of 40 parts are not in memory:memory" in str(error.value)
    assert part_key(PARTS[0].blake3) in str(error.value)
    assert ("…" in str(error.value)) == (gone > 3)
    # However many are gone, they are waited for together.
    assert waits == list(LATE_WAITS_S)


def test_part_that_shows_late_is_waited_for():
    key = part_key(PARTS[7].blake3)
    store = FaultyStore(filled(), [Fault("head", "not there yet", times=2, key=key)])
    waits = []
    prove_parts(store, PARTS, ignore, sleep=waits.append)
    assert waits == list(LATE_WAITS_S[:2])
    # Only what was missing is asked for again.
    assert len(store.calls) == len(PARTS) + 2


@pytest.mark.parametrize("make", [MemoryStore, DigestlessStore])
def test_part_of_another_size_is_poison(make):
    store = filled(make)
    plant(store, part_key(PARTS[3].blake3), BODIES[3][:50])
    with pytest.raises(PoisonedObject, match="50 bytes, expected 103"):
        prove_parts(store, PARTS, ignore, sleep=never)


def test_part_of_another_digest_is_poison_where_the_store_vouches_for_one():
    store = filled()
    plant(store, part_key(PARTS[3].blake3), bytes(103))
    with pytest.raises(PoisonedObject, match="sha256"):
        prove_parts(store, PARTS, ignore, sleep=never)


def test_proof_reads_no_bytes():
    store = filled(DigestlessStore)
    prove_parts(store, PARTS, ignore, sleep=never)
    assert store.gets == 0


def test_store_that_refuses_ends_it():
    store = FaultyStore(filled(), [Fault("head", "refuse", nth=20, error=lambda: AccessDenied("planned"))])
    with pytest.raises(AccessDenied):
        prove_parts(store, PARTS, ignore, sleep=never)


def test_reading_back_finds_a_flipped_bit():
    store = FaultyStore(filled(DigestlessStore), [Fault("get", "flip bit")])
    info = store.head(part_key(PARTS[0].blake3))
    assert "sha256" in fault_of(store, PARTS[0], info, read=True)
    assert fault_of(store, PARTS[0], info, read=True) is None
    assert fault_of(store, PARTS[0], info, read=False) is None
