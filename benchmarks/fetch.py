"""Fetching over loopback beside curl and aria2c, from a real nginx: the whole line, and 20 MB/s a connection.

    python benchmarks/fetch.py [--gib 2] [--rounds 3] [--folder /dev/shm] [--json results.json]

Every round runs every tool in turn on the same bytes (page cache warm) into an empty folder. Peers are measured as whole
commands; ``ours`` is ``fetch_release`` in a process that has started, ``ours, process`` the whole command. Ours verifies every
byte, syncs it and renames; curl does none of that; aria2c compares one SHA-256. Before each turn the disk is left nothing to
write. "then read" adds the first reading of the file: what passed the page cache by is read from the disk. Ratios are of medians
within this run:
above 1 ours is quicker. Memory is the peak above the same process after its imports, 16 connections.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shlex
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tests.servers.processes import free_port

LIMIT = 20_000_000
# What the issue asks for: (row, peer) → ratio.
TARGETS = {
    ("line", "curl"): 1.25,
    ("line", "aria2c -x4 --checksum"): 2.3,
    ("20 MB/s a connection", "aria2c -x16"): 1.8,
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
    server = subprocess.Popen(["nginx", "-e", "stderr", "-c", str(conf)], stderr=subprocess.DEVNULL)
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
        shutil.rmtree(self.folder / "out", ignore_errors=True)
        (self.folder / "peer").unlink(missing_ok=True)
        # What one tool left to be written, or to be given back to the disk, must not be the next one's wait.
        os.sync()


def peers(world: World, url: str, *, limited: bool) -> dict[str, Callable[[], float]]:
    file = f"{url}/model/model.safetensors"
    aria = ["aria2c", "-q", "--file-allocation=falloc", "-d", str(world.folder), "-o", "peer"]

    def run(*command: str) -> Callable[[], float]:
        return lambda: timed(list(command), world.environment)[0]

    if limited:
        return {"aria2c -x16": run(*aria, "-x16", "-s16", "-k1M", file)}
    curl = ["curl", "-s", "-o", str(world.folder / "peer"), file]
    return {
        "curl": run(*curl),
        "curl, sync": run("sh", "-c", f"{shlex.join(curl)} && sync {world.folder}/peer"),
        "curl, then read": run("sh", "-c", f"{shlex.join(curl)} && cat {world.folder}/peer > /dev/null"),
        "aria2c -x4 --checksum": run(*aria, "-x4", "-s4", f"--checksum=sha-256={world.sha256}", file),
    }


def measure(world: World, urls: dict[str, str], rounds: int) -> dict[str, dict[str, list[float]]]:
    rows: dict[str, dict[str, list[float]]] = {}
    for line, url in urls.items():
        contenders: dict[str, Callable[[], float]] = {
            "ours": lambda url=url: world.ours(url, "raw-v1.0.0")["seconds"],
            "ours, then read": lambda url=url: world.ours(url, "raw-v1.0.0")["seconds"] + world.read(),
            "ours, process": lambda url=url: world.process(url, "raw-v1.0.0"),
            "ours, encoded": lambda url=url: world.ours(url, "coded-v1.0.0")["seconds"],
            **peers(world, url, limited=line != "line"),
        }
        rows[line] = {name: [] for name in contenders}
        for _ in range(rounds):
            for name, run in contenders.items():
                world.clear()
                rows[line][name].append(run())
    return rows


def report(rows: dict[str, dict[str, list[float]]], gib: float) -> list[dict[str, object]]:
    found = []
    print(f"{gib:g} GiB, medians of {len(next(iter(rows.values()))['ours'])}, load {os.getloadavg()[0]:.1f}")
    print(f"{'line':22} {'tool':24} {'seconds':>8} {'its : ours':>11} {'target':>7}")
    for line, tools in rows.items():
        ours = statistics.median(tools["ours"])
        for name, taken in tools.items():
            seconds = statistics.median(taken)
            target = TARGETS.get((line, name))
            said = "" if target is None else f"{target:g}" + ("" if seconds / ours >= target else " MISSED")
            print(f"{line:22} {name:24} {seconds:8.2f} {seconds / ours:11.2f} {said:>7}")
            found.append({"line": line, "tool": name, "seconds": seconds, "ratio": seconds / ours, "target": target})
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gib", type=float, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--source", help=argparse.SUPPRESS)
    parser.add_argument("--model", help=argparse.SUPPRESS)
    parser.add_argument("--to", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--connections", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.here:
        fetch_here(arguments)
        return
    folder = Path(tempfile.mkdtemp(prefix="fetch-", dir=arguments.folder))
    try:
        world = World(folder, arguments.gib)
        with nginx(folder) as (whole, limited):
            for url in (whole, limited):
                world.pin(url)
            rows = measure(world, {"line": whole, "20 MB/s a connection": limited}, arguments.rounds)
            found = report(rows, arguments.gib)
            memory = {}
            for model in ("raw-v1.0.0", "coded-v1.0.0"):
                world.clear()
                memory[model] = world.ours(whole, model, connections=16)["mib"]
                print(f"peak memory beyond imports, 16 connections, {model}: {memory[model]:.0f} MiB (raw: at most {MEMORY_MIB})")
            again = world.ours(whole, "coded-v1.0.0")["requests"]
            print(f"fetch of what is installed: {again} requests (at most {NO_OP_REQUESTS})")
        if arguments.json:
            arguments.json.write_text(json.dumps({"rows": found, "memory_mib": memory, "no_op_requests": again}, indent=2) + "\n")
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
