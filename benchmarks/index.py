"""Indexing without encoding beside its limit and ``sha256sum``, in turn in one run.

Run: ``.venv/bin/python benchmarks/index.py [GiB]``. One read of the file gives the file's sha256, each
part's sha256 and blake3, each chunk's blake3. The limit is a bare loop of exactly these hashes on two
threads over memory: no file, no chunks to find, no manifest.

Targets: at least 90 % of the limit, at least 3.5 times ``sha256sum``.
"""

from __future__ import annotations

import hashlib
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path

import blake3

sys.path.insert(0, str(Path(__file__).parent))
from figures import Job, in_turn
from inputs import tensors_for, warm, write_model

from pipeline.encoding import ENCODER
from pipeline.events import ignore
from pipeline.plan.inputs import Inputs
from pipeline.release import Release
from pipeline.sources.folder import scan_folder
from pipeline.steps.cut import cut_release
from pipeline.steps.index import index_release

ROUNDS = 7
PART = 64 << 20
CHUNK = 4 << 20
BARE = "bare loop of the same hashes, 2 threads, over memory"
LEAST = {BARE: 0.9, "sha256sum": 3.5}


def ours(folder: Path) -> None:
    """What ``plan --encoding raw`` does to a folder, without asking a store."""
    inputs = Inputs(bases=(), part_size=PART, profile="default", encoding="raw", encoder=ENCODER)
    cut = cut_release(Release.parse("bench-v1.0.0"), "model", scan_folder(folder), inputs, [], listen=ignore)
    index_release(cut, None, ignore, step="index")


def bare_loop(data: memoryview) -> None:
    """The same hashes on two threads, the longest first."""
    chain = hashlib.sha256()
    work: list[Callable[[], object]] = [lambda: [chain.update(data[at : at + CHUNK]) for at in range(0, len(data), CHUNK)]]
    for at in range(0, len(data), PART):
        part = data[at : at + PART]
        work.append(lambda part=part: hashlib.sha256(part).digest())
        work.append(lambda part=part: blake3.blake3(part).digest())
        work.append(lambda part=part: [blake3.blake3(part[i : i + CHUNK]).digest() for i in range(0, len(part), CHUNK)])
    work.reverse()

    def run() -> None:
        while work:
            try:
                step = work.pop()
            except IndexError:
                return
            step()

    threads = [threading.Thread(target=run) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def main() -> int:
    """Measure and print."""
    size = int(float(sys.argv[1] if len(sys.argv) > 1 else "1") * 2**30)
    folder = Path(tempfile.mkdtemp(prefix="modelport-bench-"))
    try:
        file = folder / "model" / "model.safetensors"
        write_model(file, tensors_for(size))
        warm(file)
        data = memoryview(file.read_bytes())
        contenders: dict[str, Callable[[], object]] = {
            "modelport index": lambda: ours(file.parent),
            BARE: lambda: bare_loop(data),
            "sha256sum": lambda: subprocess.run(["sha256sum", file], check=True, stdout=subprocess.DEVNULL),
        }
        ours_s, *peers = in_turn(contenders, ROUNDS).values()
        job = Job(
            "index",
            "Indexing without encoding",
            f"{len(data) / 2**30:g} GiB of safetensors in the page cache, one read: file sha256, part sha256 and blake3, chunk blake3.",
        )
        for (name, least), found in zip(LEAST.items(), peers, strict=True):
            job.compare("index", name, ours_s, found, least=least)
        job.amount("index", len(data) / statistics.median(ours_s) / 1e9, "GB/s")
        return job.finish()
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    sys.exit(main())
