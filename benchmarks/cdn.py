"""A release of 1,600 parts against a prefetch quota of 1,000 URLs a day; day two is driven by another machine.

Run: ``.venv/bin/python benchmarks/cdn.py [parts]``. Our adapters drive the control planes of the tests over http on this machine: they
check signatures, pace, calls' limits and quota. Both go by one manual clock, on which a task takes five minutes; the ledger lies in
a directory, and "another machine" shares nothing with the first but that. Counts and the manual clock do not depend on how busy the
machine is; the seconds of this machine are what all the rest costs.

Target: no URL twice, every call as large as the vendor takes it, two days.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from figures import Job

from pipeline.layout import LEDGER
from pipeline.plan.ledger import KeyState
from pipeline.steps.driving import Tempo
from pipeline.steps.edge_proof import Front
from pipeline.steps.ledger import Ledger
from pipeline.steps.prefetch import Dispatch, Driven, drive_job, warm_release
from pipeline.stores.directory import DirectoryStore
from tests.our_cdns import ACCOUNTS, open_ours
from tests.servers.control_planes.door import run_plane
from tests.servers.control_planes.plane import PREFETCH, Plane

JOB = "big-v1.0.0"
PER_DAY = 1000
DAYS = 2
TASK_S = 300.0
PROVIDERS = ("aliyun", "tencent", "huawei", "volcengine")


def keys_of(parts: int) -> list[str]:
    manifest = f"targets/big/1.0.0/{'0' * 64}.manifest.json"
    return [manifest, *(f"parts/{number % 256:02x}/{number:064x}" for number in range(parts))]


def machine(name: str, number: int, plane: Plane, folder: Path) -> tuple[Dispatch, list[Front]]:
    """What one machine has: its own store client, adapter and tempo."""
    began = plane.now

    def elapsed_s() -> float:
        return (plane.now - began).total_seconds()

    tempo = Tempo(now=lambda: plane.now, elapsed_s=elapsed_s, sleep=plane.advance)
    dispatch = Dispatch(Ledger(DirectoryStore(folder)), f"lease of machine {number}", f"machine {number}", tempo)
    return dispatch, [Front(open_ours(name, plane), edge=None)]  # type: ignore[arg-type]  # nothing is read through the edge


def measure(name: str, parts: int, job: Job) -> list[str]:
    with tempfile.TemporaryDirectory() as place, run_plane(ACCOUNTS[name].plane(takes_s=TASK_S)) as plane:
        plane.allowed[PREFETCH] = replace(plane.allowed[PREFETCH], per_day=PER_DAY)
        folder, rows, day = Path(place), [], 0
        complete = False
        while not complete:
            day += 1
            dispatch, fronts = machine(name, day, plane, folder)
            calls, at, started_s = Counter(named for named, _ in plane.calls), plane.now, time.monotonic()
            log = dispatch.ledger.open(JOB)
            driven: Driven = (
                drive_job(fronts, log, dispatch)
                if log.job.known
                else warm_release(fronts, JOB, keys_of(parts), dispatch, release=JOB)
            )
            seconds = time.monotonic() - started_s
            (share,) = driven.shares
            made = Counter(named for named, _ in plane.calls)
            made.subtract(calls)
            asked = sum(made.values()) - share.calls
            records = sum(1 for _ in dispatch.ledger.store.list(LEDGER))
            rows.append(
                f"| {name} | {day} | {share.calls} | {share.urls} | {asked} | {(plane.now - at).total_seconds():.0f} "
                f"| {seconds:.2f} | {len(share.left)} | {records} |"
            )
            job.amount(f"{name}, day {day}: calls for {share.urls:,} URLs", share.calls, "calls")
            complete = driven.complete
            if share.waits_until is not None:
                plane.now = share.waits_until
        states = Counter(log.job.lanes[fronts[0].cdn.base_url].states.values())
        assert states == {KeyState.DONE: parts + 1}
        # Aliyun gives a call several ids: the second begins with the first.
        taken = Counter(url for task in plane.jobs.values() if task.id[:-1] not in plane.jobs for url in task.urls)
        assert len(taken) == parts + 1
        assert set(taken.values()) == {1}
        job.amount(f"{name}: days", day, "days", most=DAYS)
    return rows


def main() -> int:
    parts = int(sys.argv[1]) if len(sys.argv) > 1 else 1600
    job = Job(
        "cdn",
        "Prefetching against a quota",
        f"a release of {parts} parts and its manifest, {PER_DAY} URLs a day, tasks of {TASK_S:.0f} s, at the control planes of the tests.",
    )
    job.show(
        "| vendor | day | calls | URLs | questions | s, manual clock | s, this machine | URLs left | records in the ledger |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- |",
        *(row for name in PROVIDERS for row in measure(name, parts, job)),
    )
    return job.finish()


if __name__ == "__main__":
    sys.exit(main())
