"""The sample: laid out once, whole or not at all, with one clear word where it cannot be."""

import errno
import shutil
from pathlib import Path

import pytest

from pipeline import sample
from pipeline.errors import DiskError, SourceError


@pytest.fixture
def package(tmp_path, monkeypatch):
    """Stand in for the installed package: two small files."""
    folder = tmp_path / "package"
    (folder / "1_Pooling").mkdir(parents=True)
    (folder / "model.safetensors").write_bytes(b"weights")
    (folder / "1_Pooling" / "config.json").write_bytes(b"{}")
    found = {str(file.relative_to(folder)): file for file in folder.rglob("*") if file.is_file()}
    monkeypatch.setattr(sample, "sample_files", lambda: found)
    return folder


def test_sample_is_laid_out_with_its_folders(package, tmp_path):
    laid = sample.lay_out_sample(tmp_path / "models")
    assert (laid.files, laid.copied) == (3, 3)
    assert (tmp_path / "models/bert-v2.1.0/1_Pooling/config.json").read_bytes() == b"{}"
    assert sample.lay_out_sample(tmp_path / "models").copied == 0


def test_full_disk_is_named_with_the_bytes_needed_and_leaves_no_half_file(package, tmp_path, monkeypatch):
    def full(source, target):
        target.write_bytes(b"wei")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(shutil, "copy2", full)
    with pytest.raises(DiskError, match="the sample has 9 bytes"):
        sample.lay_out_sample(tmp_path / "models")
    assert [file for file in (tmp_path / "models").rglob("*") if file.is_file()] == []


def test_full_disk_at_the_note_leaves_no_half_of_it(package, tmp_path, monkeypatch):
    def full(file, text, **how):
        file.write_bytes(text[:9].encode())
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_text", full)
        with pytest.raises(DiskError):
            sample.lay_out_sample(tmp_path / "models")
    note = tmp_path / "models" / sample.RELEASE / "model.yaml"
    assert not note.exists()
    assert sample.lay_out_sample(tmp_path / "models").copied == 1
    assert note.read_text() == sample.MODEL_YAML


def test_folder_that_is_a_file_is_refused(package, tmp_path):
    (tmp_path / "models").write_text("")
    with pytest.raises(DiskError):
        sample.lay_out_sample(tmp_path / "models")


def test_package_without_its_weights_is_told(monkeypatch):
    monkeypatch.setattr(sample, "files", lambda package: [])
    with pytest.raises(SourceError, match=r"lacks model\.safetensors"):
        sample.sample_files()
