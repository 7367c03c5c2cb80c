"""A caching mirror beside the upstream that it stands before: the same fetch, cold through it, hot from it, and direct.

    python benchmarks/site_mirror.py [--gib 1] [--rounds 3] [--line-mib 96] [--folder DIR]

The upstream is nginx: at full speed on this machine, where it, the mirror and the fetch share the processors; at 20 MB/s a
connection; and behind a line of 100 Mbit/s and 40 ms there and back (``long_line.py``, which needs root), as an office has
it. The mirror is a process of its own, new and empty for each cold fetch. Every round runs direct, cold and hot in turn,
into an empty folder. ``hot file`` is curl, which reads the model's file of an assembled release, against nginx with the
same file. Memory and processor time are the mirror's.
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
from fetch import PROGRAM, World, nginx, nginx_conf
from figures import Job
from long_line import HERE, HTTP, THERE, long_line, running
from peers import look_for

from tests.servers.processes import free_port

# How many times as long the peer should take.
LEAST = {"cold": 0.9, "hot": 0.9, "hot file": 0.8}
MODEL = "coded-v1.0.0"
KEPT_S = 60
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


def read(curl: str, url: str) -> float:
    began = time.perf_counter()
    subprocess.run([curl, "-s", "-f", "-o", "/dev/null", url], check=True)
    return time.perf_counter() - began


def wait_until_kept(world: World) -> None:
    """Wait until the mirror has put the model's file together and proved it, which goes on when its first reader is served."""
    ends_s = time.monotonic() + KEPT_S
    while not any((world.folder / "mirror").rglob(f"files/*/{world.sha256}")):
        if time.monotonic() > ends_s:
            raise SystemExit(f"the mirror did not keep the model's file within {KEPT_S} s")
        time.sleep(0.05)


def peak_mib(pid: int) -> float:
    text = Path(f"/proc/{pid}/status").read_text()
    return int(next(line.split()[1] for line in text.splitlines() if line.startswith("VmHWM"))) / 1024


def cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def measure(job: Job, line: str, world: World, url: str, listen: str, *, rounds: int, curl: str = "", beside: str = "") -> float:
    """Run each contender in turn; gives the peak of a mirror in MiB. ``beside`` is an nginx with the model's file for ``curl``."""
    here = f"http://{listen}"
    world.pin(url)
    with mirror(world, url, listen):
        world.modelport("trust.pin", "--source", here, "--fingerprint", fingerprint_of(world))
    taken: dict[str, list[float]] = {name: [] for name in ("direct", "cold", "hot", "hot file", "nginx file", "cpu", "peak")}
    for _ in range(rounds):
        taken["direct"].append(fetched(world, f"{url}/store"))
        with mirror(world, url, listen) as pid:
            before = cpu_s(pid)
            taken["cold"].append(fetched(world, here))
            taken["cpu"].append(cpu_s(pid) - before)
            taken["hot"].append(fetched(world, here))
            if curl and beside:
                file = f"{here}/models/{MODEL}/model.safetensors"
                read(curl, file)
                wait_until_kept(world)
                taken["hot file"].append(read(curl, file))
                taken["nginx file"].append(read(curl, f"{beside}/model/model.safetensors"))
            taken["peak"].append(peak_mib(pid))
    for name, peer in (("cold", "direct"), ("hot", "direct"), ("hot file", "nginx file")):
        if taken[name]:
            told = "the fetch without it" if peer == "direct" else "nginx, curl for both"
            job.compare(f"{name}, {line}", told, taken[name], taken[peer], least=LEAST[name])
    job.amount(f"CPU of the mirror for a cold fetch, {line}", statistics.median(taken["cpu"]), "s")
    return max(taken["peak"])


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gib", type=float, default=1)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--line-mib", type=float, default=96)
    parser.add_argument("--folder", type=Path)
    wishes = parser.parse_args()
    job = Job(
        "site_mirror",
        "A caching mirror",
        f"an encoded release of {wishes.gib:g} GiB from nginx directly, cold through a new mirror, and hot from it, all on these cores, "
        f"{wishes.rounds} turns; over 100 Mbit/s and 40 ms there and back {wishes.line_mib:g} MiB.",
    )
    curl = look_for("curl", job)
    folder = Path(tempfile.mkdtemp(prefix="site-mirror-", dir=wishes.folder))
    peaks = []
    try:
        for name in ("near", "office"):
            (folder / name).mkdir()
        world = World(folder / "near", wishes.gib)
        with nginx(world.folder) as (whole, limited):
            for line, url, beside in (("this machine", whole, whole), ("20 MB/s a connection", limited, "")):
                listen = f"127.0.0.1:{free_port()}"
                peaks.append(measure(job, line, world, url, listen, rounds=wishes.rounds, curl=curl, beside=beside))
        office = World(folder / "office", wishes.line_mib / 1024)
        (office.folder / "nginx.conf").write_text(nginx_conf(office.folder, [f"{THERE}:{HTTP}"]))
        with (
            long_line(20, 100) as (here, there),
            running([*there, "nginx", "-e", "stderr", "-c", str(office.folder / "nginx.conf")]),
        ):
            office.before = here
            peaks.append(measure(job, "a long line", office, f"http://{THERE}:{HTTP}", f"{HERE}:{HTTP}", rounds=wishes.rounds))
        job.amount("peak memory of the mirror", max(peaks), "MiB")
        return job.finish()
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    sys.exit(main())
