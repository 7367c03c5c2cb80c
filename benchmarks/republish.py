"""Re-publishing a model of which 4.7 % of the tensor bytes changed and the header grew; then twenty times.

Run: ``.venv/bin/python benchmarks/republish.py [MiB]``. Sizes only, so a busy machine does not matter.
Peers are what users do today with the same two files: fixed 64 MiB parts, and FastCDC of 1 MiB.

Target: new parts hold at most 1.05 times the changed tensor bytes. Ranges per GiB (stored ranges that a
reader of the whole release asks for, neighbours joined) and parts per release are printed.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from pyfastcdc import FastCDC

sys.path.insert(0, str(Path(__file__).parent))
import itertools

from figures import Job
from inputs import TensorSpec, tensors_for, write_model
from peers import look_for

from pipeline.digest import blake3_of
from pipeline.events import ignore
from pipeline.order import PublishOrder
from pipeline.overview import describe_release
from pipeline.place import Place
from pipeline.publish import publish_release
from pipeline.release import Channel, Release
from pipeline.steps.ready import KeyPlace
from pipeline.stores.counting import CountingStore
from pipeline.stores.directory import DirectoryStore
from pipeline.trust.state import TrustState

SHARE = 0.047
RELEASES = 20


def place_in(folder: Path) -> Place:
    """A directory store with keys made on first use."""
    store = CountingStore(DirectoryStore(folder / "store"))
    keys = KeyPlace(None, folder / "keys", first_use=True)
    state = TrustState(folder / "state")
    return Place(store, state, keys, folder / "cache", "bench", lambda: store.counts.sent)


def changed(specs: list[TensorSpec], turn: int) -> frozenset[str]:
    """About 4.7 % of the bytes in whole tensors, others each turn."""
    wanted = SHARE * sum(spec.size for spec in specs)
    names: set[str] = set()
    total, at = 0, turn * 7 + 1
    while total < wanted:
        spec = specs[at % len(specs)]
        if spec.name not in names and total + spec.size <= wanted * 1.05:
            names.add(spec.name)
            total += spec.size
        at += 5 if len(specs) % 5 else 3
        if at > 1000 * len(specs):
            break
    return frozenset(names)


def chunked(path: Path, kind: str) -> set[tuple[str, int]]:
    """What a peer would store: chunk digests with sizes."""
    data = path.read_bytes()
    if kind == "fixed 64 MiB":
        cuts = [*list(range(0, len(data), 64 << 20)), len(data)]
    else:
        cuts = [0]
        for chunk in FastCDC(1 << 20, min_size=256 << 10, max_size=4 << 20).cut_buf(data):
            cuts.append(cuts[-1] + chunk.length)
    return {(blake3_of(data[a:b]), b - a) for a, b in itertools.pairwise(cuts)}


def casync_bytes(program: str, model: Path, folder: Path) -> int:
    """What casync adds to its store for the model folder as it is now: chunks, compressed, and the index."""
    store = folder / "casync.castr"
    before = sum(file.stat().st_size for file in store.rglob("*") if file.is_file())
    subprocess.run(
        [program, "make", f"--store={store}", str(folder / "index.caidx"), str(model)], check=True, stdout=subprocess.DEVNULL
    )
    return (
        sum(file.stat().st_size for file in store.rglob("*") if file.is_file()) - before + (folder / "index.caidx").stat().st_size
    )


def main() -> int:
    """Publish, change, publish; print."""
    job = Job(
        "republish",
        "Re-publishing a changed model",
        f"sizes only: about {100 * SHARE:.1f} % of the tensor bytes changed in whole tensors and the header grew. All bodies that are sent.",
    )
    casync = look_for("casync", job)
    growth = []
    size = int(sys.argv[1] if len(sys.argv) > 1 else "256") << 20
    specs = tensors_for(size)
    folder = Path(tempfile.mkdtemp(prefix="modelport-bench-"))
    try:
        for encoding in ("auto", "raw"):
            place = place_in(folder / encoding)
            model = folder / "model"
            write_model(model / "model.safetensors", specs)
            if casync and encoding == "auto":
                casync_bytes(casync, model, folder)
            peers = {kind: chunked(model / "model.safetensors", kind) for kind in ("fixed 64 MiB", "FastCDC 1 MiB")}
            releases = 1 + (RELEASES if encoding == "auto" else 1)
            dirty: frozenset[str] = frozenset()
            for number in range(releases):
                names = changed(specs, number) if number else frozenset()
                dirty |= names
                if number:
                    write_model(model / "model.safetensors", specs, reseed=dirty, seed=0, note="x" * 100 * number)
                release = Release.parse(f"bench-v1.{number}.0")
                order = PublishOrder(release, model, channel=Channel("stable"), encoding=encoding)
                done = publish_release(order, place, ignore)
                shown = describe_release(place, release)
                moved = sum(spec.size for spec in specs if spec.name in names)
                if number == 1:
                    new = done.bytes_uploaded
                    job.amount(f"modelport, `--encoding {encoding}`", new / moved, "times the changed bytes", most=1.05)
                    for kind, before in peers.items() if encoding == "auto" else ():
                        after = chunked(model / "model.safetensors", kind)
                        sent = sum(length for _, length in after - before)
                        job.compare("bytes sent", kind, [new], [sent], unit="B")
                    if casync and encoding == "auto":
                        job.compare("bytes sent", "casync, zstd", [new], [casync_bytes(casync, model, folder)], unit="B")
                if encoding == "auto" and number in {0, 1, 5, 10, RELEASES}:
                    growth.append(f"| {number} | {done.parts.total} | {shown.ranges_per_gib:g} |")
        job.show("| changes | parts | ranges per GiB |", "| --- | --- | --- |", *growth)
        return job.finish()
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    sys.exit(main())
