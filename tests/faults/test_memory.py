"""Memory is bounded whatever the size of the model: a child publishes sparse gigabytes and looks at its own peak."""

import json
import os
import struct
import subprocess
import sys
from pathlib import Path

import pytest

LIMIT = 400 << 20
MIB = 1 << 20

CHILD = """
import sys, time
from pathlib import Path
from pipeline.errors import ObjectMissing
from pipeline.events import ignore
from pipeline.ports import ObjectInfo
from pipeline.steps.upload import upload_release
from pipeline.stores.memory import MemoryStore
from tests.makers.releases import cut_folder


class NullStore(MemoryStore):
    sent = 0

    def put(self, key, body, *, sha256, if_absent=False, if_etag=None):
        # A store slower than the disk, so that parts wait for it.
        time.sleep(0.05)
        NullStore.sent += memoryview(body).nbytes
        return ObjectInfo(key, 0, self.now(), "none", sha256)


cut = cut_folder(Path(sys.argv[1]), profile=sys.argv[2], encoding=sys.argv[3])
indexed = upload_release(cut, NullStore(), repair=False, listen=ignore).indexed
peak = next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM"))
print(int(peak) * 1024, NullStore.sent, indexed.manifest.plain_bytes, indexed.parts.total)
"""


def sparse(path, size, *, header=b""):
    """A file of ``size`` bytes that takes little room, and no two of whose chunks are equal."""
    with path.open("wb") as target:
        target.write(header)
        for at in range(len(header), size - 8, 128 << 10):
            target.seek(at)
            target.write(struct.pack("<Q", at))
        target.truncate(size)


def bf16_header(size):
    text = json.dumps({"w": {"dtype": "BF16", "shape": [size // 2], "data_offsets": [0, size]}}).encode()
    return struct.pack("<Q", len(text)) + text


@pytest.mark.timeout(120)
@pytest.mark.parametrize(
    "profile, encoding, size, tensor",
    [("default", "raw", 1024 * MIB, False), ("raw", "auto", 640 * MIB, True), ("default", "auto", 512 * MIB, True)],
    ids=["opaque", "whole parts", "planes"],
)
def test_peak_of_a_publish_does_not_grow_with_the_model(tmp_path, profile, encoding, size, tensor):
    header = bf16_header(size) if tensor else b""
    sparse(tmp_path / "model.safetensors", size + len(header), header=header)
    root = Path(__file__).parents[2]
    child = subprocess.run(
        [sys.executable, "-c", CHILD, str(tmp_path), profile, encoding],
        cwd=root,
        env={**os.environ, "PYTHONPATH": str(root)},
        capture_output=True,
        text=True,
        check=True,
    )
    peak, sent, plain, parts = map(int, child.stdout.split())
    assert plain == size + len(header)
    if encoding == "raw" or profile == "raw":
        assert sent == plain
        assert parts == -(-size // (64 * MIB)) + (1 if tensor or parts * 64 * MIB > plain else 0)
    assert peak <= LIMIT, f"{peak >> 20} MiB for a model of {size >> 20} MiB"
