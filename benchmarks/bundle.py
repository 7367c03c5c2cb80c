"""Bundles beside tar, zstd and coreutils: build, verify, install, and a differential.

    python benchmarks/bundle.py [--rounds 3] [--folder DIR] [--small] [--only ROW]

On about 590 MB of real weights with duplicates: the sample's 91 MB of float32, three fine-tunes of it (small changes of
every weight), one in bf16, one in f16, and copies of two of these, as checkpoints have them. Every round runs every
contender in turn; both sides end with ``sync``, and everybody's input is in the page cache when they begin. Ours is measured in a
process that has imported what it needs, or as a whole command where a row says so. Memory is the peak of the whole process.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from figures import Job, table
from peers import look_for

# Row → how many times as long the peer should take.
LEAST = {"publish and build": 1.0, "build from a store": 3.0, "verify": 15.0, "install": 3.0, "install.pyz": 1.0}
PROGRAM = "from pipeline.cli.program import main; main()"
MEMORY_MIB = 256
SIZE_SHARE = 0.75
DELTA_SHARE = 0.9
CHANGED = 0.047


def make_weights(folder: Path, *, small: bool) -> None:
    """The release: real weights, fine-tunes of them, other precisions, copies."""
    import numpy as np

    from pipeline.sample import lay_out_sample

    sample = folder / "sample"
    laid = Path(lay_out_sample(sample).folder)
    head, tensors = read_safetensors(laid / "model.safetensors")
    out = folder / "weights-v1.0.0"
    (out / "base").mkdir(parents=True)
    shutil.copytree(laid, out / "base", dirs_exist_ok=True)
    chance = np.random.Generator(np.random.SFC64(7))
    for name in ("tuned-a", "tuned-b", "tuned-c")[: 1 if small else 3]:
        changed = tensors * (1 + chance.standard_normal(tensors.size, dtype=np.float32) * np.float32(0.001))
        write_safetensors(out / name / "model.safetensors", head, changed.astype(np.float32), "F32")
    write_safetensors(out / "bf16" / "model.safetensors", head, (tensors.view(np.uint32) >> 16).astype(np.uint16), "BF16")
    write_safetensors(out / "f16" / "model.safetensors", head, tensors.astype(np.float16), "F16")
    if not small:
        shutil.copytree(out / "tuned-a", out / "checkpoint-a")
        shutil.copytree(out / "bf16", out / "checkpoint-b")
    second = folder / "weights-v1.1.0"
    shutil.copytree(out, second)
    # Layers of the base, one after the other, up to the share, and a header that grew.
    budget = int(sum(path.stat().st_size for path in out.rglob("*.safetensors")) * CHANGED)
    again, at = tensors.copy(), 0
    for name, shape in head.items():
        count = int(np.prod(shape, dtype=np.int64))
        if ".layer." in name and budget > 0:
            again[at : at + count] *= np.float32(1.01)
            budget -= count * 4
        at += count
    write_safetensors(second / "base" / "model.safetensors", head, again, "F32", note="x" * 200)


def read_safetensors(path: Path) -> tuple[dict[str, list[int]], Any]:
    import numpy as np

    data = path.read_bytes()
    size = int.from_bytes(data[:8], "little")
    header = {
        name: row for name, row in json.loads(data[8 : 8 + size]).items() if name != "__metadata__" and row["dtype"] == "F32"
    }
    rows, parts = {}, []
    for name, row in header.items():
        start, end = row["data_offsets"]
        parts.append(np.frombuffer(data[8 + size + start : 8 + size + end], np.float32))
        rows[name] = row["shape"]
    return rows, np.concatenate(parts)


def write_safetensors(path: Path, shapes: dict[str, list[int]], values: Any, dtype: str, note: str = "") -> None:
    header, at = {"__metadata__": {"note": note}}, 0
    for name, shape in shapes.items():
        size = values.itemsize
        for side in shape:
            size *= side
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [at, at + size]}
        at += size
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(len(text).to_bytes(8, "little") + text + values.tobytes())


class World:
    """A folder with the weights, a store, and a person's home."""

    def __init__(self, folder: Path, *, small: bool) -> None:
        self.folder = folder
        self.models = folder / "models"
        self.models.mkdir()
        make_weights(self.models, small=small)
        self.environment = {
            **os.environ,
            "HOME": str(folder / "home"),
            "PYTHONPATH": str(Path(__file__).resolve().parents[1]),
            "MODELPORT_STORE": str(folder / "store"),
            "MODELPORT_MODELS_DIR": str(self.models),
            **{f"XDG_{kind}_HOME": str(folder / kind.lower()) for kind in ("CACHE", "STATE", "DATA")},
        }
        self.wheels = folder / "wheels"
        self.wheels.mkdir()
        for release in ("weights-v1.0.0", "weights-v1.1.0"):
            self.modelport("publish", "--model", release)
        self.root = self.shell("sha256sum store/metadata/1.root.json").split()[0]
        self.build("out", "weights-v1.0.0")
        self.shell("cd models && find weights-v1.0.0 -type f | sort | xargs sha256sum > ../files.sums")

    def modelport(self, *words: str) -> dict:
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM, *words, "--report", "json"],
            env=self.environment,
            cwd=self.folder,
            check=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        return json.loads(done.stdout)

    def build(self, to: str, model: str, *more: str) -> dict:
        return self.modelport("bundle.build", "--model", model, "--to", to, "--wheels", "wheels", *more)

    def shell(self, line: str) -> str:
        return subprocess.run(["bash", "-ec", line], cwd=self.folder, check=True, stdout=subprocess.PIPE, text=True).stdout

    def here(self, what: str) -> dict[str, float]:
        """Run one of ``HERE`` in a fresh process."""
        done = subprocess.run(
            [sys.executable, __file__, "--here", what, "--folder", str(self.folder)],
            env=self.environment | {"BENCH_ROOT": self.root},
            cwd=self.folder,
            check=True,
            stdout=subprocess.PIPE,
            text=True,
        )
        return json.loads(done.stdout.splitlines()[-1])

    def clear(self, *names: str) -> None:
        for name in names:
            shutil.rmtree(self.folder / name, ignore_errors=True)
        os.sync()


def build_here(folder: Path) -> None:
    from bundles.beside import Beside
    from bundles.building import build_bundle
    from bundles.planning import BundleOrder
    from bundles.recipes import RecipeShelf
    from bundles.selecting import Selection
    from bundles.zipped import installer_bytes
    from pipeline.connect import open_supply
    from pipeline.events import ignore
    from pipeline.plan.wants import read_want
    from pipeline.settings import load_settings

    settings = load_settings({}, os.environ, folder)
    order = BundleOrder(
        Selection((read_want("weights-v1.0.0"),)), 4 << 30, connections=int(os.environ.get("BENCH_CONNECTIONS", "4"))
    )
    installer = installer_bytes()

    def run() -> None:
        build_bundle(
            order,
            open_supply(settings),
            folder / "built",
            ignore,
            shelf=RecipeShelf(folder / "shelf"),
            beside=lambda _: Beside(installer, {}),
        )
        os.sync()

    timed(run)


def publish_and_build_here(folder: Path) -> None:
    # What publish imports while it runs.
    import _strptime  # noqa: F401

    import tuf.api.serialization.json  # noqa: F401

    import pipeline.encoding
    import pipeline.sources.objects
    import pipeline.stores.counting
    import pipeline.stores.directory
    import pipeline.stores.retrying  # noqa: F401
    from pipeline.connect import open_place
    from pipeline.events import ignore
    from pipeline.order import PublishOrder
    from pipeline.publish import publish_release
    from pipeline.release import Release
    from pipeline.settings import load_settings

    settings = load_settings({"store": str(folder / "store2")}, os.environ, folder)
    order = PublishOrder(Release.parse("weights-v1.0.0"), folder / "models" / "weights-v1.0.0")
    os.environ["MODELPORT_STORE"] = str(folder / "store2")
    start = time.perf_counter()
    publish_release(order, open_place(settings), ignore)
    spent = time.perf_counter() - start
    build_here(folder)
    print(json.dumps({"publish": spent}))


def verify_here(folder: Path) -> None:
    # Reading signed metadata imports these while it runs.
    import _strptime  # noqa: F401

    import tuf.api.serialization.json  # noqa: F401

    from bundles.verifying import verify_bundle
    from pipeline.events import ignore

    timed(lambda: verify_bundle([folder / "out"], ignore, fingerprint=os.environ["BENCH_ROOT"]))


def install_here(folder: Path) -> None:
    from bundles.installer.preflight import Order
    from bundles.installing import install_bundle
    from pipeline.events import ignore

    order = Order((str(folder / "out"),), str(folder / "site"), os.environ["BENCH_ROOT"])

    def run() -> None:
        install_bundle(order, ignore)
        os.sync()

    timed(run)


HERE = {"build": build_here, "publish": publish_and_build_here, "verify": verify_here, "install": install_here}


def timed(run: Callable[[], object]) -> None:
    """Print how long it took, and the peak of this process's memory."""
    Path("/proc/self/clear_refs").write_text("5")
    start = time.perf_counter()
    run()
    took = time.perf_counter() - start
    lines = Path("/proc/self/status").read_text().splitlines()
    peak = int(next(line for line in lines if line.startswith("VmHWM")).split()[1]) / 1024
    print(json.dumps({"seconds": took, "mib": peak}))


def clock(run: Callable[[], object]) -> float:
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def contenders(world: World, memory: dict[str, float]) -> dict[str, tuple[Callable[[], float], str]]:
    """Row → a run of ours in seconds, and the name of its peer."""

    def here(what: str, *clears: str) -> Callable[[], float]:
        def run() -> float:
            world.clear(*clears)
            found = world.here(what)
            memory[what] = max(memory.get(what, 0), found.get("mib", 0))
            return found["seconds"]

        return run

    def publish() -> float:
        # A person of another home: another tree at the same place would be taken for a forged one.
        world.clear("store2", "built", "shelf", "home2")
        homes = {f"XDG_{kind}_HOME": str(world.folder / "home2" / kind) for kind in ("CACHE", "STATE", "DATA")}
        done = subprocess.run(
            [sys.executable, __file__, "--here", "publish", "--folder", str(world.folder)],
            env=world.environment | homes,
            cwd=world.folder,
            check=True,
            stdout=subprocess.PIPE,
            text=True,
        )
        rows = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
        return sum(row.get("seconds", 0) + row.get("publish", 0) for row in rows)

    def command() -> float:
        world.clear("built", "state/modelport/bundles")
        words = ("--model", "weights-v1.0.0", "--to", "built", "--wheels", "wheels")
        return clock(lambda: (world.modelport("bundle.build", *words), os.sync()))

    pyz = f"python3 out/install.pyz --from out --site site --root-fingerprint {world.root} >/dev/null && sync"
    return {
        "publish and build": (publish, TAR),
        "build from a store": (here("build", "built", "shelf"), TAR),
        "build, a whole command": (command, TAR),
        "verify": (here("verify"), SUMS),
        "install": (here("install", "site"), UNPACK),
        "install.pyz": (shell(world, pyz, "site"), UNPACK),
    }


def shell(world: World, line: str, *clears: str) -> Callable[[], float]:
    """A run of a line in the world's folder, in seconds."""

    def run() -> float:
        world.clear(*clears)
        return clock(lambda: world.shell(line))

    return run


TAR, SUMS, UNPACK = "tar | zstd -T0 -3", "sha256sum -c", "zstd -d | tar x && sha256sum -c"


def peers(world: World, *, packed: bool) -> dict[str, Callable[[], float]]:
    """Name → a run in seconds; those that need zstd if it is there."""
    tar = "tar -cf - -C models weights-v1.0.0 | zstd -q -T0 -3 -o again.tar.zst -f && sync"
    unpack = "mkdir x && zstd -q -d -c peer.tar.zst | tar -xf - -C x && cd x && sha256sum --quiet -c ../files.sums && sync"
    sums = {SUMS: shell(world, "cd out && sha256sum --quiet -c SHA256SUMS")}
    return sums | ({TAR: shell(world, tar), UNPACK: shell(world, unpack, "x")} if packed else {})


def sizes(world: World, job: Job) -> None:
    """What is compared by size, not by time."""
    ours = sum(path.stat().st_size for path in (world.folder / "out").glob("*.tar"))
    peer = (world.folder / "peer.tar.zst").stat().st_size
    world.build("delta", "weights-v1.1.0", "--base", "weights-v1.0.0")
    delta = sum(path.stat().st_size for path in (world.folder / "delta").glob("*.tar"))
    world.shell("for v in 0 1; do tar -cf v$v.tar -C models/weights-v1.$v.0 .; done")
    world.shell("zstd -q -f -3 -T0 --long=30 --patch-from=v0.tar v1.tar -o patch.zst")
    patch = (world.folder / "patch.zst").stat().st_size
    job.amount("size of a bundle", ours / 1e6, "MB")
    job.amount(f"… beside {peer / 1e6:.1f} MB of tar, zstd -3", ours / peer, "times", most=SIZE_SHARE)
    job.amount(f"size of a differential, {100 * CHANGED:.1f} % of the tensor bytes changed", delta / 1e6, "MB")
    job.amount(f"… beside {patch / 1e6:.1f} MB of zstd --patch-from", delta / patch, "times", most=DELTA_SHARE)


def measure(world: World, job: Job, *, rounds: int, packed: bool, only: str | None) -> None:
    """Run the contenders in turn, or those of one row, and take their rows down."""
    from inputs import warm

    inputs = [world.models / "weights-v1.0.0", world.folder / "store" / "parts", world.folder / "out"]
    inputs += [world.folder / "peer.tar.zst"] if packed else []
    memory: dict[str, float] = {}
    ours, theirs = contenders(world, memory), peers(world, packed=packed)
    if only:
        ours = {only: ours[only]}
    ways: dict[str, Callable[[], float]] = {}
    for row, (run, peer) in ours.items():
        ways[row] = run
        ways |= {peer: theirs[peer]} if peer in theirs else {}
    taken: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, run in ways.items():
            warm(*inputs)
            taken[name].append(run())
    plain = sum(path.stat().st_size for path in (world.models / "weights-v1.0.0").rglob("*") if path.is_file())
    job.setting = (
        f"{plain / 1e6:.0f} MB of real weights: the sample in f32, fine-tunes of it, one in bf16, one in f16, copies of two; "
        f"{rounds} turns, both sides end with `sync`."
    )
    for row, (_, peer) in ours.items():
        if peer in theirs:
            job.compare(row, peer, taken[row], taken[peer], least=LEAST.get(row))
    for what, mib in memory.items():
        job.amount(f"{what}: peak memory", mib, "MiB", most=MEMORY_MIB)


def main() -> int:
    """Measure; print; 1 if a target was missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--small", action="store_true")
    parser.add_argument("--only", metavar="ROW", help="measure one row and print it; nothing is kept, nothing else is measured")
    parser.add_argument("--here", choices=HERE, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.here:
        HERE[arguments.here](arguments.folder)
        return 0
    folder = Path(tempfile.mkdtemp(prefix="modelport-bench-", dir=arguments.folder))
    job = Job("bundle", "Bundles", "")
    zstd = look_for("zstd", job)
    try:
        world = World(folder, small=arguments.small)
        if zstd:
            world.shell("tar -cf - -C models weights-v1.0.0 | zstd -q -T0 -3 -o peer.tar.zst -f")
        measure(world, job, rounds=arguments.rounds, packed=bool(zstd), only=arguments.only)
        if arguments.only:
            print("\n".join(table(job)))
            return 0
        if zstd:
            sizes(world, job)
        return job.finish()
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    sys.exit(main())
