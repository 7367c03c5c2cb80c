"""One read of a release: parts, reuse of bases, whole-file profiles, and what happens when something fails."""

import hashlib
import os
import random
import subprocess
import sys
import threading
import time
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace

import pytest

from pipeline.errors import SourceChanged, StoreUnavailable
from pipeline.events import Progress
from pipeline.plan.pack import ONE_PART_BYTES
from pipeline.steps.index import index_release
from pipeline.wire import decode_manifest
from tests.makers.releases import (
    MIB,
    Shelf,
    as_base,
    cut_folder,
    folder_bytes,
    index_folder,
    lay_files,
    noise,
    rebuild,
    safetensors,
)
from tests.makers.small_cuts import CHUNK, small_cuts
from tests.open_files import open_below

pytestmark = pytest.mark.timeout(60)


@pytest.fixture
def small():
    with small_cuts():
        yield


def weights(count, size, changed=(), pad=0, version="1"):
    """``count`` tensors of ``size`` bytes of noise; those in ``changed`` are of ``version``."""
    return safetensors(
        [(f"layer.{n}.weight", "I8", noise(size, f"{n} {version if n in changed else '1'}")) for n in range(count)], pad=pad
    )


def test_real_sizes_come_back(tmp_path):
    tree = {
        "model.safetensors": safetensors(
            [
                ("a", "F32", noise(5 * MIB, 1)),
                ("b", "BF16", bytes(3 * MIB)),
                ("c", "I8", noise(100, 2)),
                ("d", "F16", noise(MIB, 3)),
            ]
        ),
        "model.bin": noise(6 * MIB, 4) + bytes(5 * MIB) + b"text " * 100_000,
        "tokenizer.json": b'{"words": [' + b'"word", ' * 50_000 + b"0]}",
        "empty": b"",
        "one": b"1",
    }
    lay_files(tmp_path, tree)
    told = []
    made, shelf = index_folder(tmp_path, part_size=4 * MIB, listen=told.append)
    assert rebuild(decode_manifest(made.data), shelf.bodies) == tree
    assert all(part.size <= 4 * MIB for part in shelf.shipped)
    assert {chunk.encoding for file in made.manifest.files for chunk in file.chunks} >= {"raw", "zstd", "planes2"}
    assert sum(event.bytes for event in told if isinstance(event, Progress)) == sum(map(len, tree.values()))
    assert made.digests == {path: hashlib.sha256(data).hexdigest() for path, data in tree.items()}
    assert made.sha256 == hashlib.sha256(made.data).hexdigest()


def test_equal_content_is_stored_once(tmp_path, small):
    lay_files(tmp_path, {"a/x.bin": noise(20_000, 1), "b/y.bin": noise(20_000, 1), "c.bin": noise(20_000, 1) + noise(5000, 2)})
    made, shelf = index_folder(tmp_path)
    assert 25_000 <= shelf.shipped_bytes <= 25_000 + 2 * CHUNK
    assert made.manifest.files[0].chunks == made.manifest.files[1].chunks
    assert rebuild(made.manifest, shelf.bodies) == folder_bytes(tmp_path)


@pytest.mark.parametrize("delta", [-1, 0, 1])
@pytest.mark.parametrize("parts", [1, 3])
@pytest.mark.parametrize("profile", ["default", "raw", "web"])
def test_file_around_a_multiple_of_the_part_size_has_no_empty_tail(tmp_path, profile, parts, delta, small):
    size = parts * 4 * CHUNK + delta
    # Noise whose first bytes are no header would be cut by content; one tensor of this length has exact cuts.
    body = safetensors([("t", "I8", noise(size - 200, 1))])
    body = safetensors([("t", "I8", noise(size - 200, 1))], pad=size - len(body))
    lay_files(tmp_path, {"w.safetensors": body, "empty": b""})
    assert len(body) == size
    made, shelf = index_folder(tmp_path, part_size=4 * CHUNK, profile=profile)
    assert rebuild(made.manifest, shelf.bodies) == folder_bytes(tmp_path)
    assert all(0 < part.size <= 4 * CHUNK for part in shelf.shipped)
    assert made.manifest.files[0].chunks == ()


def test_folder_of_empty_files_has_no_parts(tmp_path):
    lay_files(tmp_path, {"a": b"", "b/c": b""})
    made, shelf = index_folder(tmp_path)
    assert (made.manifest.parts, shelf.shipped) == ((), [])
    assert rebuild(made.manifest, {}) == {"a": b"", "b/c": b""}


def test_changed_tensors_cost_what_they_weigh(tmp_path, small):
    lay_files(tmp_path, {"m.safetensors": weights(60, 3000)})
    before, shelf = index_folder(tmp_path, part_size=16 * CHUNK)
    lay_files(tmp_path, {"m.safetensors": weights(60, 3000, changed={7, 8, 40}, pad=64, version="2")})
    made, added = index_folder(tmp_path, "bert-v1.1.0", bases=(as_base(before),), part_size=16 * CHUNK)
    header = (tmp_path / "m.safetensors").stat().st_size - 60 * 3000
    assert added.shipped_bytes <= 1.05 * 3 * 3000 + header
    assert made.chunks.new == 3 + -(-header // CHUNK)
    assert rebuild(made.manifest, {**shelf.bodies, **added.bodies}) == folder_bytes(tmp_path)


def test_base_part_of_which_little_serves_is_packed_anew(tmp_path, small):
    """Its chunks follow the new ones; nothing refers to the old part any more."""
    lay_files(tmp_path, {"m.safetensors": weights(20, 4000)})
    before, _ = index_folder(tmp_path, part_size=1 << 20)
    kept, dropped = {0, 1, 2}, set(range(3, 20))
    lay_files(tmp_path, {"m.safetensors": weights(20, 4000, changed=dropped, version="2")})
    made, added = index_folder(tmp_path, "bert-v1.1.0", bases=(as_base(before),), part_size=1 << 20)
    assert made.parts.reused == 0
    assert rebuild(made.manifest, added.bodies) == folder_bytes(tmp_path)
    assert len(kept) * 4000 * 4 < before.manifest.parts[0].size
    again = {before_chunk.blake3 for before_chunk in before.manifest.files[0].chunks} & {
        c.blake3 for c in made.manifest.files[0].chunks
    }
    tail = sorted(made.manifest.files[0].chunks, key=lambda chunk: (chunk.part, chunk.offset))[-len(again) :]
    assert {chunk.blake3 for chunk in tail} == again


def test_source_that_changes_before_poor_parts_are_read_again_is_refused(tmp_path, small, monkeypatch):
    lay_files(tmp_path, {"m.safetensors": weights(20, 4000)})
    before, _ = index_folder(tmp_path)
    lay_files(tmp_path, {"m.safetensors": weights(20, 4000, changed=set(range(3, 20)), version="2")})
    cut = cut_folder(tmp_path, "bert-v1.1.0", bases=(as_base(before),))

    def write(event):
        # The last progress of the first reading: every byte is read, nothing is packed anew yet.
        seen.append(event.bytes)
        if sum(seen) == cut.folder.size:
            times = cut.folder.files[0].place.stat()
            with cut.folder.files[0].place.open("r+b") as target:
                target.seek(2000)
                target.write(b"other")
            os.utime(cut.folder.files[0].place, ns=(times.st_atime_ns, times.st_mtime_ns))

    seen = []
    with pytest.raises(SourceChanged, match=r"m\.safetensors changed"):
        index_release(cut, Shelf(), write, step="upload")


def test_parts_of_equal_bytes_and_unlike_chunks_both_serve(tmp_path, small):
    """Two ways to cut the same bytes cannot stand in one part: one of them gets a part of its own name."""
    header = len(safetensors([("z", "U8", bytes(2000))]))
    padded = safetensors([("z", "U8", bytes(2000))], pad=(CHUNK - (header - 2000)))
    assert len(padded) == CHUNK + 2000
    lay_files(tmp_path, {"a": bytes(CHUNK), "b.safetensors": padded, "c": bytes(CHUNK - 2000)})
    made, shelf = index_folder(tmp_path, part_size=CHUNK, encoding="raw")
    again, _ = index_folder(tmp_path, part_size=CHUNK, encoding="raw")
    assert again.data == made.data
    assert rebuild(made.manifest, shelf.bodies) == folder_bytes(tmp_path)
    assert bytes(CHUNK) in shelf.bodies.values()
    assert b"\0" + bytes(CHUNK - 2000) in [body[: CHUNK - 1999] for body in shelf.bodies.values()]


def test_chunk_as_large_as_a_part_gets_its_gap_too(tmp_path, small):
    header = len(safetensors([("z", "U8", bytes(2000))])) - 2000
    padded = safetensors([("z", "U8", bytes(2000))], pad=CHUNK - header)
    lay_files(tmp_path, {"a.safetensors": padded, "b": bytes(CHUNK - 2000), "c": bytes(CHUNK)})
    for _ in range(20):
        made, shelf = index_folder(tmp_path, part_size=CHUNK, encoding="raw")
        assert rebuild(made.manifest, shelf.bodies) == folder_bytes(tmp_path)
        assert b"\0" + bytes(CHUNK) in shelf.bodies.values()


@pytest.mark.parametrize("profile", ["raw", "web"])
class TestWholeParts:
    """Profiles in which a file is the concatenation of whole parts."""

    def test_file_is_its_parts_end_to_end(self, tmp_path, profile, small):
        lay_files(tmp_path, {"a": noise(50_000, 1), "b": noise(900, 2), "c": noise(3 * CHUNK, 3)})
        made, shelf = index_folder(tmp_path, profile=profile, part_size=3 * CHUNK)
        for file in made.manifest.files:
            order = list(dict.fromkeys(chunk.part for chunk in file.chunks))
            assert b"".join(shelf.bodies[made.manifest.parts[n].blake3] for n in order) == (tmp_path / file.path).read_bytes()

    def test_small_file_is_one_part_whatever_the_base_holds(self, tmp_path, profile):
        data = noise(ONE_PART_BYTES - 1, 1)
        lay_files(tmp_path, {"a.bin": data[300_000:]})
        before, _ = index_folder(tmp_path, profile=profile, part_size=4 * MIB)
        lay_files(tmp_path, {"a.bin": data})
        made, shelf = index_folder(tmp_path, "bert-v1.1.0", profile=profile, part_size=4 * MIB, bases=(as_base(before),))
        assert [len(body) for body in shelf.bodies.values()] == [len(data)]
        assert len(made.manifest.parts) == 1

    def test_header_that_grew_costs_the_part_it_is_in(self, tmp_path, profile, small):
        part_size = 8 * CHUNK
        lay_files(tmp_path, {"m.safetensors": weights(60, 3000)})
        before, shelf = index_folder(tmp_path, profile=profile, part_size=part_size)
        lay_files(tmp_path, {"m.safetensors": weights(60, 3000, pad=3000)})
        made, added = index_folder(tmp_path, "bert-v1.1.0", profile=profile, part_size=part_size, bases=(as_base(before),))
        new = {name: body for name, body in added.bodies.items() if name not in shelf.bodies}
        assert sum(map(len, new.values())) <= part_size + 3000
        assert made.parts.reused == len(before.manifest.parts) - 1
        assert made.parts.total <= len(before.manifest.parts) + 1
        assert rebuild(made.manifest, {**shelf.bodies, **added.bodies}) == folder_bytes(tmp_path)

    def test_bytes_put_into_the_middle_cost_the_part_they_are_in(self, tmp_path, profile, small):
        part_size = 8 * CHUNK
        data = noise(200_000, 1)
        lay_files(tmp_path, {"m.bin": data})
        before, shelf = index_folder(tmp_path, profile=profile, part_size=part_size)
        lay_files(tmp_path, {"m.bin": data[:70_000] + b"put in" * 100 + data[70_000:]})
        made, added = index_folder(tmp_path, "bert-v1.1.0", profile=profile, part_size=part_size, bases=(as_base(before),))
        new = {name: body for name, body in added.bodies.items() if name not in shelf.bodies}
        assert sum(map(len, new.values())) <= part_size + 600 + CHUNK
        assert rebuild(made.manifest, {**shelf.bodies, **added.bodies}) == folder_bytes(tmp_path)

    def test_twenty_releases_do_not_crumble_into_small_parts(self, tmp_path, profile, small):
        part_size, bases, bodies = 8 * CHUNK, (), {}
        for n in range(20):
            lay_files(tmp_path, {"m.safetensors": weights(60, 3000, changed={n, 59 - n}, pad=50 * n, version=str(n))})
            made, shelf = index_folder(tmp_path, f"bert-v1.{n}.0", profile=profile, part_size=part_size, bases=bases)
            bodies.update(shelf.bodies)
            bases = (as_base(made),)
        assert rebuild(made.manifest, bodies) == folder_bytes(tmp_path)
        assert made.parts.total <= 3 * (60 * 3000 // part_size)

    def test_chunks_in_rows_are_not_a_part_each(self, tmp_path, profile, small):
        lay_files(tmp_path, {"z.bin": bytes(CHUNK)})
        before, _ = index_folder(tmp_path, profile=profile, part_size=16 * CHUNK)
        lay_files(tmp_path, {"z.bin": bytes(100 * CHUNK)})
        made, shelf = index_folder(tmp_path, "bert-v1.1.0", profile=profile, part_size=16 * CHUNK, bases=(as_base(before),))
        assert len(shelf.shipped) == 7
        # Equal parts are one object, listed once.
        assert len(made.manifest.parts) == 2
        assert rebuild(made.manifest, shelf.bodies) == folder_bytes(tmp_path)

    def test_equal_files_have_equal_parts(self, tmp_path, profile, small):
        lay_files(tmp_path, {"a.bin": noise(60_000, 1)})
        before, shelf = index_folder(tmp_path, profile=profile, part_size=8 * CHUNK)
        grown = b"grown" * 50 + noise(60_000, 1)
        lay_files(tmp_path, {"a.bin": grown, "b.bin": grown, "c.bin": noise(60_000, 1)})
        made, added = index_folder(tmp_path, "bert-v1.1.0", profile=profile, part_size=8 * CHUNK, bases=(as_base(before),))
        assert made.manifest.files[0].chunks == made.manifest.files[1].chunks
        assert {part.blake3 for part in added.shipped} == {part.blake3 for part in made.manifest.parts}
        assert rebuild(made.manifest, {**shelf.bodies, **added.bodies}) == folder_bytes(tmp_path)


PARTS = 9


@pytest.fixture
def nine_parts(tmp_path, small):
    lay_files(tmp_path, {"m.safetensors": weights(PARTS * 4, CHUNK)})
    made, _ = index_folder(tmp_path, part_size=4 * CHUNK + 200)
    assert len(made.manifest.parts) >= PARTS
    return tmp_path


@pytest.mark.timeout(30)
@pytest.mark.parametrize("number", range(PARTS))
@pytest.mark.parametrize("slow", [False, True])
def test_part_that_cannot_be_shipped_ends_it_and_no_thread_is_left(nine_parts, number, slow):
    before = set(threading.enumerate())
    lock = threading.Lock()
    shelf, calls = Shelf(), []

    def ship(part, body):
        with lock:
            calls.append(len(body))
            at = len(calls) - 1
        if at >= number:
            if slow:
                time.sleep(0.01)
            raise StoreUnavailable(f"no more from {number} on")
        shelf(part, body)

    with pytest.raises(StoreUnavailable, match=f"from {number} on"):
        index_folder(nine_parts, shelf=ship, part_size=4 * CHUNK + 200)
    assert set(threading.enumerate()) - before == set()
    # What was on its way may still fail; nothing new is begun.
    assert len(calls) <= number + 4


@pytest.mark.parametrize("fails", [False, True])
def test_no_source_stays_open(nine_parts, fails):
    lay_files(nine_parts, {"n.safetensors": weights(4, CHUNK), "empty": b"", "o.bin": noise(9000, 4)})

    def ship(part, body):
        if fails:
            raise StoreUnavailable("no more")

    before = open_below(nine_parts)
    with pytest.raises(StoreUnavailable) if fails else nullcontext():
        index_folder(nine_parts, shelf=ship, part_size=4 * CHUNK + 200)
    assert open_below(nine_parts) == before


@pytest.mark.parametrize("part", [0, 2, "last"])
def test_source_that_changes_in_the_middle_is_refused(nine_parts, part):
    made, _ = index_folder(nine_parts, part_size=4 * CHUNK + 200)
    number = len(made.manifest.parts) if part == "last" else part + 1
    place = nine_parts / "m.safetensors"
    times = place.stat()
    shelf = Shelf()

    def ship(part, body):
        shelf(part, body)
        if len(shelf.shipped) == number:
            with place.open("r+b") as target:
                target.write(b"\0")
            os.utime(place, ns=(times.st_atime_ns, times.st_mtime_ns))

    if part == "last":
        # The file has been read to its end by then: what was shipped is what was read, and no change.
        index_folder(nine_parts, shelf=ship, part_size=4 * CHUNK + 200)
    else:
        with pytest.raises(SourceChanged, match=r"m\.safetensors changed"):
            index_folder(nine_parts, shelf=ship, part_size=4 * CHUNK + 200)


def test_empty_file_that_grows_after_it_was_listed_is_refused(tmp_path):
    lay_files(tmp_path, {"a": b"", "b": b"1"})
    cut = cut_folder(tmp_path)
    (tmp_path / "a").write_bytes(b"late")
    with pytest.raises(SourceChanged, match=r"^a changed"):
        index_release(cut, Shelf(), lambda event: None, step="upload")


def test_order_in_which_threads_finish_changes_nothing(tmp_path, small):
    lay_files(tmp_path, {"m.safetensors": weights(30, CHUNK), "t.txt": b"words " * 9000, "n.bin": noise(30_000, 9)})
    made, _ = index_folder(tmp_path, part_size=4 * CHUNK)
    for seed in range(5):
        chance = random.Random(seed)

        def ship(part, body, chance=chance):
            time.sleep(chance.random() / 500)
            Shelf()(part, body)

        again, _ = index_folder(tmp_path, shelf=ship, part_size=4 * CHUNK)
        assert again.data == made.data


INDEX_TWICE = """
import sys
from tests.makers.releases import as_base, index_folder
one, _ = index_folder(sys.argv[1])
two, _ = index_folder(sys.argv[2], "bert-v1.1.0", bases=(as_base(one),))
print(one.sha256, two.sha256)
"""


def test_manifest_does_not_hang_on_process_times_or_order_of_the_folder(tmp_path):
    files = {f"d{n % 3}/f{n}": noise(1000 + n, n % 7) for n in range(40)} | {"m.safetensors": weights(10, 5000)}
    more = {**files, "d0/f0": noise(2000, 99)}
    printed = set()
    for seed, order in (("0", files), ("1", dict(reversed(files.items())))):
        one, two = tmp_path / f"one-{seed}", tmp_path / f"two-{seed}"
        lay_files(one, order)
        lay_files(two, {name: more[name] for name in order})
        for number, path in enumerate(sorted(one.rglob("*"))):
            os.utime(path, (int(seed) * 10**6 + number, int(seed) * 10**6 + number))
        root = Path(__file__).parents[2]
        environment = {**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": str(root), "LC_ALL": "C" if seed == "0" else "C.UTF-8"}
        child = subprocess.run(
            [sys.executable, "-c", INDEX_TWICE, str(one), str(two)],
            cwd=root,
            env=environment,
            capture_output=True,
            text=True,
            check=True,
        )
        printed.add(child.stdout)
    assert len(printed) == 1


def test_a_beginning_that_another_file_had_is_not_hashed_again(tmp_path, small, monkeypatch):
    one, other = weights(6, CHUNK), weights(6, CHUNK, changed={4}, version="2")
    tree = {
        "a.safetensors": one,
        "b.safetensors": one,
        "c.safetensors": other,
        "d.safetensors": other,
        "e.bin": b"",
        "f.bin": b"x",
    }
    hashed = []

    class Counting:
        def __init__(self, state=None):
            self._state = state or hashlib.sha256()

        def copy(self):
            return Counting(self._state.copy())

        def update(self, data):
            hashed.append(len(data))
            self._state.update(data)

        def hexdigest(self):
            return self._state.hexdigest()

    monkeypatch.setattr("pipeline.steps.pieces.hashlib", SimpleNamespace(sha256=Counting))
    cut = cut_folder(lay_files(tmp_path / "m", tree))
    indexed = index_release(cut, None, lambda _: None, step="plan")
    assert indexed.digests == {path: hashlib.sha256(data).hexdigest() for path, data in tree.items()}
    assert len(one) + len(other) > sum(hashed) >= len(one) + 2 * CHUNK
