"""Fetching over a long line, 40 ms there and back at 100 Mbit/s, beside a bare TCP stream through the same line.

    python benchmarks/long_line.py [--mib 128] [--rounds 3] [--delay-ms 20] [--mbit 100]

Two network namespaces of this run's own, joined by ``shaper.py``; nginx and the sender of the stream stand in one,
the readers in the other. The stream is one connection that carries as many bytes as the release has, and stores
nothing. It needs root. Target: at least 95 % of the stream's speed.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from fetch import World, nginx_conf, timed
from figures import Job

HERE, THERE = "198.18.77.1", "198.18.77.2"  # RFC 2544: addresses for benchmarks
HTTP, STREAM = 8080, 8081
TARGET = 0.95

SEND = """
import socket
server = socket.create_server(("{address}", {port}))
print("ready", flush=True)
block = bytes(1 << 20)
while True:
    line, _ = server.accept()
    with line:
        for _ in range({size} >> 20):
            line.sendall(block)
"""
RECEIVE = """
import socket, time
start = time.perf_counter()
line = socket.create_connection(("{address}", {port}))
buffer, left = bytearray(1 << 18), {size}
while left:
    left -= line.recv_into(buffer) or exit("the stream broke")
print(time.perf_counter() - start)
"""


@contextlib.contextmanager
def long_line(delay_ms: float, mbit: float) -> Iterator[tuple[list[str], list[str]]]:
    """How to run a command at this end, and at that one."""
    names = [f"mp-{side}-{os.getpid()}" for side in ("here", "there")]
    for name in names:
        subprocess.run(["ip", "netns", "add", name], check=True)
    shaper = subprocess.Popen(
        [sys.executable, Path(__file__).with_name("shaper.py"), *names, HERE, THERE, str(delay_ms), str(mbit)],
        stdout=subprocess.PIPE,
    )
    try:
        if shaper.stdout is None or shaper.stdout.readline() != b"ready\n":
            raise SystemExit("the line could not be made: are you root, and is /dev/net/tun there?")
        here, there = (["ip", "netns", "exec", name] for name in names)
        yield here, there
    finally:
        shaper.kill()
        shaper.wait()
        for name in names:
            subprocess.run(["ip", "netns", "del", name], check=True)


@contextlib.contextmanager
def running(command: list[str], *, ready: bytes = b"") -> Iterator[None]:
    """Run a server for the length of the block."""
    server = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    try:
        if ready and (server.stdout is None or server.stdout.readline() != ready):
            raise SystemExit(f"{command} did not start")
        yield
    finally:
        server.terminate()
        server.wait()


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mib", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--delay-ms", type=float, default=20)
    parser.add_argument("--mbit", type=float, default=100)
    arguments = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="long-line-"))
    try:
        world = World(folder, arguments.mib / 1024)
        size = (folder / "model" / "model.safetensors").stat().st_size >> 20 << 20
        (folder / "nginx.conf").write_text(nginx_conf(folder, [f"{THERE}:{HTTP}"]))
        with long_line(arguments.delay_ms, arguments.mbit) as (here, there), contextlib.ExitStack() as stack:
            stack.enter_context(running([*there, "nginx", "-e", "stderr", "-c", str(folder / "nginx.conf")]))
            send = SEND.format(address=THERE, port=STREAM, size=size)
            stack.enter_context(running([*there, sys.executable, "-c", send], ready=b"ready\n"))
            receive = RECEIVE.format(address=THERE, port=STREAM, size=size)
            url = f"http://{THERE}:{HTTP}"
            world.before = here
            world.pin(url)
            took: dict[str, list[float]] = {"bare TCP stream": [], "modelport fetch": []}
            for _ in range(arguments.rounds):
                took["bare TCP stream"].append(float(timed([*here, sys.executable, "-c", receive], world.environment)[1]))
                world.clear()
                took["modelport fetch"].append(world.ours(url, "raw-v1.0.0")["seconds"])
                time.sleep(0.5)
        stream, fetch = took.values()
        job = Job(
            "long_line",
            "Fetching over a long line",
            f"{arguments.mib} MiB, {2 * arguments.delay_ms:g} ms there and back, {arguments.mbit:g} Mbit/s, two network namespaces.",
        )
        job.compare("modelport fetch", "a bare TCP stream through the same line", fetch, stream, least=TARGET)
        return job.finish()
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    sys.exit(main())
