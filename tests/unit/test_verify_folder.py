"""Fetched folders held against what was signed: what is altered, missing or extra, and what a repair fetches."""

import shutil

import pytest

from pipeline.errors import (
    UsageError,
    VerifyFailed,
)
from pipeline.release import Release
from pipeline.trust.state import TrustState
from tests.fetch_world import TENSOR, check_arrived, publish_four


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    return publish_four(tmp_path_factory.mktemp("fetch") / "tree")


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
