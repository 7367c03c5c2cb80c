"""Fetching over loopback beside curl and aria2c, from a real nginx: the whole line, and 20 MB/s a connection.

    python benchmarks/fetch.py [--gib 2] [--rounds 3] [--folder /dev/shm]

Every round runs every tool in turn on the same bytes (page cache warm) into an empty folder. Peers are measured as whole
commands; "raw" and "encoded" are ``fetch_release`` in a process that has started, "raw, a whole command" what a person types.
Ours verifies every byte, syncs it and renames; curl does none of that; aria2c compares one SHA-256. Before each turn the disk is
left nothing to write. "then read" adds the first reading of the file: what passed the page cache by is read from the disk.
Memory is the peak above the same process after its imports, 16 connections.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from figures import Job
from peers import find_peer, look_for

from tests.servers.processes import free_port

LIMIT = 20_000_000
# (ours, peer) → how many times as long the peer should take.
LEAST = {
    ("raw", "curl"): 1.25,
    ("raw", "aria2c -x4 --checksum"): 2.3,
    ("raw, 20 MB/s a connection", "aria2c -x16"): 1.8,
}
PROGRAM = "from pipeline.cli.program import main; main()"
MEMORY_MIB = 64
NO_OP_REQUESTS = 3


def fetch_here(arguments: argparse.Namespace) -> None:
    """What the child does: import, note the memory, fetch, print what it took."""
    # Everything that the fetch will import.
    import pipeline.encoding
    import pipeline.sources.http  # noqa: F401 (read before the memory is noted)
    from pipeline.connect import open_supply
    from pipeline.events import ignore
    from pipeline.fetch import FetchOrder, fetch_release
    from pipeline.plan.wants import read_want
    from pipeline.settings import load_settings

    supply = open_supply(load_settings({"source": arguments.source, "cache_limit": "0"}, os.environ, Path.cwd()))
    order = FetchOrder(read_want(arguments.model), arguments.to.parent, arguments.to, connections=arguments.connections)
    before, start, cpu = memory("VmRSS"), time.perf_counter(), time.process_time()
    # Forget the peak of the imports (proc(5), clear_refs).
    Path("/proc/self/clear_refs").write_text("5")
    done = fetch_release(order, supply, ignore)
    took = time.perf_counter() - start
    cpu = time.process_time() - cpu
    print(json.dumps({"seconds": took, "cpu": cpu, "mib": (memory("VmHWM") - before) / 1024, "requests": done.requests}))


def memory(field: str) -> int:
    """A figure of this process in KiB (proc(5), status)."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(f"{field}:")).split()[1])


def nginx_conf(folder: Path, listens: list[str]) -> str:
    """A configuration that serves ``folder`` at each of ``listens``, "address:port" and what else the server is told."""
    work = folder / "nginx"
    work.mkdir(exist_ok=True)
    temporary = " ".join(f"{kind}_temp_path {work}/{kind};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
    servers = "".join(f"server {{ listen {listen}; root {folder}; }}\n" for listen in listens)
    return (
        f"daemon off; master_process off; pid {work}/pid; error_log {work}/error.log;\n"
        "events { worker_connections 512; }\n"
        f"http {{ access_log off; sendfile on; tcp_nopush on; keepalive_requests 100000; {temporary}\n{servers} }}\n"
    )


@contextlib.contextmanager
def nginx(folder: Path) -> Iterator[tuple[str, str]]:
    """Serve ``folder``: (at full speed, at LIMIT a connection)."""
    ports = free_port(), free_port()
    conf = folder / "nginx.conf"
    conf.write_text(nginx_conf(folder, [f"127.0.0.1:{ports[0]}", f"127.0.0.1:{ports[1]}; limit_rate {LIMIT}"]))
    server = subprocess.Popen([find_peer("nginx"), "-e", "stderr", "-c", str(conf)], stderr=subprocess.DEVNULL)
    try:
        wait_for_port(ports[0])
        yield f"http://127.0.0.1:{ports[0]}", f"http://127.0.0.1:{ports[1]}"
    finally:
        server.send_signal(signal.SIGTERM)
        server.wait()


def wait_for_port(port: int) -> None:
    import socket

    for _ in range(500):
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.01)
    raise RuntimeError("nginx did not start")


def timed(command: list[str], environment: dict[str, str], *, keep: bool = True) -> tuple[float, str]:
    start = time.perf_counter()
    out = subprocess.PIPE if keep else subprocess.DEVNULL
    done = subprocess.run(command, env=environment, check=True, stdout=out, stderr=subprocess.DEVNULL, text=keep)
    return time.perf_counter() - start, done.stdout or ""


class World:
    """A tree with a raw and an encoded release of the same weights, and a machine that trusts it."""

    def __init__(self, folder: Path, gib: float) -> None:
        from benchmarks.inputs import tensors_for, write_model

        self.folder = folder
        # What our commands are run with: another network namespace, for one.
        self.before: list[str] = []
        self.environment = {
            **os.environ,
            "HOME": str(folder / "home"),
            "PYTHONPATH": str(Path(__file__).resolve().parents[1]),
            "MODELPORT_STORE": str(folder / "store"),
            **{f"XDG_{kind}_HOME": str(folder / kind.lower()) for kind in ("CACHE", "STATE", "DATA")},
        }
        weights = folder / "model" / "model.safetensors"
        write_model(weights, tensors_for(int(gib * 2**30)))
        for name, *flags in (("raw-v1.0.0", "--profile", "raw"), ("coded-v1.0.0",)):
            self.modelport("publish", "--model", name, "--source", str(weights.parent), *flags)
        self.sha256 = subprocess.run(["sha256sum", weights], check=True, stdout=subprocess.PIPE, text=True).stdout.split()[0]

    def modelport(self, *words: str) -> tuple[float, str]:
        return timed([*self.before, sys.executable, "-c", PROGRAM, *words, "--report", "plain"], self.environment)

    def pin(self, url: str) -> None:
        root = subprocess.run(
            ["sha256sum", self.folder / "store/metadata/1.root.json"], check=True, stdout=subprocess.PIPE, text=True
        )
        self.modelport("trust.pin", "--source", f"{url}/store", "--fingerprint", root.stdout.split()[0])

    def ours(self, url: str, model: str, connections: int | None = None) -> dict[str, float]:
        flags = ["--connections", str(connections)] if connections else []
        here = ["--here", "--source", f"{url}/store", "--model", model, "--to", str(self.folder / "out"), *flags]
        return json.loads(timed([*self.before, sys.executable, __file__, *here], self.environment)[1])

    def process(self, url: str, model: str) -> float:
        flags = ["--source", f"{url}/store", "--model", model, "--to", str(self.folder / "out"), "--cache-limit", "0"]
        return self.modelport("fetch", *flags)[0]

    def read(self) -> float:
        """How long the first reading of what was fetched takes."""
        return timed(["cat", str(self.folder / "out" / "model.safetensors")], self.environment, keep=False)[0]

    def clear(self) -> None:
        from benchmarks.inputs import warm

        shutil.rmtree(self.folder / "out", ignore_errors=True)
        (self.folder / "peer").unlink(missing_ok=True)
        # What one tool left to be written, or to be given back to the disk, must not be the next one's wait.
        os.sync()
        warm(self.folder / "model", self.folder / "store" / "parts")


Row = tuple[str, Callable[[], float], dict[str, Callable[[], float]]]


def rows_of(world: World, whole: str, limited: str, job: Job) -> list[Row]:
    """What is compared: our way, how long a turn of it takes, and its peers'."""

    def run(command: str) -> Callable[[], float]:
        return lambda: timed(["sh", "-c", command], world.environment)[0]

    def ours(url: str, model: str) -> Callable[[], float]:
        return lambda: world.ours(url, model)["seconds"]

    def then_read() -> float:
        return world.ours(whole, "raw-v1.0.0")["seconds"] + world.read()

    peer = shlex.quote(str(world.folder / "peer"))
    curl, aria2c = (look_for(name, job) for name in ("curl", "aria2c"))
    plain: dict[str, Callable[[], float]] = {}
    beside, read, at_limit = plain.copy(), plain.copy(), plain.copy()
    if curl:
        load = f"{curl} -s -o {peer} {whole}/model/model.safetensors"
        beside |= {"curl": run(load)}
        plain |= {**beside, "curl, sync": run(f"{load} && sync {peer}")}
        read["curl, then read"] = run(f"{load} && cat {peer} > /dev/null")
    if aria2c:
        load = f"{aria2c} -q --file-allocation=falloc -d {shlex.quote(str(world.folder))} -o peer"
        plain["aria2c -x4 --checksum"] = run(f"{load} -x4 -s4 --checksum=sha-256={world.sha256} {whole}/model/model.safetensors")
        at_limit["aria2c -x16"] = run(f"{load} -x16 -s16 -k1M {limited}/model/model.safetensors")
    return [
        ("raw", ours(whole, "raw-v1.0.0"), plain),
        ("encoded", ours(whole, "coded-v1.0.0"), beside),
        ("raw, a whole command", lambda: world.process(whole, "raw-v1.0.0"), beside),
        ("raw, then read", then_read, read),
        ("raw, 20 MB/s a connection", ours(limited, "raw-v1.0.0"), at_limit),
        ("encoded, 20 MB/s a connection", ours(limited, "coded-v1.0.0"), at_limit),
    ]


def measure(world: World, rows: list[Row], rounds: int, job: Job) -> None:
    """Each round every way once; a peer that several rows are held against runs once a round."""
    ways: dict[str, Callable[[], float]] = {}
    for what, ours, theirs in rows:
        ways |= {what: ours, **theirs}
    taken: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, run in ways.items():
            world.clear()
            taken[name].append(run())
    for what, _, theirs in rows:
        for name in theirs:
            job.compare(what, name, taken[what], taken[name], least=LEAST.get((what, name)))


def measure_memory(world: World, url: str, job: Job) -> None:
    """The peak of each kind of release, and what a fetch of what is installed asks for."""
    for kind, most in (("raw", MEMORY_MIB), ("coded", None)):
        world.clear()
        peak = world.ours(url, f"{kind}-v1.0.0", connections=16)["mib"]
        job.amount(f"peak memory beyond imports, 16 connections, {'raw' if most else 'encoded'}", peak, "MiB", most=most)
    again = world.ours(url, "coded-v1.0.0")["requests"]
    job.amount("fetch of what is installed", again, "requests", most=NO_OP_REQUESTS)


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gib", type=float, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--source", help=argparse.SUPPRESS)
    parser.add_argument("--model", help=argparse.SUPPRESS)
    parser.add_argument("--to", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--connections", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.here:
        fetch_here(arguments)
        return 0
    setting = (
        f"{arguments.gib:g} GiB of bf16 weights behind nginx on the same cores, {arguments.rounds} turns. "
        "Ours verifies every byte, syncs and renames; curl does none of that; aria2c compares one SHA-256."
    )
    job = Job("fetch", "Fetching", setting)
    folder = Path(tempfile.mkdtemp(prefix="fetch-", dir=arguments.folder))
    try:
        world = World(folder, arguments.gib)
        with nginx(folder) as (whole, limited):
            for url in (whole, limited):
                world.pin(url)
            measure(world, rows_of(world, whole, limited, job), arguments.rounds, job)
            measure_memory(world, whole, job)
        return job.finish()
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    sys.exit(main())
