"""What a release costs by its size: publish, fetch, bundle and install of 1, 4 and 16 GiB: time, CPU, memory.

    python benchmarks/sizes.py [--gib 1 4 16] [--folder DIR]

Each is the whole command, as a person types it, on a directory store. A folder is removed as soon as nothing needs it: 16 GiB
take 45 GB of disk.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import shutil
import sys
import tempfile
from pathlib import Path

from figures import Job
from inputs import tensors_for, write_model
from publish import MODELPORT, Took, run

# Of any command, whatever the size.
PEAK_MIB = 400
WARMING_GIB = 0.01


def measure(gib: float, folder: Path) -> dict[str, Took]:
    """Publish, fetch, carry and install a model of ``gib``."""
    environment = {
        **os.environ,
        "MODELPORT_STORE": str(folder / "store"),
        # The wheels that a bundle carries are loaded once, in the run that is not counted.
        "XDG_CACHE_HOME": str(folder.parent / "cache"),
        **{f"XDG_{name}_HOME": str(folder / name.lower()) for name in ("DATA", "STATE")},
    }
    model, name = folder / "model", "bench-v1.0.0"
    write_model(model / "model.safetensors", tensors_for(int(gib * 2**30)))
    # What making the input left to be written is not the first command's burden.
    os.sync()
    took = {}

    def step(what: str, *words: str | Path) -> None:
        took[what] = run([MODELPORT, *words], environment)
        os.sync()

    step("publish", "publish", "--model", name, "--source", model)
    shutil.rmtree(model)
    step("fetch", "fetch", "--model", name, "--to", folder / "fetched", "--cache-limit", "0")
    shutil.rmtree(folder / "fetched")
    step("bundle", "bundle.build", "--model", name, "--to", folder / "medium", "--volume-size", "none")
    root = hashlib.sha256((folder / "store" / "metadata" / "1.root.json").read_bytes()).hexdigest()
    shutil.rmtree(folder / "store")
    step("install", "bundle.install", "--from", folder / "medium", "--site", folder / "site", "--root-fingerprint", root)
    return took


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gib", type=float, nargs="*", default=[1.0, 4.0, 16.0])
    parser.add_argument("--folder", type=Path, default=None, help="where models and stores go")
    arguments = parser.parse_args()
    job = Job("sizes", "Cost by size", "whole commands on a directory store, bf16 weights.")
    lines = []
    with tempfile.TemporaryDirectory(prefix="sizes-", dir=arguments.folder) as place:
        for gib in (WARMING_GIB, *arguments.gib):
            folder = Path(place, "work")
            folder.mkdir()
            found = measure(gib, folder)
            shutil.rmtree(folder)
            for what, took in found.items() if gib != WARMING_GIB else ():
                lines.append(f"| {what} | {gib:g} | {took.wall_s:.1f} | {took.cpu_s:.1f} | {took.peak_mib:.0f} |")
                job.amount(f"{what} of {gib:g} GiB", took.wall_s, "s")
                job.amount(f"{what} of {gib:g} GiB: peak memory", took.peak_mib, "MiB", most=PEAK_MIB)
    job.show("| command | GiB | seconds | CPU seconds | peak MiB |", "| --- | --- | --- | --- | --- |", *lines)
    return job.finish()


if __name__ == "__main__":
    sys.exit(main())
