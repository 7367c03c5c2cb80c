"""A caching mirror beside the upstream that it stands before: the same fetch, cold through it, hot from it, and direct.

    python benchmarks/site_mirror.py [--gib 1] [--rounds 3] [--line-mib 96] [--json results.json]

The upstream is nginx: at full speed on this machine, where it, the mirror and the fetch share the processors; at 20 MB/s a
connection; and behind a line of 100 Mbit/s and 40 ms there and back (``long_line.py``, which needs root), as an office has
it. The mirror is a process of its own, new and empty for each cold fetch. Every round runs direct, cold and hot in turn,
into an empty folder. ``hot file`` is curl, which reads the model's file of an assembled release, against nginx with the
same file. Ratios are medians of the ratios of each round, above 1 ours is quicker; memory and processor time are the
mirror's.
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

from benchmarks.fetch import PROGRAM, World, nginx, nginx_conf
from benchmarks.long_line import HERE, HTTP, THERE, long_line, running
from tests.servers.processes import free_port

TARGETS = {"cold": 0.9, "hot": 0.9, "hot file": 0.8}
MODEL = "coded-v1.0.0"
TICKS = os.sysconf("SC_CLK_TCK")


def fingerprint_of(world: World) -> str:
    words = ["sha256sum", str(world.folder / "store/metadata/1.root.json")]
    return subprocess.run(words, check=True, stdout=subprocess.PIPE, text=True).stdout.split()[0]


@contextlib.contextmanager
def mirror(world: World, upstream: str, listen: str) -> Iterator[int]:
    """A new mirror; its process's number."""
    place = world.folder / "mirror"
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir()
    words = [
        "--site",
        str(place),
        "--listen",
        listen,
        "--upstream",
        f"{upstream}/store",
        "--root-fingerprint",
        fingerprint_of(world),
    ]
    child = subprocess.Popen(
        [*world.before, sys.executable, "-c", PROGRAM, "site.serve", *words, "--report", "json"],
        env=world.environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        if child.stderr is None or not any('"serving"' in line for line in child.stderr):
            raise SystemExit("the mirror did not start")
        yield child.pid
    finally:
        child.kill()
        child.wait()


def fetched(world: World, url: str) -> float:
    world.clear()
    flags = ["--here", "--source", url, "--model", MODEL, "--to", str(world.folder / "out")]
    words = [*world.before, sys.executable, str(Path(__file__).with_name("fetch.py")), *flags]
    done = subprocess.run(words, env=world.environment, check=True, stdout=subprocess.PIPE, text=True)
    return float(json.loads(done.stdout)["seconds"])


def read(url: str) -> float:
    began = time.perf_counter()
    subprocess.run(["curl", "-s", "-f", "-o", "/dev/null", url], check=True)
    return time.perf_counter() - began


def peak_mib(pid: int) -> float:
    text = Path(f"/proc/{pid}/status").read_text()
    return int(next(line.split()[1] for line in text.splitlines() if line.startswith("VmHWM"))) / 1024


def cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


class Figures:
    """Seconds by line and contender, and what the mirrors took."""

    def __init__(self) -> None:
        self.seconds: dict[str, dict[str, list[float]]] = {}
        self.peaks: list[float] = []
        self.cpu: dict[str, list[float]] = {}

    def measure(self, line: str, world: World, url: str, listen: str, rounds: int, *, beside: str = "") -> None:
        """Run each contender in turn; ``beside`` is an nginx that serves the model's file at full speed."""
        here = f"http://{listen}"
        world.pin(url)
        with mirror(world, url, listen):
            world.modelport("trust.pin", "--source", here, "--fingerprint", fingerprint_of(world))
        names = ("direct", "cold", "hot", *(("hot file", "nginx file") if beside else ()))
        rows = self.seconds[line] = {name: [] for name in names}
        cpu = self.cpu[line] = []
        for _ in range(rounds):
            rows["direct"].append(fetched(world, f"{url}/store"))
            with mirror(world, url, listen) as pid:
                before = cpu_s(pid)
                rows["cold"].append(fetched(world, here))
                cpu.append(cpu_s(pid) - before)
                rows["hot"].append(fetched(world, here))
                if beside:
                    file = f"{here}/models/{MODEL}/model.safetensors"
                    read(file)
                    rows["hot file"].append(read(file))
                    rows["nginx file"].append(read(f"{beside}/model/model.safetensors"))
                self.peaks.append(peak_mib(pid))

    def report(self) -> None:
        for line, rows in self.seconds.items():
            for name in TARGETS.keys() & rows.keys():
                peer = "nginx file" if name == "hot file" else "direct"
                ratios = [its / ours for its, ours in zip(rows[peer], rows[name], strict=True)]
                mine, its, ratio = (statistics.median(values) for values in (rows[name], rows[peer], ratios))
                met = "met" if ratio >= TARGETS[name] else "MISSED"
                spread = f"({min(ratios):.2f} to {max(ratios):.2f})"
                print(
                    f"{line:21} {name:9} {mine:6.2f} s  {peer:10} {its:6.2f} s  ratio {ratio:.2f} {spread}  {TARGETS[name]}  {met}"
                )
            print(f"{line:21} processor time of the mirror for the cold fetch: {statistics.median(self.cpu[line]):.2f} s")
        print(f"peak memory of the mirror: {max(self.peaks):.0f} MiB")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gib", type=float, default=1)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--line-mib", type=float, default=96)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--json", type=Path)
    wishes = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="site-mirror-", dir=wishes.folder))
    figures = Figures()
    try:
        for name in ("near", "office"):
            (folder / name).mkdir()
        world = World(folder / "near", wishes.gib)
        with nginx(world.folder) as (whole, limited):
            for line, url in (("this machine", whole), ("20 MB/s a connection", limited)):
                figures.measure(line, world, url, f"127.0.0.1:{free_port()}", wishes.rounds, beside=whole)
        office = World(folder / "office", wishes.line_mib / 1024)
        (office.folder / "nginx.conf").write_text(nginx_conf(office.folder, [f"{THERE}:{HTTP}"]))
        with (
            long_line(20, 100) as (here, there),
            running([*there, "nginx", "-e", "stderr", "-c", str(office.folder / "nginx.conf")]),
        ):
            office.before = here
            figures.measure("100 Mbit/s, 40 ms", office, f"http://{THERE}:{HTTP}", f"{HERE}:{HTTP}", wishes.rounds)
        print(
            f"{wishes.gib:g} GiB, over the long line {wishes.line_mib:g} MiB, medians of {wishes.rounds}, load {os.getloadavg()[0]:.1f}"
        )
        figures.report()
        if wishes.json:
            wishes.json.write_text(
                json.dumps({"seconds": figures.seconds, "cpu_s": figures.cpu, "memory_mib": figures.peaks}, indent=1)
            )
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
