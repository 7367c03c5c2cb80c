"""The upload step alone: 1 GiB of parts whose digests are known, to a real S3 gateway, beside s5cmd, ``aws s3 cp`` and rclone.

    python benchmarks/upload.py [--server juicefs|seaweedfs] [--rounds 3] [--parts 16] [--threads 4]

Each round runs every tool in turn on the same files (page cache warm) into a fresh bucket. Wall and client CPU
seconds are those of the whole peer command, and for us of the step in a process that has started: opening the
store, mapping the files, sending them, all answers in. ``ours, process`` adds interpreter and imports.
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

from figures import Job
from peers import look_for

if TYPE_CHECKING:
    from tests.servers.s3_servers import S3Server

PART = 64 << 20
# How many times as long a peer should take, by the wall.
LEAST = {"s5cmd": 1.8, "aws": 2.5}


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


def measure(arguments: argparse.Namespace) -> int:
    from tests.servers.s3_servers import run_juicefs, run_seaweedfs

    folder = Path(tempfile.mkdtemp(prefix="upload-"))
    job = Job("upload", "Upload step", "")
    programs = {name: program for name in ("s5cmd", "aws", "rclone") if (program := look_for(name, job))}
    rows: dict[str, list[Took]] = {"ours": [], "ours, process": [], **{name: [] for name in programs}}
    gib = arguments.parts * PART / (1 << 30)
    try:
        make_parts(folder, arguments.parts)
        with (run_juicefs if arguments.server == "juicefs" else run_seaweedfs)() as server:
            # A bundle of authorities of this machine, which rclone refuses, has no business on the loopback.
            environment = {name: text for name, text in os.environ.items() if name != "AWS_CA_BUNDLE"} | server.environment
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
                for name, program in programs.items():
                    bucket = server.new_bucket()
                    before = server_s(server)
                    took = command(peer_words(name, program, folder, server.endpoint, bucket), environment)[0]
                    rows[name].append(replace(took, server_s=server_s(server) - before))
                    empty(server, bucket)
    finally:
        shutil.rmtree(folder)
    return report(job, arguments.server, gib, rows)


def peer_words(name: str, program: str, folder: Path, endpoint: str, bucket: str) -> list[str]:
    parts, target = f"{folder}/parts", f"s3://{bucket}/parts/"
    if name == "s5cmd":
        return [program, "--endpoint-url", endpoint, "--log", "error", "cp", f"{parts}/*", target]
    if name == "aws":
        return [program, "--endpoint-url", endpoint, "s3", "cp", "--recursive", "--only-show-errors", parts, target]
    remote = f":s3,provider=Other,env_auth=true,region=us-east-1,endpoint='{endpoint}':{bucket}/parts"
    return [program, "copy", "--quiet", "--s3-no-check-bucket", parts, remote]


def empty(server: S3Server, bucket: str) -> None:
    client = server.client()
    for found in client.list_objects_v2(Bucket=bucket).get("Contents", []):
        client.delete_object(Bucket=bucket, Key=found["Key"])
    # What the last tool left to be written is not the next one's burden.
    os.sync()


def report(job: Job, server: str, gib: float, rows: dict[str, list[Took]]) -> int:
    job.setting = f"{gib:g} GiB in {PART >> 20} MiB parts whose digests are known, to {server} on the same cores, in turn into fresh buckets."
    ours = rows["ours"]
    for name, took in rows.items():
        if name != "ours" and took:
            job.compare("upload", name, [one.wall_s for one in ours], [one.wall_s for one in took], least=LEAST.get(name))
    for name, took in rows.items():
        if took:
            cpu, behind = (statistics.median(getattr(one, field) for one in took) / gib for field in ("cpu_s", "server_s"))
            job.amount(f"{name}: CPU of the client", cpu, "s per GiB", most=0.5 if name == "ours" else None)
            job.amount(f"{name}: CPU of the server", behind, "s per GiB")
    return job.finish()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--server", choices=["juicefs", "seaweedfs"], default="juicefs")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--parts", type=int, default=16)
    parser.add_argument("--threads", type=int, default=4)
    parser.add_argument("--send", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--bucket", help=argparse.SUPPRESS)
    parser.add_argument("--endpoint", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.send:
        send(arguments)
        return 0
    return measure(arguments)


if __name__ == "__main__":
    sys.exit(main())
