"""The walk of fetch against trees in folders: what arrives, what is asked for, what is refused, what is reused."""

import os
import shutil
import threading

import pytest

from pipeline.errors import (
    DigestMismatch,
    DiskError,
    NotPinned,
    ObjectMissing,
    StoreUnavailable,
    UnavailableError,
    UnknownName,
    UsageError,
    VerifyFailed,
)
from pipeline.layout import TIMESTAMP
from pipeline.release import Release
from pipeline.steps import bring
from pipeline.trust.state import TrustState
from pipeline.withdraw import retire_release, yank_release
from tests.fetch_world import Fetcher, Reader, contents, copy_of, make_tree
from tests.publish_world import STABLE

TENSOR = 600 << 10


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    """bert 1.0.0, 1.1.0 (one tensor changed) on stable, 2.0.0-rc.1; raw 1.0.0 in profile raw."""
    tree = make_tree(tmp_path_factory.mktemp("fetch") / "tree")
    tree.lay_out("bert-v1.0.0", tensor_bytes=TENSOR)
    source = tree.lay_out("bert-v1.1.0", tensor_bytes=TENSOR, other=1, publish=False)
    tree.publish("bert-v1.1.0", source, channel=STABLE)
    tree.lay_out("bert-v2.0.0-rc.1", tensor_bytes=TENSOR, other=2)
    tree.lay_out("raw-v1.0.0", tensor_bytes=TENSOR, seed=9, profile="raw")
    return tree


@pytest.fixture
def tree(published, tmp_path):
    """A tree of its own, for a test that changes it."""
    return copy_of(published, tmp_path / "tree")


def check_arrived(tree, fetcher, release, folder=None):
    folder = folder or fetcher.models / release
    assert contents(folder) == contents(tree.sources[release])
    assert [path.name for path in folder.parent.iterdir() if path.name.startswith(".")] == []


# --- what arrives -----------------------------------------------------------------------------------


@pytest.mark.parametrize("release", ["bert-v1.0.0", "raw-v1.0.0"])
def test_a_release_arrives_with_every_byte_and_mode(published, release):
    fetcher = published.fetcher()
    done = fetcher.fetch(release)
    check_arrived(published, fetcher, release)
    assert (done.release, done.folder, done.already_there) == (release, str(fetcher.models / release), False)
    assert done.files == len(contents(published.sources[release]))
    assert done.bytes == sum(len(data) for data, _ in contents(published.sources[release]).values())
    assert done.bytes_fetched == fetcher.readers[0].part_bytes == done.sources[0].bytes
    assert done.requests == len(fetcher.readers[0].asked)
    assert done.bytes_reused == 0
    assert done.sources[0].dropped == ""


@pytest.mark.parametrize(
    "want, release",
    [("bert@stable", "bert-v1.1.0"), ("bert", "bert-v1.1.0"), ("bert@^1.0", "bert-v1.1.0"), ("bert@~1.0.0", "bert-v1.0.0")],
)
def test_channels_and_ranges_choose(published, want, release):
    fetcher = published.fetcher()
    assert fetcher.fetch(want).release == release
    check_arrived(published, fetcher, release)


@pytest.mark.parametrize(
    "want, error, said",
    [
        ("bert-v1.2.0", UnknownName, "bert-v1.1.0"),
        ("bret-v1.0.0", UnknownName, "bert"),
        ("bert@beta", UnknownName, "stable"),
        ("bert@^3", UnknownName, "1.1.0"),
    ],
)
def test_what_is_not_there_is_named_with_the_nearest(published, want, error, said):
    with pytest.raises(error) as caught:
        published.fetcher().fetch(want)
    assert said in str(caught.value) + caught.value.hint


def test_folder_can_be_named(published, tmp_path):
    fetcher = published.fetcher()
    fetcher.fetch("bert-v1.0.0", to=tmp_path / "deep" / "er" / "mine")
    check_arrived(published, fetcher, "bert-v1.0.0", tmp_path / "deep" / "er" / "mine")


def test_patterns_choose_files(published):
    fetcher = published.fetcher()
    done = fetcher.fetch("bert-v1.0.0", include=("*.json", "*.bin"), exclude=("onnx/*",))
    assert set(contents(fetcher.models / "bert-v1.0.0")) == {"config.json"}
    assert done.files == 1
    with pytest.raises(UsageError, match=r"no file of bert-v1\.0\.0 matches"):
        fetcher.fetch("bert-v1.0.0", include=("*.gguf",))


def test_a_wider_selection_adds_what_is_missing(published):
    fetcher = published.fetcher()
    fetcher.fetch("bert-v1.0.0", include=("*.json",))
    done = fetcher.fetch("bert-v1.0.0", include=("*.safetensors",))
    assert set(contents(fetcher.models / "bert-v1.0.0")) == {"config.json", "model.safetensors"}
    assert done.bytes_reused == len((published.sources["bert-v1.0.0"] / "config.json").read_bytes())
    fetcher.fetch("bert-v1.0.0")
    check_arrived(published, fetcher, "bert-v1.0.0")


def test_dry_run_says_what_would_come_and_makes_no_folder(published):
    fetcher = published.fetcher()
    foreseen = fetcher.fetch("bert-v1.0.0", dry=True)
    assert not fetcher.models.exists()
    assert foreseen.bytes_fetched == fetcher.fetch("bert-v1.0.0").bytes_fetched > TENSOR


# --- only what is missing ---------------------------------------------------------------------------


def test_an_installed_release_costs_at_most_three_requests(published):
    fetcher = published.fetcher()
    fetcher.fetch("bert@stable")
    before = len(fetcher.readers[0].asked)
    done = fetcher.fetch("bert@stable")
    assert done.already_there
    assert done.bytes_fetched == 0
    assert [key for key, _, _ in fetcher.readers[0].asked[before:]] == ["metadata/2.root.json", TIMESTAMP]


def test_a_new_version_moves_only_its_new_chunks(published):
    fetcher = published.fetcher()
    fetcher.fetch("bert-v1.0.0")
    fetcher.cache.shrink(0)
    done = fetcher.fetch("bert-v1.1.0")
    check_arrived(published, fetcher, "bert-v1.1.0")
    assert done.bytes_fetched < TENSOR * 1.1
    assert done.bytes_reused > TENSOR * 1.9


def test_the_cache_brings_a_deleted_folder_back_without_a_part(published):
    fetcher = published.fetcher()
    fetcher.fetch("bert-v1.0.0")
    shutil.rmtree(fetcher.models)
    done = fetcher.fetch("bert-v1.0.0")
    check_arrived(published, fetcher, "bert-v1.0.0")
    assert done.bytes_fetched == 0


def test_folders_of_a_fetch_never_share_a_file_with_each_other(published, tmp_path):
    fetcher = published.fetcher()
    fetcher.fetch("bert-v1.0.0")
    fetcher.fetch("bert-v1.0.0", to=tmp_path / "second")
    one, two = fetcher.models / "bert-v1.0.0" / "model.safetensors", tmp_path / "second" / "model.safetensors"
    assert one.stat().st_ino != two.stat().st_ino


def test_a_rotten_cache_entry_is_replaced_and_told(published):
    fetcher = published.fetcher()
    fetcher.fetch("bert-v1.0.0")
    shutil.rmtree(fetcher.models)
    rotten = max(
        (path for path in fetcher.cache.place.glob("files/*/*") if path.suffix != ".chunks"), key=lambda p: p.stat().st_size
    )
    with rotten.open("r+b") as file:
        file.seek(1000)
        file.write(b"rot")
    fetcher.events.clear()
    fetcher.fetch("bert-v1.0.0")
    check_arrived(published, fetcher, "bert-v1.0.0")
    assert [message for message in fetcher.said("cache-rotten") if rotten.name in message]
    assert rotten.read_bytes() == (published.sources["bert-v1.0.0"] / "model.safetensors").read_bytes()


def test_the_cache_stays_within_its_limit(published):
    fetcher = published.fetcher(cache_limit=TENSOR)
    fetcher.fetch("bert-v1.0.0")
    assert (
        sum(path.stat().st_size for path in fetcher.cache.place.rglob("*") if path.suffix != ".chunks" and path.is_file())
        <= TENSOR
    )


def test_offline_makes_no_request(published):
    fetcher = published.fetcher()
    with pytest.raises(UnavailableError, match="nothing of this tree is known"):
        fetcher.fetch("bert-v1.0.0", offline=True)
    fetcher.fetch("bert@stable")
    shutil.rmtree(fetcher.models)
    before = len(fetcher.readers[0].asked)
    assert fetcher.fetch("bert@stable", offline=True).release == "bert-v1.1.0"
    check_arrived(published, fetcher, "bert-v1.1.0")
    with pytest.raises(UnavailableError, match="--offline asks nobody"):
        fetcher.fetch("bert-v1.0.0", offline=True)
    assert len(fetcher.readers[0].asked) == before
    assert not (fetcher.models / "bert-v1.0.0").exists()


# --- what stands there already ----------------------------------------------------------------------


def test_another_version_in_the_same_folder_is_replaced(published, tmp_path):
    fetcher = published.fetcher()
    fetcher.fetch("bert-v1.0.0", to=tmp_path / "m")
    same = (tmp_path / "m" / "onnx" / "noise.bin").stat().st_ino
    done = fetcher.fetch("bert-v1.1.0", to=tmp_path / "m")
    check_arrived(published, fetcher, "bert-v1.1.0", tmp_path / "m")
    assert (tmp_path / "m" / "onnx" / "noise.bin").stat().st_ino == same
    assert done.bytes_fetched < TENSOR * 1.1


def test_work_of_a_person_is_never_replaced(published, tmp_path):
    fetcher = published.fetcher()
    fetcher.fetch("bert-v1.0.0", to=tmp_path / "m")
    (tmp_path / "m" / "notes.txt").write_text("mine")
    with pytest.raises(UsageError, match=r"notes\.txt"):
        fetcher.fetch("bert-v1.1.0", to=tmp_path / "m")
    source = shutil.copytree(published.sources["bert-v1.0.0"], tmp_path / "own")
    (source / "config.json").write_text("{}")
    with pytest.raises(UsageError, match=r"config\.json"):
        fetcher.fetch("bert-v1.0.0", to=source)
    assert (source / "config.json").read_text() == "{}"
    (tmp_path / "m2").mkdir()
    (tmp_path / "m2" / "x").write_text("mine")
    with pytest.raises(UsageError, match="x"):
        fetcher.fetch("bert-v1.0.0", to=tmp_path / "m2")


def test_a_folder_that_is_the_release_by_chance_is_left_alone_and_not_ours(published, tmp_path):
    fetcher = published.fetcher()
    source = shutil.copytree(published.sources["bert-v1.0.0"], tmp_path / "own")
    assert fetcher.fetch("bert-v1.0.0", to=source).already_there
    (source / "config.json").write_text("{}")
    with pytest.raises(UsageError):
        fetcher.fetch("bert-v1.0.0", to=source)


def test_an_altered_file_of_a_fetch_is_put_right(published):
    fetcher = published.fetcher()
    fetcher.fetch("bert-v1.0.0")
    (fetcher.models / "bert-v1.0.0" / "config.json").write_text("{}")
    (fetcher.models / "bert-v1.0.0" / "empty.txt").unlink()
    fetcher.fetch("bert-v1.0.0")
    check_arrived(published, fetcher, "bert-v1.0.0")


@pytest.mark.parametrize("kind", ["link", "link above", "file"])
def test_a_destination_behind_a_link_is_refused(published, tmp_path, kind):
    fetcher = published.fetcher()
    (tmp_path / "real").mkdir()
    planted = tmp_path / "planted"
    if kind == "file":
        planted.write_text("x")
    else:
        planted.symlink_to(tmp_path / "real")
    with pytest.raises(UsageError, match="planted"):
        fetcher.fetch("bert-v1.0.0", to=planted / "below" if kind == "link above" else planted)
    assert list((tmp_path / "real").iterdir()) == []


def test_links_planted_in_the_landing_folder_are_not_followed(published, tmp_path):
    fetcher = published.fetcher()
    sha256 = fetcher.fetch("bert-v1.0.0", dry=True).manifest_sha256
    landing = fetcher.models / f".bert-v1.0.0.partial-{sha256[:16]}"
    (landing / "onnx").mkdir(parents=True)
    victim, hard = tmp_path / "victim", tmp_path / "hard"
    victim.write_text("precious")
    hard.write_text("precious")
    (landing / "config.json").symlink_to(victim)
    (landing / "model.safetensors").hardlink_to(hard)
    os.mkfifo(landing / "run.sh")
    (landing / "stray.txt").write_text("left by another")
    fetcher.fetch("bert-v1.0.0")
    check_arrived(published, fetcher, "bert-v1.0.0")
    assert (victim.read_text(), hard.read_text()) == ("precious", "precious")


def test_space_is_checked_before_the_first_byte(published, monkeypatch):
    fetcher = published.fetcher()
    real = os.fstatvfs

    class Full:
        f_blocks, f_bavail, f_frsize = 9, 1, 4096

    monkeypatch.setattr(bring.os, "fstatvfs", lambda fd: (real(fd), Full())[1])
    with pytest.raises(DiskError, match=r"\d+ bytes are needed, 4096 are free"):
        fetcher.fetch("bert-v1.0.0")
    assert fetcher.readers[0].part_bytes == 0
    assert not (fetcher.models / "bert-v1.0.0").exists()


def test_a_full_disk_leaves_what_came_for_the_next_run(published, monkeypatch):
    fetcher = published.fetcher()
    writes = []
    real = os.pwrite

    def full(fd, data, at):
        writes.append(len(data))
        if len(writes) == 9:
            raise OSError(28, "No space left on device")
        return real(fd, data, at)

    with monkeypatch.context() as patched:
        patched.setattr("pipeline.steps.landing.os.pwrite", full)
        with pytest.raises(DiskError, match="No space left"):
            fetcher.fetch("raw-v1.0.0", connections=1)
    assert not (fetcher.models / "raw-v1.0.0").exists()
    before = fetcher.readers[0].part_bytes
    fetcher.readers = (Reader(published.store),)
    done = fetcher.fetch("raw-v1.0.0")
    check_arrived(published, fetcher, "raw-v1.0.0")
    assert done.bytes_reused > 0
    assert before + done.bytes_fetched < done.bytes + 4 * (1 << 20)


# --- sources that fail ------------------------------------------------------------------------------


def flip_once(when):
    """Spoil the first block for which ``when`` holds."""
    left = [1]

    def spoil(key, at, block):
        if left[0] and when(at):
            left[0] -= 1
            return memoryview(bytes([block[0] ^ 1]) + bytes(block[1:]))
        return block

    return spoil


@pytest.mark.parametrize("release", ["bert-v1.0.0", "raw-v1.0.0"])
def test_a_flipped_bit_is_fetched_again_and_the_rest_kept(published, release):
    fetcher = published.fetcher(Reader(published.store, flip_once(lambda at: True)))
    done = fetcher.fetch(release, connections=1)
    check_arrived(published, fetcher, release)
    clean = published.fetcher().fetch(release).bytes_fetched
    assert clean < done.bytes_fetched <= clean + (1 << 20)


@pytest.mark.parametrize("release", ["bert-v1.0.0", "raw-v1.0.0"])
def test_a_source_that_always_lies_ends_the_fetch_and_nothing_is_installed(published, release):
    fetcher = published.fetcher(Reader(published.store, lambda key, at, block: memoryview(bytes(len(block)))))
    with pytest.raises(DigestMismatch, match="blake3"):
        fetcher.fetch(release)
    assert not (fetcher.models / release).exists()
    fetcher.readers = (Reader(published.store),)
    fetcher.fetch(release)
    check_arrived(published, fetcher, release)


def test_a_lying_mirror_is_named_and_its_work_taken_over(published):
    liar = Reader(published.store, lambda key, at, block: memoryview(bytes(len(block))), name="#liar")
    # Lies are quick: were the other one as quick, it might have brought all before the second lie.
    slow = threading.Event()
    fetcher = published.fetcher(liar, Reader(published.store, lambda key, at, block: slow.wait(0.02) or block))
    done = fetcher.fetch("raw-v1.0.0")
    check_arrived(published, fetcher, "raw-v1.0.0")
    assert "wrong bytes" in next(one.dropped for one in done.sources if one.url.endswith("#liar"))
    assert any("#liar" in message for message in done.warnings)


def test_a_stale_mirror_is_dropped_for_the_metadata(tree, published):
    fetcher = published.fetcher(Reader(published.store))
    fetcher.fetch("bert-v1.0.0")
    tree.lay_out("bert-v1.5.0", tensor_bytes=TENSOR, other=5)
    fetcher.readers = (Reader(tree.store),)
    fetcher.fetch("bert-v1.5.0")
    fetcher.readers = (Reader(published.store, name="#stale"), Reader(tree.store))
    done = fetcher.fetch("bert@^1")
    assert done.release == "bert-v1.5.0"
    assert "seen here before" in next(one.dropped for one in done.sources if one.url.endswith("#stale"))


def test_a_part_that_is_nowhere_is_named(tree):
    for part in (tree.store / "parts").rglob("*"):
        if part.is_file():
            part.unlink()
    with pytest.raises(ObjectMissing, match="parts/"):
        tree.fetcher().fetch("raw-v1.0.0")


def test_a_broken_connection_goes_on_behind_the_last_whole_chunk(published):
    class Breaking(Reader):
        left = 2

        def read_range(self, key, start, size, take, *, total=None):
            if self.left and size > TENSOR:
                self.left -= 1
                super().read_range(key, start, size - 100_000, take, total=total)
                raise StoreUnavailable("cut", delivered=size - 100_000)
            super().read_range(key, start, size, take, total=total)

    fetcher = published.fetcher(Breaking(published.store))
    done = fetcher.fetch("raw-v1.0.0", connections=1)
    check_arrived(published, fetcher, "raw-v1.0.0")
    assert done.bytes_fetched < done.bytes + 3 * TENSOR


def test_a_tree_that_nobody_pinned_is_refused(published, tmp_path):
    fetcher = Fetcher(tmp_path / "f", (Reader(published.store),), "0" * 64)
    with pytest.raises(NotPinned):
        fetcher.fetch("bert-v1.0.0")
    assert not fetcher.models.exists()


def test_mirror_that_shows_no_root_at_all_is_dropped(published):
    class Portal(Reader):
        def get(self, key, *, start=0, size=None):
            yield b"<html>"

    fetcher = published.fetcher(Portal(published.store, name="#portal"), Reader(published.store))
    done = fetcher.fetch("raw-v1.0.0")
    assert "none of its roots" in next(one.dropped for one in done.sources if one.url.endswith("#portal"))


def test_interrupt_leaves_a_state_that_the_next_run_finishes(published):
    class Interrupting(Reader):
        def read_range(self, key, start, size, take, *, total=None):
            super().read_range(key, start, size, take, total=total)
            raise KeyboardInterrupt

    fetcher = published.fetcher(Interrupting(published.store))
    with pytest.raises(KeyboardInterrupt):
        fetcher.fetch("raw-v1.0.0", connections=1)
    first = fetcher.readers[0].part_bytes
    fetcher.readers = (Reader(published.store),)
    done = fetcher.fetch("raw-v1.0.0")
    check_arrived(published, fetcher, "raw-v1.0.0")
    assert done.bytes_fetched == done.bytes - first


def test_two_fetches_at_once_share_the_work(published):
    fetcher = published.fetcher()
    results, errors = [], []

    def work():
        try:
            results.append(fetcher.fetch("bert-v1.0.0"))
        except BaseException as error:  # noqa: BLE001 (a thread reports to its test)
            errors.append(error)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    check_arrived(published, fetcher, "bert-v1.0.0")
    assert sum(done.bytes_fetched for done in results) == max(done.bytes_fetched for done in results)


# --- yanked, retired --------------------------------------------------------------------------------


def test_a_yanked_release_is_taken_only_by_name_and_word(tree):
    machine = tree.site.machine("publisher")
    yank_release(Release.parse("bert-v1.1.0"), machine.place(), machine.events.append, reason="broken tokenizer")
    fetcher = tree.fetcher()
    for want in ("bert-v1.1.0", "bert@stable"):
        with pytest.raises(UsageError, match="broken tokenizer"):
            fetcher.fetch(want)
    with pytest.raises(UsageError):
        fetcher.fetch("bert@stable", allow_yanked=True)
    assert fetcher.fetch("bert@^1").release == "bert-v1.0.0"
    with pytest.raises(UnknownName, match=r"every release of bert in .* in the range ~1\.1 was yanked: 1\.1\.0") as caught:
        fetcher.fetch("bert@~1.1")
    assert "--model bert-v1.1.0 --allow-yanked" in caught.value.hint
    assert fetcher.fetch("bert-v1.1.0", allow_yanked=True).release == "bert-v1.1.0"


def test_a_retired_release_is_unknown(tree):
    machine = tree.site.machine("publisher")
    retire_release(Release.parse("bert-v2.0.0-rc.1"), machine.place(), machine.events.append, reason="old")
    with pytest.raises(UnknownName):
        tree.fetcher().fetch("bert-v2.0.0-rc.1")


# --- verify --folder --------------------------------------------------------------------------------


def test_an_installed_folder_is_proved_without_any_source(published):
    fetcher = published.fetcher()
    fetcher.fetch("bert-v1.0.0")
    fetcher.cache.shrink(0)
    shutil.rmtree(fetcher.home / "trust")
    before = len(fetcher.readers[0].asked)
    proved = fetcher.verify(fetcher.models / "bert-v1.0.0")
    assert proved.release == "bert-v1.0.0"
    assert len(fetcher.readers[0].asked) == before


def damage(folder):
    data = (folder / "model.safetensors").read_bytes()
    middle = len(data) // 2
    (folder / "model.safetensors").write_bytes(data[:middle] + b"oops" + data[middle + 4 :])
    (folder / "config.json").unlink()
    (folder / "run.sh").chmod(0o644)


def test_altered_missing_and_extra_files_are_named(published):
    fetcher = published.fetcher()
    fetcher.fetch("bert-v1.0.0")
    folder = fetcher.models / "bert-v1.0.0"
    damage(folder)
    (folder / "evil.py").write_text("import os")
    (folder / ".git").mkdir()
    (folder / ".git" / "HEAD").write_text("x")
    with pytest.raises(VerifyFailed) as caught:
        fetcher.verify(folder)
    said = str(caught.value)
    for piece in (
        "model.safetensors: 1 of its",
        "config.json: it is missing",
        "run.sh: it is not executable",
        "evil.py: no file",
    ):
        assert piece in said
    assert ".git" not in said


def test_repair_is_told_as_it_is_typed(published, tmp_path):
    fetcher = published.fetcher()
    fetcher.fetch("bert-v1.0.0")
    (tmp_path / "my models").mkdir()
    folder = shutil.copytree(fetcher.models / "bert-v1.0.0", tmp_path / "my models" / "bert-v1.0.0")
    damage(folder)
    with pytest.raises(VerifyFailed) as caught:
        fetcher.verify(folder)
    assert f"--folder '{folder}' --repair" in caught.value.hint


def test_repair_fetches_only_the_bad_chunks(published):
    fetcher = published.fetcher(cache_limit=0)
    fetcher.fetch("bert-v1.0.0")
    folder = fetcher.models / "bert-v1.0.0"
    damage(folder)
    untouched = (folder / "onnx" / "noise.bin").stat()
    done = fetcher.verify(folder, repair=True)
    check_arrived(published, fetcher, "bert-v1.0.0")
    assert done.repaired == ["config.json", "model.safetensors", "run.sh"]
    assert 0 < done.bytes_fetched < TENSOR * 1.1
    after = (folder / "onnx" / "noise.bin").stat()
    assert (after.st_ino, after.st_mtime_ns) == (untouched.st_ino, untouched.st_mtime_ns)


def test_repair_leaves_extra_files_to_their_owner(published):
    fetcher = published.fetcher()
    fetcher.fetch("bert-v1.0.0")
    folder = fetcher.models / "bert-v1.0.0"
    damage(folder)
    (folder / "mine.txt").write_text("mine")
    with pytest.raises(VerifyFailed, match=r"mine\.txt: no file"):
        fetcher.verify(folder, repair=True)
    assert (folder / "mine.txt").read_text() == "mine"
    (folder / "mine.txt").unlink()
    fetcher.verify(folder)


def test_a_folder_that_nobody_installed_is_held_against_the_tree(published, tmp_path):
    fetcher = published.fetcher()
    source = shutil.copytree(published.sources["bert-v1.0.0"], tmp_path / "bert-v1.0.0")
    assert fetcher.verify(source).release == "bert-v1.0.0"
    with pytest.raises(VerifyFailed):
        fetcher.verify(source, release=Release.parse("bert-v1.1.0"))
    with pytest.raises(UsageError, match="which release"):
        fetcher.verify(shutil.copytree(source, tmp_path / "nameless"))
    with pytest.raises(UsageError, match="no folder"):
        fetcher.verify(tmp_path / "none")


def test_trust_seen_by_a_fetch_is_kept(published):
    fetcher = published.fetcher()
    fetcher.fetch("bert-v1.0.0")
    assert TrustState(fetcher.home / "trust").read().seen["timestamp"].version >= 1
