"""The whole publish: command to last word, with its peak memory, into each kind of store, for models of any size.

    python benchmarks/publish.py [--gib 1 16] [--server directory juicefs seaweedfs] [--keep FOLDER]

Every row is one ``modelport publish`` as a process of its own: wall and CPU seconds and the highest resident
set that the kernel saw (``wait4``). The second publish of an unchanged folder stands below each row. The peer of
the directory rows is ``cp -r`` of the same folder, which hashes nothing, with ``sync`` of the copy.

Target: at most 400 MiB of peak RSS at the default part size, whatever the model's size.
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
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(0, str(Path(__file__).parent))
from figures import Job
from inputs import tensors_for, write_model

from tests.servers.s3_servers import run_juicefs, run_seaweedfs

LIMIT_MIB = 400
SETTLED_S = 3
MODELPORT = Path(sys.executable).with_name("modelport")


@dataclass(frozen=True)
class Took:
    """One process: seconds, CPU seconds, MiB at its peak, what it said on stdout."""

    wall_s: float
    cpu_s: float
    peak_mib: float
    said: bytes


def run(command: list[str | Path], environment: dict[str, str]) -> Took:
    """Run ``command`` to its end.

    Raises:
        SystemExit: it failed.
    """
    started = time.perf_counter()
    child = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    said, told = child.stdout.read(), child.stderr.read()  # type: ignore[union-attr]  # both are pipes
    _, status, usage = os.wait4(child.pid, 0)
    if status:
        raise SystemExit(f"{command} ended with {status}: {told.decode()}")
    return Took(time.perf_counter() - started, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024, said)


@contextmanager
def store(kind: str, folder: Path) -> Iterator[tuple[list[str], dict[str, str]]]:
    """Flags and environment of a fresh store of ``kind``."""
    if kind == "directory":
        yield ["--store", str(folder / "store")], {}
        return
    with ExitStack() as stack:
        server = stack.enter_context(run_juicefs() if kind == "juicefs" else run_seaweedfs())
        bucket = server.new_bucket()
        flags = ["--store", f"s3://{bucket}/models", "--endpoint", server.endpoint, "--region", "us-east-1"]
        yield flags, server.environment


def measure(job: Job, kind: str, gib: float, folder: Path, model: Path) -> Iterator[str]:
    """Publish ``model`` twice into a fresh store of ``kind``; gives a row of each."""
    with store(kind, folder) as (flags, extra):
        places = {f"XDG_{name}_HOME": str(folder / name.lower()) for name in ("DATA", "STATE", "CACHE")}
        environment = {**os.environ, **places, **extra}
        unsafe = ["--allow-unsafe-store"] if kind == "juicefs" else []
        if kind != "directory":
            # Keys are made on first use only for a directory of one's own.
            run([MODELPORT, "trust.init", *flags, *unsafe], environment)
        publish: list[str | Path] = [MODELPORT, "publish", "--model", "bench-v1.0.0", "--source", model, "--report", "json"]
        for word in ("first", "again"):
            took = run([*publish, *flags, *unsafe], environment)
            result = json.loads(took.said)
            job.amount(f"{kind}, {gib:g} GiB, {word}: peak memory", took.peak_mib, "MiB", most=LIMIT_MIB)
            sent = f"{result['bytes_uploaded'] / 2**30:.2f} GiB in {result['parts']['new']} parts"
            yield f"| {kind} | {gib:g} GiB, {word} | {took.wall_s:.1f} | {took.cpu_s:.1f} | {sent} |"


def main() -> int:
    """Measure and print."""
    job = Job(
        "publish",
        "The whole publish, and its memory",
        "a process of its own into each kind of store, keys and signatures included; then the same again. cp hashes nothing.",
    )
    rows: list[str] = []
    parser = argparse.ArgumentParser()
    parser.add_argument("--gib", type=float, nargs="*", default=[1.0])
    parser.add_argument("--server", nargs="*", default=["directory", "juicefs", "seaweedfs"])
    parser.add_argument("--folder", type=Path, default=None, help="where models and stores go")
    arguments = parser.parse_args()
    for gib in arguments.gib:
        folder = Path(tempfile.mkdtemp(prefix="modelport-bench-", dir=arguments.folder))
        try:
            model = folder / "model"
            write_model(model / "model.safetensors", tensors_for(int(gib * 2**30)))
            # A file read within two seconds of its last change is not believed by the stat cache.
            time.sleep(SETTLED_S)
            for kind in arguments.server:
                rows += measure(job, kind, gib, folder / kind, model)
                if kind == "directory":
                    copied = run(["sh", "-c", f"cp -r {model} {folder}/copy && sync -f {folder}/copy"], dict(os.environ))
                    shutil.rmtree(folder / "copy")
                    rows.append(f"| peer: `cp -r`, `sync -f` | {gib:g} GiB | {copied.wall_s:.1f} | {copied.cpu_s:.1f} | |")
                shutil.rmtree(folder / kind, ignore_errors=True)
        finally:
            shutil.rmtree(folder)
    job.show("| store | model | seconds | CPU seconds | sent |", "| --- | --- | --- | --- | --- |", *rows)
    return job.finish()


if __name__ == "__main__":
    sys.exit(main())
