"""The bytes of manifests are pinned: what one version wrote, every later one reads and writes the same."""

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.wire import decode_manifest, encode_manifest
from tests.golden.manifest_make import FOLDER, GOLDEN

PINNED = {
    "manifest-1-default.json": "6bd94629a0b77389fbcb0301f612a2d728cf652fe09e2d1342c0d8e8c164fd75",
    "manifest-1-raw.json": "449ebb8845ff4d5a11f038f0a5c85e433e7ac012aa7e5966244306df11e07463",
    "manifest-1-web.json": "4ecbac9fefaea6b91d82091b56ff38769f735e38a6cd92ef583f94d94675504e",
    "manifest-1-empty.json": "1f9ae876f840b5245a18380a738f7f15a9beadb82eba26d30101ccf8ec6af143",
}


@pytest.mark.parametrize("name", GOLDEN)
def test_manifest_bytes_never_change(name):
    data = (FOLDER / name).read_bytes()
    assert hashlib.sha256(data).hexdigest() == PINNED[name]
    assert decode_manifest(data) == GOLDEN[name]
    assert encode_manifest(GOLDEN[name]) == data


@pytest.mark.parametrize("name", GOLDEN)
def test_manifest_bytes_are_canonical_json(name):
    data = (FOLDER / name).read_bytes()
    canonical = json.dumps(json.loads(data), sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    assert data == canonical.encode() + b"\n"


def test_every_manifest_of_an_earlier_version_still_opens():
    found = sorted(FOLDER.glob("manifest-*.json"))
    assert [path.name for path in found] == sorted(PINNED)
    for path in found:
        decode_manifest(path.read_bytes()).check()


@pytest.mark.parametrize("seed", ["0", "12345"])
def test_manifest_bytes_do_not_hang_on_the_hash_seed(seed):
    script = (
        "import hashlib\nfrom pipeline.wire import encode_manifest\nfrom tests.golden.manifest_make import GOLDEN\n"
        "print({name: hashlib.sha256(encode_manifest(whole)).hexdigest() for name, whole in GOLDEN.items()})"
    )
    root = Path(__file__).parents[2]
    environment = {**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": str(root)}
    printed = subprocess.run(
        [sys.executable, "-c", script], cwd=root, env=environment, capture_output=True, text=True, check=True
    )
    assert printed.stdout.strip() == str(PINNED)
