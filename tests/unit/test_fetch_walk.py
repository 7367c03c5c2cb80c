"""The walk of fetch against trees in folders: what arrives, what is asked for, what stands there already, what is reused."""

import os
import shutil

import pytest

from pipeline.errors import (
    DiskError,
    UnavailableError,
    UnknownName,
    UsageError,
)
from pipeline.layout import TIMESTAMP
from pipeline.steps import bring
from tests.fetch_world import TENSOR, Reader, check_arrived, contents, publish_four


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    return publish_four(tmp_path_factory.mktemp("fetch") / "tree")


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
