"""The upload step alone: 1 GiB of parts whose digests are known, to a real S3 gateway, beside s5cmd and ``aws s3 cp``.

    python benchmarks/upload.py [--server juicefs|seaweedfs] [--rounds 3] [--parts 16] [--threads 8]

Each round runs every tool in turn on the same files (page cache warm) into a fresh bucket. Wall and client CPU
seconds are those of the whole peer command, and for us of the step in a process that has started: opening the
store, mapping the files, sending them, all answers in. ``ours, process`` adds interpreter and imports.
Ratios are of medians within this run. s5cmd and aws must be on PATH or named by --s5cmd and --aws.
"""

from __future__ import annotations

import argparse
import json
import mmap
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

if TYPE_CHECKING:
    from tests.servers.s3_servers import S3Server

PART = 64 << 20


@dataclass(frozen=True)
class Took:
    """One run of one tool; ``server_s`` is the CPU time that the server needed for it."""

    wall_s: float
    cpu_s: float
    server_s: float = 0.0


def send(arguments: argparse.Namespace) -> None:
    """What a child process does: put every file of a folder; print what the step took."""
    from botocore.session import get_session

    from pipeline.digest import Sha256
    from pipeline.stores.s3 import S3Store

    digests: dict[str, str] = json.loads((arguments.folder / "digests.json").read_text())
    before, start = _cpu_s(resource.RUSAGE_SELF), time.perf_counter()
    store = S3Store(arguments.bucket, endpoint=arguments.endpoint, region="us-east-1", open_session=get_session)

    def put(name: str) -> None:
        # Mapped, not copied: a publish has its parts in memory.
        with (arguments.folder / "parts" / name).open("rb") as file:
            body = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        store.put(f"parts/{name[:2]}/{name}", body, sha256=Sha256(digests[name]), if_absent=True)

    with ThreadPoolExecutor(arguments.threads) as pool:
        list(pool.map(put, digests))
    print(json.dumps([time.perf_counter() - start, _cpu_s(resource.RUSAGE_SELF) - before]))


def make_parts(folder: Path, count: int) -> None:
    from pipeline.digest import blake3_of, sha256_of

    (folder / "parts").mkdir()
    digests = {}
    for _ in range(count):
        body = os.urandom(PART)
        name = blake3_of(body)
        (folder / "parts" / name).write_bytes(body)
        digests[name] = sha256_of(body)
    (folder / "digests.json").write_text(json.dumps(digests))


def command(arguments: list[str], environment: dict[str, str]) -> tuple[Took, str]:
    before, start = _cpu_s(resource.RUSAGE_CHILDREN), time.perf_counter()
    done = subprocess.run(arguments, env=environment, check=True, stdout=subprocess.PIPE, text=True)
    return Took(time.perf_counter() - start, _cpu_s(resource.RUSAGE_CHILDREN) - before), done.stdout


def server_s(server: S3Server) -> float:
    # proc(5): fields 14 and 15, in clock ticks; the name in parentheses may hold spaces.
    fields = Path(f"/proc/{server.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _cpu_s(who: int) -> float:
    used = resource.getrusage(who)
    return used.ru_utime + used.ru_stime


def measure(arguments: argparse.Namespace) -> None:
    from tests.servers.s3_servers import run_juicefs, run_seaweedfs

    folder = Path(tempfile.mkdtemp(prefix="upload-"))
    rows: dict[str, list[Took]] = {"ours": [], "ours, process": [], "s5cmd": [], "aws s3 cp": []}
    gib = arguments.parts * PART / (1 << 30)
    try:
        make_parts(folder, arguments.parts)
        with (run_juicefs if arguments.server == "juicefs" else run_seaweedfs)() as server:
            environment = {**os.environ, **server.environment}
            for _ in range(arguments.rounds):
                bucket = server.new_bucket()
                step = ["--send", "--folder", str(folder), "--bucket", bucket, "--endpoint", server.endpoint]
                before = server_s(server)
                process, told = command(
                    [sys.executable, __file__, *step, "--threads", str(arguments.threads)], {**environment, "PYTHONHASHSEED": "0"}
                )
                rows["ours"].append(Took(*json.loads(told), server_s(server) - before))
                rows["ours, process"].append(replace(process, server_s=server_s(server) - before))
                empty(server, bucket)
                for name, peer in peers(arguments, folder, server.endpoint):
                    bucket = server.new_bucket()
                    before = server_s(server)
                    took = command([*peer, f"s3://{bucket}/parts/"], environment)[0]
                    rows[name].append(replace(took, server_s=server_s(server) - before))
                    empty(server, bucket)
    finally:
        shutil.rmtree(folder)
    report(arguments.server, gib, rows)


def peers(arguments: argparse.Namespace, folder: Path, endpoint: str) -> list[tuple[str, list[str]]]:
    return [
        ("s5cmd", [arguments.s5cmd, "--endpoint-url", endpoint, "--log", "error", "cp", f"{folder}/parts/*"]),
        (
            "aws s3 cp",
            [arguments.aws, "--endpoint-url", endpoint, "s3", "cp", "--recursive", "--only-show-errors", f"{folder}/parts"],
        ),
    ]


def empty(server: S3Server, bucket: str) -> None:
    client = server.client()
    for found in client.list_objects_v2(Bucket=bucket).get("Contents", []):
        client.delete_object(Bucket=bucket, Key=found["Key"])
    # What the last tool left to be written is not the next one's burden.
    os.sync()


def report(server: str, gib: float, rows: dict[str, list[Took]]) -> None:
    def middle(name: str, field: str) -> float:
        return statistics.median(getattr(took, field) for took in rows[name])

    print(
        f"upload of {gib:g} GiB in {PART >> 20} MiB parts to {server}, medians of {len(rows['ours'])}, load {os.getloadavg()[0]:.1f}"
    )
    print(f"{'tool':14} {'wall s':>8} {'client CPU s/GiB':>17} {'server CPU s/GiB':>17} {'its wall : ours':>16}")
    for name in rows:
        wall, cpu, behind = (middle(name, field) for field in ("wall_s", "cpu_s", "server_s"))
        print(f"{name:14} {wall:8.2f} {cpu / gib:17.2f} {behind / gib:17.2f} {wall / middle('ours', 'wall_s'):16.2f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--server", choices=["juicefs", "seaweedfs"], default="juicefs")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--parts", type=int, default=16)
    parser.add_argument("--threads", type=int, default=8)
    parser.add_argument("--s5cmd", default="s5cmd")
    parser.add_argument("--aws", default="aws")
    parser.add_argument("--send", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--bucket", help=argparse.SUPPRESS)
    parser.add_argument("--endpoint", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    (send if arguments.send else measure)(arguments)


if __name__ == "__main__":
    main()
