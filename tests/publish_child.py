"""Runs jobs for tests in processes that can be killed or stopped: one JSON line a job on stdin, one a change on stdout.

This process reads all modules once and then forks for every job; it has no threads of its own, so
that forking is safe.
"""

from __future__ import annotations

import _strptime  # noqa: F401 (datetime would import it late: a child that is somebody else could not)
import difflib  # noqa: F401 (as above)
import encodings.ascii  # noqa: F401 (as above)
import json
import os
import select
import signal
import sys
import traceback
from dataclasses import replace
from pathlib import Path

import msgspec
import tuf.api.serialization.json  # noqa: F401 (as above)

from pipeline.cdns.memory import MemoryCdn
from pipeline.collect import CollectOrder, collect_garbage
from pipeline.errors import ModelportError
from pipeline.retry import Patience
from pipeline.sources.edge import HttpEdge
from pipeline.steps.edge_proof import Front
from pipeline.steps.serve import Delivery
from tests.publish_world import Machine, Mortal, Shelf, steps_until
from tests.servers.edges import EdgeServer
from tests.servers.s3_servers import S3Server

WARM: set[str] = set()


def main() -> None:
    """Read jobs until stdin ends and every child has ended."""
    wakes, waker = os.pipe()
    for end in (wakes, waker):
        os.set_blocking(end, False)
    signal.set_wakeup_fd(waker)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    jobs: dict[int, int] = {}
    pending, open_ = b"", True
    while open_ or jobs:
        ready, _, _ = select.select([wakes, *([0] if open_ else [])], [], [])
        if wakes in ready:
            os.read(wakes, 4096)
            reap(jobs)
        if 0 in ready:
            data = os.read(0, 1 << 16)
            open_ = bool(data)
            *lines, pending = (pending + data).split(b"\n")
            for line in lines:
                begin(json.loads(line), jobs, (wakes, waker))


def begin(job: dict, jobs: dict[int, int], pipes: tuple[int, int]) -> None:
    endpoint = job["shelf"][3]
    if job["shelf"][0] == "s3" and endpoint not in WARM:
        # Read once here what every child would have to read.
        S3Server(endpoint, 0).client().close()
        WARM.add(endpoint)
    pid = os.fork()
    if pid == 0:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        for end in (0, 1, *pipes):
            os.close(end)
        os._exit(work(job))
    jobs[pid] = job["job"]
    tell(job=job["job"], pid=pid)


def reap(jobs: dict[int, int]) -> None:
    while jobs:
        pid, status = os.waitpid(-1, os.WNOHANG | os.WUNTRACED | os.WCONTINUED)
        if pid == 0:
            return
        if os.WIFSTOPPED(status):
            tell(job=jobs[pid], stopped=True)
        elif os.WIFCONTINUED(status):
            tell(job=jobs[pid], stopped=False)
        else:
            tell(job=jobs.pop(pid), status=os.waitstatus_to_exitcode(status))


def tell(**message: object) -> None:
    sys.stdout.write(json.dumps(message) + "\n")
    sys.stdout.flush()


def work(job: dict) -> int:
    # Opened before the child becomes somebody else.
    result = os.open(job["result"], os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
    if "uid" in job:
        os.setgid(job["uid"])
        os.setuid(job["uid"])
    try:
        answer, code = JOBS[job["do"]](job), 0
    except ModelportError as error:
        answer, code = {"error": str(error), "hint": error.hint, "kind": type(error).__name__}, error.exit_code
    except BaseException:  # noqa: BLE001 (a child of a test: the test judges what it reports)
        answer, code = {"error": traceback.format_exc(), "kind": "bug"}, 1
    with os.fdopen(result, "w") as out:
        json.dump(answer, out)
    return code


def publish(job: dict) -> dict:
    """Publish ``source`` as ``release``; ``at`` is a step or call to be killed or stopped at."""
    machine, place = _place(job)
    if "wait" in job:
        # Opening blocks until the test opens the other end, reading until it closes it.
        Path(job["wait"]).read_bytes()
    done = machine.publish(job["release"], Path(job["source"]), place=place, **job.get("flags", {}))
    return msgspec.to_builtins(done)


def collect(job: dict) -> dict:
    """Collect garbage; ``at`` as above."""
    machine, place = _place(job)
    return msgspec.to_builtins(collect_garbage(CollectOrder(apply=True), place, machine.events.append))


def _place(job: dict):
    machine = Machine(Path(job["home"]), Shelf(*job["shelf"]), job["keys"], job["ahead_s"])
    at = job.get("at") or {}
    act = lambda: os.kill(os.getpid(), getattr(signal, at["signal"]))  # noqa: E731 (one word for both hooks)
    step = steps_until(at["step"], at.get("nth", 1), act) if "step" in at else (lambda _: None)
    wrap = (lambda store: Mortal(store, at["call"], at["when"], act)) if "call" in at else (lambda store: store)
    place = machine.place(step=step, wrap=wrap, patience=Patience(first_wait_s=0.01))
    return machine, replace(place, delivery=Delivery((front_at(job["edge"]),))) if "edge" in job else place


def front_at(url: str) -> Front:
    """An edge that runs already, behind a control plane that does at once what it is asked and forgets it with this process."""
    server = EdgeServer(url, Path(os.devnull))
    return Front(MemoryCdn(url, can_poll=False, act=server.act), HttpEdge(url))


JOBS = {"publish": publish, "collect": collect}

if __name__ == "__main__":
    main()
