"""Proof of a folder's files when the disk fails under it: nothing stays open."""

import os
from pathlib import Path

import pytest

from pipeline.steps import proofread
from pipeline.steps.proofread import read_proof
from tests.makers.fetching import manifest_of


def descriptors():
    return len(list(Path("/proc/self/fd").iterdir()))


def test_disk_that_fails_leaves_no_file_open(tmp_path, monkeypatch):
    manifest = manifest_of([[(f"chunk {number} of {file}", 10) for number in range(8)] for file in range(6)])
    for file in manifest.files:
        (tmp_path / file.path).write_bytes(bytes(file.size))
    # Each chunk is a batch of its own, so that many wait when the first one fails.
    monkeypatch.setattr(proofread, "BATCH_BYTES", 1)

    def fail(*_):
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(proofread, "hash_at", fail)
    folder_fd = os.open(tmp_path, os.O_RDONLY)
    try:
        before = descriptors()
        with pytest.raises(OSError, match="Input/output error") as caught:
            read_proof(folder_fd, manifest, range(len(manifest.files)))
        # The failure is still held, as by whoever reports it.
        assert (caught.value.errno, descriptors()) == (5, before)
    finally:
        os.close(folder_fd)
