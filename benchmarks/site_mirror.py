"""A caching mirror beside the upstream that it stands before: the same fetch, cold through it, hot from it, and direct.

    python benchmarks/site_mirror.py [--gib 1] [--rounds 3] [--json results.json]

The upstream is nginx on this machine, at full speed and at 20 MB/s a connection; the mirror is a process of its own, new
and empty for each cold fetch. Every round runs direct, cold and hot in turn, into an empty folder. ``hot file`` is curl,
which reads the model's file of an assembled release, against nginx with the same file. Ratios are medians of the ratios
of each round, above 1 ours is quicker; memory is the mirror's peak over its life.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.fetch import PROGRAM, World, nginx, wait_for_port
from tests.servers.processes import free_port

TARGETS = {"cold": 0.9, "hot": 0.9, "hot file": 0.8}
MODEL = "coded-v1.0.0"


@contextlib.contextmanager
def mirror(world: World, upstream: str, port: int) -> Iterator[int]:
    """A new mirror; its process's number."""
    root = subprocess.run(
        ["sha256sum", world.folder / "store/metadata/1.root.json"], check=True, stdout=subprocess.PIPE, text=True
    )
    place = world.folder / "mirror"
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir()
    words = ["--site", str(place), "--listen", f"127.0.0.1:{port}", "--upstream", f"{upstream}/store"]
    child = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, "site.serve", *words, "--root-fingerprint", root.stdout.split()[0]],
        env=world.environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        wait_for_port(port)
        yield child.pid
    finally:
        child.kill()
        child.wait()


def fetched(world: World, url: str) -> float:
    world.clear()
    flags = ["--here", "--source", url, "--model", MODEL, "--to", str(world.folder / "out")]
    done = subprocess.run(
        [sys.executable, str(Path(__file__).with_name("fetch.py")), *flags],
        env=world.environment,
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    return float(json.loads(done.stdout)["seconds"])


def read(url: str) -> float:
    began = time.perf_counter()
    subprocess.run(["curl", "-s", "-f", "-o", "/dev/null", url], check=True)
    return time.perf_counter() - began


def peak_mib(pid: int) -> float:
    text = Path(f"/proc/{pid}/status").read_text()
    return int(next(line.split()[1] for line in text.splitlines() if line.startswith("VmHWM"))) / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gib", type=float, default=1)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--json", type=Path)
    wishes = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="site-mirror-", dir=wishes.folder))
    port = free_port()
    here = f"http://127.0.0.1:{port}"
    found: dict[str, dict[str, list[float]]] = {}
    peaks: list[float] = []
    try:
        world = World(folder, wishes.gib)
        fingerprint = subprocess.run(
            ["sha256sum", folder / "store/metadata/1.root.json"], check=True, stdout=subprocess.PIPE, text=True
        ).stdout.split()[0]
        with nginx(folder) as (whole, limited):
            for url in (whole, limited):
                world.pin(url)
            with mirror(world, whole, port):
                world.modelport("trust.pin", "--source", here, "--fingerprint", fingerprint)
            for line, url in (("line", whole), ("20 MB/s a connection", limited)):
                rows = found.setdefault(line, {name: [] for name in ("direct", "cold", "hot", "hot file", "nginx file")})
                for _ in range(wishes.rounds):
                    rows["direct"].append(fetched(world, f"{url}/store"))
                    with mirror(world, url, port) as pid:
                        rows["cold"].append(fetched(world, here))
                        rows["hot"].append(fetched(world, here))
                        file = f"{here}/models/{MODEL}/model.safetensors"
                        read(file)
                        rows["hot file"].append(read(file))
                        rows["nginx file"].append(read(f"{whole}/model/model.safetensors"))
                        peaks.append(peak_mib(pid))
        print(f"{wishes.gib:g} GiB, medians of {wishes.rounds}, load {os.getloadavg()[0]:.1f}")
        for line, rows in found.items():
            for name, target in TARGETS.items():
                peer = "nginx file" if name == "hot file" else "direct"
                ratio = statistics.median(its / ours for its, ours in zip(rows[peer], rows[name], strict=True))
                mine, its = statistics.median(rows[name]), statistics.median(rows[peer])
                met = "met" if ratio >= target else "MISSED"
                print(f"{line:22} {name:10} {mine:7.2f} s  {peer} {its:7.2f} s  ratio {ratio:5.2f}  target {target}  {met}")
        print(f"peak memory of the mirror {max(peaks):.0f} MiB")
        if wishes.json:
            wishes.json.write_text(json.dumps({"seconds": found, "memory_mib": peaks}, indent=1))
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
